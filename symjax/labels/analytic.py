"""Tensor labels in closed form, of any degree and both parities.

Every atom is labelled by what surrounds it. With the vectors r_j to its neighbors,
weights w_j = sqrt(Z_j) and a cutoff function f, its multipoles are

    M_lm = sum_j w_j f(r_j) exp(-r_j^2 / 2 s^2) R_lm(r_j / s)

with the regular solid harmonics R_lm (Racah's normalisation): proper tensors (l, +).
Three such vectors of different ranges have the triple product

    t = a . (b x c),

a pseudoscalar, and t M_lm is a pseudotensor (l, -). It vanishes for planar
neighborhoods, and changes sign with the handedness of a chiral one.

:func:`environment_tensors` has what a probe asks of features: every sector (l, sigma)
by the fewest neighbors that can make it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from symjax.data.build import build_graph
from symjax.so3._arguments import check_integer
from symjax.so3._tables import generators
from symjax.so3.harmonics import degree_slice, solid_harmonics
from symjax.so3.irreps import Irrep

_LENGTH = 1.5  # angstrom, s above
_RANGES = (0.8, 1.5, 3.0)  # angstrom, of the three vectors
_AXIS = np.array([0.0, 0.0, 1.0])


class AnalyticLabels(NamedTuple):
    """Labels of the atoms of one structure.

    Attributes:
      multipoles: M_l for l = 0, 1, ..., of shape ``(atoms, 2 l + 1)``.
      pseudotensors: t M_l, of the same shapes.

    Example:
      >>> import ase.build
      >>> from symjax.labels.analytic import analytic_labels
      >>> labels = analytic_labels(ase.build.molecule("CH4"), 3)
      >>> [values.shape for values in labels.multipoles]
      [(5, 1), (5, 3), (5, 5), (5, 7)]
    """

    multipoles: tuple[Float[np.ndarray, "atoms components"], ...]
    pseudotensors: tuple[Float[np.ndarray, "atoms components"], ...]


def analytic_labels(
    atoms: ase.Atoms, max_degree: int, *, cutoff: float = 4.5
) -> AnalyticLabels:
    """Multipoles and pseudotensors of every atom's surroundings.

    Args:
      atoms: The structure, in angstrom.
      max_degree: Largest degree.
      cutoff: Radius of the surroundings, in angstrom.

    Returns:
      The labels, in float64 and without unit, components for m = -l, ..., l.

    Raises:
      ArgumentError: ``max_degree`` is no degree.
      StructureError: The structure cannot be used.

    Example:
      >>> import ase.build
      >>> import numpy as np
      >>> from symjax.labels.analytic import analytic_labels
      >>> planar = analytic_labels(ase.build.molecule("H2O"), 2)
      >>> bool(np.abs(planar.pseudotensors[2]).max() < 1e-12)
      True
    """
    max_degree = check_integer("max_degree", max_degree)
    vectors, range_of = _neighbors(atoms, cutoff)
    with jax.enable_x64(True):
        harmonics = np.asarray(
            solid_harmonics(
                max_degree, jnp.asarray(vectors / _LENGTH), normalization="racah"
            )
        )
    summed = np.einsum("an,ank->ak", range_of(_LENGTH), harmonics)
    multipoles = tuple(
        summed[:, degree_slice(degree)] for degree in range(max_degree + 1)
    )
    a, b, c = (
        np.einsum("an,anx->ax", range_of(length), vectors / _LENGTH)
        for length in _RANGES
    )
    triple = np.einsum("ax,ax->a", a, np.cross(b, c))
    pseudotensors = tuple(triple[:, None] * values for values in multipoles)
    return AnalyticLabels(multipoles, pseudotensors)


def _neighbors(
    atoms: ase.Atoms, cutoff: float
) -> tuple[np.ndarray, Callable[[float], np.ndarray]]:
    """Vectors to neighbors, and w_j f(r_j) exp(-r_j^2 / 2 s^2) of them for any s."""
    graph = build_graph(atoms, cutoff)
    lengths = graph.lengths
    charges = np.asarray(graph.species)[np.asarray(graph.neighbors)]
    weights = np.sqrt(charges) * 0.5 * (1 + np.cos(np.pi * lengths / cutoff))
    weights = np.where(graph.edge_mask, weights, 0)

    def range_of(length: float) -> np.ndarray:
        return np.asarray(weights * np.exp(-0.5 * (lengths / length) ** 2))

    return np.asarray(graph.vectors, np.float64), range_of


def environment_tensors(
    atoms: ase.Atoms, max_degree: int, *, cutoff: float = 4.5
) -> dict[Irrep, Float[np.ndarray, "atoms components channels"]]:
    """Tensors of every atom's surroundings in each sector, of three radial weights.

    With w_n(r) = sqrt(Z_j) f(r) exp(-r^2 / 2 s_n^2), s_n = 0.8, 1.5 and 3 angstrom, and
    Y_l the real spherical harmonics of directions, channel by channel

      (l, +):         c_n,l = sum_j w_n(r_j) Y_l(r_j)
      (l, -), l > 0:  (v_n . L) c_m,l with n < m, v_n = sum_j w_n(r_j) r_j / |r_j|
      (0, -):         v_1 . (v_2 x v_3)

    L_a being the rotation about axis a, an antisymmetric matrix: for l = 1 the cross
    product v_n x v_m. The first are sums over one neighbor, the second over two, the
    last over three; in a plane it vanishes.

    Args:
      atoms: The structure, in angstrom.
      max_degree: Largest degree.
      cutoff: Radius of the surroundings, in angstrom.

    Returns:
      By sector arrays in float64 without unit, components for m = -l, ..., l.

    Raises:
      ArgumentError: ``max_degree`` is no degree.
      StructureError: The structure cannot be used.

    Example:
      >>> import ase.build
      >>> from symjax.labels.analytic import environment_tensors
      >>> found = environment_tensors(ase.build.molecule("CH4"), 2)
      >>> {str(irrep): found[irrep].shape for irrep in found}
      {'0+': (5, 1, 3), '1+': (5, 3, 3), '2+': (5, 5, 3),
       '0-': (5, 1, 1), '1-': (5, 3, 3), '2-': (5, 5, 3)}
    """
    max_degree = check_integer("max_degree", max_degree)
    vectors, range_of = _neighbors(atoms, cutoff)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    # Padding has no direction, and weight 0.
    units = np.where(lengths > 0, vectors / np.where(lengths > 0, lengths, 1), _AXIS)
    radial = np.stack([range_of(length) for length in _RANGES], axis=-1)
    vector = np.einsum("anr,anx->arx", radial, units)
    # Of unit vectors solid harmonics are the spherical ones.
    with jax.enable_x64(True):
        harmonics = np.asarray(
            solid_harmonics(max_degree, jnp.asarray(units), normalization="4pi")
        )
    proper = np.einsum("anr,ank->akr", radial, harmonics)
    # Rotations about the axes act on every degree by its own matrices.
    turned = np.concatenate(
        [
            np.einsum("xij,ajr->xair", matrices, proper[:, degree_slice(degree)])
            for degree, matrices in enumerate(generators(max_degree))
        ],
        axis=2,
    )
    pairs = ((0, 1), (0, 2), (1, 2))
    crossed = np.stack(
        [np.einsum("ax,xak->ak", vector[:, n], turned[..., m]) for n, m in pairs], -1
    )
    triple = np.linalg.det(vector)[:, None, None]
    degrees = range(max_degree + 1)
    found = {Irrep(degree, 1): proper[:, degree_slice(degree)] for degree in degrees}
    for degree in degrees:
        rows = crossed[:, degree_slice(degree)] if degree else triple
        found[Irrep(degree, -1)] = rows
    return found


def label_analytically(
    structures: Sequence[ase.Atoms], max_degree: int
) -> list[ase.Atoms]:
    """Copies of structures with their labels, ready to be trained on.

    Args:
      structures: The structures.
      max_degree: Largest degree.

    Returns:
      Structures with ``arrays["multipole_l0"]``, ``arrays["pseudo_l0"]`` and so on.

    Raises:
      ArgumentError: ``max_degree`` is no degree.
      StructureError: A structure cannot be used.

    Example:
      >>> import ase.build
      >>> from symjax.labels.analytic import label_analytically
      >>> (labelled,) = label_analytically([ase.build.molecule("CH4")], 1)
      >>> sorted(name for name in labelled.arrays if "_l" in name)
      ['multipole_l0', 'multipole_l1', 'pseudo_l0', 'pseudo_l1']
    """
    labelled = []
    for atoms in structures:
        copy = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        labels = analytic_labels(copy, max_degree)
        for name, values in (
            ("multipole", labels.multipoles),
            ("pseudo", labels.pseudotensors),
        ):
            for degree, rows in enumerate(values):
                copy.arrays[f"{name}_l{degree}"] = rows
        labelled.append(copy)
    return labelled
