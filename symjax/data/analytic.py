"""Tensor labels in closed form, of any degree and both parities.

Every atom is labelled by what surrounds it. With the vectors r_j to its neighbors,
weights w_j = sqrt(Z_j) and a cutoff function f, its multipoles are

    M_lm = sum_j w_j f(r_j) exp(-r_j^2 / 2 s^2) R_lm(r_j / s)

with the regular solid harmonics R_lm (Racah's normalisation): proper tensors (l, +).
Three such vectors of different ranges have the triple product

    t = a . (b x c),

a pseudoscalar, and t M_lm is a pseudotensor (l, -). It vanishes for planar
neighborhoods, and changes sign with the handedness of a chiral one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import ase
import jax
import numpy as np
from jaxtyping import Float

from symjax.data.build import build_graph
from symjax.errors import ArgumentError
from symjax.so3.harmonics import degree_slice, solid_harmonics

_LENGTH = 1.5  # angstrom, s above
_RANGES = (0.8, 1.5, 3.0)  # angstrom, of the three vectors


class AnalyticLabels(NamedTuple):
    """Labels of the atoms of one structure.

    Attributes:
      multipoles: M_l for l = 0, 1, ..., of shape ``(atoms, 2 l + 1)``.
      pseudotensors: t M_l, of the same shapes.

    Example:
      >>> import ase.build
      >>> from symjax.data.analytic import analytic_labels
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
      ArgumentError: ``max_degree`` is negative.
      StructureError: The structure cannot be used.

    Example:
      >>> import ase.build
      >>> import numpy as np
      >>> from symjax.data.analytic import analytic_labels
      >>> planar = analytic_labels(ase.build.molecule("H2O"), 2)
      >>> bool(np.abs(planar.pseudotensors[2]).max() < 1e-12)
      True
    """
    if not isinstance(max_degree, int) or max_degree < 0:
        raise ArgumentError(
            "max_degree", max_degree, "is no degree", "Pass 0, 1, 2, ..."
        )
    graph = build_graph(atoms, cutoff)
    vectors, lengths = graph.vectors, graph.lengths
    with jax.enable_x64(True):
        harmonics = np.asarray(
            solid_harmonics(max_degree, vectors / _LENGTH, normalization="racah")
        )
    charges = np.asarray(graph.species)[np.asarray(graph.neighbors)]
    weights = np.sqrt(charges) * 0.5 * (1 + np.cos(np.pi * lengths / cutoff))
    weights = np.where(graph.edge_mask, weights, 0)

    def range_of(length: float) -> np.ndarray:
        return weights * np.exp(-0.5 * (lengths / length) ** 2)

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


def label_analytically(
    structures: Sequence[ase.Atoms], max_degree: int, *, cutoff: float = 4.5
) -> list[ase.Atoms]:
    """Copies of structures with their labels, ready to be trained on.

    Args:
      structures: The structures.
      max_degree: Largest degree.
      cutoff: Radius of the surroundings, in angstrom.

    Returns:
      Structures with ``arrays["multipole_l0"]``, ``arrays["pseudo_l0"]`` and so on.

    Raises:
      ArgumentError: ``max_degree`` is negative.
      StructureError: A structure cannot be used.

    Example:
      >>> import ase.build
      >>> from symjax.data.analytic import label_analytically
      >>> (labelled,) = label_analytically([ase.build.molecule("CH4")], 1)
      >>> sorted(name for name in labelled.arrays if "_l" in name)
      ['multipole_l0', 'multipole_l1', 'pseudo_l0', 'pseudo_l1']
    """
    labelled = []
    for atoms in structures:
        copy = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        labels = analytic_labels(copy, max_degree, cutoff=cutoff)
        for name, values in (
            ("multipole", labels.multipoles),
            ("pseudo", labels.pseudotensors),
        ):
            for degree, rows in enumerate(values):
                copy.arrays[f"{name}_l{degree}"] = rows
        labelled.append(copy)
    return labelled
