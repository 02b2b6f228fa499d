"""Options of several commands: pairs, limits, labels, models, files of numbers."""

import json

import pytest

from symjax.cli.options import (
    JsonFile,
    LabelOptions,
    ModelOptions,
    assignments,
    limits_of,
)
from symjax.errors import ArgumentError


def test_pairs_are_split_at_the_first_sign():
    given = ["energy=dft", "dipole=a=b"]
    found = assignments("--label", given, "x=y", "NAME=FIELD")
    assert found == {"energy": "dft", "dipole": "a=b"}
    assert assignments("--label", None, "x=y", "NAME=FIELD") == {}


@pytest.mark.parametrize("text", ["energy", "=dft", "energy="])
def test_what_is_no_pair_is_refused(text):
    match = r"--label=.*is not of the form NAME=FIELD.*Pass for instance x=y"
    with pytest.raises(ArgumentError, match=match):
        assignments("--label", [text], "x=y", "NAME=FIELD")


def test_limits_are_named_by_their_option():
    (limit,) = limits_of("--reach", ["energy=0.1 meV"])
    assert (limit.name, limit.within("eV")) == ("energy", pytest.approx(1e-4))
    with pytest.raises(ArgumentError, match="--reach"):
        limits_of("--reach", ["energy"])


def test_units_of_labels_are_named_by_their_options():
    fields = LabelOptions(label=["energy=dft"], label_energy_unit="kcal/mol").fields()
    assert fields.fields == {"energy": "dft"}
    with pytest.raises(ArgumentError, match="--label-energy-unit='cal'"):
        LabelOptions(label_energy_unit="cal").fields()
    with pytest.raises(ArgumentError, match="--label-length-unit='mile'"):
        LabelOptions(label_length_unit="mile").fields()


@pytest.mark.parametrize(
    ("options", "events", "match"),
    [
        ({"model": "a", "calculator": "b:C"}, False, "takes the place of --model"),
        ({"calculator_options": '{"a": 1}'}, False, "no effect without --calculator"),
        ({"calculator": "b:C"}, True, "is for structures"),
    ],
)
def test_models_and_calculators_that_exclude_each_other(options, events, match):
    with pytest.raises(ArgumentError, match=match):
        ModelOptions(**options).check(events)


def test_numbers_are_written_only_where_they_are_asked_for(tmp_path, capsys):
    JsonFile().write({"a": 1.5})
    path = tmp_path / "out.json"
    JsonFile(json=path).write({"a": 1.5})
    assert json.loads(path.read_text()) == {"a": 1.5}
    assert f"Wrote {path}" in capsys.readouterr().err
    with pytest.raises(ArgumentError, match="--json="):
        JsonFile(json=path).check()
    JsonFile(json=path, overwrite=True).check()
