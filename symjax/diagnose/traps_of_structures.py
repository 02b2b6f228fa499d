"""Symmetry traps of a model on structures."""

from collections.abc import Mapping, Sequence
from typing import Any

import ase
import numpy as np

from symjax.data import find_symmetry, symmetrize
from symjax.diagnose.findings import Check, Finding
from symjax.diagnose.spectra import check_model
from symjax.diagnose.traps import symmetry_traps
from symjax.errors import ArgumentError, SymjaxError
from symjax.models.pet import PETModel, orbit_problem
from symjax.report.schema import Report


def structure_traps(
    model: Any,
    atoms: ase.Atoms,
    label: str = "",
    *,
    scales: Mapping[str, float] | None = None,
    dtype: str = "float32",
    num_orientations: int = 16,
    energy: str | None = None,
) -> tuple[list[Finding], Check]:
    """Finds outputs of a model that the point group of a structure forbids.

    A molecule is made exactly symmetric first (no atom moves by more than 1e-5
    angstrom); for a crystal the deviation from its symmetry is taken into account.

    Args:
      model: A PET of ``symjax.models``.
      atoms: The structure.
      label: Its name; by default its formula.
      scales: As in :func:`symmetry_traps`.
      dtype: Type in which the model computes.
      num_orientations: As in :func:`symmetry_traps`.
      energy: Name of the target whose derivatives are forces and stress, see
        :func:`symjax.models.pet.choose_energy`.

    Returns:
      The findings, and the check.

    Raises:
      ArgumentError: The model is no PET.
      SymjaxError: The structure cannot be used.

    Example:
      >>> import ase.build
      >>> from symjax.diagnose import structure_traps
      >>> from symjax.models import load_model
      >>> findings, check = structure_traps(
      ...     load_model("pet-ethanol"), ase.build.molecule("H2O"), num_orientations=4)
      >>> check.note
      'forces of H2O (C2v)'
    """
    if not isinstance(model, PETModel):
        raise ArgumentError(
            "model",
            getattr(model, "name", model),
            "does not predict properties of atomic structures",
            "Use a PET, see 'symjax models'",
        )
    symmetry = find_symmetry(atoms)
    displacement = symmetry.residual
    if not np.any(atoms.pbc) and symmetry.order > 1:
        atoms, displacement = symmetrize(atoms, symmetry), 0.0
    problem = orbit_problem(
        model, atoms, layers="none", energy=energy, dtype=dtype, symmetry=symmetry
    )
    return symmetry_traps(
        problem,
        label or atoms.get_chemical_formula(),
        scales=scales,
        num_orientations=num_orientations,
        displacement=displacement,
    )


def report_traps(
    report: Report, model: Any, structures: Mapping[str, ase.Atoms]
) -> tuple[list[tuple[Sequence[Finding], Check]], dict[str, SymjaxError]]:
    """Finds symmetry traps of the model of a report.

    It computes in the type of the report; effects are relative to the root mean squares
    of its outputs, or to those of a structure if larger.

    Args:
      report: The report.
      model: Its model.
      structures: Structures by label.

    Returns:
      Findings and a check for each structure, and errors by label of structures that
      cannot be used.

    Raises:
      ArgumentError: ``model`` is not the model of the report.

    Example:
      >>> from symjax.diagnose.traps_of_structures import report_traps
      >>> from symjax.models import fingerprint, load_model
      >>> from symjax.report import schema
      >>> model = load_model("pet-ethanol")
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"),
      ...     schema.ModelInfo(model.name, fingerprint(model)),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     ())
      >>> report_traps(report, model, {})
      ([], {})
    """
    check_model(report, model)
    scales = {
        leaf.name: leaf.totals.root_mean_square
        for leaf in report.aggregate().values()
        if leaf.kind == "output"
    }
    settings = report.settings
    found: list[tuple[Sequence[Finding], Check]] = []
    failed = {}
    for label, atoms in structures.items():
        try:
            found.append(
                structure_traps(
                    *(model, atoms, label),
                    scales=scales,
                    dtype=settings.dtype,
                    energy=settings.energy or None,
                )
            )
        except SymjaxError as error:
            failed[label] = error
    return found, failed
