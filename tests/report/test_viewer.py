"""Structures as they are drawn on the page."""

import dataclasses

import fake_report
import numpy as np
import pytest

from symjax.report._viewer import viewer_data


def test_the_drawing_of_a_crystal():
    report = fake_report.report(structures=1)
    atoms = dataclasses.replace(
        report.structures[0].atoms, cell=np.diag([3.0, 4.0, 5.0])
    )
    structure = dataclasses.replace(report.structures[0], atoms=atoms)
    (entry,) = viewer_data(dataclasses.replace(report, structures=(structure,)), 5)
    lengths = sorted(
        sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5
        for a, b in entry["box"]
    )
    assert lengths == pytest.approx([3.0] * 4 + [4.0] * 4 + [5.0] * 4)
    # Everything lies within the extent of its middle.
    points = [*entry["positions"], *(p for line in entry["box"] for p in line)]
    assert max(sum(x * x for x in p) ** 0.5 for p in points) == pytest.approx(
        entry["extent"], rel=1e-4
    )
    wanted = dataclasses.replace(atoms, cell=np.diag([3.0, 4.0, 0.0]))
    structure = dataclasses.replace(structure, atoms=wanted)
    (entry,) = viewer_data(dataclasses.replace(report, structures=(structure,)), 5)
    assert entry["box"] == []
