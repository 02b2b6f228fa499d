"""A function with a wide and a narrow output, and the tables that projecting takes."""

import jax.numpy as jnp
import numpy as np

from symjax.metrics.pieces import Leaf
from symjax.metrics.planning import Elements, table_bytes
from symjax.so3 import FEATURE, quadrature

X = np.random.default_rng(0).normal(size=(6, 3))


def features(x):
    return {
        "wide": jnp.tanh(x @ jnp.arange(120.0).reshape(3, 40) / 60),
        "narrow": jnp.sin(x),
    }


LEAVES = {
    "wide": Leaf(FEATURE, (6, 40), "float32"),
    "narrow": Leaf(FEATURE, (6, 3), "float32"),
}


def tables_of(degree, max_degree, leaves=LEAVES):
    elements = Elements(quadrature(degree), None)
    return table_bytes(leaves.values(), elements, max_degree)
