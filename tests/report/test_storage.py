"""Round trips of the report file, and refusal of everything that is no report."""

import copy
import dataclasses
import json
import os

import fake_report
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symjax import _files
from symjax.metrics import Certificate
from symjax.report import read_results, schema, storage
from symjax.report.leaves import ReportError
from symjax.report.storage import from_json, read_report, to_json

VALID = to_json(fake_report.report(failed=1))


@given(
    st.integers(0, 10**6),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(0, 4),
)
def test_round_trip(seed, layers, structures, failed, max_degree):
    value = to_json(
        fake_report.report(seed, layers, structures, failed, max_degree=max_degree)
    )
    # JSON writes the shortest decimals that read back as the same float64.
    assert to_json(from_json(json.loads(storage.dumps(value)))) == value


@pytest.mark.parametrize("uncertainty", [2e-4, np.inf])
def test_certificates_and_chosen_grids_round_trip(uncertainty):
    report = fake_report.report(structures=1)
    certificate = Certificate(
        *(False, 5, 2, uncertainty, uncertainty, 1e-3, "few", 7),
        excluded=0.005,
        confidence=0.95,
        noise=1e-7,
    )
    leaves = tuple(
        dataclasses.replace(leaf, certificate=certificate)
        for leaf in report.structures[0].leaves
    )
    structure = dataclasses.replace(report.structures[0], leaves=leaves, grid="own")
    settings = dataclasses.replace(
        report.settings, seed=7, adaptive=schema.Climb(1e-3, 1e-2, 59, 32)
    )
    report = dataclasses.replace(report, settings=settings, structures=(structure,))
    read = from_json(json.loads(storage.dumps(to_json(report))))
    assert read.settings == settings
    assert read.structures[0].grid == "own"
    for leaf, before in zip(read.structures[0].leaves, leaves, strict=True):
        assert leaf.certificate == certificate
        (point,), (expected,) = leaf.coarser, before.coarser
        assert point[:2] == expected[:2]
        for left, right in zip(point.totals, expected.totals, strict=True):
            np.testing.assert_array_equal(left, right)


def test_every_field_that_is_written_has_to_be_there():
    """A default would stand for what a damaged file has lost."""
    derived = {("summary",), ("averages",), ("labels",), ("events",)}

    def keys(value, path=()):
        if isinstance(value, dict):
            for name, inner in value.items():
                # names of elements and outputs are no fields
                if path[-1:] not in (("species",), ("particles",), ("errors",)):
                    yield (*path, name)
                yield from keys(inner, (*path, name))
        elif isinstance(value, list) and value:
            yield from keys(value[-1], (*path, len(value) - 1))

    whole = to_json(fake_report.report())
    required = [path for path in keys(whole) if path[:1] not in derived]
    assert len(required) > 40
    for path in required:
        with pytest.raises(ReportError, match=str(path[-1])):
            from_json(_set(whole, path, KeyError))


def test_file_round_trip(tmp_path):
    report = fake_report.report()
    storage.write_report(report, tmp_path / "report.json")
    assert to_json(read_report(tmp_path / "report.json")) == to_json(report)
    # the folder stands for the file
    assert to_json(read_report(tmp_path)) == to_json(report)


def _set(value, path, new):
    value = copy.deepcopy(value)
    *parents, last = path
    target = value
    for key in parents:
        target = target[key]
    if new is KeyError:
        del target[last]
    else:
        target[last] = new
    return value


LEAF = ("structures", 0, "leaves", 2)


ATOMS = ("structures", 0, "atoms")


DAMAGED = {
    "version": (("schema",), "symjax-report/2", "schema"),
    "foreign": (("schema",), "other", "schema"),
    "no schema": (("schema",), KeyError, "schema"),
    "no settings": (("settings",), KeyError, "settings"),
    "unknown": (("notes",), "mine", "notes='mine': is an unknown key"),
    "no digest": (("model", "digest"), KeyError, "digest"),
    "degree is text": (("settings", "max_degree"), "6", "settings.max_degree"),
    "degree is bool": (("settings", "max_degree"), True, "settings.max_degree"),
    "degree negative": (("settings", "max_degree"), -1, "settings.max_degree"),
    "degree changed": (("settings", "max_degree"), 3, "power"),
    "dtype": (("settings", "dtype"), "float16", "settings.dtype"),
    "structures no list": (("structures",), {}, "structures"),
    "structure no object": (("structures", 1), 3, r"structures\[1\]"),
    "label twice": (("structures", 1, "label"), "water:0", "water:0"),
    "kind": ((*LEAF, "kind"), "bond", "kind"),
    "irrep": ((*LEAF, "irreps"), ["0+", "1x", "2+"], "irreps"),
    "irreps empty": ((*LEAF, "irreps"), [], "irreps"),
    "irreps too few": ((*LEAF, "irreps"), ["0+"], "totals"),
    "channels": ((*LEAF, "channels"), 0, "channels"),
    "ragged": ((*LEAF, "totals", "power"), [[1.0], [1.0, 2.0]], "totals.power"),
    "negative norm": ((*LEAF, "totals", "norm"), [1.0, -1.0, 1.0], "totals.norm"),
    "NaN": ((*LEAF, "totals", "norm"), [1.0, float("nan"), 1.0], "totals.norm"),
    "text in array": ((*LEAF, "totals", "norm"), ["a", 1, 1], "totals.norm"),
    "species": ((*LEAF, "species"), {"H": {}}, "variance"),
    "resolved is number": ((*LEAF, "convergence", "resolved"), 1, "resolved"),
    "excess infinite": ((*LEAF, "convergence", "excess"), float("inf"), "excess"),
    "command": (("command",), 3, "command"),
    "seed": (("settings", "seed"), "1", "settings.seed"),
    "adaptive": (("settings", "adaptive"), {"limit": 59}, "content_tolerance"),
    "grid": (("structures", 0, "grid"), 13, "grid"),
    "coarser": ((*LEAF, "coarser"), {}, "coarser"),
    "coarser degree": ((*LEAF, "coarser", 0, "degree"), -1, "degree"),
    "coarser power": ((*LEAF, "coarser", 0, "totals", "power"), [], "power"),
    "coarser irreps": ((*LEAF, "coarser", 0, "totals", "norm"), [1.0], "norm"),
    "certificate": ((*LEAF, "certificate"), {"certified": 1}, "certified"),
    "atoms": (("structures", 0, "atoms"), [], "atoms"),
    "no positions": ((*ATOMS, "positions"), KeyError, "positions"),
    "too few positions": ((*ATOMS, "positions"), [[0, 0, 0]], "positions"),
    "position NaN": ((*ATOMS, "positions", 1, 1), float("nan"), "positions"),
    "atomic number": ((*ATOMS, "numbers"), [8, 1, 200], "numbers"),
    "cell": ((*ATOMS, "cell"), [0, 0, 0], "cell"),
    "negative error": ((*ATOMS, "errors", "forces", 0), -1.0, "errors.forces"),
    "timing": (("structures", 0, "timing"), {"compile_seconds": -1}, "compile"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_field_is_named(name, tmp_path):
    path, new, match = DAMAGED[name]
    file = tmp_path / "report.json"
    file.write_text(json.dumps(_set(VALID, path, new)))
    with pytest.raises(ReportError, match=match) as error:
        read_report(file)
    assert str(file) in str(error.value)


@given(st.integers(0, 10**6))
def test_truncated_file_is_refused(tmp_path_factory, position):
    text = storage.dumps(VALID)
    file = tmp_path_factory.mktemp("cut") / "report.json"
    file.write_text(text[: position % len(text)])
    with pytest.raises(ReportError, match="truncated or not JSON") as error:
        read_report(file)
    assert "report.json" in str(error.value)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', "{}", "[[[["])
def test_other_json_is_refused(text, tmp_path):
    file = tmp_path / "report.json"
    file.write_text(text)
    with pytest.raises(ReportError, match=r"report\.json"):
        read_report(file)


def test_binary_and_missing_files_are_refused(tmp_path):
    file = tmp_path / "report.json"
    with pytest.raises(ReportError, match="cannot be read"):
        read_report(file)
    file.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ReportError, match="cannot be read"):
        read_report(file)


def test_write_is_atomic(tmp_path, monkeypatch):
    file = tmp_path / "report.json"
    storage.write_report(fake_report.report(0), file)
    before = file.read_bytes()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files.os, "replace", fail)
    with pytest.raises(ReportError, match=r"no space is left: it needs [0-9,]* bytes"):
        storage.write_report(fake_report.report(1), file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_interrupted_write_leaves_no_trace(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write_report(fake_report.report(), tmp_path / "report.json")
    assert not list(tmp_path.iterdir())


def test_numbers_that_json_lacks_are_never_written(tmp_path):
    report = fake_report.report(structures=1, layers=0)
    totals = report.structures[0].leaves[0].totals
    totals.norm[0] = np.nan
    with pytest.raises(ValueError, match="JSON compliant"):
        storage.write_report(report, tmp_path / "report.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("read", [storage.read_report, read_results])
@pytest.mark.parametrize("name", ["report.json", "results.h5"])
def test_a_pipe_in_place_of_a_file_does_not_block(read, name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ReportError, match="it is a pipe"):
        read(tmp_path / name)
