"""Structures, event files and options of any kind: refused in words, or right.

A structure that the checks let pass has the neighbors that a search over all images
finds, written here by hand; a file is read or named; a command ends with one of its
exit codes, never with that of a bug. A few are tried always, more with ``-m slow``
(``SYMJAX_FUZZ`` says how many; 10,000 by default).
"""

import contextlib
import itertools
import os
import pathlib
import tempfile
import warnings

import ase
import ase.build
import h5py
import numpy as np
import pytest
import typer.main
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner
from water_runs import save_smallest_model

from symjax import cli
from symjax.data import build_graph, check_structure, find_symmetry, read_structures
from symjax.data.conditions import check_conditions
from symjax.data.digests import structure_digest
from symjax.data.point_clouds import SMALL, find_events, generate_events, write_events
from symjax.errors import SymjaxError

FEW = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[*HealthCheck],
)
MANY = settings(FEW, max_examples=int(os.environ.get("SYMJAX_FUZZ", "10000")))
CUTOFF = 3.0

odd_floats = st.sampled_from(
    [0.0, -0.0, 1e-300, 1e-12, 1e-4, 1e3, 1e5, 1e7, 1e300, np.inf, -np.inf, np.nan]
)
coordinates = st.floats(-6, 6) | odd_floats
odd_values = st.sampled_from(
    [0, 1, -1, 3, 2.0, 0.5, True, None, "", "1", "a", [1], np.nan, 10**30, np.int64(2)]
)


@st.composite
def structures(draw):
    """One to five atoms, mostly well-formed, in no, some or all periodic directions."""
    count = draw(st.integers(0, 5))
    plain = draw(st.booleans())
    numbers = st.sampled_from([1, 6, 8, 29] if plain else [0, 1, 8, 118, 119, -1])
    values = st.floats(-6, 6) if plain else coordinates
    atoms = ase.Atoms(
        draw(st.lists(numbers, min_size=count, max_size=count)),
        np.array(
            draw(st.lists(values, min_size=3 * count, max_size=3 * count))
        ).reshape(-1, 3),
    )
    entries = st.floats(-5, 5) if plain else coordinates
    cell = np.array(draw(st.lists(entries, min_size=9, max_size=9))).reshape(3, 3)
    if draw(st.booleans()):
        cell = cell + 5 * np.eye(3)
    atoms.cell[:] = cell
    atoms.pbc = draw(st.lists(st.booleans(), min_size=3, max_size=3))
    for key in draw(
        st.sets(st.sampled_from(["charge", "spin", "spin_multiplicity", "Charge", "x"]))
    ):
        atoms.info[key] = draw(odd_values)
    if count and draw(st.booleans()):
        atoms.set_initial_charges(
            draw(st.lists(coordinates, min_size=count, max_size=count))
        )
    return atoms


def all_neighbors(atoms, reach):
    """Distances of all pairs and images within the cutoff, by brute force."""
    shifts = [range(-reach, reach + 1) if axis else (0,) for axis in atoms.pbc]
    found = []
    for shift in itertools.product(*shifts):
        moved = atoms.positions + np.array(shift) @ atoms.cell[:]
        for i, j in itertools.product(range(len(atoms)), repeat=2):
            if i != j or any(shift):
                found.append(np.linalg.norm(moved[j] - atoms.positions[i]))
    found = np.array(found)
    return np.sort(found[found < CUTOFF])


def images_needed(atoms):
    """Images along each vector that can be within the cutoff."""
    rows = atoms.cell[:][atoms.pbc]
    if not len(rows):
        return 0
    spread = np.ptp(atoms.positions, axis=0)
    smallest = np.linalg.svd(rows)[1].min()
    return int((CUTOFF + np.linalg.norm(spread)) / smallest) + 1


def check_one(atoms):
    digest = structure_digest(atoms)
    assert digest == structure_digest(atoms.copy())
    try:
        check_structure(atoms)
        graph = build_graph(atoms, CUTOFF)
    except SymjaxError:
        return
    with contextlib.suppress(SymjaxError):
        check_conditions(atoms)
    lengths = np.sort(np.asarray(graph.lengths)[np.asarray(graph.edge_mask)])
    reach = images_needed(atoms)
    if (2 * reach + 1) ** int(np.sum(atoms.pbc)) * len(atoms) ** 2 < 200_000:
        expected = all_neighbors(atoms, reach)
        near = np.abs(expected - CUTOFF) < 1e-6
        assert abs(len(lengths) - len(expected)) <= near.sum(), atoms
        if len(lengths) == len(expected):
            scale = np.abs(atoms.positions).max(initial=1.0)
            np.testing.assert_allclose(lengths, expected, atol=1e-9 * scale)
    with contextlib.suppress(SymjaxError):
        found = find_symmetry(atoms)
        assert found.order >= 1
        assert found.residual <= 1e-5


@st.composite
def texts(draw):
    """Extended XYZ of a structure with bytes changed, dropped, or put in."""
    atoms = draw(structures())
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a.xyz"
        try:
            atoms.write(path, format="extxyz")
        except Exception:  # what ASE does not write
            return b"1\n\nH 0 0 0\n"
        data = bytearray(path.read_bytes())
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        stop = start + draw(st.integers(0, 12))
        words = st.sampled_from(
            [
                b"",
                b"Lattice=",
                b'pbc="T F T"',
                b"Properties=species:S:1:pos:R:3",
                b"nan",
                b"99999999",
                b"\n",
                b"D",
                b"\xff",
                b'"',
                b"=",
                b"1e400",
                b"O1",
            ]
        )
        data[start:stop] = draw(words | st.binary(max_size=6))
    return bytes(data)


def check_text(data, folder):
    path = folder / "fuzz.xyz"
    path.write_bytes(data)
    try:
        found = read_structures(path)
    except SymjaxError:
        return
    for atoms in found:
        with contextlib.suppress(SymjaxError):
            check_structure(atoms)


EVENTS = generate_events(2, settings=SMALL)


@st.composite
def event_changes(draw):
    """What is done to a good file: to one of its data sets, or to its bytes."""
    return (
        draw(st.sampled_from(["point", "cluster"])),
        draw(
            st.sampled_from(
                ["drop", "cut", "add", "value", "integer", "shape", "group", "bytes"]
            )
        ),
        draw(st.integers(0, 10**6)),
        draw(odd_floats | st.floats(-10, 1000)),
    )


def check_events(change, folder):
    name, what, where, value = change
    path = folder / "fuzz.h5"
    path.unlink(missing_ok=True)
    write_events(path, EVENTS)
    if what == "bytes":
        data = bytearray(path.read_bytes())
        data[where % len(data)] = int(abs(value)) % 256 if np.isfinite(value) else 7
        path.write_bytes(data if where % 3 else data[: where % len(data)])
    else:
        with h5py.File(path, "r+") as file:
            rows = [np.array(row) for row in file[name]]
            del file[name]
            row = rows[where % len(rows)]
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if what == "cut":
                    rows[where % len(rows)] = row[: where % (len(row) + 1)]
                elif what == "add":
                    rows[where % len(rows)] = np.append(row, value).astype(row.dtype)
                elif what == "value":
                    row[where % len(row)] = np.array(value).astype(row.dtype)
            dtype = np.float64 if what == "integer" else rows[0].dtype
            if what == "group":
                file.create_group(name)
            elif what == "shape":
                file[name] = np.zeros((2, 3))
            elif what != "drop":
                made = file.create_dataset(name, (len(rows),), h5py.vlen_dtype(dtype))
                for number, one in enumerate(rows):
                    made[number] = one
    try:
        found = find_events(path)
    except SymjaxError:
        return
    for label in found.events:
        with contextlib.suppress(SymjaxError):
            cloud = found.events[label]
            mask = np.asarray(cloud.mask)
            assert mask.any()
            assert np.isfinite(np.asarray(cloud.positions)[mask]).all()
            assert np.isfinite(np.asarray(cloud.energies)[mask]).all()


MODEL = """
import numpy as np
from symjax.metrics import HostFunction, Output, Problem
from symjax.so3 import SCALAR, VECTOR

def problem(atoms):
    def function(x):
        r = x - x.mean(axis=0)
        return {"energy": np.sum(r**2) + 0.1 * r[0, 2], "forces": -2 * r}

    outputs = {"energy": Output(SCALAR, "eV"), "forces": Output(VECTOR, "eV/angstrom")}
    return Problem(HostFunction(function), atoms.positions, outputs)
"""
# What takes long, starts processes, or writes elsewhere when its value is good.
LEFT_OUT = {"help", "debug", "output", "json", "compile_cache"}
BAD_ONLY = {"jobs", "devices", "scheduler", "num_processes", "process_id"}
WORDS = (
    *("", "0", "-1", "1", "2", "3", "1e3", "nan", "inf", "²", "1000000000000000000000"),
    *("x" * 300, "a\nb", "\u202e", "=1+1", "energy=1 meV", "energy=1", "energy=-1 eV"),
    *(
        "energy=1 kcal/mol",
        "forces=0.1 eV/angstrom",
        "dipole=1+",
        "all",
        "none",
        "auto",
    ),
    *("(", "(a+)+", ".*", "energy", "forces", "0:1", "::0", "-1:", "1%", "200%", "C1"),
    *("D2", "fibonacci 8", "Oh", "{}", "[", '{"a": 1}', "float64", "png", "label"),
    *(
        "H2O",
        "missing.xyz",
        "model",
        "w.xyz",
        ".",
        "mine.py:problem",
        "mine.py:x",
    ),
    *("ase.calculators.emt:EMT", "os:getcwd", "data", "polarmae-events", "report"),
)
BAD_WORDS = ("", "0", "-1", "nan", "²", "x", "1000000000000000000000")


@st.composite
def command_lines(draw):
    """A command with a target, and some of its options with values of any kind."""
    name = draw(
        st.sampled_from(["report", "averages", "diagnose", "html", "models", "export"])
    )
    command = typer.main.get_command(cli.app).commands[name]
    words = [name]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            words.append(
                draw(st.sampled_from(["H2O", "w.xyz"]) | st.sampled_from(WORDS))
            )
    options = [p for p in command.params if p.param_type_name == "option"]
    options = [p for p in options if p.name not in LEFT_OUT]
    for parameter in (
        draw(st.lists(st.sampled_from(options), max_size=4)) if options else ()
    ):
        flag = draw(st.sampled_from([*parameter.opts, *parameter.secondary_opts]))
        words.append(flag)
        if not parameter.is_flag:
            pool = BAD_WORDS if parameter.name in BAD_ONLY else WORDS
            words.append(draw(st.sampled_from(pool)))
    return words


def check_command(words, folder):
    """In a folder of its own, with a model that costs nothing unless one is named."""
    for path in folder.iterdir():
        if path.is_file() and path.name not in ("mine.py", "w.xyz"):
            path.unlink()
    if words[0] in ("report", "averages") and "--model" not in words:
        words = [*words, "--model", "mine.py:problem"]
    if words[0] == "report":
        words = [*words, "--max-degree", "1", "-o", "out", "--overwrite"]
        words += ["--no-figures"] if "--survey" not in words else []
    if words[0] == "averages":
        words = [*words, "--max-degree", "1"]
    if words[0] == "export":
        words = [*words, "-o", "exported", "--overwrite"]
    result = CliRunner().invoke(cli.app, words)
    allowed = {cli.OK, cli.BAD_INPUT, cli.UNRESOLVED, cli.FAILED, 5}
    assert result.exit_code in allowed, (words, result.output[-500:], result.exception)
    assert "Traceback" not in result.output, words
    if result.exit_code == cli.BAD_INPUT:
        assert "rror" in result.output or "Usage" in result.output, words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "mine.py").write_text(MODEL)
    ase.build.molecule("H2O").write(folder / "w.xyz", format="extxyz")
    save_smallest_model(folder / "model")
    return folder


@pytest.fixture
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


class TestAFew:
    @FEW
    @given(structures())
    def test_structures(self, atoms):
        check_one(atoms)

    @FEW
    @given(texts())
    def test_structure_files(self, folder, data):
        check_text(data, folder)

    @FEW
    @given(event_changes())
    def test_event_files(self, folder, change):
        check_events(change, folder)

    @settings(FEW, max_examples=10)
    @given(command_lines())
    def test_commands(self, inside, words):
        check_command(words, inside)


@pytest.mark.slow
class TestMany:
    @MANY
    @given(structures())
    def test_structures(self, atoms):
        check_one(atoms)

    @MANY
    @given(texts())
    def test_structure_files(self, folder, data):
        check_text(data, folder)

    @MANY
    @given(event_changes())
    def test_event_files(self, folder, change):
        check_events(change, folder)

    @MANY
    @given(command_lines())
    def test_commands(self, inside, words):
        check_command(words, inside)
