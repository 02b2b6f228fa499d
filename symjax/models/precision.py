"""Precision of the matrix products of models.

float32 means float32: by default, GPUs and TPUs round the factors of a float32 product
to ten bits or fewer, which a symmetry measurement would report as a breaking of
symmetry by the model. Whoever wants that speed asks for it by JAX's own setting, for
instance ``JAX_DEFAULT_MATMUL_PRECISION=tensorfloat32`` in the environment, and reports
state it.
"""

import contextlib

import jax


def matmul_precision() -> str:
    """Precision of the matrix products of models: JAX's setting, or ``"highest"``.

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
    asked = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return asked or "highest"


def full_precision() -> contextlib.AbstractContextManager[None]:
    """Context in which traced products carry :func:`matmul_precision` explicitly.

    Those of their derivatives do so too.
    """
    return jax.default_matmul_precision(matmul_precision())
