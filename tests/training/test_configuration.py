"""Configurations: what is wrong is named by its key."""

import os

import pytest

from symjax.errors import ArgumentError, ModelError, SymjaxError
from symjax.training import parse_run, read_run

GOOD = {
    "steps": 10,
    "data": {"training": "frames.xyz"},
    "targets": {"energy": {"energy_unit": "eV", "forces": "forces"}},
}


def changed(path, value):
    data = {key: dict(v) if isinstance(v, dict) else v for key, v in GOOD.items()}
    *sections, key = path.split(".")
    inner = data
    for section in sections:
        inner[section] = dict(inner.get(section, {}))
        inner = inner[section]
    inner[key] = value
    return data


def test_defaults_and_derived_values():
    run = parse_run(GOOD)
    assert run.augmentation == "O(3)"
    assert run.targets["energy"].target("energy").unit == "eV"
    assert hash(run) == hash(parse_run(GOOD))


def test_toml_and_yaml_say_the_same(tmp_path):
    toml, yaml = tmp_path / "run.toml", tmp_path / "run.yaml"
    toml.write_text(
        'steps = 10\n[data]\ntraining = "frames.xyz"\n'
        '[targets.energy]\nenergy_unit = "eV"\nforces = "forces"\n'
    )
    yaml.write_text(
        "steps: 10\ndata: {training: frames.xyz}\n"
        "targets: {energy: {energy_unit: eV, forces: forces}}\n"
    )
    assert read_run(toml) == read_run(yaml) == parse_run(GOOD)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("steps", 0, "steps"),
        ("steps", "ten", "steps"),
        ("stesp", 3, "stesp"),
        ("augmentation", "O3", "augmentation"),
        ("optimizer.learning_rate", -1.0, "optimizer.learning_rate"),
        ("optimizer.average", 1.0, "optimizer.average"),
        ("optimizer.learnig_rate", 1.0, "optimizer.learnig_rate"),
        ("batch.max_atoms", 0, "batch.max_atoms"),
        ("targets", {}, "targets"),
        ("targets.energy.weight", -1, "targets.energy.weight"),
        ("targets.energy.loss", "l2", "targets.energy.loss"),
        ("targets.dipole", {"forces": "forces"}, "targets.dipole"),
        ("targets.energy.energy_unit", "bohr", "targets.energy"),
        ("targets.energy", {}, "run"),
        ("targets", {"energy": {"energy_unit": "eV", "weight": 0.0}}, "run"),
        ("targets.dipole", {"length_unit": "bohr"}, "targets.dipole"),
        ("targets.dipole", {"stress_weight": 2.0}, "targets.dipole"),
        (
            "targets.dipole",
            {"per_atom": True, "divide_by_atoms": True},
            "targets.dipole",
        ),
        ("targets.dipole", {"kind": "2+", "blocks": [{"key": "a"}]}, "targets.dipole"),
        ("data", {"training": "a.xyz", "zip_targets": ["mtt::u"]}, "data"),
        (
            "data",
            {"training": "a.xyz", "validation": "b.xyz", "validation_fraction": 0.2},
            "data",
        ),
        ("monitor.grid", 3, "monitor"),
        ("data.validation_fraction", 1.0, "data.validation_fraction"),
        ("kind", "molecules", "kind"),
    ],
)
def test_wrong_keys_are_named(path, value, named):
    with pytest.raises(ArgumentError) as caught:
        parse_run(changed(path, value))
    assert caught.value.argument == named


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"batch": {"max_atoms": 8}}, "batch.max_atoms is for atoms"),
        ({"data": {"training": "a.h5"}}, "data.validation is missing"),
    ],
)
def test_what_events_have_no_use_for_is_refused(changes, match):
    with pytest.raises(ArgumentError, match=match):
        parse_run({"kind": "events", "steps": 1, **changes})


def test_hyperparameters_and_targets_are_checked_before_data_are_read():
    with pytest.raises(ModelError, match="num_heads=3"):
        parse_run(changed("model.hyperparameters", {"num_heads": 3}))
    with pytest.raises(ModelError, match="width=3: is an unknown key"):
        parse_run(changed("model.hyperparameters", {"width": 3}))
    with pytest.raises(ModelError, match="kind='7q'"):
        parse_run(changed("targets.other", {"kind": "7q"}))
    both = {"initial": "pet-ethanol", "hyperparameters": {"d_pet": 8}}
    with pytest.raises(ArgumentError, match="of the initial model"):
        parse_run(changed("model", both))


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("run.toml", "steps = = 1", "not well-formed"),
        ("run.yaml", "a: [1", "not well-formed"),
        ("run.json", "{}", "unknown extension"),
        ("run.yaml", "- 1", "no table"),
        ("run.toml", "steps = 1979-05-27", "a value of no use"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, name, text, problem):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SymjaxError, match=problem):
        read_run(path)
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_run(tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("seed = 123456789012\nsteps = 5", "seed"),
        ("steps = 123456789012", "steps"),
        ("steps = 5\nbatch.devices = 1000000000", "batch.devices"),
        ("steps = 5\nbatch.accumulate = 123456789012", "batch.accumulate"),
        ("steps = " + 5000 * "9", "path"),
        ("steps = " + 20_000 * "[", "path"),
    ],
)
def test_numbers_that_no_run_has(tmp_path, text, named):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ArgumentError) as caught:
        read_run(path)
    assert caught.value.argument == named


def test_files_that_never_end_or_unfold(tmp_path):
    os.mkfifo(tmp_path / "run.toml")
    (tmp_path / "run.yaml").write_text("a: &a [1, 2]\nb: [*a, *a]\n")
    for name, problem in (("run.toml", "it is a pipe"), ("run.yaml", "references")):
        with pytest.raises(ArgumentError, match=problem):
            read_run(tmp_path / name)
