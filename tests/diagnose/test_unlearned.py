"""Outputs are judged first: nothing is found only where they are fine."""

import dataclasses

import numpy as np
import pytest
import toys

from symjax.diagnose import Kind, diagnose, to_text
from symjax.errors import ArgumentError


def unlearned(report, **options):
    found = diagnose(report, **options).findings
    return [f.outputs[0] for f in found if f.kind is Kind.UNLEARNED]


def test_the_model_that_ships_passes_also_near_a_minimum(ethanol_report):
    assert unlearned(ethanol_report) == []
    assert "Nothing was found" in to_text(diagnose(ethanol_report))
    # The same report with forces of a hundredth, as in a relaxed structure.
    small = scaled(ethanol_report, "forces", norm=1e-4)
    forces = small.aggregate()["forces"]
    assert forces.totals.relative_error > 0.1
    assert unlearned(small) == []
    # Whatever the energy is called, its features are those of the forces.
    other = toys.renamed(small, {"energy": "U0"})
    settings = dataclasses.replace(other.settings, energy="U0")
    assert unlearned(dataclasses.replace(other, settings=settings)) == []


def scaled(report, name, norm=1.0, variance=1.0):
    """The report with another size, and another error, of an output."""

    def change(leaf):
        if leaf.name != name:
            return leaf
        totals = leaf.totals
        totals = totals._replace(
            norm=totals.norm * norm,
            power=totals.power * norm,
            variance=totals.variance * variance,
        )
        spread = leaf.spread
        if spread is not None:
            spread = spread._replace(variance=spread.variance * variance)
        return dataclasses.replace(leaf, totals=totals, spread=spread)

    parts = tuple(
        dataclasses.replace(part, leaves=tuple(map(change, part.leaves)))
        for part in report.structures
    )
    return dataclasses.replace(report, structures=parts)


@pytest.fixture(scope="module")
def slightly_off():
    """Dipoles off by a share of their size, in two structures."""
    return toys.report("trapped", num=2)


def test_errors_on_labels_decide(slightly_off):
    totals = slightly_off.aggregate()["dipole"].totals
    assert 0.01 < totals.relative_error < 0.1
    assert unlearned(slightly_off) == ["dipole"]
    error = totals.equivariance_error
    assert unlearned(slightly_off, label_errors={"dipole": 4 * error}) == []
    assert unlearned(slightly_off, label_errors={"dipole": 2 * error}) == ["dipole"]
    # A tenth of the size is too much whatever the labels say.
    worse = scaled(slightly_off, "dipole", variance=0.02 / totals.relative_error**2)
    assert unlearned(worse, label_errors={"dipole": 1e3}) == ["dipole"]


def test_averages_are_named_where_they_help(slightly_off):
    """A calculator averages no dipoles of other names, and noise has no mean."""

    def remedy(report, name):
        findings = diagnose(report).findings
        return next(f.remedy for f in findings if f.outputs == (name,))

    totals = slightly_off.aggregate()["dipole"].totals
    slight = remedy(slightly_off, "dipole")
    assert "[penalty]" in slight
    assert "average predictions over" in slight
    assert "SymjaxCalculator" not in slight
    noise = scaled(slightly_off, "dipole", variance=0.9 / totals.relative_error**2)
    assert "Averaging over orientations does not help" in remedy(noise, "dipole")
    deviation = slightly_off.aggregate()["energy"].spread.deviation
    half = with_variance(slightly_off, "energy", (0.9 * deviation) ** 2)
    assert "SymjaxCalculator" in remedy(half, "energy")


def test_half_trained_energies_are_compared_with_their_spread(slightly_off):
    assert "energy" not in unlearned(slightly_off)
    spread = slightly_off.aggregate()["energy"].comparison("float32")
    # Two structures, exact to round-off: nothing to judge.
    assert spread.scale == "round-off"
    deviation = slightly_off.aggregate()["energy"].spread.deviation
    half = with_variance(slightly_off, "energy", (0.5 * deviation) ** 2)
    assert unlearned(half)[0] == "energy"
    finding = diagnose(half).findings[0]
    assert finding.effect == pytest.approx(0.5, rel=1e-6)


def with_variance(report, name, variance):
    def change(leaf):
        if leaf.name != name:
            return leaf
        return dataclasses.replace(
            leaf,
            totals=leaf.totals._replace(variance=np.array([variance])),
            spread=leaf.spread._replace(variance=variance),
        )

    parts = tuple(
        dataclasses.replace(part, leaves=tuple(map(change, part.leaves)))
        for part in report.structures
    )
    return dataclasses.replace(report, structures=parts)


def test_bad_errors_on_labels():
    report = toys.report("exact")
    with pytest.raises(ArgumentError, match=r"spin.*is no output.*Use energy"):
        diagnose(report, label_errors={"spin": 1.0})
    with pytest.raises(ArgumentError, match=r"dipole=0\.0.*not a positive error"):
        diagnose(report, label_errors={"dipole": 0.0})
