"""At which layer the equivariance error of outputs enters, by intervention."""

from collections.abc import Mapping
from typing import Any

import ase
import numpy as np

from symjax.errors import ArgumentError, SymjaxError
from symjax.metrics import Trace, trace
from symjax.models import fingerprint
from symjax.models.pet import PETModel, staged_problem
from symjax.report.layout import Display, Row, make_table
from symjax.report.schema import Report
from symjax.report.tables import format_value


def report_traces(
    report: Report, model: Any, structures: Mapping[str, ase.Atoms]
) -> tuple[dict[str, Trace], dict[str, SymjaxError]]:
    """Traces of the model of a report, in its type.

    Args:
      report: The report.
      model: Its model.
      structures: Structures by label.

    Returns:
      A trace for each structure, and the errors of those that cannot be used.

    Raises:
      ArgumentError: ``model`` is not the model of the report, or no PET.
    """
    if not isinstance(model, PETModel) or fingerprint(model) != report.model.digest:
        raise ArgumentError(
            "model",
            getattr(model, "name", model),
            "is no PET, or not the model of the report",
            "Pass the folder of that model",
        )
    found, failed = {}, {}
    for label, atoms in structures.items():
        try:
            problem = staged_problem(model, atoms, dtype=report.settings.dtype)
            found[label] = trace(problem)
        except SymjaxError as error:
            failed[label] = error
    return found, failed


def trace_to_text(traces: Mapping[str, Trace], display: Display) -> str:
    """One table for each output: what A^2 is made of, layer by layer.

    Args:
      traces: By structure.
      display: What the tables are written on.

    Returns:
      Text that ends with a line feed.

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
    names = next(iter(traces.values())).errors
    for name in names:
        squares = np.mean(
            [np.square(one.errors[name]) for one in traces.values()], axis=0
        )
        added = np.append(squares[:-1] - squares[1:], squares[-1])
        left = np.append(np.sqrt(squares[1:]), 0.0)
        stages = [f"GNN layer {n}" for n in range(1, len(squares))]
        rows = [
            Row(
                [
                    stage,
                    format_value(error) if stage != "behind them" else "",
                    f"{100 * share / squares[0]:.1f}" if squares[0] > 0 else "-",
                ]
            )
            for stage, error, share in zip(
                [*stages, "behind them"], left, added, strict=True
            )
        ]
        unit = next(iter(traces.values())).units[name]
        title = (
            f"Where the error of {display.name(name)} enters: A = "
            f"{format_value(float(np.sqrt(squares[0])))} {display.unit(unit)} as it is"
        )
        table = make_table(
            title, ["enters in", "A without it", "% of A^2"], rows, display
        )
        tables.append(table.plain)
    tables.append(
        display.lines(
            "Features that a layer hands on are replaced by their invariant part, and "
            "those of all layers before. A negative share cancels what enters "
            "elsewhere."
        )
    )
    return "\n\n".join(tables) + "\n"
