"""Precision of parameters and of matrix products.

float32 means float32: by default, GPUs and TPUs round the factors of a float32 product
to ten bits or fewer, and a symmetry measurement would report these rounding errors as
symmetry breaking by the model. To trade precision for speed, use JAX's own setting, for
instance ``JAX_DEFAULT_MATMUL_PRECISION=tensorfloat32`` in the environment. Reports
state the setting.
"""

import contextlib
from typing import Any

import jax
import numpy as np

from symjax._arrays import to_device
from symjax.errors import ModelError


def matmul_precision() -> str:
    """Precision of the matrix products of models.

    Returns:
      JAX's ``jax_default_matmul_precision`` if it is set, otherwise ``"highest"``.

    Example:
      >>> import jax
      >>> from symjax.models.precision import matmul_precision
      >>> matmul_precision()
      'highest'
      >>> with jax.default_matmul_precision("tensorfloat32"):
      ...     matmul_precision()
      'tensorfloat32'
    """
    # The attribute, unlike jax.config.read, respects the setting as a context.
    setting = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return setting or "highest"


def full_precision() -> contextlib.AbstractContextManager[None]:
    """Context in which traced products carry :func:`matmul_precision` explicitly.

    The products of their derivatives carry it too.
    """
    return jax.default_matmul_precision(matmul_precision())


def check_dtype(dtype: Any) -> None:
    """Raises if JAX would narrow a dtype.

    Raises:
      ModelError: It is float64 while JAX has float64 disabled.
    """
    # The attribute, unlike jax.config.read, respects jax.enable_x64 as a context.
    x64 = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    if np.dtype(dtype) == np.float64 and not x64:
        raise ModelError(
            "dtype",
            str(np.dtype(dtype)),
            "JAX computes in float32 unless told otherwise",
            'Call jax.config.update("jax_enable_x64", True) first, or use float32',
        )


def cast_parameters(parameters: Any, dtype: Any) -> Any:
    """Casts all leaves of a pytree of parameters.

    Args:
      parameters: Pytree of arrays.
      dtype: ``float32`` or ``float64``.

    Returns:
      A pytree of JAX arrays of that dtype.

    Raises:
      ModelError: ``dtype`` is float64 while JAX has float64 disabled.

    Example:
      >>> import numpy as np
      >>> from symjax.models.pet import cast_parameters
      >>> cast_parameters({"a": np.ones(2)}, "float32")["a"].dtype
      dtype('float32')
    """
    check_dtype(dtype)
    return jax.tree.map(lambda leaf: to_device(leaf, dtype), parameters)
