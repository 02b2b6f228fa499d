"""Checks that every module of the package shares: shapes, degrees and counts."""

import operator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax._arrays import to_device
from symjax.errors import ArgumentError


def check_integer(value: object, argument: str, minimum: int = 0) -> int:
    """Returns ``value`` as an int, or raises unless it is one of at least minimum."""
    # bool is an int to Python, but a degree of True is a mistake of the caller.
    if not isinstance(value, bool):
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            pass
        else:
            if number >= minimum:
                return number
            raise ArgumentError(
                argument, number, f"is below {minimum}", f"Pass {minimum} or more"
            )
    raise ArgumentError(
        argument,
        value,
        "is not a static integer",
        "Pass a Python int; under jit, name it in static_argnames",
    )


MOST_BYTES = 4 * 2**30
"""What a number of things may take, before memory ends without a word."""


def check_fits(argument: str, number: int, size: int, most: int = MOST_BYTES) -> None:
    """Raises unless so many things, each of a size in bytes, are within a budget."""
    if number * size > most:
        raise ArgumentError(
            argument,
            number,
            f"takes {number * size / 2**30:.1f} GiB of memory",
            f"Pass {most // size} or less",
        )


def as_array(values: object, argument: str) -> Array:
    """Returns an array of JAX, or raises unless it can be one."""
    try:
        return to_device(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(
            argument, values, "is not a numeric array", "Pass an array of real numbers"
        ) from error


def as_floating(values: object, argument: str) -> Float[Array, "..."]:
    """Returns a floating-point array; integers become JAX's default float."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        # Before JAX would wrap large ones around to 32 bits.
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
