"""Figures show every row once, without overlap, and touch no global state."""

import dataclasses
import functools
import itertools
import sys
from typing import get_args

import fake_report
import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from symjax.errors import ArgumentError
from symjax.metrics.problem import Kind
from symjax.report import figures


def texts_of(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


@functools.cache
def drawn(make, layers):
    """A figure with its layout, and what measures its texts."""
    figure = make(fake_report.report(layers=layers, max_degree=6, resolved=False))
    figure.draw_without_rendering()
    return figure, figure.canvas.get_renderer()


@pytest.mark.parametrize("make", [figures.content_figure, figures.error_figure])
@pytest.mark.parametrize("layers", [0, 30])
def test_row_labels_do_not_overlap(make, layers):
    figure, renderer = drawn(make, layers)
    axis = figure.axes[0]
    assert len(texts_of(axis)) == layers + 3
    boxes = [label.get_window_extent(renderer) for label in axis.get_yticklabels()]
    for upper, lower in itertools.pairwise(boxes):
        assert upper.y0 > lower.y1
    # inside the figure
    assert min(box.x0 for box in boxes) >= 0
    # and left of the panel
    assert max(box.x1 for box in boxes) <= axis.get_window_extent(renderer).x0


@pytest.mark.parametrize("make", [figures.content_figure, figures.error_figure])
def test_texts_below_and_above_the_panels_do_not_overlap(make):
    figure, renderer = drawn(make, 30)
    axis = figure.axes[0]
    boxes = [
        figure._suptitle.get_window_extent(renderer),
        figure._supxlabel.get_window_extent(renderer),
        axis.xaxis.label.get_window_extent(renderer),
        axis.title.get_window_extent(renderer),
        *(legend.get_window_extent(renderer) for legend in figure.legends),
    ]
    boxes = [box for box in boxes if box.width > 1]
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            assert not one.overlaps(other)


def test_heat_map_shows_content_by_sign():
    report = fake_report.report(layers=2, max_degree=3)
    figure = figures.content_figure(report)
    leaves = report.aggregate()
    names = texts_of(figure.axes[0])
    # layers first, outputs last
    assert names[-3:] == ["energy", "forces", "stress"]
    for sign in range(2):
        image = figure.axes[sign].images[0].get_array()
        for row, name in enumerate(names):
            expected = np.clip(leaves[name].totals.content[:, sign], 1e-6, 1)
            assert np.allclose(image[row], expected, rtol=1e-12)
    remainder = figure.axes[2].images[0].get_array()[:, 0]
    expected = [np.clip(leaves[name].totals.remainder, 1e-6, 1) for name in names]
    assert np.allclose(remainder, expected, rtol=1e-12)


def test_unresolved_rows_have_an_asterisk():
    names = texts_of(figures.content_figure(fake_report.report(resolved=False)).axes[0])
    assert "energy *" in names
    assert "forces" in names


def test_exact_equivariance_can_be_drawn():
    report = fake_report.report(layers=0, structures=1)
    for leaf in report.structures[0].leaves:
        leaf.totals.variance[:] = 0
    FigureCanvasAgg(figures.error_figure(report)).draw()


def test_features_of_every_kind_are_in_the_legend():
    report = fake_report.report(layers=len(get_args(Kind)), structures=1)
    leaves = report.structures[0].leaves
    kinds = [*get_args(Kind), *get_args(Kind)]
    changed = tuple(
        dataclasses.replace(leaf, kind=kind)
        for leaf, kind in zip(leaves, kinds, strict=False)
    )
    structure = dataclasses.replace(report.structures[0], leaves=changed)
    report = dataclasses.replace(report, structures=(structure,))
    (legend,) = figures.error_figure(report).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *("output", "node features", "edge features", "token features"),
        *("point features", "features"),
    ]


def test_files(tmp_path):
    """Of every format, with no trace in the settings of matplotlib."""
    before = dict(matplotlib.rcParams)
    loaded = "matplotlib.pyplot" in sys.modules
    paths = figures.save_figures(
        fake_report.report(layers=0, structures=1), tmp_path, ["png", "svg", "pdf"]
    )
    assert len(paths) == 6
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    for path in paths:
        assert path.read_bytes().startswith(starts[path.suffix])
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_nothing_to_draw():
    with pytest.raises(ArgumentError, match="no measured structure"):
        figures.content_figure(fake_report.report(structures=0, failed=1))


@pytest.mark.parametrize(
    ("unit", "shown"),
    [
        ("eV", "eV"),
        ("eV/angstrom", "eV/\xc5"),
        ("eV/angstrom^3", "eV/\xc5$^{3}$"),
        ("angstrom^-1", "\xc5$^{-1}$"),
        ("", ""),
    ],
)
def test_display_unit(unit, shown):
    assert figures.display_unit(unit) == shown
