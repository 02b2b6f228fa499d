"""Figures of a report, for papers and talks.

They use matplotlib's object interface: no window, no global state, safe in threads and
notebooks.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from symjax._text import drawn
from symjax.errors import ArgumentError
from symjax.metrics.problem import Kind
from symjax.report.contents import layers_of, outputs_of
from symjax.report.files import FIGURE_FORMATS, FIGURE_NAMES
from symjax.report.formats import with_symbols
from symjax.report.schema import Report
from symjax.report.storage import write_atomically
from symjax.report.summary import Summary

# Content below this is drawn as this: round-off of a float32 model lies there.
_SMALLEST = 1e-8
_ROW = 0.19  # inches


class _Look(NamedTuple):
    """How a kind of rows is drawn: name in the legend, colour and marker."""

    name: str
    color: str
    marker: str


_LOOKS: dict[Kind, _Look] = {
    "output": _Look("output", "#b2182b", "D"),
    "node": _Look("node features", "#2166ac", "o"),
    "edge": _Look("edge features", "#e08214", "s"),
    "token": _Look("token features", "#2166ac", "o"),
    "point": _Look("point features", "#e08214", "s"),
    "layer": _Look("features", "#2166ac", "o"),
}
_UNRESOLVED = "#b2182b"
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def content_figure(report: Report) -> Figure:
    """Heat map of the content B, layers by degree, one panel for each sigma.

    Rows are layers in the order of the model, then, below a line, outputs. Colors are
    logarithmic and end at 1e-8. The last panel shows the content above the largest
    degree. Names of rows that the grid does not resolve are marked with an asterisk.

    Args:
      report: A report with at least one measured structure.

    Returns:
      The figure.

    Raises:
      ArgumentError: Nothing was measured.

    Example:
      >>> from symjax.report import schema
      >>> from symjax.report.figures import content_figure
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     ())
      >>> content_figure(report)
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: report='pet': has no measured structure. Measure...
    """
    found, num_layers = _ordered(report)
    content = np.stack([row.content for row in found])
    remainder = np.array([row.remainder for row in found])
    num_degrees = content.shape[1]
    with matplotlib.rc_context(STYLE):
        names = 0.055 * max(len(one.name) for one in found)
        panel = max(0.24 * num_degrees, 1.3)
        figure = _figure(names + 2 * panel + 1.6, max(1.4 + _ROW * len(found), 2.4))
        # The remainder belongs to both signs, so it has a panel of its own.
        axes: Sequence[Any] = figure.subplots(
            1, 3, sharey=True, width_ratios=[num_degrees, num_degrees, 1]
        )
        norm = LogNorm(_SMALLEST, 1)
        panels = (content[..., 0], content[..., 1], remainder[:, None])
        for axis, values in zip(axes, panels, strict=True):
            image = axis.imshow(
                np.clip(values, _SMALLEST, 1),
                norm=norm,
                cmap="viridis",
                aspect="auto",
                interpolation="nearest",
            )
            axis.tick_params(length=2, width=0.6)
            axis.tick_params(axis="y", length=0)
        step = -(-num_degrees // 10)
        for axis, title in zip(
            axes,
            (r"$\sigma = +$, tensors", r"$\sigma = -$, pseudotensors"),
            strict=False,
        ):
            axis.set_title(title)
            axis.set_xlabel(r"degree $\ell$")
            axis.set_xticks(range(0, num_degrees, step))
        axes[2].set_xticks([0], [f"> {num_degrees - 1}"])
        _name_rows(axes[0], found)
        for axis in axes:
            _separate(axis, num_layers, len(found), "white", 2.5)
        bar = figure.colorbar(image, ax=list(axes), extend="min", pad=0.02, aspect=30)
        bar.set_label(r"content $B_{\ell,\sigma}$")
        bar.ax.tick_params(length=2, width=0.6)
        figure.suptitle(_title(report), fontsize=9.5)
        _footnote(figure, found)
    return figure


def error_figure(report: Report) -> Figure:
    """Equivariance error of every layer and output, on logarithmic axes.

    Left: relative error, on one scale for all rows. Right: A in the units of the
    features, or in the unit of the output that is written beside its point.

    Args:
      report: A report with at least one measured structure.

    Returns:
      The figure.

    Raises:
      ArgumentError: Nothing was measured.
    """
    found, num_layers = _ordered(report)
    relative = np.array([row.relative_error for row in found])
    absolute = np.array([row.equivariance_error for row in found])
    with matplotlib.rc_context(STYLE):
        figure = _figure(7.0, max(1.7 + _ROW * len(found), 2.4))
        axes: Sequence[Any] = figure.subplots(1, 2, sharey=True)
        rows = np.arange(len(found))
        kinds = np.array([one.kind for one in found])
        present = [kind for kind in _LOOKS if kind in kinds]
        for axis, values in zip(axes, (relative, absolute), strict=True):
            positive = values[values > 0]
            low = positive.min() / 3 if len(positive) else 1e-8
            axis.set_xscale("log")
            for row, value in zip(rows.tolist(), values, strict=True):
                axis.plot([low / 10, max(value, low)], [row, row], color="0.85", lw=0.8)
            for kind in present:
                chosen, look = kinds == kind, _LOOKS[kind]
                # an exact zero stays visible at the left end of the axis
                axis.plot(
                    np.maximum(values[chosen], low),
                    rows[chosen],
                    linestyle="none",
                    marker=look.marker,
                    color=look.color,
                    markersize=4,
                    label=look.name,
                )
            axis.set_xlim(
                low / 1.3, max(positive.max() if len(positive) else 1, low) * 3
            )
            axis.xaxis.set_major_locator(LogLocator(numticks=6))
            axis.xaxis.set_minor_locator(
                LogLocator(subs=tuple(range(2, 10)), numticks=12)
            )
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.grid(axis="x", color="0.9", linewidth=0.6)
            axis.set_axisbelow(True)
            axis.tick_params(which="both", length=2, width=0.6)
            for side in ("top", "right"):
                axis.spines[side].set_visible(False)
            axis.tick_params(axis="y", length=0)
            _separate(axis, num_layers, len(found), "0.4", 0.8)
        axes[0].set_xlabel("relative equivariance error")
        axes[1].set_xlabel("equivariance error $A$ (units of the row)")
        for row, one in enumerate(found):
            if one.unit:
                axes[1].annotate(
                    display_unit(one.unit),
                    (max(absolute[row], axes[1].get_xlim()[0]), row),
                    xytext=(5, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                )
        # room for the units at the right
        left, right = axes[1].get_xlim()
        axes[1].set_xlim(left, right * (right / left) ** 0.12)
        axes[0].set_ylim(len(found) - 0.5, -0.5)
        _name_rows(axes[0], found)
        figure.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside lower right",
            ncols=len(present),
            frameon=False,
            fontsize=7.5,
            handletextpad=0.2,
            columnspacing=1.2,
        )
        figure.suptitle(_title(report), fontsize=9.5)
        _footnote(figure, found)
    return figure


def display_unit(unit: str) -> str:
    r"""A unit for a figure, with the symbol for angstrom and raised exponents."""
    return re.sub(r"\^(-?\d+)", r"$^{\1}$", with_symbols(unit))


def save_figures(
    report: Report, folder: str | Path, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Writes both figures into a folder.

    Args:
      report: A report with at least one measured structure.
      folder: An existing folder.
      formats: ``"png"`` (300 dots per inch), ``"svg"`` or ``"pdf"``.

    Returns:
      The files.

    Raises:
      ArgumentError: A format is unknown, or nothing was measured.
      ReportError: A file cannot be written.

    Example:
      >>> from symjax.report.figures import save_figures
      >>> save_figures(None, ".", ["gif"])
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: formats='gif': is unknown. Use png, svg or pdf.
    """
    for name in formats:
        if name not in FIGURE_FORMATS:
            raise ArgumentError("formats", name, "is unknown", "Use png, svg or pdf")
    paths = []
    figures = (content_figure(report), error_figure(report))
    for name, figure in zip(FIGURE_NAMES, figures, strict=True):
        for end in formats:
            path = Path(folder) / f"{name}.{end}"

            def write(part: Path, figure: Figure = figure, end: str = end) -> None:
                with matplotlib.rc_context(STYLE):
                    figure.savefig(part, format=end, dpi=300)

            write_atomically(path, write)
            paths.append(path)
    return paths


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _ordered(report: Report) -> tuple[list[Summary], int]:
    """Layers, then outputs; and the number of layers."""
    layers, outputs = layers_of(report), outputs_of(report)
    if not layers + outputs:
        raise ArgumentError(
            "report",
            report.model.name,
            "has no measured structure",
            "Measure at least one structure",
        )
    return layers + outputs, len(layers)


def _name_rows(axis: Axes, found: list[Summary]) -> None:
    names = [drawn(one.name) + ("" if one.resolved else " *") for one in found]
    axis.set_yticks(range(len(found)), names)
    for label, one in zip(axis.get_yticklabels(), found, strict=True):
        if one.kind == "output":
            label.set_fontweight("bold")
        label.set_color("black" if one.resolved else _UNRESOLVED)


def _separate(
    axis: Axes, num_layers: int, num_rows: int, color: str, width: float
) -> None:
    if 0 < num_layers < num_rows:
        axis.axhline(num_layers - 0.5, color=color, linewidth=width)


def _title(report: Report) -> str:
    number = len(report.measured)
    kind = "events" if report.of_events else "structures"
    measured = report.measured[0].label if number == 1 else f"{number} {kind}"
    return drawn(f"{report.model.name}: {measured}")


def _footnote(figure: Figure, found: list[Summary]) -> None:
    if not all(one.resolved for one in found):
        figure.supxlabel("* not resolved by the grid", fontsize=7, x=0.01, ha="left")
