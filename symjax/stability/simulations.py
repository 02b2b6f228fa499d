"""Effects of broken symmetry on dynamics, relaxations and vibrations.

All functions take structures with any ASE calculator. A rotationally invariant energy
exerts no net torque on the structure: sum_i r_i x F_i = -dE/dtheta = 0. Angular
momentum is then conserved, relaxations commute with rotations, and normal modes that
the point group makes degenerate have equal frequencies. The net force vanishes by
translational invariance alone, and forces that are the gradient of an energy conserve
it whether or not it is invariant.
"""

import dataclasses
from collections.abc import Sequence

import ase
import numpy as np
import scipy.linalg
from ase import units
from ase.md.velocitydistribution import Stationary, ZeroRotation
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import Rotation

from symjax.data.symmetry import Symmetry, find_symmetry
from symjax.errors import ArgumentError, ModelError
from symjax.so3._arguments import check_integer
from symjax.so3.rotations import check_orthogonal

# hbar in ASE's unit of angular momentum, angstrom sqrt(u eV).
_HBAR = units._hbar * units.J * units.s
# From sqrt(eV / (u angstrom^2)) to cm^-1.
_WAVENUMBER = _HBAR / units.invcm
# Eigenvalues of a symmetrised Hessian within this fraction of the largest are equal.
_DEGENERATE = 1e-7
# Rotations whose moment of inertia is below this squared, relative to the largest, are
# none: a linear molecule has two.
_LINEAR = 1e-6
# Root mean square distance in angstrom below which relaxed structures are the same.
_SAME = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Conservation:
    """Conserved quantities of a trajectory, at the start and after every step.

    Attributes:
      times: Times in fs.
      energies: Total energies in eV.
      angular_momenta: Angular momenta about the centre of mass, in hbar.
      net_forces: Sums of the forces, in eV/angstrom.
      net_torques: Torques about the centre of mass, in eV.
      num_atoms: Number of atoms.
    """

    times: Float[np.ndarray, "steps"]
    energies: Float[np.ndarray, "steps"]
    angular_momenta: Float[np.ndarray, "steps 3"]
    net_forces: Float[np.ndarray, "steps 3"]
    net_torques: Float[np.ndarray, "steps 3"]
    num_atoms: int

    @property
    def energy_drift(self) -> float:
        """Slope of a linear fit to the total energy, in meV/atom/ps."""
        slope = np.polyfit(self.times, self.energies - self.energies[0], 1)[0]
        return float(slope * 1e6 / self.num_atoms)

    @property
    def angular_momentum_drift(self) -> float:
        """Largest change of the angular momentum from its first value, in hbar."""
        moved = self.angular_momenta - self.angular_momenta[0]
        return float(np.linalg.norm(moved, axis=1).max())

    def numbers(self) -> dict[str, float]:
        """Drifts, net torques and net force by name.

        Units are those of the properties and attributes.
        """
        torques = np.linalg.norm(self.net_torques, axis=1)
        return {
            "energy_drift": self.energy_drift,
            "angular_momentum_drift": self.angular_momentum_drift,
            "mean_torque": float(torques.mean()),
            "largest_torque": float(torques.max()),
            "largest_net_force": float(np.linalg.norm(self.net_forces, axis=1).max()),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Relaxations:
    """Relaxations of one structure from several orientations.

    Attributes:
      energies: Final energies in eV.
      positions: Final positions in angstrom, rotated back.
      steps: Numbers of optimiser steps.
      converged: Whether the forces fell below the limit.
    """

    energies: Float[np.ndarray, "orientations"]
    positions: Float[np.ndarray, "orientations atoms 3"]
    steps: Int[np.ndarray, "orientations"]
    converged: Bool[np.ndarray, "orientations"]

    @property
    def spread(self) -> float:
        """Largest minus smallest energy, in eV."""
        return float(np.ptp(self.energies))

    def minima(self) -> int:
        """Number of distinct relaxed structures.

        A structure is distinct from the earlier ones if the root mean square distance
        between corresponding atoms, after the best translation and rotation, is above
        0.05 angstrom.

        Example:
          >>> import numpy as np
          >>> from symjax.stability.simulations import Relaxations
          >>> chain = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0]])
          >>> three = np.stack([chain, chain[:, [1, 2, 0]], 2 * chain])
          >>> steps, converged = np.ones(3, int), np.ones(3, bool)
          >>> Relaxations(np.zeros(3), three, steps, converged).minima()
          2
        """
        found: list[np.ndarray] = []
        limit = _SAME * np.sqrt(self.positions.shape[1])
        for positions in self.positions - self.positions.mean(axis=1, keepdims=True):
            fits = [Rotation.align_vectors(positions, other) for other in found]
            if all(distance > limit for _, distance in fits):
                found.append(positions)
        return len(found)

    def numbers(self) -> dict[str, float]:
        """Spread of the energies in eV, and counts of minima and steps."""
        return {
            "spread": self.spread,
            "minima": self.minima(),
            "converged": int(self.converged.sum()),
            "median_steps": float(np.median(self.steps)),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Modes:
    """Vibrations of a molecule, in the sets that its point group makes degenerate.

    Attributes:
      wavenumbers: Wavenumbers of the vibrations in cm^-1; imaginary ones are negative.
      sets: Index of the degenerate set that each vibration belongs to.
      rotations: Wavenumbers of rigid rotations in cm^-1, 0 for an invariant energy.
    """

    wavenumbers: Float[np.ndarray, "vibrations"]
    sets: Int[np.ndarray, "vibrations"]
    rotations: Float[np.ndarray, "rotations"]

    @property
    def splittings(self) -> Float[np.ndarray, "sets"]:
        """Range of wavenumbers of each set with more than one mode, in cm^-1."""
        degenerate = [k for k in np.unique(self.sets) if np.sum(self.sets == k) > 1]
        return np.array([np.ptp(self.wavenumbers[self.sets == k]) for k in degenerate])

    def numbers(self) -> dict[str, float]:
        """Largest splitting and largest modulus for a rotation, in cm^-1."""
        return {
            "largest_splitting": float(np.max(self.splittings, initial=0.0)),
            "largest_rotation": float(np.max(np.abs(self.rotations), initial=0.0)),
        }


def net_torque(
    positions: Float[np.ndarray, "atoms 3"],
    forces: Float[np.ndarray, "atoms 3"],
    centre: Sequence[float] | Float[np.ndarray, "3"],
) -> Float[np.ndarray, "3"]:
    """Torque sum_i (r_i - c) x F_i on a structure about a centre c.

    Without a net force it does not depend on the centre.

    Args:
      positions: Positions r_i in angstrom.
      forces: Forces F_i in eV/angstrom.
      centre: The centre c in angstrom.

    Returns:
      The torque in eV.

    Example:
      >>> import numpy as np
      >>> from symjax.stability.simulations import net_torque
      >>> net_torque(np.eye(3), np.eye(3)[[1, 0, 2]], np.zeros(3))
      array([0., 0., 0.])
    """
    return np.sum(np.cross(positions - np.asarray(centre), forces), axis=0)


def run_nve(
    atoms: ase.Atoms,
    steps: int,
    *,
    time_step: float = 0.5,
    temperature: float = 300.0,
    seed: int = 0,
) -> Conservation:
    """Molecular dynamics at constant energy, by velocity Verlet.

    Momenta are drawn from the Maxwell-Boltzmann distribution; then the total momentum
    and the total angular momentum are removed.

    Args:
      atoms: A molecule with a calculator; it is not changed.
      steps: Number of steps.
      time_step: Time step in fs.
      temperature: Temperature of the initial momenta in K.
      seed: Random seed of the momenta.

    Returns:
      The conserved quantities, at the start and after every step.

    Raises:
      ArgumentError: The structure is a single atom, is periodic, has constraints or has
        no calculator; ``steps`` is below 1, ``time_step`` is not above 0, or
        ``temperature`` or ``seed`` is negative.
      ModelError: Energies or forces are not finite.

    Example:
      >>> import ase.build
      >>> from ase.calculators.emt import EMT
      >>> from symjax.stability.simulations import run_nve
      >>> water = ase.build.molecule("H2O", calculator=EMT())
      >>> run_nve(water, 20).angular_momentum_drift < 1e-8
      True
    """
    _check_molecule(atoms)
    steps = check_integer("steps", steps, 1)
    seed = check_integer("seed", seed)
    _check_sizes(time_step=time_step)
    if temperature != 0:
        _check_sizes(temperature=temperature)
    moving = atoms.copy()
    moving.calc = atoms.calc
    widths = np.sqrt(units.kB * temperature * moving.get_masses())
    drawn = np.random.default_rng(seed).normal(size=moving.positions.shape)
    moving.set_momenta(drawn * widths[:, None])
    Stationary(moving)
    ZeroRotation(moving)
    kept: list[tuple[float, np.ndarray, np.ndarray, np.ndarray]] = []

    def record() -> None:
        forces, centre = moving.get_forces(), moving.get_center_of_mass()
        momentum = net_torque(moving.positions, moving.get_momenta(), centre)
        torque = net_torque(moving.positions, forces, centre)
        energy = moving.get_total_energy()
        _check_finite(f"energy and forces after {len(kept)} steps", energy, forces)
        kept.append((energy, momentum / _HBAR, forces.sum(axis=0), torque))

    dynamics = VelocityVerlet(moving, timestep=time_step * units.fs)
    dynamics.attach(record)
    dynamics.run(steps)
    energies, momenta, forces, torques = (
        np.array(part) for part in zip(*kept, strict=True)
    )
    times = time_step * np.arange(len(energies))
    return Conservation(times, energies, momenta, forces, torques, len(atoms))


def relax_rotated(
    atoms: ase.Atoms,
    rotations: Float[np.ndarray, "orientations 3 3"],
    *,
    force: float = 1e-3,
    steps: int = 500,
) -> Relaxations:
    """Relaxes a molecule from several orientations, by BFGS.

    Args:
      atoms: A molecule with a calculator; it is not changed.
      rotations: Orthogonal matrices, proper or improper, that give the orientations.
      force: Convergence limit on the force on every atom, in eV/angstrom.
      steps: Maximum number of steps.

    Returns:
      Energies and structures, rotated back.

    Raises:
      ArgumentError: The structure is a single atom, is periodic, has constraints or has
        no calculator; ``rotations`` is not a list of orthogonal matrices; ``force`` is
        not above 0; or ``steps`` is negative.
      ModelError: Energies are not finite.

    Example:
      >>> import ase.build
      >>> import numpy as np
      >>> from ase.calculators.emt import EMT
      >>> from symjax.stability.simulations import relax_rotated
      >>> water = ase.build.molecule("H2O", calculator=EMT())
      >>> found = relax_rotated(water, np.stack([np.eye(3), -np.eye(3)]))
      >>> found.spread < 1e-8, found.minima()
      (True, 1)
    """
    _check_molecule(atoms)
    steps = check_integer("steps", steps)
    _check_sizes(force=force)
    check_orthogonal(rotations)
    if np.ndim(rotations) != 3 or not len(rotations):
        shape = np.shape(rotations)
        raise ArgumentError(
            "rotations", shape, "is not a list of matrices", "Pass one or more"
        )
    kept = []
    for rotation in rotations:
        rotated = atoms.copy()
        rotated.calc = atoms.calc
        rotated.positions = atoms.positions @ rotation.T
        optimizer = BFGS(rotated, logfile=None)
        converged = optimizer.run(fmax=force, steps=steps)
        back, energy = rotated.positions @ rotation, rotated.get_potential_energy()
        _check_finite(f"energy after {optimizer.nsteps} steps", energy)
        kept.append((energy, back, optimizer.nsteps, converged))
    return Relaxations(*(np.array(part) for part in zip(*kept, strict=True)))


def normal_modes(atoms: ase.Atoms, *, displacement: float = 5e-3) -> Modes:
    """Normal modes of a molecule, from central differences of its forces.

    The average of the mass-weighted Hessian D over the point group defines the
    degenerate sets: each of its eigenspaces is one set. The wavenumbers of a set are
    those of D itself within that eigenspace (first-order degenerate perturbation
    theory). Translations and rotations are projected out of the vibrations; wavenumbers
    of rotations are those of D within the space of rigid rotations.

    Args:
      atoms: A relaxed molecule with a calculator; it is not changed.
      displacement: Displacement of the central differences in angstrom.

    Returns:
      The modes.

    Raises:
      ArgumentError: The structure is a single atom, is periodic, has constraints or has
        no calculator; ``displacement`` is not above 0; or symmetry exchanges atoms of
        different masses.
      ModelError: Forces are not finite.

    Example:
      >>> import ase.build
      >>> from ase.calculators.emt import EMT
      >>> from symjax.stability.simulations import normal_modes
      >>> modes = normal_modes(ase.build.molecule("CH4", calculator=EMT()))
      >>> modes.sets.tolist()  # E, T2, A1 and T2 in some order
      [0, 0, 0, 1, 1, 2, 2, 2, 3]
      >>> bool(modes.splittings.max() < 0.01)
      True
    """
    _check_molecule(atoms)
    _check_sizes(displacement=displacement)
    symmetry, masses = find_symmetry(atoms), atoms.get_masses()
    if np.any(masses[symmetry.permutations] != masses):
        raise ArgumentError(
            "masses",
            masses,
            "differ between atoms that symmetry exchanges",
            "Give equivalent atoms the same mass",
        )
    roots = np.repeat(np.sqrt(masses), 3)
    weighted = _hessian(atoms, displacement) / roots / roots[:, None]
    arms = atoms.positions - atoms.get_center_of_mass()
    # Displacements of all atoms by translations and rotations, times sqrt(mass).
    translations = np.tile(np.eye(3), (len(atoms), 1)) * roots[:, None]
    turns = np.cross(np.eye(3)[:, None], arms).reshape(3, -1).T * roots[:, None]
    rotations = scipy.linalg.orth(turns, _LINEAR)
    inner = scipy.linalg.null_space(np.hstack([translations, rotations]).T)
    mean = inner.T @ _symmetrized(weighted, symmetry) @ inner
    values, vectors = np.linalg.eigh(mean)
    gaps = np.diff(values) > _DEGENERATE * np.abs(values).max(initial=0.0)
    sets = np.concatenate([[0], np.cumsum(gaps)])
    spaces = [inner @ vectors[:, sets == k] for k in range(sets[-1] + 1)]
    wavenumbers = np.concatenate([_wavenumbers(weighted, space) for space in spaces])
    return Modes(wavenumbers, sets, _wavenumbers(weighted, rotations))


def _hessian(atoms: ase.Atoms, displacement: float) -> Float[np.ndarray, "n n"]:
    """Symmetric part of the second derivatives of the energy, in eV/angstrom^2."""
    moved, columns = atoms.copy(), []
    moved.calc = atoms.calc
    for index in np.ndindex(*atoms.positions.shape):
        sides = []
        for sign in (1, -1):
            moved.positions = atoms.positions
            moved.positions[index] += sign * displacement
            sides.append(moved.get_forces().ravel())
        columns.append((sides[1] - sides[0]) / (2 * displacement))
    hessian = np.array(columns)
    _check_finite("forces near the structure", hessian)
    return (hessian + hessian.T) / 2


def _symmetrized(
    matrix: Float[np.ndarray, "n n"], symmetry: Symmetry
) -> Float[np.ndarray, "n n"]:
    """Mean of P(h) D P(h)^T; P(h) moves the rotated displacement of i to p(i)."""
    num = len(matrix) // 3
    blocks = matrix.reshape(num, 3, num, 3)
    total = np.zeros_like(blocks)
    for element, images in zip(symmetry.elements, symmetry.permutations, strict=True):
        # h D_ij h^T belongs to the pair p(i), p(j).
        rotated = np.einsum("ax,ixjy,by->iajb", element, blocks, element)
        total[images[:, None], :, images[None, :], :] += rotated.transpose(0, 2, 1, 3)
    return total.reshape(matrix.shape) / symmetry.order


def _wavenumbers(
    matrix: Float[np.ndarray, "n n"], space: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "k"]:
    values = np.linalg.eigvalsh(space.T @ matrix @ space)
    return np.sign(values) * np.sqrt(np.abs(values)) * _WAVENUMBER


def _check_molecule(atoms: ase.Atoms) -> None:
    formula = str(atoms.symbols)
    if np.any(atoms.pbc):
        problem = "is periodic, and rotations are not a symmetry of its cell"
        raise ArgumentError("atoms", formula, problem, "Pass a molecule")
    if len(atoms) < 2:
        problem = "has nothing to rotate or vibrate"
        remedy = "Pass a molecule of two or more atoms"
        raise ArgumentError("atoms", formula, problem, remedy)
    # ASE applies constraints to forces: what is measured would be theirs.
    if atoms.constraints:
        raise ArgumentError(
            "atoms.constraints",
            atoms.constraints,
            "break the symmetry of the forces",
            "Remove them with atoms.set_constraint()",
        )
    if atoms.calc is None:
        raise ArgumentError("atoms.calc", None, "is missing", "Set a calculator")


def _check_sizes(**sizes: float) -> None:
    for argument, size in sizes.items():
        # Not "<= 0", so that NaN is refused.
        if not 0 < size < np.inf:
            raise ArgumentError(
                argument, size, "is not above 0 and finite", "Pass such a number"
            )


def _check_finite(name: str, *values: float | Float[np.ndarray, "..."]) -> None:
    if not all(np.isfinite(value).all() for value in values):
        raise ModelError(
            "atoms.calc",
            name,
            "is not finite",
            "Start from a structure like those that the model was trained on, or use "
            "smaller steps",
        )
