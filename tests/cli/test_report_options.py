"""Options of ``symjax report``, where one of them decides what another may be."""

import dataclasses
import types

import ase.build
import pytest

from symjax.cli.report_options import EventOptions, Resolution, SurveyOptions
from symjax.errors import ArgumentError


@dataclasses.dataclass(frozen=True)
class Config:
    energy_threshold: float = 0.13
    low_energy: str = "label"


@dataclasses.dataclass(frozen=True)
class Network:
    name: str = "net"
    config: Config = Config()


def context(*typed):
    """Of a command in which some options were typed."""
    source = types.SimpleNamespace

    def where(name):
        return source(name="COMMANDLINE" if name in typed else "DEFAULT")

    return types.SimpleNamespace(get_parameter_source=where)


@pytest.mark.parametrize(
    ("grid", "found"), [(None, None), ("13", 13), ("-5", -5), ("auto", "auto")]
)
def test_a_grid_is_a_degree_or_chosen(grid, found):
    assert Resolution(grid=grid).degree(context()) == found


def test_other_grids_are_refused():
    with pytest.raises(ArgumentError, match=r"--grid='x'.*Pass --grid 13"):
        Resolution(grid="x").degree(context())


def test_points_are_read_by_other_rules():
    options = EventOptions(energy_threshold=0.0, low_energy="first-cluster")
    found = options.apply(Network(), events=True)
    assert found.config == Config(0.0, "first cluster")
    assert EventOptions().apply("anything", events=False) == "anything"


@pytest.mark.parametrize(
    ("model", "events", "match"),
    [
        (Network(), False, "--energy-threshold=0.5: is for events"),
        (types.SimpleNamespace(name="other"), True, "other reads all points"),
    ],
)
def test_rules_for_what_has_none_are_refused(model, events, match):
    with pytest.raises(ArgumentError, match=match):
        EventOptions(energy_threshold=0.5).apply(model, events)


def test_strata_are_formulas_or_sizes():
    waters = {"a": ase.build.molecule("H2O"), "b": ase.build.molecule("CO2")}
    for kind, wanted in (("size", {3}), ("formula", {"H2O", "CO2"})):
        assert set(SurveyOptions(strata=kind).groups(waters).strata.values()) == wanted
    assert SurveyOptions().groups(waters) is None
