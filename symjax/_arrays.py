"""Arrays of NumPy, handed to JAX or processed without a program to compile."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def to_device(values: Any, dtype: Any = None) -> Array:
    """The array that ``jnp.asarray(values, dtype)`` returns.

    ``jnp.asarray`` compiles a program for each new shape of a NumPy array, which takes
    15 to 30 ms (JAX 0.10); here NumPy casts and the array is copied to the device. As
    with ``jnp.asarray``, on a CPU the result may share memory with ``values``.

    Args:
      values: What ``jnp.asarray`` takes.
      dtype: The dtype wanted; None keeps that of ``values``.

    Returns:
      Array of that dtype; without ``jax_enable_x64``, 64 bits become 32.

    Raises:
      TypeError, ValueError, OverflowError: ``jnp.asarray`` cannot convert ``values``.

    Example:
      >>> import numpy as np
      >>> from symjax._arrays import to_device
      >>> to_device(np.arange(3), "float32")
      Array([0., 1., 2.], dtype=float32)
    """
    if not isinstance(values, np.ndarray):
        return jnp.asarray(values, dtype)
    if dtype is not None:
        # 64 bits that JAX has not enabled would only be cut again.
        values = values.astype(jax.dtypes.canonicalize_dtype(dtype), copy=False)
    return jax.device_put(values)


def fitting(compiled: Any, arrays: Any) -> Any:
    """A jitted function for arrays of JAX; for those of NumPy, what it compiles.

    The function must take both, by ``array.__array_namespace__()``.

    Args:
      compiled: The result of ``jax.jit``.
      arrays: Pytree of the arrays that decide.

    Returns:
      The function itself if all of them are NumPy's, otherwise ``compiled``.
    """
    on_host = all(isinstance(array, np.ndarray) for array in jax.tree.leaves(arrays))
    return compiled.__wrapped__ if on_host else compiled
