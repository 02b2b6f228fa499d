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
    """Name of the precision of the matrix products of models.

    Returns:
      JAX's setting ``jax_default_matmul_precision`` where it is set, else
      ``"highest"``.

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
    """Context in which traced matrix products carry :func:`matmul_precision`.

    Returns:
      The context; products inside hold the precision explicitly, and so do those of
      their derivatives.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from symjax.models.precision import full_precision
      >>> def square(x):
      ...     with full_precision():
      ...         return x @ x
      >>> "HIGHEST" in str(jax.make_jaxpr(square)(jnp.eye(2)))
      True
    """
    return jax.default_matmul_precision(matmul_precision())
