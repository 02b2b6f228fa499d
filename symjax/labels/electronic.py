"""Electronic properties of molecules, from tblite and PySCF.

tblite computes energies, forces and moments with GFN2-xTB (Bannwarth, Ehlert, Grimme,
J. Chem. Theory Comput. 15, 1652 (2019)). PySCF computes the electron density with
Hartree-Fock (Sun et al., J. Chem. Phys. 153, 024109 (2020)). Both belong to the extra
``[data]`` and are imported when needed.

Cartesian tensors have components x, y, z. Spherical tensors are real, with components
m = -l, ..., l without the Condon-Shortley phase, so that l = 1 reads (y, z, x).
"""

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import ase
import numpy as np
from ase.data import atomic_masses, chemical_symbols
from ase.units import Bohr, Hartree
from jaxtyping import Float

from symjax.data.conditions import (
    check_conditions,
    spin_multiplicity,
    structure_name,
    total_charge,
)
from symjax.data.structures import check_structure, checked_species
from symjax.errors import ArgumentError, StructureError, needs_extra

ORBITAL_BASIS = "def2-svp"
"""Basis set of the orbitals (Weigend, Ahlrichs, PCCP 7, 3297 (2005))."""

DENSITY_BASIS = "def2-universal-jfit"
"""Basis set of the electron density (Weigend, PCCP 8, 1057 (2006))."""

# Largest degree l of the density basis for elements up to krypton.
_MAX_DENSITY_DEGREE = 4

# Beyond krypton the orbital basis has effective core potentials, and the density would
# lack the core electrons.
_LAST_ELEMENT = 36

# tblite's self-consistency threshold relative to its default. Dipoles are then
# reproducible to 1e-8 e bohr, an error that finite differences magnify.
_ACCURACY = 1e-4

# Field step in atomic units. The truncation error of the extrapolated difference is of
# fourth order in it; the noise of dipoles divided by it is 1e-5 bohr^3.
_FIELD = 1e-3

# tblite lists xx, xy, yy, xz, yz, zz.
_QUADRUPOLE_NAMES = ("xx", "xy", "yy", "xz", "yz", "zz")


class XTBLabels(NamedTuple):
    """Properties of a molecule from GFN2-xTB.

    Attributes:
      energy: Total energy in eV, as GFN2-xTB defines it (valence electrons only).
      forces: Forces in eV/angstrom.
      dipole_moment: Dipole moment in e*angstrom, pointing from negative to positive
        charge.
      quadrupole_moment: Traceless quadrupole moment in e*angstrom^2.
      polarizability: Static dipole polarizability in e*angstrom^2/V; None if it was not
        computed. Multiplied by 14.3996 V*angstrom/e it is a volume in angstrom^3.

    Example:
      >>> import numpy as np
      >>> from symjax.labels.electronic import XTBLabels
      >>> zero = np.zeros((3, 3))
      >>> XTBLabels(0.0, zero, zero[0], zero, zero).polarizability.shape
      (3, 3)
    """

    energy: float
    forces: Float[np.ndarray, "atoms 3"]
    dipole_moment: Float[np.ndarray, "3"]
    quadrupole_moment: Float[np.ndarray, "3 3"]
    polarizability: Float[np.ndarray, "3 3"] | None


class DensityLabels(NamedTuple):
    """Electron density of a molecule from RHF/def2-SVP.

    Attributes:
      energy: Total energy in eV.
      coefficients: Coefficients for each degree l = 0, ..., 4, in e/angstrom^(3/2), of
        shape ``(atoms, 2 l + 1, channels)``; NaN where an element has fewer radial
        channels.

    Example:
      >>> import numpy as np
      >>> from symjax.labels.electronic import DensityLabels
      >>> labels = DensityLabels(-26.0, (np.zeros((1, 1, 4)), np.zeros((1, 3, 2))))
      >>> [block.shape for block in labels.coefficients]
      [(1, 1, 4), (1, 3, 2)]
    """

    energy: float
    coefficients: tuple[Float[np.ndarray, "atoms components channels"], ...]


def xtb_labels(
    atoms: ase.Atoms, *, polarizability: bool = True, index: int | None = None
) -> XTBLabels:
    r"""Energy, forces, moments and polarizability of a molecule from GFN2-xTB.

    With partial charges q_n at positions r relative to the centre of mass,

    .. math::
      \mu_i = \sum_n q_n r_i,\qquad
      \Theta_{ij} = \frac12 \sum_n q_n (3 r_i r_j - r^2 \delta_{ij}),\qquad
      \alpha_{ij} = \frac{\partial \mu_i}{\partial F_j}

    (Buckingham, Adv. Chem. Phys. 12, 107 (1967)), plus the contributions of the atomic
    dipoles and quadrupoles of GFN2-xTB. The quadrupole moment is summed here: that of
    tblite 0.8 counts off-diagonal elements twice in one term and is not equivariant.
    The polarizability is the central difference of dipole moments in fields F of 0.001
    and 0.002 atomic units, extrapolated to zero field (Richardson) and symmetrized; it
    takes twelve more calculations.

    Total charge and spin multiplicity are read from ``atoms.info``.

    Args:
      atoms: A molecule. Labels refer to its orientation as given.
      polarizability: Whether to compute the polarizability.
      index: Index of the structure in its list, for error messages.

    Returns:
      The properties.

    Raises:
      ArgumentError: The extra ``[data]`` is not installed.
      StructureError: The structure is periodic or otherwise unusable, the spin
        multiplicity does not match the number of electrons, or the calculation does
        not converge.

    Example:
      >>> import ase.build
      >>> from symjax.labels.electronic import xtb_labels
      >>> labels = xtb_labels(ase.build.molecule("H2O"))  # doctest: +SKIP
      >>> labels.dipole_moment.round(2) + 0.0  # doctest: +SKIP
      array([ 0.  ,  0.  , -0.48])
    """
    interface = _library("tblite.interface")
    name = _check_molecule(atoms, index)
    centre = np.average(atoms.positions, axis=0, weights=atomic_masses[atoms.numbers])
    positions = (atoms.positions - centre) / Bohr

    def calculate(*additions: tuple[Any, ...]) -> Any:
        calculator = interface.Calculator(
            "GFN2-xTB",
            atoms.numbers,
            positions,
            charge=float(total_charge(atoms)),
            uhf=spin_multiplicity(atoms) - 1,
        )
        calculator.set("verbosity", 0)
        calculator.set("accuracy", _ACCURACY)
        for addition in additions:
            calculator.add(*addition)
        try:
            return calculator.singlepoint()
        except RuntimeError as error:
            raise _not_converged(name, "GFN2-xTB", error) from error

    def dipole(field: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
        return calculate(("electric-field", field.tolist()))["dipole"]

    def slope(step: float) -> Float[np.ndarray, "3 3"]:
        pairs = [dipole(field) - dipole(-field) for field in step * np.eye(3)]
        return np.stack(pairs, axis=1) / (2 * step)

    # Requesting atomic multipoles alone would drop tblite's default, molecular ones.
    result = calculate(("molecular-multipoles",), ("xtbml_xyz",))
    response = None
    if polarizability:
        response = (4 * slope(_FIELD) - slope(2 * _FIELD)) / 3
        response = (response + response.T) / 2 * (Bohr**2 / Hartree)
    return XTBLabels(
        energy=float(result["energy"]) * Hartree,
        forces=-np.asarray(result["gradient"]) * (Hartree / Bohr),
        dipole_moment=np.asarray(result["dipole"]) * Bohr,
        quadrupole_moment=_quadrupole(positions, result) * Bohr**2,
        polarizability=response,
    )


def _quadrupole(
    positions: Float[np.ndarray, "atoms 3"], result: Any
) -> Float[np.ndarray, "3 3"]:
    """Traceless quadrupole moment in atomic units, from atomic multipoles."""
    atomic = result["post-processing-dict"]
    charges = np.asarray(result["charges"])
    dipoles = np.stack([atomic[f"dipm_A_{axis}"] for axis in "xyz"], axis=1)
    mixed = np.einsum("ni,nj->ij", positions, dipoles)
    second = np.einsum("n,ni,nj->ij", charges, positions, positions) + mixed + mixed.T
    total = 1.5 * second - 0.5 * np.trace(second) * np.eye(3)
    for pair in _QUADRUPOLE_NAMES:
        i, j = ("xyz".index(axis) for axis in pair)
        total[i, j] += np.sum(atomic[f"qm_A_{pair}"])
        total[j, i] = total[i, j]
    return total


def density_channels(species: Sequence[int]) -> tuple[int, ...]:
    """Number of radial channels of each degree that hold the density of all species.

    Args:
      species: Atomic numbers, at most 36 (krypton).

    Returns:
      For l = 0, ..., 4 the largest number of radial functions of any species in the
      density basis.

    Raises:
      ArgumentError: The extra ``[data]`` is not installed, or ``species`` holds
        something other than atomic numbers from 1 to 36.

    Example:
      >>> from symjax.labels.electronic import density_channels
      >>> density_channels([1, 6, 8])  # doctest: +SKIP
      (6, 4, 3, 1, 1)
    """
    elements = checked_species(species)
    gto = _library("pyscf.gto")
    counts = np.zeros(_MAX_DENSITY_DEGREE + 1, int)
    for number in sorted(elements or ()):
        if number > _LAST_ELEMENT:
            raise ArgumentError(
                "species",
                chemical_symbols[number],
                "has no all-electron basis set",
                f"Leave out elements beyond {chemical_symbols[_LAST_ELEMENT]}",
            )
        shells = gto.basis.load(DENSITY_BASIS, chemical_symbols[number])
        element_counts = np.zeros_like(counts)
        for degree, *primitives in shells:
            element_counts[degree] += len(primitives[0]) - 1
        counts = np.maximum(counts, element_counts)
    return tuple(counts.tolist())


def density_labels(
    atoms: ase.Atoms,
    *,
    channels: Sequence[int] | None = None,
    index: int | None = None,
) -> DensityLabels:
    r"""Electron density of a molecule, expanded in functions centred on its atoms.

    The density of RHF/def2-SVP (Coulomb and exchange by density fitting) is fitted as

    .. math::
      \rho(r) = \sum_{a n l m} c_{a n l m}
      R_{a n l}(|r - r_a|)\, Y_{lm}(r - r_a),\qquad
      c = J^{-1} \sum_{\mu\nu} (Q | \mu\nu) D_{\mu\nu},\qquad J_{QP} = (Q | P)

    with Coulomb integrals (.|.), the density matrix D, orthonormal real spherical
    harmonics and the radial functions of def2-universal-jfit, normalized to
    :math:`\int R^2 r^2 dr = 1`, in the order of that basis set (Eichkorn et al., Chem.
    Phys. Lett. 240, 283 (1995)). The fit minimises the electrostatic energy of the
    residual density; it reproduces the number of electrons to about 3 in 10,000.

    Args:
      atoms: A closed-shell molecule. Labels refer to its orientation as given.
      channels: Numbers of radial channels for l = 0, ..., 4, no fewer than
        :func:`density_channels` of the species, which is the default.
      index: Index of the structure in its list, for error messages.

    Returns:
      Energy and coefficients, padded to ``channels`` with NaN.

    Raises:
      ArgumentError: The extra ``[data]`` is not installed, or there are too few
        ``channels``.
      StructureError: The structure is periodic or otherwise unusable, has elements
        beyond krypton or unpaired electrons, or the calculation does not converge.

    Example:
      >>> import ase.build
      >>> from symjax.labels.electronic import density_labels
      >>> labels = density_labels(ase.build.molecule("H2O"))  # doctest: +SKIP
      >>> [block.shape for block in labels.coefficients]  # doctest: +SKIP
      [(3, 1, 6), (3, 3, 4), (3, 5, 3), (3, 7, 1), (3, 9, 1)]
    """
    pyscf = _library("pyscf")
    name = _check_molecule(atoms, index)
    if spin_multiplicity(atoms) != 1:
        raise StructureError(
            f"{name}.info['spin_multiplicity']",
            spin_multiplicity(atoms),
            "restricted Hartree-Fock needs paired electrons",
            "Leave out the density for this structure",
        )
    if atoms.numbers.max() > _LAST_ELEMENT:
        raise StructureError(
            f"{name}.numbers",
            chemical_symbols[atoms.numbers.max()],
            "has no all-electron basis set",
            "Leave out the density for this structure",
        )
    needed = density_channels(np.unique(atoms.numbers).tolist())
    channels = needed if channels is None else tuple(channels)
    if len(channels) != len(needed) or np.any(np.less(channels, needed)):
        raise ArgumentError(
            "channels",
            channels,
            f"must be at least {needed} for these elements",
            "Pass density_channels of all elements of the data",
        )
    # Sums over threads would differ in their last digits from run to run.
    with pyscf.lib.with_omp_threads(1):
        energy, auxiliary, fitted = _hartree_fock(atoms, name)
    widths = [(2 * degree + 1, count) for degree, count in enumerate(channels)]
    blocks = tuple(np.full((len(atoms), *width), np.nan) for width in widths)
    filled = np.zeros((len(atoms), len(channels)), int)
    starts = auxiliary.ao_loc_nr()
    for shell in range(auxiliary.nbas):
        atom, degree = auxiliary.bas_atom(shell), auxiliary.bas_angular(shell)
        values = fitted[starts[shell] : starts[shell + 1]].reshape(-1, 2 * degree + 1)
        if degree == 1:
            # PySCF orders p functions as x, y, z, and all others from m = -l to l.
            values = values[:, [1, 2, 0]]
        first = filled[atom, degree]
        filled[atom, degree] += len(values)
        blocks[degree][atom, :, first : first + len(values)] = values.T / Bohr**1.5
    return DensityLabels(energy * Hartree, blocks)


def _hartree_fock(
    atoms: ase.Atoms, name: str
) -> tuple[float, Any, Float[np.ndarray, "functions"]]:
    """Energy in Hartree, molecule in the density basis, fitted coefficients."""
    pyscf, gto = _library("pyscf"), _library("pyscf.gto")
    df, scf = _library("pyscf.df"), _library("pyscf.scf")
    positions = (atoms.positions / Bohr).tolist()
    molecule = gto.Mole(
        atom=list(zip(atoms.get_chemical_symbols(), positions, strict=True)),
        unit="Bohr",
        basis=ORBITAL_BASIS,
        charge=total_charge(atoms),
        verbose=0,
    ).build(dump_input=False, parse_arg=False)
    field = scf.RHF(molecule).density_fit(auxbasis=DENSITY_BASIS)
    # Makes the density reproducible to about 1e-8.
    field.conv_tol, field.conv_tol_grad = 1e-11, 1e-7
    energy = float(field.kernel())
    if not field.converged:
        raise _not_converged(name, "RHF", None)
    density = field.make_rdm1()
    # Integrals hold each pair of orbitals once, so off-diagonal elements count twice.
    packed = pyscf.lib.pack_tril(2 * density - np.diag(np.diag(density)))
    auxiliary = df.addons.make_auxmol(molecule, DENSITY_BASIS)
    integrals = df.incore.aux_e2(molecule, auxiliary, "int3c2e", aosym="s2ij")
    metric = auxiliary.intor("int2c2e")
    return energy, auxiliary, np.linalg.solve(metric, packed @ integrals)


def _library(module: str) -> Any:
    with needs_extra("data", "labels", module, ArgumentError):
        library = importlib.import_module(module)
    return library


def check_finite_molecule(atoms: ase.Atoms, index: int | None = None) -> str:
    """Raises unless a structure is a usable molecule; returns its name for messages.

    Raises:
      StructureError: The structure is periodic or otherwise unusable, or gives charge
        or spin in a form that is not read.
    """
    check_structure(atoms, index=index)
    check_conditions(atoms, index)
    name = structure_name(index)
    if np.any(atoms.pbc):
        raise StructureError(
            f"{name}.pbc",
            atoms.pbc.tolist(),
            "labels are computed for molecules, without periodic images",
            "Set atoms.pbc = False if it is a molecule",
        )
    return name


def _check_molecule(atoms: ase.Atoms, index: int | None) -> str:
    """Raises unless both codes can treat a molecule; returns its name for messages."""
    name = check_finite_molecule(atoms, index)
    electrons = int(atoms.numbers.sum()) - total_charge(atoms)
    unpaired = spin_multiplicity(atoms) - 1
    if unpaired > electrons or (electrons - unpaired) % 2:
        raise StructureError(
            f"{name}.info['spin_multiplicity']",
            unpaired + 1,
            f"does not match {electrons} electrons",
            "Set charge and spin_multiplicity (2S+1) in atoms.info",
        )
    return name


def _not_converged(name: str, method: str, error: Exception | None) -> StructureError:
    detail = "" if error is None else f" ({error})"
    return StructureError(
        name,
        method,
        f"found no self-consistent solution{detail}",
        "Leave this structure out; its geometry is probably far from equilibrium",
    )
