"""Elements of O(3): orthogonality, proper part, Euler angles, quaternions.

Rotations are active: they act on column vectors as R v and on rows of positions as
x R^T. Euler angles are ZYZ: R = Rz(alpha) Ry(beta) Rz(gamma). Improper elements of
O(3) are -R. Every function but :func:`check_orthogonal` can be jitted, keeps the
floating dtype of its input and propagates NaN. The functions are compiled even when the
caller is not: outside of jit, JAX compiles a separate program for each operation and
shape.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ArgumentError
from symjax.so3._arguments import as_trailing


def _from_rows(*rows: tuple[Float[Array, "..."], ...]) -> Float[Array, "... rows 3"]:
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def _stable_euler(
    matrix: Float[Array, "... 3 3"],
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """ZYZ angles with gamma in (-2 pi, 2 pi); see :func:`matrix_to_euler`."""
    x, y, z = matrix[..., 0, 2], matrix[..., 1, 2], matrix[..., 2, 2]
    pole = (abs(x) <= jnp.finfo(matrix.dtype).eps) & (
        abs(y) <= jnp.finfo(matrix.dtype).eps
    )
    north = z >= 0
    # The azimuth is undefined at a pole; constants keep its derivatives finite.
    x, y = jnp.where(pole, 1, x), jnp.where(pole, 0, y)
    beta = jnp.where(
        pole,
        jnp.where(north, 0, jnp.pi).astype(matrix.dtype),
        jnp.arctan2(jnp.hypot(x, y), z),
    )
    # (1 +- cos beta) (sin, cos)(alpha +- gamma): never both zero.
    twist = jnp.arctan2(
        jnp.where(
            north,
            matrix[..., 1, 0] - matrix[..., 0, 1],
            -matrix[..., 1, 0] - matrix[..., 0, 1],
        ),
        jnp.where(
            north,
            matrix[..., 0, 0] + matrix[..., 1, 1],
            matrix[..., 1, 1] - matrix[..., 0, 0],
        ),
    )
    alpha = jnp.where(pole, twist, jnp.arctan2(y, x))
    gamma = jnp.where(north, twist - alpha, alpha - twist)
    return alpha, beta, gamma


def matrix_to_euler(
    matrix: Float[Array | np.ndarray, "... 3 3"],
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """ZYZ Euler angles of a proper rotation, accurate at and near the poles.

    Near beta = 0 the matrix determines only alpha + gamma, near beta = pi only
    alpha - gamma. Each is computed where it is well conditioned,

      (1 + cos beta) exp(i (alpha + gamma)) = R_00 + R_11 + i (R_10 - R_01),
      (1 - cos beta) exp(i (alpha - gamma)) = R_11 - R_00 - i (R_10 + R_01),

    and gamma follows from it and alpha = atan2(R_12, R_02), so that the rounding
    errors of alpha and gamma cancel in their sum or difference.

    Args:
      matrix: Proper rotations, shape ``(..., 3, 3)``.

    Returns:
      alpha, beta and gamma in radians, each of shape ``(...)``: alpha and gamma in
      [-pi, pi], beta in [0, pi]; gamma is 0 at the poles.

    Raises:
      ArgumentError: The last two axes are not (3, 3).
    """
    return _euler(as_trailing(matrix, "matrix", (3, 3)))


@jax.jit
def _euler(
    matrix: Float[Array, "... 3 3"],
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    alpha, beta, gamma = _stable_euler(matrix)
    full_turn = 2 * jnp.pi
    gamma = jnp.where(gamma > jnp.pi, gamma - full_turn, gamma)
    gamma = jnp.where(gamma < -jnp.pi, gamma + full_turn, gamma)
    return alpha, beta, gamma


def quaternion_to_matrix(quaternion: Float[Array, "... 4"]) -> Float[Array, "... 3 3"]:
    """Rotation matrix of a quaternion (w, x, y, z) of any norm; NaN if the norm is 0.

    R v = q v q^-1. A unit quaternion has w = cos(angle / 2) and
    (x, y, z) = axis sin(angle / 2).
    """
    return _of_quaternion(as_trailing(quaternion, "quaternion", (4,)))


@jax.jit
def _of_quaternion(quaternion: Float[Array, "... 4"]) -> Float[Array, "... 3 3"]:
    # Scaling by the largest component first keeps the square from overflowing.
    scale = jnp.max(jnp.abs(quaternion), axis=-1, keepdims=True)
    quaternion = quaternion / jax.lax.stop_gradient(scale)
    w, x, y, z = jnp.moveaxis(quaternion, -1, 0)
    s = 2 / (w * w + x * x + y * y + z * z)
    return _from_rows(
        (1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)),
        (s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)),
        (s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)),
    )


def split_inversion(
    matrix: Float[Array, "... 3 3"],
) -> tuple[Float[Array, "... 3 3"], Float[Array, "..."]]:
    """The proper rotations ``sign * matrix``, and the sign of the determinant.

    Raises:
      ArgumentError: The last two axes are not (3, 3).

    Example:
      >>> from symjax.so3.rotations import split_inversion
      >>> float(split_inversion(-jnp.eye(3))[1])
      -1.0
    """
    return _split(as_trailing(matrix, "matrix", (3, 3)))


@jax.jit
def _split(
    matrix: Float[Array, "... 3 3"],
) -> tuple[Float[Array, "... 3 3"], Float[Array, "..."]]:
    rows = jax.lax.stop_gradient(matrix)
    # A triple product; the sign needs no pivoting, and 3 x 3 LU is slow in a batch.
    cross = jnp.cross(rows[..., 0, :], rows[..., 1, :])
    determinant = jnp.sum(cross * rows[..., 2, :], axis=-1)
    sign = jnp.where(determinant < 0, -1, 1).astype(matrix.dtype)
    return matrix * sign[..., None, None], sign


def check_orthogonal(
    matrices: Float[Array | np.ndarray, "... 3 3"], argument: str = "rotations"
) -> None:
    """Raises unless every matrix is orthogonal: max abs(R R^T - 1) <= tolerance.

    Runs on the host, outside of ``jit``. The tolerance is 1e-10 for float64, 1e-5 for
    float32 and 8 eps for half precisions: products of thousands of rotations pass,
    matrices typed with a few digits do not.

    Raises:
      ArgumentError: The matrices are traced, the shape is not ``(..., 3, 3)``, an entry
        is not finite, or a matrix is not orthogonal; the message shows the first
        offending matrix.

    Example:
      >>> from symjax.so3.rotations import check_orthogonal
      >>> check_orthogonal(-np.eye(3))
    """
    if isinstance(matrices, jax.core.Tracer):
        raise ArgumentError(
            argument,
            matrices,
            "is traced, so its values cannot be checked",
            "Call check_orthogonal before jax.jit, vmap or grad",
        )
    as_trailing(matrices, argument, (3, 3))
    # Without x64, jnp would round float64 to float32 and so loosen the tolerance.
    values = np.asarray(matrices)
    if values.dtype.itemsize >= 8:
        tolerance = 1e-10
    else:
        tolerance = max(1e-5, 8 * float(jnp.finfo(values.dtype).eps))
    flat = values.astype(float).reshape(-1, 3, 3)
    with np.errstate(invalid="ignore", over="ignore"):
        deviation = np.abs(flat @ flat.swapaxes(-1, -2) - np.eye(3)).max(axis=(1, 2))
    # Written so that NaN counts as bad.
    (bad,) = np.nonzero(~(deviation <= tolerance))
    if bad.size:
        first = flat[bad[0]]
        finite = np.isfinite(first).all()
        raise ArgumentError(
            f"{argument}[{bad[0]}]" if len(flat) > 1 else argument,
            first.tolist(),
            f"is not orthogonal: R R^T differs from 1 by {deviation[bad[0]]:.1e}"
            if finite
            else "has entries that are not finite",
            "Pass rotation matrices, or the orthogonal factor of a polar decomposition",
        )


def as_elements(values: object, argument: str) -> Float[Array, "... 3 3"]:
    """Group elements as a JAX array; raises unless they are orthogonal.

    Raises:
      ArgumentError: As :func:`check_orthogonal`; under ``jit`` only the shape is
        checked.
    """
    array = as_trailing(values, argument, (3, 3))
    if not isinstance(array, jax.core.Tracer):
        # NumPy's float64 as given: JAX may have rounded it to float32.
        check_orthogonal(values if isinstance(values, np.ndarray) else array, argument)
    return array
