"""Tensor labels of atoms in closed form, of any degree and both parities.

With the vectors r_j from an atom to its neighbors, weights w_j = sqrt(Z_j), the cutoff
function f(r) = (1 + cos(pi r / cutoff)) / 2 and s = 1.5 angstrom, the multipoles of the
atom are

    M_lm = sum_j w_j f(r_j) exp(-r_j^2 / 2 s^2) R_lm(r_j / s)

with the regular solid harmonics R_lm in Racah's normalisation. They are proper tensors
(l, +). Three vectors a, b and c of this form with l = 1 and the ranges 0.8, 1.5 and 3
angstrom in the Gaussian have the triple product

    t = a . (b x c),

a pseudoscalar, and t M_lm is a pseudotensor (l, -). It vanishes for planar
neighborhoods and changes sign under reflection.

:func:`environment_tensors` gives targets for probing features: tensors of every sector
(l, sigma), each of the lowest body order that it exists for.
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

_LENGTH = 1.5  # s above, in angstrom
_RANGES = (0.8, 1.5, 3.0)  # ranges of the three vectors, in angstrom
_AXIS = np.array([0.0, 0.0, 1.0])


class AnalyticLabels(NamedTuple):
    """Labels of the atoms of one structure.

    Attributes:
      multipoles: M_l for l = 0, 1, ..., each of shape ``(atoms, 2 l + 1)``.
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
    """Multipoles and pseudotensors of every atom's neighborhood.

    The formulas are those of :mod:`symjax.labels.analytic`.

    Args:
      atoms: The structure.
      max_degree: Largest degree l.
      cutoff: Cutoff radius of the neighborhoods, in angstrom.

    Returns:
      The labels, dimensionless and in float64, with components m = -l, ..., l.

    Raises:
      ArgumentError: ``max_degree`` is not a non-negative integer.
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
    """Vectors to neighbors, and a function of s: w_j f(r_j) exp(-r_j^2 / 2 s^2)."""
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
    """Tensors of every atom's neighborhood in each sector, for three radial weights.

    With w_n,j = sqrt(Z_j) f(r_j) exp(-r_j^2 / 2 s_n^2), s_n = 0.8, 1.5 and 3 angstrom,
    and the real spherical harmonics Y_l with components of mean square 1, the channels
    of each sector are

      (l, +):         c_n,l = sum_j w_n,j Y_l(r_j)
      (l, -), l > 0:  (v_n . L) c_m,l for n < m, with v_n = sum_j w_n,j r_j / |r_j|
      (0, -):         v_1 . (v_2 x v_3)

    Here L_a is the antisymmetric generator of rotations about axis a in degree l; for
    l = 1, (v_n . L) c_m is the cross product of v_n with a multiple of v_m. These are
    sums over one, two and three neighbors; the last one vanishes for planar
    neighborhoods.

    Args:
      atoms: The structure.
      max_degree: Largest degree l.
      cutoff: Cutoff radius of the neighborhoods, in angstrom.

    Returns:
      Arrays by irrep, dimensionless and in float64, with components m = -l, ..., l: 3
      channels each, but 1 for (0, -).

    Raises:
      ArgumentError: ``max_degree`` is not a non-negative integer.
      StructureError: The structure cannot be used.

    Example:
      >>> import ase.build
      >>> from symjax.labels.analytic import environment_tensors
      >>> tensors = environment_tensors(ase.build.molecule("CH4"), 2)
      >>> {str(irrep): values.shape for irrep, values in tensors.items()}
      {'0+': (5, 1, 3), '1+': (5, 3, 3), '2+': (5, 5, 3),
       '0-': (5, 1, 1), '1-': (5, 3, 3), '2-': (5, 5, 3)}
    """
    max_degree = check_integer("max_degree", max_degree)
    vectors, range_of = _neighbors(atoms, cutoff)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    # Padding has weight 0, and is given an arbitrary direction.
    units = np.where(lengths > 0, vectors / np.where(lengths > 0, lengths, 1), _AXIS)
    radial = np.stack([range_of(length) for length in _RANGES], axis=-1)
    vector = np.einsum("anr,anx->arx", radial, units)
    # On unit vectors, solid harmonics are spherical harmonics.
    with jax.enable_x64(True):
        harmonics = np.asarray(
            solid_harmonics(max_degree, jnp.asarray(units), normalization="4pi")
        )
    proper = np.einsum("anr,ank->akr", radial, harmonics)
    # (L_x, L_y, L_z) times the coefficients of every degree.
    generated = np.concatenate(
        [
            np.einsum("xij,ajr->xair", matrices, proper[:, degree_slice(degree)])
            for degree, matrices in enumerate(generators(max_degree))
        ],
        axis=2,
    )
    pairs = ((0, 1), (0, 2), (1, 2))
    crossed = np.stack(
        [np.einsum("ax,xak->ak", vector[:, n], generated[..., m]) for n, m in pairs], -1
    )
    triple = np.linalg.det(vector)[:, None, None]
    degrees = range(max_degree + 1)
    tensors = {Irrep(degree, 1): proper[:, degree_slice(degree)] for degree in degrees}
    for degree in degrees:
        rows = crossed[:, degree_slice(degree)] if degree else triple
        tensors[Irrep(degree, -1)] = rows
    return tensors


def label_analytically(
    structures: Sequence[ase.Atoms], max_degree: int
) -> list[ase.Atoms]:
    """Copies of structures with their :func:`analytic_labels`, to train on.

    Args:
      structures: The structures.
      max_degree: Largest degree l.

    Returns:
      Copies with the labels in ``arrays["multipole_l0"]``, ``arrays["pseudo_l0"]`` and
      so on, each of shape ``(atoms, 2 l + 1)``. Positions, species, cell and periodic
      directions are copied; other arrays, ``info`` and calculators are not.

    Raises:
      ArgumentError: ``max_degree`` is not a non-negative integer.
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
