"""Measures on eight simulated devices and on one; run by test_orbit.py.

Prints, for every way to choose the elements, the largest difference as a fraction of
the norm, and on how many devices responses were computed.
"""

import jax
import jax.numpy as jnp
import numpy as np

from symjax.metrics import Grid, HaarSamples, functions, measure, orbit
from symjax.so3 import VECTOR, haar

X = np.random.default_rng(0).normal(size=(4, 3))
ARGS = (0.1,)
CASES = {
    # 3 elements at once on each device: the share of a device is no whole batch.
    "rule": {"over": Grid(5, on_aliasing="report"), "batch_size": 3},
    "random": {"over": HaarSamples(21)},
}


def function(x, scale):
    """Not equivariant; with a loop, as models have."""

    def add(total, point):
        return total + jnp.tanh(point[0] * point[1]) ** 2, None

    total, _ = jax.lax.scan(add, 0.0, x)
    return x * jnp.cos(scale * x[:, :1]) * (1 + scale * total)


def measured(devices, options):
    options = {"args": ARGS, "representations": VECTOR, "max_degree": 2} | options
    found = measure(function, X, devices=devices, **options)["output"]
    assert found.relative_error > 1e-3
    return np.concatenate(
        [getattr(found, field).ravel() for field in ("variance", "norm", "power")]
    )


def responses(devices):
    """As a climb through several rules evaluates them: 37 elements, 16 at once."""
    (out,) = orbit.respond_in_batches(
        function,
        functions.as_action(VECTOR),
        X,
        np.asarray(haar(jax.random.key(0), 37)),
        args=ARGS,
        keep=(0,),
        batch_size=2,
        devices=tuple(devices or ()),
    )
    assert out.shape == (37, 4, 3)
    return out


def main():
    jax.config.update("jax_enable_x64", True)
    used = set()
    respond = orbit._respond_on_mesh

    def watched(*args):
        out = respond(*args)
        used.add(min(len(leaf.sharding.device_set) for leaf in out))
        return out

    orbit._respond_on_mesh = watched
    for name in (*CASES, "climb"):
        used.clear()
        alone, shared = (
            measured(devices, CASES[name]) if name in CASES else responses(devices)
            for devices in (None, jax.devices())
        )
        change = np.abs(alone - shared).max() / np.abs(alone).max()
        print(name, change, *used, sep="\t")


if __name__ == "__main__":
    main()
