"""Checks of arguments that all rooms share: integers, sizes in memory, arrays."""

import contextlib
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax._arrays import to_device
from symjax.errors import ArgumentError


def check_integer(argument: str, value: object, minimum: int = 0) -> int:
    """Returns ``value`` as an int; raises unless it is one of at least ``minimum``."""
    # To Python bool is an int, but True as a degree is a mistake of the caller.
    if not isinstance(value, bool | np.bool):
        with contextlib.suppress(TypeError):
            number = operator.index(value)  # type: ignore[arg-type]
            if number >= minimum:
                return number
    remedy = f"Pass {minimum} or more"
    if isinstance(value, jax.core.Tracer):
        remedy += "; under jit, name it in static_argnames"
    raise ArgumentError(argument, value, f"is not an integer from {minimum} up", remedy)


MAX_BYTES = 4 * 2**30
"""Memory budget in bytes for arrays whose size follows from one argument."""


def check_fits(argument: str, number: int, num_bytes: int, remedy: str = "") -> None:
    """Raises if the arrays that an argument asks for exceed the memory budget.

    Args:
      argument: Name of the argument.
      number: Its value.
      num_bytes: Size of the arrays.
      remedy: By default the largest value that fits, for sizes proportional to it.

    Raises:
      ArgumentError: The arrays need more than :data:`MAX_BYTES`.
    """
    if num_bytes > MAX_BYTES:
        raise ArgumentError(
            argument,
            number,
            f"takes {num_bytes / 2**30:.1f} GiB of memory",
            remedy or f"Pass {MAX_BYTES * number // num_bytes} or less",
        )


def as_array(values: object, argument: str) -> Array:
    """Returns ``values`` as a JAX array; raises unless they are numeric."""
    try:
        return to_device(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(
            argument, values, "is not a numeric array", "Pass an array of real numbers"
        ) from error


def as_floating(values: object, argument: str) -> Float[Array, "..."]:
    """Returns a floating-point array; integers become JAX's default float."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        # JAX would wrap large ones around to 32 bits.
        values = values.astype(float)
    array = as_array(values, argument)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    if jnp.issubdtype(array.dtype, jnp.integer):
        return array.astype(float)
    raise ArgumentError(
        argument, array.dtype, "is not a real dtype", "Pass an array of real numbers"
    )


def as_trailing(
    values: object, argument: str, trailing: tuple[int, ...]
) -> Float[Array, "..."]:
    """Returns a floating-point array whose last axes have the sizes ``trailing``."""
    array = as_floating(values, argument)
    if array.shape[-len(trailing) :] != trailing:
        raise ArgumentError(
            argument,
            array.shape,
            f"the last axes must have shape {trailing}",
            "Move the components to the last axes; leading axes are batch axes",
        )
    return array
