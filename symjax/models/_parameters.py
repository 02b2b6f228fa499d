"""Initialisers of parameters, and modules that are fast to trace."""

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


# The key of networks of which only the shapes of parameters are asked for.
_SHAPES = "shapes"


def _nothing(shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """What stands for a parameter where only shapes are asked for."""
    return jax.lax.broadcast(np.zeros((), dtype), shape)


class Module(nn.Module):
    """A Linen module that reads its parameters without tracing their initialisers.

    Linen traces the initialiser of every parameter at every call, to compare shapes,
    which takes more than half of the time of tracing a network. Here initialisers take
    the shape as their first argument, which is compared directly.
    """

    def param(
        self, name: str, init_fn: Initial, *init_args: Any, **init_kwargs: Any
    ) -> Any:
        """Returns the parameter ``name``, and creates it during initialisation.

        Raises:
          flax.errors.ScopeParamShapeError: It has another shape than ``init_args[0]``.
        """
        if not self.has_variable("params", name):
            if self.scope.has_rng(_SHAPES):
                return self.variable("params", name, _nothing, *init_args).value
            key = self.scope.rngs.get("params")
            if key is None or isinstance(key.rng, jax.core.Tracer):
                return super().param(name, init_fn, *init_args, **init_kwargs)
            # Computed now, even while the network is traced.
            with jax.core.eval_context():
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
    """Initialiser: random numbers times a factor that depends on the shape.

    The count is rounded up to a power of two, so that few programs are compiled for
    the many shapes of a network. The numbers do not depend on this count, nor on
    whether double precision is enabled.
    """

    def initial(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Any:
        size = math.prod(shape)
        numbers: Array | np.ndarray = draw(key, 1 << max(size - 1, 0).bit_length())
        # NumPy cuts and scales concrete numbers without compiling for each shape.
        if not isinstance(numbers, jax.core.Tracer):
            numbers = np.asarray(numbers)
        return (numbers[:size].reshape(shape) * factor(shape)).astype(dtype)

    return initial


def normal(deviation: float) -> Initial:
    """Initialiser: normal distribution with a standard deviation."""
    return _initial(_normal, lambda _: np.float32(deviation))


def truncated_normal(deviation: float) -> Initial:
    """Initialiser: normal distribution truncated at two standard deviations.

    The deviation is that before truncation.
    """
    return _initial(_truncated, lambda _: np.float32(deviation))


# The standard deviation of normal numbers within (-2, 2).
_DEVIATION = np.float32(0.87962566103423978)


def _of_inputs(shape: Sequence[int]) -> np.float32:
    inputs = math.prod(shape[:-1])
    return np.sqrt(np.float32(1 / inputs)) / _DEVIATION


lecun_normal = _initial(_truncated, _of_inputs)
"""Initialiser: truncated normal distribution of variance 1 / (number of inputs)."""


def zeros(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Any:
    """Initialiser: zeros."""
    return np.zeros(shape, dtype)


def ones(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Any:
    """Initialiser: ones."""
    return np.ones(shape, dtype)


class Dense(Module, nn.Dense):
    """Linen's dense layer with the initialisers of this module."""

    kernel_init: Initial = lecun_normal
    bias_init: Initial = zeros


class LayerNorm(Module, nn.LayerNorm):
    """Linen's layer norm with the initialisers of this module."""

    scale_init: Initial = ones
    bias_init: Initial = zeros


def fresh_variables(
    module: nn.Module,
    key: Array | None,
    inputs: Sequence[Any],
    collections: Sequence[str],
) -> Any:
    """Collections of ``module.init(key, *inputs)``, without evaluating the network.

    Without a key, these are shapes and dtypes alone. Only shapes and dtypes of the
    inputs matter.
    """
    init = functools.partial(module.init, mutable=list(collections))
    if key is None:
        return jax.eval_shape(init, {_SHAPES: jax.random.key(0)}, *inputs)
    variables: dict[str, Any] = {}

    def initialise(*inputs: Any) -> None:
        variables.update(init(key, *inputs))

    # Unlike Linen's lazy_init, this compiles nothing of the network: only parameters,
    # which do not depend on the inputs, are computed.
    jax.eval_shape(initialise, *inputs)
    return variables
