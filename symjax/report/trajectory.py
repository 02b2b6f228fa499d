"""Figures of a training run: error and content of outputs and layers by step."""

import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from symjax._text import drawn
from symjax.errors import ArgumentError
from symjax.report.figures import STYLE

# Content below this is round-off of a float32 model.
_SMALLEST = 1e-8
_HEIGHT, _WIDTH = 1.5, 6.4  # inches


def read_trajectory(
    path: str | Path,
) -> dict[tuple[str, str, int, int], dict[int, float]]:
    """Reads ``trajectory.csv``, averaged over structures.

    Args:
      path: The file.

    Returns:
      For each (name, quantity, degree, sigma) its values by step; degree and sigma are
      0 except for the content B.

    Raises:
      ArgumentError: There is no such file, or it holds no measurement.
    """
    path = Path(path)
    remedy = "Pass the trajectory.csv of a run with a section [monitor]"
    if not path.is_file():
        raise ArgumentError("path", str(path), "does not exist", remedy)
    found: dict[tuple[str, str, int, int], dict[int, list[float]]]
    found = defaultdict(lambda: defaultdict(list))
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if row["quantity"] == "skipped":
                continue
            degree, sigma = (int(row[name] or 0) for name in ("degree", "sigma"))
            key = (row["name"], row["quantity"], degree, sigma)
            found[key][int(row["step"])].append(float(row["value"]))
    if not found:
        raise ArgumentError("path", str(path), "holds no measurement", remedy)
    return {
        key: {step: float(np.mean(values)) for step, values in sorted(rows.items())}
        for key, rows in found.items()
    }


def trajectory_figure(
    trajectory: Mapping[tuple[str, str, int, int], Mapping[int, float]],
) -> Figure:
    """Content of every output and layer against the step, one panel each.

    Lines are sectors (l, sigma), solid for sigma = +1 and dashed for -1; the dotted
    line is the content above the largest degree.

    Args:
      trajectory: As :func:`read_trajectory` returns it.
    """
    names = list(dict.fromkeys(key[0] for key in trajectory))
    with matplotlib.rc_context(STYLE):
        figure = Figure(
            figsize=(_WIDTH, _HEIGHT * len(names) + 0.6), layout="constrained"
        )
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for axis, name in zip(axes, names, strict=True):
            for (owner, quantity, degree, sigma), rows in trajectory.items():
                if owner != name or quantity not in ("B", "remainder"):
                    continue
                steps = list(rows)
                values = np.maximum(list(rows.values()), _SMALLEST)
                if quantity == "B":
                    sign = "+" if sigma == 1 else "-"
                    style = "-" if sigma == 1 else "--"
                    color, label = f"C{degree % 10}", f"{degree}{sign}"
                else:
                    color, style, label = "0.4", ":", "above"
                axis.plot(steps, values, style, color=color, label=label, linewidth=1)
            axis.set(yscale="log", ylim=(_SMALLEST, 1.6), ylabel="B")
            axis.set_title(drawn(name), loc="left")
        axes[-1].set_xlabel("step")
        # Of the figure: beside one panel it would move the others apart.
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside right upper", title="l, sigma", fontsize=7
        )
    return figure


def error_figure(
    trajectory: Mapping[tuple[str, str, int, int], Mapping[int, float]],
) -> Figure:
    """Relative error of outputs and layers against the step.

    For layers it is the relative distance from invariance.

    Args:
      trajectory: As :func:`read_trajectory` returns it.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, 2.8), layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.subplots()
        for (name, quantity, *_), rows in trajectory.items():
            if quantity == "relative":
                values = np.maximum(list(rows.values()), _SMALLEST)
                axis.plot(list(rows), values, label=drawn(name), linewidth=1)
        axis.set(yscale="log", xlabel="step", ylabel="relative error")
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7)
    return figure


def save_trajectory(path: str | Path, folder: str | Path) -> list[Path]:
    """Writes ``trajectory_content.png`` and ``trajectory_error.png`` of a run.

    Args:
      path: The ``trajectory.csv`` of the run.
      folder: An existing folder.

    Returns:
      The files.

    Raises:
      ArgumentError: There is no such file, or it holds no measurement.
    """
    trajectory = read_trajectory(path)
    written = []
    for name, figure in (
        ("content", trajectory_figure(trajectory)),
        ("error", error_figure(trajectory)),
    ):
        target = Path(folder) / f"trajectory_{name}.png"
        figure.savefig(target, dpi=150)
        written.append(target)
    return written
