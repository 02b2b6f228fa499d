"""Files that are not what they should be end in an error of symjax, or are read.

A valid report, run file and model folder, with one value replaced by another of any
kind, a key dropped, or bytes changed or cut off. A few are tried always, 10,000 of each
with ``-m slow``.
"""

import contextlib
import functools
import json

import fake_report
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from symjax.errors import SymjaxError
from symjax.models import load_model
from symjax.models.io import shipped_folder
from symjax.report.storage import dumps, from_json, read_report, to_json
from symjax.training import parse_run, read_run

FEW = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MANY = settings(FEW, max_examples=10_000)

REPORT = dumps(to_json(fake_report.report(layers=1, structures=1, failed=1)))
RUN = json.dumps(
    {
        "steps": 10,
        "seed": 1,
        "augmentation": "O(3)",
        "data": {"training": "a.xyz", "validation_fraction": 0.1},
        "targets": {
            "energy": {"energy_unit": "eV", "forces": "forces"},
            "dipole": {"kind": "vector", "unit": "e*angstrom"},
        },
        "model": {"hyperparameters": {"d_pet": 8, "num_heads": 2}},
        "optimizer": {"learning_rate": 1e-3, "warmup": 5},
        "batch": {"max_structures": 2},
        "monitor": {"every": 5, "max_degree": 2, "grid": 5},
    }
)
MODEL = (shipped_folder("pet-ethanol") / "model.json").read_text()

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.integers(-2, 2)
    | st.sampled_from([10**9, 10**12, 2**31, 2**63, -1, 0])
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=8)
    | st.sampled_from(["", "\u202e", "\n", "\x00", "=1+1", "1+", "²", "x" * 300]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)


def places(value, path=()):
    """Paths to everything in a nested value."""
    out = [path] if path else []
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    else:
        return out
    for key, part in pairs:
        out += places(part, (*path, key))
    return out


@functools.cache
def places_of(text):
    return places(json.loads(text))


@st.composite
def changed(draw, whole):
    """A nested value, given as JSON, with one place dropped or replaced."""
    found = json.loads(whole)
    *way, last = draw(st.sampled_from(places_of(whole)))
    inner = found
    for key in way:
        inner = inner[key]
    if draw(st.booleans()):
        inner[last] = draw(anything)
    else:
        del inner[last]
    return found


@st.composite
def damaged(draw, text):
    """Bytes with some replaced, put in, or cut off."""
    data = bytearray(text.encode())
    start = draw(st.integers(0, len(data)))
    length = draw(st.integers(0, 20))
    data[start : start + length] = draw(st.binary(max_size=20))
    return bytes(
        data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data
    )


def refused_or_read(read, *args):
    with contextlib.suppress(SymjaxError):
        read(*args)


def check_report(value):
    refused_or_read(from_json, value)


def check_run(value):
    refused_or_read(parse_run, value)


def check_model(value, folder):
    (folder / "model.json").write_text(json.dumps(value))
    link = folder / "model.safetensors"
    if not link.exists():
        link.symlink_to(shipped_folder("pet-ethanol") / link.name)
    refused_or_read(load_model, folder)


def check_bytes(data, folder):
    for name, read in (("report.json", read_report), ("run.toml", read_run)):
        (folder / name).write_bytes(data)
        refused_or_read(read, folder / name)


TOML = 'steps = 10\nseed = 1\n[data]\ntraining = "a.xyz"\n[targets.e]\nunit = "eV"\n'


class TestAFew:
    @FEW
    @given(changed(REPORT))
    def test_reports(self, value):
        check_report(value)

    @FEW
    @given(changed(RUN))
    def test_runs(self, value):
        check_run(value)

    @FEW
    @given(changed(MODEL))
    def test_models(self, tmp_path, value):
        check_model(value, tmp_path)

    @FEW
    @given(damaged(REPORT) | damaged(TOML))
    def test_bytes(self, tmp_path, data):
        check_bytes(data, tmp_path)


@pytest.mark.slow
class TestMany:
    @MANY
    @given(changed(REPORT))
    def test_reports(self, value):
        check_report(value)

    @MANY
    @given(changed(RUN))
    def test_runs(self, value):
        check_run(value)

    @MANY
    @given(changed(MODEL))
    def test_models(self, tmp_path, value):
        check_model(value, tmp_path)

    @MANY
    @given(damaged(REPORT) | damaged(TOML))
    def test_bytes(self, tmp_path, data):
        check_bytes(data, tmp_path)
