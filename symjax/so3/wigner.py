"""Wigner matrices of O(3), complex (standard) and real, stable to high degree.

A rotation about y is a rotation about z between two fixed changes of axes, so that
only the constant matrices of 90-degree rotations need a recurrence (``_tables``). What
remains is one product of orthogonal matrices per degree: rounding errors grow neither
with the degree nor at the poles beta = 0 and beta = pi.

Conventions: R = Rz(alpha) Ry(beta) Rz(gamma), real components m = -l, ..., l,
Y_l(R v) = D^l(R) Y_l(v).
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.so3._arguments import check_integer
from symjax.so3._tables import axis_changes, generators, half_turns
from symjax.so3.irreps import Irrep, check_irrep
from symjax.so3.rotations import _stable_euler, as_elements, split_inversion


def small_d_tables(max_degree: int, beta: np.ndarray) -> list[np.ndarray]:
    """Wigner's small d matrices: the elements of exp(-i beta J_y) between l m' and l m.

    With Delta = d^l(pi/2) (Trapani and Navaza, Acta Cryst. A 62, 262 (2006)),

      d^l_{m'm}(beta) = i^{m'-m} sum_k Delta_{km'} exp(-i k beta) Delta_{km}.

    Because Delta_{-k,m} = (-1)^{l+m} Delta_{km}, only the cosines survive for even
    m' - m and only the sines for odd, so one real product gives both:

      d^l_{m'm} = (-1)^{floor((m'-m)/2)}
                  sum_k Delta_{km'} (cos + sin)(k beta) Delta_{km}.

    Computed in NumPy float64: tables are made once, in less time than JAX would need to
    compile a program for each number of angles. Rows m' and columns m run from -l to l,
    as in the package ``wigners``:
    D^l_{m'm} = exp(-i m' alpha) d^l_{m'm}(beta) exp(-i m gamma), one array of shape
    ``(angles, 2l + 1, 2l + 1)`` for each degree, at most 500.
    """
    matrices = []
    for degree, delta in enumerate(half_turns(max_degree)):
        phases = np.asarray(beta, np.float64)[:, None] * np.arange(-degree, degree + 1)
        wave = (np.cos(phases) + np.sin(phases))[:, None]
        matrices.append((delta.T * wave) @ delta * _signs(degree))
    return matrices


def _signs(degree: int) -> Float[np.ndarray, "rows columns"]:
    """(-1)^{floor((m' - m) / 2)}."""
    m = np.arange(-degree, degree + 1)
    return (-1.0) ** ((m[:, None] - m) // 2)


def _waves(
    degree: int, angle: Float[Array, "..."]
) -> tuple[Float[Array, "... waves"], Float[Array, "... waves"]]:
    """cos(m angle) and sin(m angle) for m = -degree, ..., degree."""
    phases = jnp.arange(degree + 1, dtype=angle.dtype) * angle[..., None]
    cosine, sine = jnp.cos(phases), jnp.sin(phases)
    return (
        jnp.concatenate([cosine[..., :0:-1], cosine], axis=-1),
        jnp.concatenate([-sine[..., :0:-1], sine], axis=-1),
    )


def _real_d(
    degrees: tuple[int, ...],
    alpha: Float[Array, "..."],
    beta: Float[Array, "..."],
    gamma: Float[Array, "..."],
) -> tuple[Float[Array, "... rows columns"], ...]:
    """D = [Z(alpha) Q Z(beta)] Q^T Z(gamma), with Z the rotations about z."""
    largest = max(degrees)
    waves = [_waves(largest, angle) for angle in (alpha, beta, gamma)]
    with jax.default_matmul_precision("highest"):
        return tuple(_from_waves(degree, largest, waves) for degree in degrees)


def _from_waves(degree: int, largest: int, waves: Sequence[tuple[Any, Any]]) -> Any:
    """D of one degree from cosines and sines, which are NumPy or JAX arrays."""
    window = slice(largest - degree, largest + degree + 1)
    (ca, sa), (cb, sb), (cg, sg) = [
        (cosine[..., window], sine[..., window]) for cosine, sine in waves
    ]
    ca, sa = ca[..., :, None], sa[..., :, None]
    cb, sb, cg, sg = (wave[..., None, :] for wave in (cb, sb, cg, sg))
    axis_change = axis_changes(largest)[degree].astype(ca.dtype)
    # Z mixes m with -m: flipped constants replace the product with Z.
    left = ca * (axis_change * cb + axis_change[:, ::-1] * sb)
    left = left - sa * (axis_change[::-1] * cb + axis_change[::-1, ::-1] * sb)
    product = left @ axis_change.T
    return product * cg + product[..., ::-1] * sg


def euler_angles(
    rotations: Float[np.ndarray, "elements 3 3"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ZYZ angles of proper rotations, in NumPy float64."""
    r = np.asarray(rotations, np.float64)
    alpha = np.arctan2(r[:, 1, 2], r[:, 0, 2])
    beta = np.arctan2(np.hypot(r[:, 0, 2], r[:, 1, 2]), r[:, 2, 2])
    # gamma of Rz(-alpha) R: accurate at the poles, where only alpha + gamma is defined.
    cosine, sine = np.cos(alpha), np.sin(alpha)
    gamma = np.arctan2(
        cosine * r[:, 1, 0] - sine * r[:, 0, 0], cosine * r[:, 1, 1] - sine * r[:, 0, 1]
    )
    return alpha, beta, gamma


def wigner_d_tables(
    max_degree: int, rotations: Float[np.ndarray, "elements 3 3"]
) -> list[Float[np.ndarray, "elements rows columns"]]:
    """As :func:`wigner_d` for proper rotations, in NumPy float64.

    For tables of many different sizes, each of which would compile another program.
    """
    alpha, beta, gamma = euler_angles(rotations)
    phases = [
        np.arange(-max_degree, max_degree + 1) * a[:, None]
        for a in (alpha, beta, gamma)
    ]
    waves = [(np.cos(phase), np.sin(phase)) for phase in phases]
    return [_from_waves(degree, max_degree, waves) for degree in range(max_degree + 1)]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _rotation_d(
    degrees: tuple[int, ...], rotations: Float[Array, "... 3 3"]
) -> tuple[Float[Array, "... rows columns"], ...]:
    proper, sign = split_inversion(rotations)
    matrices = _real_d(degrees, *_stable_euler(proper))
    return tuple(
        matrix * sign[..., None, None] if degree % 2 else matrix
        for degree, matrix in zip(degrees, matrices, strict=True)
    )


@_rotation_d.defjvp
def _rotation_d_jvp(
    degrees: tuple[int, ...],
    primals: tuple[Float[Array, "... 3 3"]],
    tangents: tuple[Float[Array, "... 3 3"]],
) -> tuple[tuple[Float[Array, "..."], ...], tuple[Float[Array, "..."], ...]]:
    # Through the Lie algebra, dD = D (omega . G) with omega the axial vector of
    # R^T dR: unlike the Euler angles, it is regular at the poles.
    (rotations,), (tangent,) = primals, tangents
    matrices = _rotation_d(degrees, rotations)
    spin = jnp.einsum("...ki,...kj->...ij", rotations, tangent, precision="highest")
    spin = (spin - spin.swapaxes(-1, -2)) / 2
    omega = (spin[..., 2, 1], spin[..., 0, 2], spin[..., 1, 0])
    tables = generators(max(degrees))
    derivatives = []
    for degree, matrix in zip(degrees, matrices, strict=True):
        axes = jnp.asarray(tables[degree], matrix.dtype)
        x, y, z = (
            jnp.matmul(matrix, axis, precision="highest") * rate[..., None, None]
            for axis, rate in zip(axes, omega, strict=True)
        )
        derivatives.append(x + y + z)
    return matrices, tuple(derivatives)


_compiled_d = jax.jit(_rotation_d, static_argnums=0)


def _of_rotations(
    degrees: tuple[int, ...], values: Float[Array | np.ndarray, "... 3 3"]
) -> tuple[Float[Array, "... rows columns"], ...]:
    rotations = as_elements(values, "rotations")
    compute = jnp.promote_types(rotations.dtype, jnp.float32)
    matrices = _compiled_d(degrees, rotations.astype(compute))
    return tuple(matrix.astype(rotations.dtype) for matrix in matrices)


def wigner_d(
    max_degree: int, rotations: Float[Array | np.ndarray, "... 3 3"]
) -> tuple[Float[Array, "... rows columns"], ...]:
    """Real Wigner-D matrices of group elements: Y_l(g v) = D^l(g) Y_l(v).

    D^l(R) = Z(alpha) Q Z(beta) Q^T Z(gamma), with Z the rotation of the pairs
    (m, -m) about z and Q the constant matrix of the rotation that takes z to y. An
    improper element -R has the factor (-1)^l: these are the irreps with sigma = +1
    (:func:`irrep_matrix` gives both).

    In float64 the matrices are orthogonal to 1e-14 and D(g) D(h) = D(g h) holds to a
    few l eps, through l = 64, poles included; in float32 both hold to 2 l eps (1e-5 at
    l = 32). Derivatives are taken along the group: they are exact at every element, and
    zero for perturbations that leave the group.

    Args:
      max_degree: Largest degree L, from 0 to 500 (static).
      rotations: Orthogonal matrices, proper or improper, shape ``(..., 3, 3)``; their
        values are checked outside of ``jit``.

    Returns:
      Tuple of L + 1 real orthogonal arrays of shape ``(..., 2l + 1, 2l + 1)`` and the
      dtype of ``rotations``; rows and columns are ordered m = -l, ..., l.

    Raises:
      ArgumentError: ``max_degree`` is not a static integer from 0 to 500, or
        ``rotations`` are not orthogonal matrices.

    Example:
      >>> from symjax.so3 import wigner_d
      >>> matrices = wigner_d(2, -jnp.eye(3))
      >>> [round(float(d[0, 0]), 6) for d in matrices]
      [1.0, -1.0, 1.0]
    """
    max_degree = check_integer("max_degree", max_degree)
    half_turns(max_degree)  # refuses degrees that are too large
    return _of_rotations(tuple(range(max_degree + 1)), rotations)


def irrep_matrix(
    irrep: Irrep, rotations: Float[Array, "... 3 3"]
) -> Float[Array, "... rows columns"]:
    """Matrices of group elements in one irrep of O(3).

    D^{l,sigma}(R) = D^l(R) and D^{l,sigma}(-R) = sigma (-1)^l D^l(R).

    Args:
      irrep: The irrep.
      rotations: Orthogonal matrices, proper or improper, shape ``(..., 3, 3)``.

    Returns:
      Real orthogonal arrays of shape ``(..., 2l + 1, 2l + 1)``.

    Raises:
      ArgumentError: ``irrep`` is not an :class:`Irrep` of degree 500 or less, or
        ``rotations`` are not orthogonal matrices.

    Example:
      >>> from symjax.so3 import Irrep, irrep_matrix
      >>> float(irrep_matrix(Irrep(0, -1), -jnp.eye(3))[0, 0])
      -1.0
    """
    check_irrep("irrep", irrep)
    half_turns(irrep.degree)
    (matrix,) = _of_rotations((irrep.degree,), rotations)
    if irrep.sigma == 1:
        return matrix
    _, sign = split_inversion(rotations)
    return matrix * sign[..., None, None]
