"""Bases of the components of a representation: a name or an orthonormal matrix."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float
from scipy.linalg import block_diag

from symjax.errors import RepresentationError
from symjax.so3.irreps import Irrep
from symjax.so3.wigner import wigner_d_tables

# With P (x, y, z) = (z, x, y), e3nn's harmonics are Y_l(P v) = D^l(P) Y_l(v).
_TO_E3NN_AXES = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
_SPHERICAL = ("metatensor", "e3nn", "e3x")
NAMES = ("cartesian", *_SPHERICAL)
"""Names of the known bases."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Basis:
    """An orthonormal map from flattened components to spherical ones, equal by value.

    Attributes:
      matrix: One row per spherical component, one column per flattened component.
    """

    matrix: Float[np.ndarray, "dimension dimension"]

    def __post_init__(self) -> None:
        # Makes -0.0 equal to 0.0.
        matrix = np.array(self.matrix, dtype=float) + 0.0
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "_bytes", matrix.tobytes())
        object.__setattr__(self, "_hash", hash(matrix.tobytes()))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Basis) and vars(self)["_bytes"] == vars(other)["_bytes"]
        )

    def __hash__(self) -> int:
        return int(vars(self)["_hash"])

    def __repr__(self) -> str:
        return f"Basis({len(self.matrix)} components)"

    @property
    def is_identity(self) -> bool:
        """Whether the components already are spherical ones in symjax's order."""
        return bool((self.matrix == np.eye(len(self.matrix))).all())


def joined(bases: list[Basis]) -> Basis:
    """The basis of a direct sum: the block-diagonal matrix of its parts."""
    return Basis(block_diag(*(basis.matrix for basis in bases)))


def resolve(
    name: str, shape: tuple[int, ...], irreps: tuple[Irrep, ...], basis: object
) -> Basis:
    """The basis that the user states, or the only one that fits.

    Args:
      name: Name of the representation, for messages.
      shape: Shape of its components.
      irreps: Its irreps.
      basis: None, one of :data:`NAMES`, an orthonormal matrix, or a :class:`Basis`.

    Raises:
      RepresentationError: Several bases fit and none is stated, or the stated one does
        not fit or is not orthonormal.
    """
    dimension = sum(irrep.dimension for irrep in irreps)
    if isinstance(basis, Basis):
        basis = basis.matrix
    if basis is None:
        basis = _only_one(name, shape, irreps)
    if isinstance(basis, str):
        return _named(basis, name, shape, irreps)
    matrix = np.asarray(basis)
    if matrix.dtype.kind not in "iuf":
        raise RepresentationError(
            "basis", basis, "is neither a name nor a real matrix", _remedy(dimension)
        )
    if matrix.shape != (dimension, dimension):
        raise RepresentationError(
            "basis",
            matrix.shape,
            f"is not a square matrix over the {dimension} components of {name!r}",
            _remedy(dimension),
        )
    deviation = np.abs(matrix @ matrix.T - np.eye(dimension)).max(initial=0.0)
    # Written so that NaN counts as bad.
    if not deviation <= 1e-10:
        raise RepresentationError(
            "basis",
            name,
            f"is not orthonormal: Q Q^T differs from 1 by {deviation:.1e}",
            "Pass an orthogonal matrix, and normalise the data separately",
        )
    return Basis(matrix)


def _remedy(dimension: int) -> str:
    return (
        f"Pass basis='cartesian', 'metatensor', 'e3nn' or 'e3x', or a {dimension} x "
        f"{dimension} matrix from the components to the spherical ones"
    )


def _is_cartesian_matrix(shape: tuple[int, ...], irreps: tuple[Irrep, ...]) -> bool:
    if shape != (3, 3) or [irrep.degree for irrep in irreps] != [0, 1, 2]:
        return False
    signs = [irrep.sigma for irrep in irreps]
    return signs in ([1, -1, 1], [-1, 1, -1])


def _is_cartesian_vector(shape: tuple[int, ...], irreps: tuple[Irrep, ...]) -> bool:
    return shape == (3,) and [irrep.degree for irrep in irreps] == [1]


def _only_one(name: str, shape: tuple[int, ...], irreps: tuple[Irrep, ...]) -> str:
    """The name of the basis, if it is the only one that fits."""
    if all(irrep.degree == 0 for irrep in irreps):
        return "metatensor"
    if _is_cartesian_matrix(shape, irreps):
        return "cartesian"
    fits = ["'metatensor' (m = -l, ..., l)", "'e3nn'", "'e3x'", "a matrix"]
    if _is_cartesian_vector(shape, irreps):
        fits.insert(0, "'cartesian' (x, y, z)")
    raise RepresentationError(
        "basis",
        None,
        f"components of shape {shape} fit several bases of "
        f"{' + '.join(map(str, irreps))}, and {name!r} does not state which",
        f"Pass basis=, one of {', '.join(fits)}",
    )


def _named(
    basis: str, name: str, shape: tuple[int, ...], irreps: tuple[Irrep, ...]
) -> Basis:
    if basis == "cartesian":
        if _is_cartesian_vector(shape, irreps):
            # (x, y, z) -> (y, z, x): m = -1, 0, 1.
            return Basis(np.eye(3)[[1, 2, 0]])
        if _is_cartesian_matrix(shape, irreps):
            return Basis(_matrix_basis())
        raise RepresentationError(
            "basis",
            basis,
            "is that of vectors (3,) with one irrep of degree 1 and of matrices (3, 3) "
            f"with 0+, 1-, 2+ or 0-, 1+, 2-; {name!r} has {shape} with "
            f"{', '.join(map(str, irreps))}",
            "Name the basis of the spherical components, or pass the matrix",
        )
    if basis not in _SPHERICAL:
        raise RepresentationError(
            "basis", basis, "is unknown", f"Use one of {', '.join(NAMES)}, or a matrix"
        )
    if len(shape) > 1:
        raise RepresentationError(
            "basis",
            basis,
            f"orders components along one axis; {name!r} has shape {shape}",
            "Flatten them, or pass the matrix for the flattened components",
        )
    return Basis(block_diag(*(from_library(basis, irrep.degree) for irrep in irreps)))


def from_library(basis: str, degree: int) -> np.ndarray:
    """Matrix from the components of one irrep in a named basis to those of symjax."""
    if basis == "e3nn":
        return e3nn_matrices(degree)[degree].T
    if basis == "e3x":
        return np.eye(2 * degree + 1)[e3x_order(degree)].T
    return np.eye(2 * degree + 1)


def e3x_order(degree: int) -> list[int]:
    """Position in symjax's order of each component in e3x's, for one degree."""
    pairs = (
        position for m in range(degree, 0, -1) for position in (degree + m, degree - m)
    )
    return [*pairs, degree]


@functools.lru_cache
def e3nn_matrices(max_degree: int) -> list[np.ndarray]:
    """D^l(P) for every degree, from symjax's components to e3nn's."""
    matrices = wigner_d_tables(max_degree, _TO_E3NN_AXES[None])
    # Zeros of the exact matrices come out as a few eps.
    return [np.where(abs(d[0]) < 1e-14, 0.0, d[0]) for d in matrices]


def _matrix_basis() -> np.ndarray:
    """Orthonormal tensors that split a 3x3 matrix, one per row, flattened (row-major).

    The trace (l=0), the axial vector of the antisymmetric part in (y, z, x) order
    (l=1), and the five symmetric traceless tensors, m = -2, ..., 2 (l=2).
    """
    e = np.zeros((9, 3, 3))
    e[0] = np.eye(3) / np.sqrt(3)
    # axial vector a_k = eps_kij M_ij / sqrt(2), k in (y, z, x)
    for row, (i, j) in zip((1, 2, 3), ((2, 0), (0, 1), (1, 2)), strict=True):
        e[row, i, j], e[row, j, i] = 1 / np.sqrt(2), -1 / np.sqrt(2)
    for row, (i, j) in zip((4, 5, 7), ((0, 1), (1, 2), (0, 2)), strict=True):
        e[row, i, j] = e[row, j, i] = 1 / np.sqrt(2)
    e[6] = np.diag([-1, -1, 2]) / np.sqrt(6)
    e[8] = np.diag([1, -1, 0]) / np.sqrt(2)
    return e.reshape(9, 9)
