"""Parameters of networks: how they are drawn, and how they are read."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

Initial = Callable[..., Any]
"""Draws a parameter from a random key and its shape."""


class Module(nn.Module):
    """A Linen module that reads its parameters without tracing how they are drawn.

    Linen traces the initialiser of every parameter at every evaluation, to compare
    shapes: more than half of the time that tracing a network takes. Here initialisers
    take the shape as their first argument, which is compared as it is.
    """

    def param(
        self, name: str, init_fn: Initial, *init_args: Any, **init_kwargs: Any
    ) -> Any:
        """The parameter of that name, drawn if the network is being initialised."""
        if self.is_initializing() or not self.has_variable("params", name):
            return super().param(name, init_fn, *init_args, **init_kwargs)
        value, shape = self.get_variable("params", name), tuple(init_args[0])
        if np.shape(value) != shape:
            raise flax.errors.ScopeParamShapeError(
                name, "/".join(self.path), np.shape(value), shape
            )
        return value


@functools.partial(jax.jit, static_argnums=1)
def _truncated(key: Array, size: int) -> Array:
    return jax.random.truncated_normal(key, -2, 2, (size,), jnp.float32)


@functools.partial(jax.jit, static_argnums=1)
def _normal(key: Array, size: int) -> Array:
    return jax.random.normal(key, (size,), jnp.float32)


def _initial(
    draw: Callable[[Array, int], Array], factor: Callable[..., Any]
) -> Initial:
    """Numbers of a distribution times a factor, which follows from the shape.

    Numbers are drawn up to the next power of two, so that few programs are compiled
    for the many shapes of a network. They do not depend on how many are drawn, nor on
    whether double precision is enabled.
    """

    def initial(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Any:
        size = math.prod(shape)
        numbers: Array | np.ndarray = draw(key, 1 << max(size - 1, 0).bit_length())
        # Known numbers are cut and scaled without a program for each shape.
        if not isinstance(numbers, jax.core.Tracer):
            numbers = np.asarray(numbers)
        return (numbers[:size].reshape(shape) * factor(shape)).astype(dtype)

    return initial


def normal(deviation: float) -> Initial:
    """Normal numbers."""
    return _initial(_normal, lambda _: np.float32(deviation))


def truncated_normal(deviation: float) -> Initial:
    """Normal numbers within two standard deviations, which is not made up for."""
    return _initial(_truncated, lambda _: np.float32(deviation))


# The standard deviation of normal numbers within (-2, 2).
_DEVIATION = np.float32(0.87962566103423978)


def _of_inputs(shape: Sequence[int]) -> np.float32:
    inputs = math.prod(shape[:-1])
    return np.sqrt(np.float32(1 / inputs)) / _DEVIATION


lecun_normal = _initial(_truncated, _of_inputs)
"""Truncated normal numbers of variance one over the number of inputs."""


def zeros(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Any:
    """Zeros, whatever the key."""
    return np.zeros(shape, dtype)


def ones(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Any:
    """Ones, whatever the key."""
    return np.ones(shape, dtype)


class Dense(Module, nn.Dense):
    """A linear layer."""

    kernel_init: Initial = lecun_normal
    bias_init: Initial = zeros


class LayerNorm(Module, nn.LayerNorm):
    """(x - mean) / std with a learned scale and shift."""

    scale_init: Initial = ones
    bias_init: Initial = zeros


def fresh_variables(
    module: nn.Module, key: Array, inputs: Sequence[Any], collections: Sequence[str]
) -> Any:
    """What ``module.init(key, *inputs)`` gives in some collections.

    Only what does not depend on the inputs is computed, one parameter after another.
    """
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)),
        tuple(inputs),
    )
    return module.lazy_init(key, *shapes, mutable=list(collections))
