"""What a run will cost: items of one size share a program that is timed once."""

import dataclasses

import ase.build
import pytest
from fake_model import molecules

from symjax.errors import ArgumentError, StructureError
from symjax.runs import (
    Options,
    estimate_items,
)

OPTIONS = Options(max_degree=1, dtype="float64")


def test_items_of_one_size_are_counted_together(model):
    items = {"a": ase.build.molecule("H2O"), **molecules("SiH4", "H2O", "C2H6")}
    (bad, error), (first, two), (last, one) = estimate_items(model, items, OPTIONS)
    assert (bad, type(error), first, last) == ("SiH4", StructureError, "a", "C2H6")
    assert (two.number, one.number) == (2, 1)
    assert two.cost.num_elements == 2 * one.cost.num_elements == 96
    assert two.cost.seconds > 0


def test_a_grid_that_is_not_known_yet_is_refused(model):
    with pytest.raises(ArgumentError, match=r"estimate needs.*Use grid=3"):
        next(
            estimate_items(
                model, molecules("H2O"), dataclasses.replace(OPTIONS, grid="auto")
            )
        )


def test_few_of_many_events_are_read(unsized):
    """Of anything whose size is only known after reading."""
    event = ase.build.molecule("H2O")
    read = []

    class Many(dict):
        def __getitem__(self, label):
            read.append(label)
            return event

    labels = Many.fromkeys(f"e{n}" for n in range(5000))
    ((_, cost),) = estimate_items(unsized, labels, OPTIONS)
    assert cost.number == 5000
    assert len(read) == 32
