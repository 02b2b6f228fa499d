"""Point groups of structures: orthogonal matrices that only permute the atoms."""

import dataclasses
import math
import warnings

import ase
import numpy as np
import spglib
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from symjax.data.graph import Graph
from symjax.data.structures import check_structure, periodic_cell
from symjax.errors import ArgumentError, StructureError
from symjax.so3.point_groups import (
    dihedral_group,
    exact_group,
    frame,
    multiplication_table,
    octahedral_group,
    schoenflies,
)

LINEAR_ORDER = 12
"""Order of the rotation axis in the finite subgroup used for linear molecules."""

# A matrix determined from two atoms amplifies their displacements at distant atoms:
# candidates within this many tolerances are refined by least squares.
_LOOSE = 10.0


@dataclasses.dataclass(frozen=True, eq=False)
class Symmetry:
    """Orthogonal matrices that map a structure onto itself.

    For every element h and atom i, h r_i + t = r_p(i) up to lattice vectors, where p is
    the permutation and t the translation that belongs to h. For a molecule h acts about
    the centroid.

    Attributes:
      elements: The elements of the group, exactly closed; the identity first.
      permutations: For every element h the image p(i) of each atom.
      residual: Largest distance between the image of an atom and the atom it is mapped
        to, in angstrom.
      infinite: True for a finite subgroup of an infinite group: with an axis of order
        12 for linear molecules, and O_h for single atoms.

    Example:
      >>> import ase.build
      >>> from symjax.data import find_symmetry
      >>> found = find_symmetry(ase.build.molecule("H2O"))
      >>> found.name, sorted(found.permutations.tolist())
      ('C2v', [[0, 1, 2], [0, 1, 2], [0, 2, 1], [0, 2, 1]])
    """

    elements: Float[np.ndarray, "order 3 3"]
    permutations: Int[np.ndarray, "order atoms"]
    residual: float
    infinite: bool = False

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.elements)

    @property
    def name(self) -> str:
        """Schoenflies symbol of the elements."""
        return schoenflies(self.elements)

    def subset(self, keep: np.ndarray) -> "Symmetry":
        """Selects elements that form a subgroup.

        Args:
          keep: Boolean array with one entry per element.

        Raises:
          ArgumentError: The selected elements are not closed under multiplication.
        """
        elements = self.elements[keep]
        if not len(elements) or multiplication_table(elements) is None:
            raise ArgumentError(
                "keep",
                keep,
                "does not select a subgroup",
                "Select elements that are closed under multiplication",
            )
        return dataclasses.replace(
            self, elements=elements, permutations=self.permutations[keep]
        )


def find_symmetry(atoms: ase.Atoms, tolerance: float = 1e-5) -> Symmetry:
    """Finds the point group of a molecule or crystal.

    Molecules: two atoms that are not on a line with the centroid are mapped onto every
    equivalent pair of atoms. Each pair determines one proper and one improper matrix,
    which is refined by least squares over all atoms and kept if every atom is mapped to
    within the tolerance of another. Crystals: the rotational parts of the operations
    that spglib finds (Togo, Shinohara and Tanaka, Sci. Technol. Adv. Mater., Meth. 4,
    2384822 (2024)), restricted to those that do not mix periodic and non-periodic
    directions. Atoms are distinguished by species, not by charges or magnetic moments.

    Elements with the largest residuals are dropped until the others form a group, and
    the matrices are corrected to be exactly closed.

    Args:
      atoms: The structure.
      tolerance: Largest distance between the image of an atom and the atom it is mapped
        to, in angstrom. For molecules that are linear within the tolerance, the
        distances can exceed it by a factor of up to sqrt(2).

    Returns:
      The symmetry; it has only the identity if there is no other element.

    Raises:
      ArgumentError: ``tolerance`` is not between 0 and 0.3 angstrom.
      StructureError: The structure fails the checks of
        :func:`symjax.data.check_structure`.

    Example:
      >>> import ase.build
      >>> from symjax.data import find_symmetry
      >>> find_symmetry(ase.build.molecule("CH4")).order
      24
      >>> find_symmetry(ase.build.bulk("C", cubic=True)).name
      'Oh'
    """
    check_structure(atoms)
    if not (
        isinstance(tolerance, int | float | np.number)
        and math.isfinite(tolerance)
        and 0 < tolerance < 0.3
    ):
        raise ArgumentError(
            "tolerance",
            tolerance,
            "is not a distance between 0 and 0.3 angstrom",
            "Pass for instance 1e-5",
        )
    if np.any(atoms.pbc):
        found = _crystal(atoms, tolerance)
    else:
        found = _molecule(atoms, tolerance)
    return _closed(*found, tolerance)


def symmetrize(atoms: ase.Atoms, symmetry: Symmetry) -> ase.Atoms:
    """Moves the atoms of a molecule so that its symmetry is exact.

    Positions about the centroid become r_i <- mean over h of h^-1 r_p(i). No atom moves
    by more than the residual.

    Args:
      atoms: A molecule.
      symmetry: Its approximate symmetry, from :func:`find_symmetry`.

    Returns:
      A copy with the new positions.

    Raises:
      StructureError: The structure is periodic.
      ArgumentError: The symmetry belongs to another number of atoms.

    Example:
      >>> import ase.build
      >>> from symjax.data import find_symmetry, symmetrize
      >>> rough = ase.build.molecule("C60")
      >>> fine = symmetrize(rough, find_symmetry(rough, tolerance=1e-2))
      >>> find_symmetry(rough).name, find_symmetry(fine).name
      ('C1', 'Ih')
    """
    if np.any(atoms.pbc):
        raise StructureError(
            "atoms",
            str(atoms.symbols),
            "is periodic",
            "Use spglib.refine_cell for crystals",
        )
    if symmetry.permutations.shape[1] != len(atoms):
        raise ArgumentError(
            "symmetry",
            symmetry.permutations.shape,
            f"belongs to another number of atoms than {len(atoms)}",
            "Pass the symmetry of this molecule",
        )
    centre = atoms.positions.mean(axis=0)
    moved = (atoms.positions - centre)[symmetry.permutations] @ symmetry.elements
    out = atoms.copy()
    out.positions = centre + moved.mean(axis=0)
    return out


def edge_permutations(
    graph: Graph, symmetry: Symmetry
) -> tuple[Bool[np.ndarray, " order"], Int[np.ndarray, "order atoms neighbors"]]:
    """How the elements of a symmetry permute the edges of a graph.

    The image of the edge i -> j is the edge p(i) -> p(j) with the rotated vector. An
    edge can be in the graph and its image not if both have the length of the cutoff.

    Args:
      graph: Graph of one structure, padded or not.
      symmetry: Symmetry of this structure.

    Returns:
      Which elements map the graph onto itself, and for these the flat index
      ``atom * num_neighbors + slot`` of the image of every edge; its own for padding.

    Example:
      >>> import ase.build
      >>> from symjax.data import build_graph, edge_permutations, find_symmetry
      >>> water = ase.build.molecule("H2O")
      >>> keep, slots = edge_permutations(build_graph(water, 3.0), find_symmetry(water))
      >>> keep.tolist(), slots.shape, slots[1].tolist()
      ([True, True, True, True], (4, 3, 2), [[1, 0], [4, 5], [2, 3]])
    """
    vectors = np.asarray(graph.vectors, np.float64)
    mask = np.asarray(graph.edge_mask)
    num_neighbors = mask.shape[1]
    centers, slots = np.nonzero(mask)
    neighbors = np.asarray(graph.neighbors)[mask]
    vectors = vectors[mask]
    own = np.arange(mask.size).reshape(mask.shape)
    if not len(centers):
        return np.ones(symmetry.order, bool), np.tile(own, (symmetry.order, 1, 1))
    # Atoms are coordinates too, so that only edges of the same pair can match.
    apart = 10.0 * max(1.0, float(np.abs(vectors).max()))
    tree = cKDTree(np.column_stack([apart * centers, apart * neighbors, vectors]))
    within = max(1e-3, 4 * symmetry.residual)
    keep, images = [], []
    for element, permutation in zip(
        symmetry.elements, symmetry.permutations, strict=True
    ):
        moved = np.column_stack(
            [
                apart * permutation[centers],
                apart * permutation[neighbors],
                vectors @ element.T,
            ]
        )
        distance, image = tree.query(moved)
        keep.append(distance.max() < within and len(np.unique(image)) == len(image))
        slot = own.copy()
        slot[mask] = centers[image] * num_neighbors + slots[image]
        images.append(slot)
    chosen = np.array(keep)
    return chosen, np.array(images)[chosen]


def _closed(
    elements: np.ndarray,
    permutations: np.ndarray,
    residuals: np.ndarray,
    infinite: bool,
    tolerance: float,
) -> Symmetry:
    """Drops elements with large residuals until the others form a group."""
    order = np.argsort(
        -np.einsum("aii->a", elements) - 10 * (np.linalg.det(elements) > 0),
        kind="stable",
    )
    elements, permutations, residuals = (
        array[order] for array in (elements, permutations, residuals)
    )
    residuals[0] = 0.0
    for threshold in sorted({tolerance, *residuals}, reverse=True):
        keep = residuals <= threshold
        if multiplication_table(elements[keep]) is not None:
            break
    return Symmetry(
        exact_group(elements[keep]),
        permutations[keep].astype(np.int64),
        float(residuals[keep].max()),
        infinite,
    )


def _match(
    moved: np.ndarray, targets: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, float]:
    """Nearest atom of the same species to each image, and the largest such distance."""
    difference = moved[:, None] - targets
    distance = np.sqrt(np.square(difference).sum(axis=-1))
    distance = np.where(numbers[:, None] == numbers, distance, np.inf)
    permutation = distance.argmin(axis=1)
    if len(np.unique(permutation)) < len(permutation):
        return permutation, np.inf
    return permutation, float(distance.min(axis=1).max())


def _molecule(
    atoms: ase.Atoms, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    numbers = atoms.numbers
    r = atoms.positions - atoms.positions.mean(axis=0)
    radii = np.linalg.norm(r, axis=1)
    axis = np.linalg.svd(r)[2][0]
    off_axis = np.linalg.norm(r - np.outer(r @ axis, axis), axis=1)
    if off_axis.max() <= tolerance / 2:
        return _linear(r, numbers, axis, tolerance)

    # The two reference atoms with the fewest candidates for their images.
    distances = np.linalg.norm(r[:, None] - r, axis=-1)
    alike = (numbers[:, None] == numbers) & (
        np.abs(radii[:, None] - radii) <= 2 * tolerance
    )
    count = alike.sum(axis=1)
    far = radii > 0.2 * radii.max()
    first = min(np.flatnonzero(far), key=lambda i: (count[i], -radii[i]))
    across = np.linalg.norm(np.cross(r, r[first]), axis=1)
    candidates = np.flatnonzero(across > 0.3 * across.max())
    near = {
        i: (alike[i] & (np.abs(distances[first] - distances[first, i]) < 2 * tolerance))
        for i in candidates
    }
    second = min(candidates, key=lambda i: (near[i].sum(), -across[i]))

    axes = frame(r[first] / radii[first], r[second])
    found: dict[tuple, tuple[np.ndarray, np.ndarray, float]] = {}
    for a in np.flatnonzero(alike[first]):
        length = np.abs(distances[a] - distances[first, second])
        for b in np.flatnonzero(alike[second] & (length <= 2 * tolerance)):
            image = frame(r[a] / radii[a], r[b])
            for sign in (1.0, -1.0):
                matrix = image @ np.diag([1.0, sign, 1.0]) @ axes.T
                permutation, residual = _match(r @ matrix.T, r, numbers)
                if residual > _LOOSE * tolerance:
                    continue
                matrix = _least_squares(r, r[permutation], sign)
                residual = _residual(matrix, r, permutation)
                if residual <= tolerance:
                    found[(sign, *permutation)] = matrix, permutation, residual
    elements, permutations, residuals = zip(*found.values(), strict=True)
    return np.array(elements), np.array(permutations), np.array(residuals), False


def _residual(matrix: np.ndarray, r: np.ndarray, permutation: np.ndarray) -> float:
    return float(np.linalg.norm(r @ matrix.T - r[permutation], axis=1).max())


def _least_squares(r: np.ndarray, images: np.ndarray, sign: float) -> np.ndarray:
    """Orthogonal matrix of a given determinant that best maps r onto the images."""
    u, _, v = np.linalg.svd(images.T @ r)
    u[:, -1] *= sign * np.linalg.det(u @ v)
    return u @ v


def _linear(
    r: np.ndarray, numbers: np.ndarray, axis: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Finite subgroups for atoms on a line (D_nh or C_nv) or at a point (O_h)."""
    if len(r) == 1:
        elements = octahedral_group()
    else:
        _, residual = _match(-r, r, numbers)
        elements = dihedral_group(LINEAR_ORDER, mirrors=residual <= tolerance)
        along = frame(axis, np.eye(3)[np.abs(axis).argmin()])
        elements = along @ elements @ along.T
    matches = [_match(r @ element.T, r, numbers) for element in elements]
    permutations, residuals = zip(*matches, strict=True)
    return elements, np.array(permutations), np.array(residuals), True


def _crystal(
    atoms: ase.Atoms, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    periodic = np.asarray(atoms.pbc, bool)
    cell = periodic_cell(atoms)
    if not periodic.all():
        # Orthogonal, equal and so long that images along them are never close.
        basis = np.linalg.svd(cell[periodic], full_matrices=True)[2]
        across = basis[periodic.sum() :]
        length = np.ptp(atoms.positions @ across.T, axis=0).max() + 20.0
        cell[~periodic] = length * across
    scaled = atoms.positions @ np.linalg.inv(cell)
    operations = [(np.eye(3, dtype=np.int32), np.zeros(3))]
    with warnings.catch_warnings():
        # spglib announces another way of reporting errors.
        warnings.simplefilter("ignore", DeprecationWarning)
        found = spglib.get_symmetry(
            (cell, scaled, atoms.numbers), symprec=tolerance, angle_tolerance=-1.0
        )
    # None if it finds no consistent set of operations at this tolerance.
    if found is not None:
        operations += zip(found["rotations"], found["translations"], strict=True)
    elements, permutations, residuals = [], [], []
    seen = set()
    mixed = periodic[:, None] != periodic
    for rotation, shift in operations:
        if rotation[mixed].any() or rotation.tobytes() in seen:
            continue
        moved = scaled @ rotation.T + shift
        centre = scaled.mean(axis=0) - moved.mean(axis=0)
        moved = moved + np.where(periodic, 0, centre)
        difference = moved[:, None] - scaled
        difference -= np.where(periodic, np.round(difference), 0)
        distance = np.linalg.norm(difference @ cell, axis=-1)
        alike = atoms.numbers[:, None] == atoms.numbers
        permutation = np.where(alike, distance, np.inf).argmin(axis=1)
        images = difference[np.arange(len(atoms)), permutation] @ cell
        # The translation is chosen to centre the residuals.
        images -= np.where(periodic.all(), images.mean(axis=0), 0)
        u, _, v = np.linalg.svd(cell.T @ rotation @ np.linalg.inv(cell.T))
        matrix = u @ v
        strain = np.linalg.norm(
            (matrix @ cell.T - cell.T @ rotation)[:, periodic], axis=0
        ).max()
        residual = max(np.linalg.norm(images, axis=1).max(), strain)
        if residual > tolerance or len(set(permutation)) < len(permutation):
            continue
        seen.add(rotation.tobytes())
        elements.append(matrix)
        permutations.append(permutation)
        residuals.append(residual)
    return np.array(elements), np.array(permutations), np.array(residuals), False
