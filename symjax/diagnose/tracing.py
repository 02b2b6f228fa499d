"""At which layer the equivariance error of outputs enters, by intervention."""

from collections.abc import Mapping
from typing import Any

import ase
import numpy as np

from symjax.data import LabelFields
from symjax.errors import ArgumentError, SymjaxError
from symjax.metrics import Trace, trace
from symjax.models import fingerprint
from symjax.models.pet import PETModel, staged_problem
from symjax.models.pet.staged import traceable_atoms
from symjax.report.formats import format_value
from symjax.report.layout import Display, Row, make_table
from symjax.report.schema import Report
from symjax.so3 import quadrature

# Of features and their derivatives; forces on as many atoms as fit are traced.
_MEMORY = 2**31
_DEGREE = 4


def report_traces(
    report: Report,
    model: Any,
    structures: Mapping[str, ase.Atoms],
    labels: LabelFields | None = None,
) -> tuple[dict[str, Trace], dict[str, SymjaxError]]:
    """Traces of the model of a report, in its type.

    Forces are traced too, on as many atoms as fit into 2 GiB.

    Args:
      report: The report.
      model: Its model.
      structures: Structures by label.
      labels: Where structures have labels; by default under the names of the outputs,
        in eV and angstrom.
    """
    if not isinstance(model, PETModel) or fingerprint(model) != report.model.digest:
        raise ArgumentError(
            "model",
            getattr(model, "name", model),
            "is no PET, or not the model of the report",
            "Pass the folder of that model",
        )
    found, failed = {}, {}
    elements = 2 * quadrature(2 * _DEGREE + 1).num_rotations
    for label, atoms in structures.items():
        try:
            problem = staged_problem(
                model,
                atoms,
                dtype=report.settings.dtype,
                energy=report.settings.energy or None,
                forces_of=traceable_atoms(model, atoms, elements, _MEMORY),
                labels=LabelFields() if labels is None else labels,
            )
            found[label] = trace(problem, max_degree=_DEGREE)
        except SymjaxError as error:
            failed[label] = error
    return found, failed


def trace_to_text(traces: Mapping[str, Trace], display: Display) -> str:
    """One table for each output: what A^2 is made of, layer by layer.

    Example:
      >>> import numpy as np
      >>> from symjax.diagnose.tracing import trace_to_text
      >>> from symjax.metrics import Trace
      >>> from symjax.report.layout import Display
      >>> one = Trace((("node_0",),), {"y": "eV"}, {"y": np.array([2.0, 1.0])}, {})
      >>> print(trace_to_text({"H2O": one}, Display(60, True)).splitlines()[3])
      GNN layer 1     1.00         75.0
    """
    tables = []
    names = dict.fromkeys(name for one in traces.values() for name in one.errors)
    for name in names:
        having = [one for one in traces.values() if name in one.errors]
        squares = np.mean([np.square(one.errors[name]) for one in having], axis=0)
        added = np.append(squares[:-1] - squares[1:], squares[-1])
        left = [*np.sqrt(squares[1:]), None]
        stages = [f"GNN layer {n}" for n in range(1, len(squares))]
        labelled = [one for one in having if name in one.label_errors]
        on_labels: list[float | None] = [None] * len(added)
        if len(labelled) == len(having):
            roots = np.sqrt(
                np.mean([np.square(one.label_errors[name]) for one in having], axis=0)
            )
            on_labels = [*roots[1:], None]
        rows = []
        for stage, error, share, wrong in zip(
            [*stages, "behind them"], left, added, on_labels, strict=True
        ):
            cells = [
                stage,
                "" if error is None else format_value(error),
                f"{100 * share / squares[0]:.1f}" if squares[0] > 0 else "-",
            ]
            if labelled:
                cells.append("" if wrong is None else format_value(wrong))
            rows.append(Row(cells))
        unit = next(iter(having)).units[name]
        title = (
            f"Where the error of {display.name(name)} enters: A = "
            f"{format_value(float(np.sqrt(squares[0])))} {display.unit(unit)} as it is"
        )
        columns = ["enters in", "A without it", "% of A^2"]
        if labelled and on_labels[0] is not None:
            title += f", {format_value(float(roots[0]))} on labels"
        columns += ["on labels without it"] if labelled else []
        table = make_table(title, columns, rows, display)
        tables.append(table.plain)
    tables.append(
        display.lines(
            "Features that a layer hands on are replaced by their invariant part, and "
            "those of all layers before; forces are derivatives of what is left. A "
            "negative share cancels what enters elsewhere."
        )
    )
    return "\n\n".join(tables) + "\n"
