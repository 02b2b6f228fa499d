"""Constant matrices behind the Wigner functions, in NumPy float64.

Everything follows from Delta^l = d^l(pi/2), the rotation by 90 degrees about y: a
rotation by any beta about y is a rotation about z between two changes of axes.
"""

import functools
import math

import numpy as np

from symjax.errors import ArgumentError
from symjax.so3._arguments import check_integer

LARGEST_DEGREE = 500
"""The smallest seed of the recurrence is 2^-l; beyond this degree it is subnormal."""


def _freeze(matrices: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    for matrix in matrices:
        matrix.setflags(write=False)
    return tuple(matrices)


def _seeds(max_degree: int) -> np.ndarray:
    """Entries of d^s(pi/2) with s = max(|m'|, |m|), on the plane (m', m).

    d^s_{s m}(pi/2) = (-1)^{s-m} 2^-s sqrt(binomial(2s, s+m)); the other three edges
    follow from the symmetries d_{m'm} = d_{-m,-m'} = (-1)^{m-m'} d_{m m'}. Exact
    integers are rounded once, because an error of the seed stays in every degree.
    """
    size = 2 * max_degree + 1
    plane = np.zeros((size, size))
    for s in range(max_degree + 1):
        m = np.arange(-s, s + 1)
        edge = np.sqrt([math.comb(2 * s, s + k) / 4**s for k in m.tolist()])
        top, bottom, span = max_degree + s, max_degree - s, max_degree + m
        plane[span, top] = edge
        plane[bottom, span] = edge
        plane[top, span] = edge * (-1.0) ** (s - m)
        plane[span, bottom] = edge * (-1.0) ** (s + m)
    return plane


@functools.lru_cache(maxsize=8)
def half_turns(max_degree: int) -> tuple[np.ndarray, ...]:
    """Delta^l = d^l(pi/2) for l = 0, ..., max_degree, at most 500; read-only.

    Three-term recurrence in l on the whole plane (m', m), that of the Jacobi
    polynomials (Varshalovich, Moskalev, Khersonskii, Quantum Theory of Angular
    Momentum, 1988, section 4.8) at cos(beta) = 0:

      sqrt((l^2 - m'^2)(l^2 - m^2)) / l * d^l = -(2l - 1) m' m / (l (l - 1)) d^{l-1}
        - sqrt(((l-1)^2 - m'^2)((l-1)^2 - m^2)) / (l - 1) * d^{l-2},

    started at l = max(|m'|, |m|). It is stable for increasing l: through l = 100 the
    matrices are orthogonal to 2e-15.
    """
    max_degree = check_integer("max_degree", max_degree)
    if max_degree > LARGEST_DEGREE:
        raise ArgumentError(
            "max_degree",
            max_degree,
            f"the recurrence underflows above degree {LARGEST_DEGREE}",
            f"Pass {LARGEST_DEGREE} or less",
        )
    m = np.arange(-max_degree, max_degree + 1, dtype=float)
    product = m[:, None] * m
    first = np.maximum(abs(m)[:, None], abs(m))
    seeds = _seeds(max_degree)

    def coupling(degree: int) -> np.ndarray:
        edge = np.sqrt(np.maximum(degree**2 - m**2, 0.0))
        return edge[:, None] * edge / max(degree, 1)

    previous, current = np.zeros_like(seeds), np.zeros_like(seeds)
    matrices = []
    for degree in range(max_degree + 1):
        inside = first < degree
        following = np.where(first == degree, seeds, 0.0)
        if degree > 1:
            # For degree <= 1 the only inside entry is (0, 0) of degree 1: d = 0.
            numerator = (1 - 2 * degree) / (degree * (degree - 1)) * product * current
            numerator -= coupling(degree - 1) * previous
            np.divide(numerator, coupling(degree), out=following, where=inside)
        previous, current = current, following
        window = slice(max_degree - degree, max_degree + degree + 1)
        matrices.append(current[window, window].copy())
    return _freeze(matrices)


def complex_to_real(degree: int) -> np.ndarray:
    """Unitary change of basis from complex to real spherical harmonics.

    With the Condon-Shortley harmonics Y_m of quantum mechanics (scipy's
    ``sph_harm_y``), the real ones are U Y: sqrt(2) (-1)^m Re Y_m for m > 0, Y_0, and
    sqrt(2) (-1)^m Im Y_|m| for m < 0. A complex Wigner matrix D, as of the package
    ``wigners``, becomes the real one of symjax as U conj(D) U^H.
    """
    degree = check_integer("degree", degree)
    basis = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=complex)
    basis[degree, degree] = 1
    m = np.arange(1, degree + 1)
    sign = (-1.0) ** m
    basis[degree + m, degree + m] = sign * math.sqrt(0.5)
    basis[degree + m, degree - m] = math.sqrt(0.5)
    basis[degree - m, degree + m] = -1j * sign * math.sqrt(0.5)
    basis[degree - m, degree - m] = 1j * math.sqrt(0.5)
    return basis


def quarter_turn_z(degree: int, turns: int) -> np.ndarray:
    """Real matrix of the rotation by turns * 90 degrees about z, exact."""
    m = np.arange(-degree, degree + 1)
    matrix = np.diag(np.array([1.0, 0.0, -1.0, 0.0])[turns * m % 4])
    # -sin(m alpha) at (m, -m); for m = 0 it adds zero to the diagonal.
    matrix[np.arange(2 * degree + 1), np.arange(2 * degree, -1, -1)] -= np.array(
        [0.0, 1.0, 0.0, -1.0]
    )[turns * m % 4]
    return matrix


@functools.lru_cache(maxsize=8)
def quarter_turns_y(max_degree: int) -> tuple[np.ndarray, ...]:
    """Real matrices of the rotation by 90 degrees about y, which takes z to x."""
    matrices = []
    for degree, delta in enumerate(half_turns(max_degree)):
        basis = complex_to_real(degree)
        matrices.append((basis @ delta @ basis.conj().T).real)
    return _freeze(matrices)


@functools.lru_cache(maxsize=8)
def axis_changes(max_degree: int) -> tuple[np.ndarray, ...]:
    """Real matrices Q^l of the rotation by -90 degrees about x, which takes z to y.

    A rotation about y is then Q Z(beta) Q^T with Z the rotation about z.
    """
    return _freeze(
        [
            quarter_turn_z(degree, -1) @ matrix.T @ quarter_turn_z(degree, 1)
            for degree, matrix in enumerate(quarter_turns_y(max_degree))
        ]
    )


@functools.lru_cache(maxsize=8)
def generators(max_degree: int) -> tuple[np.ndarray, ...]:
    """Derivatives of D^l at the identity by the angles about x, y and z."""
    stacks = []
    tables = zip(quarter_turns_y(max_degree), axis_changes(max_degree), strict=True)
    for degree, (to_x, to_y) in enumerate(tables):
        m = np.arange(-degree, degree + 1, dtype=float)
        about_z = np.diag(-m)[:, ::-1]
        stacks.append(
            np.stack([to_x @ about_z @ to_x.T, to_y @ about_z @ to_y.T, about_z])
        )
    return _freeze(stacks)
