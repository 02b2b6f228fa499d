"""Traces at which layer the equivariance error of outputs enters."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ase
import numpy as np

from symjax.data import LabelFields
from symjax.diagnose.spectra import check_model
from symjax.errors import ArgumentError, SymjaxError
from symjax.metrics import SectorShares, Trace, sector_shares, trace
from symjax.models.pet import PETModel, staged_problem
from symjax.models.pet.staged import traceable_atoms
from symjax.report.formats import format_value
from symjax.report.layout import Display, Row, Table
from symjax.report.schema import Report
from symjax.so3 import quadrature

# Budget in bytes for features and their derivatives, which limits traced forces.
_MEMORY = 2**31
DEGREE = 4
# Largest degree of the sectors among which A^2 is divided, on the same rule.
SECTOR_DEGREE = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Traced:
    """The trace of a structure.

    Attributes:
      trace: The layers at which A of its outputs enters.
      forces: The forces that were traced, in words.
      alone: Effects of single sectors of single layers on outputs that are no
        derivatives; None without ``shapley``.
      shares: Shapley values of the sectors of each layer; empty without ``shapley``.
      long_range: Whether long-range features are read after all layers.

    Example:
      >>> import numpy as np
      >>> from symjax.diagnose.tracing import Traced
      >>> from symjax.metrics import Trace
      >>> one = Trace((("node_0",),), {"y": "eV"}, {"y": np.array([2.0, 1.0])}, {})
      >>> Traced(one, "all 3 atoms").alone is None
      True
    """

    trace: Trace
    forces: str
    alone: Trace | None = None
    shares: tuple[SectorShares, ...] = ()
    long_range: bool = False


def report_traces(
    report: Report,
    model: Any,
    structures: Mapping[str, ase.Atoms],
    labels: LabelFields | None = None,
    shapley: bool = False,
) -> tuple[dict[str, Traced], dict[str, SymjaxError]]:
    """Traces the model of a report on structures, in its type.

    Forces are traced, too, on as many atoms as fit into 2 GiB.

    Args:
      report: The report.
      model: Its model.
      structures: Structures by label.
      labels: Where structures have labels; by default under the names of the outputs,
        in eV and angstrom.
      shapley: Whether to compute Shapley values of the sectors of each layer, which
        takes some forty evaluations of the orbit for each layer.

    Returns:
      Traces, and errors of structures that cannot be used, by label.

    Raises:
      ArgumentError: The model is not that of the report, or no PET.
    """
    check_model(report, model)
    if not isinstance(model, PETModel):
        raise ArgumentError("model", model.name, "is no PET", "Trace a PET")
    found, failed = {}, {}
    rule = 2 * DEGREE + 1
    elements = 2 * quadrature(rule).num_rotations
    stages = range(model.config.num_gnn_layers)
    for label, atoms in structures.items():
        try:
            chosen = traceable_atoms(model, atoms, elements, _MEMORY)
            settings: dict[str, Any] = {
                "dtype": report.settings.dtype,
                "energy": report.settings.energy or None,
                "labels": LabelFields() if labels is None else labels,
            }
            problem = staged_problem(model, atoms, forces_of=chosen, **settings)
            one = trace(problem, max_degree=DEGREE)
            alone, shares = None, []
            if shapley:
                problem = staged_problem(model, atoms, **settings)
                alone = trace(problem, SECTOR_DEGREE, rule, sectors=True)
                shares = [
                    sector_shares(problem, stage, SECTOR_DEGREE, rule)
                    for stage in stages
                ]
            forces = _forces_in_words(atoms, chosen, model)
            long_range = model.config.long_range is not None
            found[label] = Traced(one, forces, alone, tuple(shares), long_range)
        except SymjaxError as error:
            failed[label] = error
    return found, failed


def _forces_in_words(atoms: ase.Atoms, chosen: Sequence[int], model: PETModel) -> str:
    if len(chosen) == len(atoms):
        return f"all {len(atoms)} atoms"
    if chosen:
        names = ", ".join(f"{atoms[index].symbol}{index}" for index in chosen)
        return f"{len(chosen)} of {len(atoms)} atoms ({names}), which fit into memory"
    if model.config.long_range is not None:
        return "none, as derivatives of long-range features are not traced"
    return "none: there is no energy, or one atom does not fit into memory"


def mean_squares(traces: Iterable[Trace], name: str) -> np.ndarray:
    """Mean of A^2 over structures: as it is, then with each intervention."""
    having = [one.errors[name] for one in traces if name in one.errors]
    return np.asarray(np.mean(np.square(having), axis=0))


def added(squares: np.ndarray) -> np.ndarray:
    """Contribution of each layer to A^2, and last of everything after all layers."""
    return np.append(squares[:-1] - squares[1:], squares[-1])


def trace_to_text(traces: Mapping[str, Traced], display: Display) -> str:
    """Formats traces as one table of contributions to A^2 for each output.

    Args:
      traces: Traces by structure.
      display: Width and symbols of the text.

    Example:
      >>> import numpy as np
      >>> from symjax.diagnose.tracing import Traced, trace_to_text
      >>> from symjax.metrics import Trace
      >>> from symjax.report.layout import Display
      >>> one = Trace((("node_0",),), {"y": "eV"}, {"y": np.array([2.0, 1.0])}, {})
      >>> one = Traced(one, "all 3 atoms")
      >>> print(trace_to_text({"H2O": one}, Display(60, True)).splitlines()[3])
      GNN layer 1     1.00         75.0
    """
    every = [one.trace for one in traces.values()]
    tables = [
        _outputs_table(name, every, traces, display)
        for name in dict.fromkeys(name for one in every for name in one.errors)
    ]
    tables += [
        _sectors_table(name, stage, traces, display)
        for one in list(traces.values())[:1]
        for stage, shares in enumerate(one.shares)
        for name in shares.values
    ]
    tables.append(
        display.lines(
            "Features of a layer and of all layers before it are replaced by their "
            "invariant part; forces are derivatives of the remaining energy. A "
            "negative share cancels what enters elsewhere.",
            0,
        )
    )
    tables += [
        display.lines(f"{display.name(label)}: forces traced on {one.forces}.")
        for label, one in traces.items()
    ]
    return "\n\n".join(tables) + "\n"


def _outputs_table(
    name: str, every: list[Trace], traces: Mapping[str, Traced], display: Display
) -> str:
    having = [one for one in every if name in one.errors]
    squares = mean_squares(having, name)
    left = [*np.sqrt(squares[1:]), None]
    far = any(one.long_range for one in traces.values())
    stages = [f"GNN layer {n}" for n in range(1, len(squares))]
    stages.append("after them (long range)" if far else "after them")
    labelled = all(name in one.label_errors for one in having)
    wrong: list[float | None] = [None] * len(left)
    if labelled:
        found = np.mean([np.square(one.label_errors[name]) for one in having], axis=0)
        wrong = [*np.sqrt(found[1:]), None]
    rows = []
    for stage, error, share, on_labels in zip(
        stages, left, added(squares), wrong, strict=True
    ):
        cells = [stage, _or_nothing(error), _percent(share, squares[0])]
        rows.append(Row([*cells, *([_or_nothing(on_labels)] if labelled else [])]))
    title = (
        f"Where the error of {display.name(name)} enters: A = "
        f"{format_value(float(np.sqrt(squares[0])))} "
        f"{display.unit(having[0].units[name])} as it is"
    )
    columns = ["enters in", "A without it", "% of A^2"]
    if labelled:
        title += f", {format_value(float(np.sqrt(found[0])))} on labels"
        columns.append("on labels without it")
    return str(Table(title, columns, rows).text(display).plain)


def _or_nothing(value: float | None) -> str:
    return "" if value is None else format_value(value)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole > 0 else "-"


def _sectors_table(
    name: str, stage: int, traces: Mapping[str, Traced], display: Display
) -> str:
    shares = [one.shares[stage] for one in traces.values()]
    single = [one.alone for one in traces.values() if one.alone is not None]
    whole = float(mean_squares(single, name)[0])
    values = np.mean([one.values[name] for one in shares], axis=0)
    errors = np.sqrt(np.sum([one.errors[name] ** 2 for one in shares], axis=0))
    without = np.mean([np.square(one.without[name][stage]) for one in single], axis=0)
    rows = []
    for sector, value, error in zip(
        shares[0].sectors, values, errors / len(shares), strict=True
    ):
        alone = ""
        if sector is not None:
            left = without[sector.degree, 0 if sector.sigma == 1 else 1]
            alone = _percent(whole - left, whole)
        title = f"l > {SECTOR_DEGREE}" if sector is None else str(sector)
        share = [_percent(value, whole), _percent(error, whole)]
        rows.append(Row([title, alone, *share]))
    together = float(np.mean([one.interactions(name)[stage] for one in single]))
    rows.append(Row(["interaction", _percent(together, whole), "", ""]))
    elsewhere = float(np.mean([one.left[name] for one in shares]))
    rows.append(Row(["elsewhere", "", _percent(elsewhere, whole), ""]))
    heading = (
        f"Effect of sectors of GNN layer {stage + 1} on {display.name(name)}, % of A^2"
    )
    columns = ["sector", "alone", "Shapley", "+-"]
    return str(Table(heading, columns, rows).text(display).plain)
