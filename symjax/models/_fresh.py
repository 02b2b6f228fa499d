"""Variables of a fresh network, without evaluating it."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array


def fresh_variables(
    module: nn.Module, key: Array, inputs: Sequence[Any], collections: Sequence[str]
) -> Any:
    """What ``module.init(key, *inputs)`` gives in some collections.

    Only what does not depend on the inputs is computed, one parameter after another:
    ``jax.jit`` of ``init`` compiles the numbers of all parameters once for every
    configuration (5 s), these once for every shape.
    """
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)),
        tuple(inputs),
    )
    return module.lazy_init(key, *shapes, mutable=list(collections))
