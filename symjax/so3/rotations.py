"""Conversions between rotation matrices, Euler angles, quaternions and axis-angle.

Rotations are active and act on column vectors as R v, on rows of positions as
x R^T. Euler angles are ZYZ: R = Rz(alpha) Ry(beta) Rz(gamma). Improper elements of
O(3) are -R. Every function but :func:`check_orthogonal` can be jitted and keeps the
dtype of its input; NaN in gives NaN out.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ArgumentError
from symjax.so3._arguments import as_floating, as_trailing


def _same_dtype(*arrays: Float[Array, "..."]) -> list[Float[Array, "..."]]:
    dtype = jnp.result_type(*arrays)
    return [array.astype(dtype) for array in jnp.broadcast_arrays(*arrays)]


def _from_rows(*rows: tuple[Float[Array, "..."], ...]) -> Float[Array, "... rows 3"]:
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def euler_to_matrix(
    alpha: Float[Array, "..."], beta: Float[Array, "..."], gamma: Float[Array, "..."]
) -> Float[Array, "... 3 3"]:
    """Rotation matrix R = Rz(alpha) Ry(beta) Rz(gamma).

    Args:
      alpha: Last rotation, about z, in radians, shape ``(...)``.
      beta: Second rotation, about y, in radians, shape ``(...)``.
      gamma: First rotation, about z, in radians, shape ``(...)``.

    Returns:
      Proper rotation matrices of shape ``(..., 3, 3)``; the angles broadcast.

    Raises:
      ArgumentError: An angle is not a real number or array.

    Example:
      >>> from symjax.so3 import euler_to_matrix
      >>> euler_to_matrix(jnp.zeros(4), 0.5, 0.0).shape
      (4, 3, 3)
    """
    alpha, beta, gamma = _same_dtype(
        as_floating(alpha, "alpha"),
        as_floating(beta, "beta"),
        as_floating(gamma, "gamma"),
    )
    ca, cb, cg = jnp.cos(alpha), jnp.cos(beta), jnp.cos(gamma)
    sa, sb, sg = jnp.sin(alpha), jnp.sin(beta), jnp.sin(gamma)
    return _from_rows(
        (ca * cb * cg - sa * sg, -ca * cb * sg - sa * cg, ca * sb),
        (sa * cb * cg + ca * sg, -sa * cb * sg + ca * cg, sa * sb),
        (-sb * cg, sb * sg, cb),
    )


def _stable_euler(
    matrix: Float[Array, "... 3 3"],
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """ZYZ angles with gamma in (-2 pi, 2 pi); see :func:`matrix_to_euler`."""
    x, y, z = matrix[..., 0, 2], matrix[..., 1, 2], matrix[..., 2, 2]
    pole = (abs(x) <= jnp.finfo(matrix.dtype).eps) & (
        abs(y) <= jnp.finfo(matrix.dtype).eps
    )
    north = z >= 0
    # At a pole the azimuth is undefined; constants keep its derivatives finite.
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
    matrix: Float[Array, "... 3 3"],
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """ZYZ Euler angles of a proper rotation, accurate at and near the poles.

    Near beta = 0 only alpha + gamma is determined by the matrix, near beta = pi only
    alpha - gamma. Each is read where it is well conditioned,

      (1 + cos beta) exp(i (alpha + gamma)) = R_00 + R_11 + i (R_10 - R_01),
      (1 - cos beta) exp(i (alpha - gamma)) = R_11 - R_00 - i (R_10 + R_01),

    and gamma follows from it and alpha = atan2(R_12, R_02), so that the rounding
    errors of alpha and gamma cancel in the angles that matter.

    Args:
      matrix: Proper rotations, shape ``(..., 3, 3)``; for an improper element pass
        the proper part of :func:`split_inversion`.

    Returns:
      alpha in [-pi, pi], beta in [0, pi] and gamma in [-pi, pi], in radians, each of
      shape ``(...)``. At the poles gamma is 0.

    Raises:
      ArgumentError: The last two axes are not (3, 3).

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import euler_to_matrix, matrix_to_euler
      >>> angles = jnp.array([0.1, 0.2, 0.3])
      >>> found = jnp.array(matrix_to_euler(euler_to_matrix(*angles)))
      >>> bool(jnp.allclose(found, angles, atol=1e-6))
      True
    """
    alpha, beta, gamma = _stable_euler(as_trailing(matrix, "matrix", (3, 3)))
    turn = 2 * jnp.pi
    gamma = jnp.where(gamma > jnp.pi, gamma - turn, gamma)
    gamma = jnp.where(gamma < -jnp.pi, gamma + turn, gamma)
    return alpha, beta, gamma


def quaternion_to_matrix(quaternion: Float[Array, "... 4"]) -> Float[Array, "... 3 3"]:
    """Rotation matrix of a quaternion (w, x, y, z).

    R v = q v q^-1: w = cos(angle / 2) and (x, y, z) = axis sin(angle / 2).

    Args:
      quaternion: Shape ``(..., 4)``, of any norm but 0; q and -q are one rotation.

    Returns:
      Proper rotation matrices of shape ``(..., 3, 3)``; NaN for a zero quaternion.

    Raises:
      ArgumentError: The last axis is not 4.

    Example:
      >>> from symjax.so3 import quaternion_to_matrix
      >>> quaternion_to_matrix(jnp.array([1.0, 0.0, 0.0, 0.0])).tolist()
      [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    quaternion = as_trailing(quaternion, "quaternion", (4,))
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


def matrix_to_quaternion(matrix: Float[Array, "... 3 3"]) -> Float[Array, "... 4"]:
    """Unit quaternion (w, x, y, z) of a proper rotation, with w >= 0.

    The entries of 4 q q^T are sums of entries of R; the row of its largest diagonal
    element, normalised, is q without cancellation (Shepperd, J. Guid. Control 1, 223
    (1978)).

    Args:
      matrix: Proper rotations, shape ``(..., 3, 3)``.

    Returns:
      Shape ``(..., 4)``. Rotations by pi have w = 0 up to rounding, and either sign.

    Raises:
      ArgumentError: The last two axes are not (3, 3).

    Example:
      >>> from symjax.so3 import matrix_to_quaternion
      >>> matrix_to_quaternion(jnp.eye(3)).tolist()
      [1.0, 0.0, 0.0, 0.0]
    """
    matrix = as_trailing(matrix, "matrix", (3, 3))
    (r00, r01, r02), (r10, r11, r12), (r20, r21, r22) = jnp.moveaxis(
        matrix, (-2, -1), (0, 1)
    )
    products = _from_rows(
        (1 + r00 + r11 + r22, r21 - r12, r02 - r20, r10 - r01),
        (r21 - r12, 1 + r00 - r11 - r22, r01 + r10, r02 + r20),
        (r02 - r20, r01 + r10, 1 - r00 + r11 - r22, r12 + r21),
        (r10 - r01, r02 + r20, r12 + r21, 1 - r00 - r11 + r22),
    )
    best = jnp.argmax(jnp.diagonal(products, axis1=-2, axis2=-1), axis=-1)
    row = jnp.take_along_axis(products, best[..., None, None], axis=-2)[..., 0, :]
    row = row / jnp.linalg.norm(row, axis=-1, keepdims=True)
    return jnp.where(row[..., :1] < 0, -row, row)


def axis_angle_to_matrix(
    axis: Float[Array, "... 3"], angle: Float[Array, "..."]
) -> Float[Array, "... 3 3"]:
    """Rotation by an angle about an axis (Rodrigues' formula).

    R = cos(angle) 1 + sin(angle) [n]_x + (1 - cos(angle)) n n^T, with n the axis
    divided by its length.

    Args:
      axis: Shape ``(..., 3)``, of any length but 0.
      angle: In radians, counter-clockwise seen from the tip of the axis; ``(...)``.

    Returns:
      Proper rotation matrices of shape ``(..., 3, 3)``; NaN for a zero axis.

    Raises:
      ArgumentError: The last axis of ``axis`` is not 3, or ``angle`` is not real.

    Example:
      >>> from symjax.so3 import axis_angle_to_matrix
      >>> axis_angle_to_matrix(jnp.array([0.0, 0.0, 2.0]), 0.0).tolist()
      [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    axis = as_trailing(axis, "axis", (3,))
    scale = jnp.max(jnp.abs(axis), axis=-1, keepdims=True)
    axis = axis / jax.lax.stop_gradient(scale)
    axis = axis / jnp.linalg.norm(axis, axis=-1, keepdims=True)
    x, y, z, angle = _same_dtype(
        axis[..., 0], axis[..., 1], axis[..., 2], as_floating(angle, "angle")
    )
    c, s = jnp.cos(angle), jnp.sin(angle)
    # 1 - cos without cancellation for a small angle.
    v = 2 * jnp.sin(angle / 2) ** 2
    return _from_rows(
        (c + v * x * x, v * x * y - s * z, v * x * z + s * y),
        (v * x * y + s * z, c + v * y * y, v * y * z - s * x),
        (v * x * z - s * y, v * y * z + s * x, c + v * z * z),
    )


def rotation_angle(matrix: Float[Array, "... 3 3"]) -> Float[Array, "..."]:
    """Angle of a rotation, in [0, pi].

    angle = atan2(norm(v), trace R - 1) with v the axial vector (R_21 - R_12,
    R_02 - R_20, R_10 - R_01) = 2 sin(angle) axis; accurate where acos of the trace
    is not. For an improper element, the angle of its proper part.

    Args:
      matrix: Orthogonal matrices, shape ``(..., 3, 3)``.

    Returns:
      Angles in radians, shape ``(...)``; the derivative at the identity is set to 0.

    Raises:
      ArgumentError: The last two axes are not (3, 3).

    Example:
      >>> from symjax.so3 import rotation_angle
      >>> float(rotation_angle(jnp.eye(3)))
      0.0
    """
    matrix, _ = split_inversion(matrix)
    axial = jnp.stack(
        [
            matrix[..., 2, 1] - matrix[..., 1, 2],
            matrix[..., 0, 2] - matrix[..., 2, 0],
            matrix[..., 1, 0] - matrix[..., 0, 1],
        ],
        axis=-1,
    )
    vanishes = jnp.all(axial == 0, axis=-1)
    length = jnp.linalg.norm(jnp.where(vanishes[..., None], 1, axial), axis=-1)
    trace = jnp.trace(matrix, axis1=-2, axis2=-1)
    return jnp.arctan2(jnp.where(vanishes, 0, length), trace - 1)


def split_inversion(
    matrix: Float[Array, "... 3 3"],
) -> tuple[Float[Array, "... 3 3"], Float[Array, "..."]]:
    """Writes an element of O(3) as sign times a proper rotation.

    Args:
      matrix: Orthogonal matrices, shape ``(..., 3, 3)``.

    Returns:
      The proper rotations ``sign * matrix``, and the signs +1 or -1 of the
      determinant, of shape ``(...)`` and the same dtype.

    Raises:
      ArgumentError: The last two axes are not (3, 3).

    Example:
      >>> from symjax.so3 import split_inversion
      >>> float(split_inversion(-jnp.eye(3))[1])
      -1.0
    """
    matrix = as_trailing(matrix, "matrix", (3, 3))
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

    Runs on the host, so outside ``jit``. The tolerance is 1e-10 for float64 and 1e-5
    for shorter floats (8 eps of half precisions): a product of thousands of rotations
    passes, a matrix typed with a few digits does not.

    Args:
      matrices: Proper or improper rotations, shape ``(..., 3, 3)``.
      argument: Name of the argument, for the message.

    Raises:
      ArgumentError: The shape is not ``(..., 3, 3)``, an entry is not finite, or a
        matrix is not orthogonal; the message shows the first offending matrix.

    Example:
      >>> from symjax.so3 import check_orthogonal
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
    # The dtype of the caller decides: jnp would shorten NumPy's float64 without x64.
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
    """Group elements as an array; refused unless orthogonal, where values are known.

    Args:
      values: Proper or improper rotations, shape ``(..., 3, 3)``.
      argument: Name of the argument, for the message.

    Returns:
      A floating-point array.

    Raises:
      ArgumentError: As :func:`check_orthogonal`; under ``jit`` only for the shape.

    Example:
      >>> from symjax.errors import ArgumentError
      >>> from symjax.so3.rotations import as_elements
      >>> try:
      ...     as_elements(2 * np.eye(3), "rotation")
      ... except ArgumentError as error:
      ...     print(error.problem)
      is not orthogonal: R R^T differs from 1 by 3.0e+00
    """
    array = as_trailing(values, argument, (3, 3))
    if not isinstance(array, jax.core.Tracer):
        # NumPy's float64 as it is: JAX may have shortened it.
        check_orthogonal(values if isinstance(values, np.ndarray) else array, argument)
    return array
