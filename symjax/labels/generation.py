"""Computes tensor labels of molecules and writes them to a file.

Structures are labelled as given or after random perturbations, by the codes of
:mod:`symjax.labels.electronic` (the extra ``[data]``). An interrupted run continues
when it is called again.
"""

import hashlib
import importlib.metadata
import io
import json
import pathlib
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ase
import ase.io
import numpy as np
from ase.data import covalent_radii

from symjax._declared import Declared
from symjax._files import read_bounded, replace_atomically
from symjax.data.conditions import conditions_of
from symjax.errors import ArgumentError, StructureError
from symjax.labels.electronic import (
    check_finite_molecule,
    density_channels,
    density_labels,
    xtb_labels,
)
from symjax.so3._arguments import check_integer

# Decimals of extended XYZ files, to which perturbed positions and labels are rounded.
_DECIMALS = 8

# Structures in one part, the most that an interruption can lose.
STRUCTURES_PER_PART = 20

# Bonds of elements up to krypton stay above 0.6 of the sum of the covalent radii in
# thermal motion; below it, self-consistency may fail.
_CLOSEST = 0.6
_ATTEMPTS = 100


def perturbed(
    structures: Sequence[ase.Atoms], num: int, seed: int, *, amplitude: float = 0.05
) -> list[ase.Atoms]:
    """Molecules drawn from a list, with random displacements of all atoms.

    Every molecule of the list is drawn once, in random order, before any is drawn
    again. Each coordinate is displaced by an independent normal number. A draw that
    brings two atoms closer than 0.6 of the sum of their covalent radii is repeated.
    Structure n depends on the list, ``seed`` and n, but not on ``num``.

    Args:
      structures: Molecules to start from.
      num: Number of structures to draw.
      seed: Random seed, at least 0.
      amplitude: Standard deviation of each coordinate's displacement in angstrom; 0
        for none.

    Returns:
      New structures without labels, with positions rounded to 1e-8 angstrom, and the
      charge and spin multiplicity of the original. ``info["source"]`` is the index of
      the original; use it to split training data from test data.

    Raises:
      ArgumentError: There are no structures, ``num`` or ``seed`` is negative, or
        ``amplitude`` is negative, not finite, or so large that atoms are too close in
        each of 100 draws.
      StructureError: A structure is periodic or otherwise unusable.

    Example:
      >>> import ase.build
      >>> from symjax.labels.generation import perturbed
      >>> drawn = perturbed([ase.build.molecule("H2O")], num=3, seed=0)
      >>> [atoms.info["source"] for atoms in drawn]
      [0, 0, 0]
    """
    if len(structures) == 0:
        raise ArgumentError("structures", structures, "is empty", "Pass one or more")
    num, seed = check_integer("num", num), check_integer("seed", seed)
    if not 0 <= amplitude < np.inf:
        raise ArgumentError(
            "amplitude",
            amplitude,
            "is not a length",
            "Pass a length in angstrom, 0 or more",
        )
    for number, atoms in enumerate(structures):
        check_finite_molecule(atoms, number)
    out = []
    for n in range(num):
        visit, place = divmod(n, len(structures))
        if place == 0:
            # Two numbers seed the order, three a structure: their streams differ.
            order = np.random.default_rng([seed, visit]).permutation(len(structures))
        source = int(order[place])
        generator = np.random.default_rng([seed, n, 1])
        out.append(_displaced(structures[source], amplitude, generator))
        out[-1].info["source"] = source
    return out


def _displaced(
    atoms: ase.Atoms, amplitude: float, generator: np.random.Generator
) -> ase.Atoms:
    new = ase.Atoms(atoms.numbers, info=conditions_of(atoms))
    for _ in range(_ATTEMPTS):
        noise = amplitude * generator.standard_normal(atoms.positions.shape)
        new.positions = np.round(atoms.positions + noise, _DECIMALS)
        if amplitude == 0 or _closest(new) >= _CLOSEST:
            return new
    raise ArgumentError(
        "amplitude",
        amplitude,
        f"brings atoms of {atoms.get_chemical_formula()} closer than {_CLOSEST} of the "
        f"sum of covalent radii in each of {_ATTEMPTS} draws",
        "Pass a smaller amplitude, or structures whose atoms are farther apart",
    )


def _kept(atoms: ase.Atoms) -> dict[str, Any]:
    """Entries of info that labels depend on, and where a structure comes from."""
    source = {key: atoms.info[key] for key in ("source",) if key in atoms.info}
    return conditions_of(atoms) | source


def _closest(atoms: ase.Atoms) -> float:
    """Smallest distance between atoms relative to the sum of their covalent radii."""
    first, second = np.triu_indices(len(atoms), 1)
    radii = covalent_radii[atoms.numbers]
    distances = np.linalg.norm(atoms.positions[first] - atoms.positions[second], axis=1)
    return float(np.min(distances / (radii[first] + radii[second]), initial=np.inf))


class LabelSettings(Declared):
    """Which labels to compute.

    Attributes:
      moments: Whether to compute energy, forces, dipole and quadrupole moment with
        GFN2-xTB.
      polarizability: Whether to compute the polarizability with GFN2-xTB; needs
        ``moments``.
      density: Whether to compute the electron density with RHF/def2-SVP.

    Raises:
      ArgumentError: No labels are left, or ``polarizability`` is set without
        ``moments``.

    Example:
      >>> from symjax.labels.generation import LabelSettings
      >>> LabelSettings(density=False)
      LabelSettings(moments=True, polarizability=True, density=False)
    """

    moments: bool = True
    polarizability: bool = True
    density: bool = True

    def __post_init__(self) -> None:
        if not (self.moments or self.density):
            raise ArgumentError(
                "moments", False, "leaves no labels", "Choose moments, density or both"
            )
        if self.polarizability and not self.moments:
            raise ArgumentError(
                "polarizability",
                True,
                "is computed only together with the moments",
                "Pass {polarizability}, or keep the moments",
                polarizability=False,
            )


def label_structure(
    atoms: ase.Atoms,
    settings: LabelSettings | None = None,
    *,
    channels: Sequence[int] | None = None,
    index: int | None = None,
) -> ase.Atoms:
    """A copy of a molecule with labels, computed at the given geometry.

    Args:
      atoms: A molecule.
      settings: Which labels; by default all.
      channels: Radial channels of the density for l = 0, ..., 4, as in
        :func:`symjax.labels.electronic.density_labels`.
      index: Index of the structure in its list, for error messages.

    Returns:
      The molecule with the labels that ``docs/labels.md`` lists, in ``info`` and
      ``arrays``, rounded to 8 decimals. Of other entries of ``info`` only charge, spin
      multiplicity and source are copied.

    Raises:
      ArgumentError: The extra ``[data]`` is not installed, or there are too few
        ``channels``.
      StructureError: The structure cannot be labelled.

    Example:
      >>> import ase.build
      >>> from symjax.labels.generation import label_structure
      >>> water = label_structure(ase.build.molecule("H2O"))  # doctest: +SKIP
      >>> water.info["polarizability"].shape  # doctest: +SKIP
      (9,)
    """
    settings = LabelSettings() if settings is None else settings
    # Also of atomic charges, which the copy lacks.
    check_finite_molecule(atoms, index)
    out = ase.Atoms(
        atoms.numbers,
        atoms.positions,
        info=_kept(atoms),
        pbc=atoms.pbc,
        cell=atoms.cell,
    )
    info: dict[str, Any] = {}
    if settings.moments:
        moments = xtb_labels(out, polarizability=settings.polarizability, index=index)
        out.arrays["forces"] = _rounded(moments.forces)
        for name in ("energy", "dipole_moment", "quadrupole_moment", "polarizability"):
            value = getattr(moments, name)
            if value is not None:
                info[name] = value if name == "energy" else value.ravel()
    if settings.density:
        density = density_labels(out, channels=channels, index=index)
        info["hartree_fock_energy"] = density.energy
        for degree, values in enumerate(density.coefficients):
            # There are no columns if no element has functions of this degree.
            if values.size:
                rows = values.reshape(len(out), -1)
                out.arrays[f"density_l{degree}"] = _rounded(rows)
    out.info |= {key: _rounded(value) for key, value in info.items()}
    return out


def _rounded(values: Any) -> Any:
    # Adding zero makes negative zeros positive: their sign is round-off.
    return np.round(values, _DECIMALS) + 0.0


def write_labels(
    path: str | pathlib.Path,
    structures: Sequence[ase.Atoms],
    settings: LabelSettings | None = None,
    *,
    skip_failures: bool = False,
    report: Callable[[int, int], bool] | None = None,
) -> str | None:
    """Labels molecules and writes them to an extended XYZ file.

    Until all structures are labelled, results are kept in the folder ``<path>.parts``,
    20 structures to a part. Call again with the same arguments to continue an
    interrupted run.

    Args:
      path: The file to write, which must not exist.
      structures: Molecules, each labelled at the given geometry.
      settings: Which labels; by default all.
      skip_failures: Whether to skip, with a warning, structures that cannot be
        labelled, such as those without a self-consistent solution.
      report: Called as ``report(done, total)`` after each part, with numbers of
        structures; return True to stop early.

    Returns:
      SHA-256 digest of the file in hexadecimal; None if the run was stopped early.

    Raises:
      ArgumentError: The extra ``[data]`` is not installed, the file exists, there are
        no structures, or the folder of parts belongs to another run.
      StructureError: A structure cannot be labelled, and ``skip_failures`` is False
        (finished parts are kept); or none can.

    Example:
      >>> import ase.build
      >>> from symjax.labels.generation import write_labels
      >>> water = ase.build.molecule("H2O")
      >>> len(write_labels("water.xyz", [water]))  # doctest: +SKIP
      64
    """
    settings = LabelSettings() if settings is None else settings
    path = pathlib.Path(path)
    if path.exists():
        raise ArgumentError(
            "path", str(path), "exists already", "Pass another name, or remove the file"
        )
    if len(structures) == 0:
        raise ArgumentError("structures", structures, "is empty", "Pass one or more")
    for number, atoms in enumerate(structures):
        check_finite_molecule(atoms, number)
    channels = None
    if settings.density:
        # All structures of a file have the same number of columns.
        numbers = np.unique(np.concatenate([atoms.numbers for atoms in structures]))
        channels = density_channels(numbers.tolist())
    folder = path.with_name(f"{path.name}.parts")
    _open_parts(folder, structures, settings)
    parts = []
    for start in range(0, len(structures), STRUCTURES_PER_PART):
        stop = min(start + STRUCTURES_PER_PART, len(structures))
        parts.append(folder / f"{start:08d}.xyz")
        if parts[-1].is_file():
            continue
        labelled = []
        for n in range(start, stop):
            try:
                labelled.append(
                    label_structure(structures[n], settings, channels=channels, index=n)
                )
            except StructureError as error:
                if not skip_failures:
                    raise
                warnings.warn(f"left out: {error}", stacklevel=2)
        text = io.StringIO()
        if labelled:
            ase.io.write(text, labelled, format="extxyz")
        _write(parts[-1], text.getvalue().encode())
        stopped = report is not None and report(stop, len(structures))
        if stopped and stop < len(structures):
            return None
    data = b"".join(part.read_bytes() for part in parts)
    if not data:
        raise StructureError(
            "structures",
            len(structures),
            "none of these structures could be labelled",
            "Start from structures closer to equilibrium",
        )
    _write(path, data)
    shutil.rmtree(folder)
    return hashlib.sha256(data).hexdigest()


def _write(path: pathlib.Path, data: bytes) -> None:
    replace_atomically(path, lambda part: part.write_bytes(data))


class _Run(Declared):
    """Identifies the run that parts belong to: ``run.json`` in their folder."""

    settings: LabelSettings
    structures: str
    versions: Mapping[str, str | None]
    part: int


def _open_parts(
    folder: pathlib.Path, structures: Sequence[ase.Atoms], settings: LabelSettings
) -> None:
    """Creates the folder of parts, or raises unless it belongs to this run."""
    digest = hashlib.sha256()
    for atoms in structures:
        info = sorted((key, str(value)) for key, value in _kept(atoms).items())
        digest.update(repr([atoms.numbers.tolist(), info]).encode())
        digest.update(np.ascontiguousarray(atoms.positions, np.float64).tobytes())
    versions = {name: _version(name) for name in ("ase", "tblite", "pyscf")}
    run = _Run(settings, digest.hexdigest(), versions, STRUCTURES_PER_PART)
    record = folder / "run.json"
    if not record.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _write(record, json.dumps(run.to_json()).encode())
        return
    remedy = "Repeat the same call to continue that run, or remove the folder"
    try:
        former = _Run.from_json(json.loads(read_bounded(record)), str(record))
    except (OSError, ValueError) as error:
        problem = f"holds parts of a run whose run.json cannot be read ({error})"
        raise ArgumentError("path", str(folder), problem, remedy) from error
    differing = [key for key, value in vars(run).items() if value != vars(former)[key]]
    if differing:
        problem = f"holds parts of another run, which differs in {', '.join(differing)}"
        raise ArgumentError("path", str(folder), problem, remedy)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
