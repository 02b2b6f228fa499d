"""Surveys into a folder: resumed to the same bits, and what they write."""

import contextlib
import csv
import dataclasses
import gzip
import json
import resource

import ase
import ase.build
import chemiscope
import numpy as np
import pytest
from interrupted import interrupted_by_jax
from pydantic import TypeAdapter
from small_models import drawn_pet

from symjax.errors import ArgumentError, SymjaxError
from symjax.interop.foreign_sources import CalculatorSource
from symjax.metrics import Grid, Groups, Survey, measure
from symjax.metrics.pooling import Sums
from symjax.models.pet import orbit_problem
from symjax.models.pet.packing import Packing
from symjax.report import ReportError
from symjax.report.chemiscope import write_chemiscope
from symjax.report.storage import dumps, plain
from symjax.report.survey_schema import SurveyFile
from symjax.runs import Destination, Options, survey_structures
from symjax.runs import survey_run as surveys

OPTIONS = Options(max_degree=1)


@pytest.fixture(scope="module")
def model():
    return drawn_pet((1, 6, 8))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Packs of few structures and one size, so that one program measures all tests.

    There are many of them, so that there is something to interrupt.
    """
    monkeypatch.setattr(Packing, "capacity", lambda self, width: 12)
    monkeypatch.setattr(surveys, "STRUCTURES_PER_BLOCK", 8)


def molecules(num):
    random = np.random.default_rng(0)
    found = {}
    for number in range(num):
        atoms = ase.build.molecule(("H2O", "CH4")[number % 2])
        atoms.positions += 0.05 * random.normal(size=(len(atoms), 3))
        found[f"molecule {number}"] = atoms
    return found


class StopError(Exception):
    """As a killed process."""


def stop_at(visited):
    def watch(step):
        if step.visited >= visited:
            raise StopError

    return watch


def test_killed_twice_and_resumed_to_the_same_bits(model, tmp_path):
    structures = molecules(30)
    structures["unknown"] = ase.Atoms("U")
    over = Survey(8, until=0.001, minimum=10, rounds=2)
    whole = survey_structures(model, structures, over, tmp_path / "a", options=OPTIONS)
    assert whole.failed.keys() == {"unknown"}
    journal = tmp_path / "b" / "survey.jsonl"
    for visited in (6, 18):
        with pytest.raises(StopError):
            survey_structures(
                *(
                    model,
                    structures,
                    over,
                    Destination(tmp_path / "b", resume=journal.exists()),
                ),
                options=OPTIONS,
                watch=stop_at(visited),
            )
        # Killed while it was writing: half a line.
        with journal.open("ab") as file:
            file.write(b'{"round": 0, "items": [{"lab')
    before = journal.read_text().count("\n")
    survey_structures(
        model,
        structures,
        over,
        Destination(tmp_path / "b", resume=True),
        options=OPTIONS,
    )
    assert 1 < before < journal.read_text().count("\n")
    for name in ("survey.json", "survey.csv", "survey.html"):
        same = (tmp_path / "a" / name).read_text()
        assert (tmp_path / "b" / name).read_text() == same, name


@contextlib.contextmanager
def no_file_larger_than(size):
    """As a disk that is nearly full (tests/test_full_disk.py)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_resumed_after_a_full_disk(model, tmp_path):
    given = model, molecules(30), Survey(8)
    survey_structures(*given, tmp_path / "a", options=OPTIONS)
    size = (tmp_path / "a" / "survey.jsonl").stat().st_size
    with (
        no_file_larger_than(size // 2),
        pytest.raises(ReportError, match="no space is left: it needs") as caught,
    ):
        survey_structures(*given, tmp_path / "b", options=OPTIONS)
    assert caught.value.value == str(tmp_path / "b" / "survey.jsonl")
    survey_structures(*given, Destination(tmp_path / "b", resume=True), options=OPTIONS)
    for name in ("survey.json", "survey.csv", "survey.html"):
        same = (tmp_path / "a" / name).read_text()
        assert (tmp_path / "b" / name).read_text() == same, name


def test_a_survey_with_strata_says_so_and_is_resumed_with_the_same(model, tmp_path):
    structures = molecules(12)
    kinds = {label: len(atoms) for label, atoms in structures.items()}
    over = Survey(8, until=0.9, minimum=8, of="population")

    def run(into, strata):
        return survey_structures(
            model, structures, over, into, options=OPTIONS, groups=Groups(strata)
        )

    report = run(tmp_path, kinds)
    assert report.pool.strata.totals.tolist() == [6, 6]
    assert (
        "in proportion to the sizes of 2 strata"
        in (tmp_path / "survey.txt").read_text()
    )
    with pytest.raises(SymjaxError, match=r"strata=None: differs"):
        run(Destination(tmp_path, resume=True), None)


def test_what_is_written(model, tmp_path):
    structures = molecules(26)
    structures["=1\n<b>&\u202e"] = structures.pop("molecule 3")
    report = survey_structures(
        model,
        structures,
        Survey(8),
        Destination(tmp_path, command="symjax <x>"),
        options=OPTIONS,
    )
    text = (tmp_path / "survey.json").read_text()
    read = TypeAdapter(SurveyFile).validate_json(text)
    assert dumps(plain(read)) + "\n" == text
    written = json.loads(text)
    forces = written["outputs"][1]
    assert forces["name"] == "forces"
    assert written["outputs"][0]["relative"] is None
    assert forces["A"]["data"]["low"] < forces["A"]["data"]["value"]
    for parts, counts in (
        ("by_element", {"H": 26, "C": 13, "O": 13}),
        ("by_size", {"3": 13, "5": 13}),
        ("by_formula", {"H2O": 13, "CH4": 13}),
    ):
        found = {part["name"]: part["structures"] for part in forces[parts]}
        assert found == counts
    # A of all is that of the parts together.
    rows = list(csv.reader((tmp_path / "survey.csv").open()))
    assert rows[0][:4] == ["structure", "formula", "atoms", "A of energy (eV)"]
    energies = np.array([float(row[3]) for row in rows[1:]])
    mean = (np.sign(energies) * energies**2).mean()
    assert np.sqrt(mean) == pytest.approx(written["outputs"][0]["A"]["data"]["value"])
    # Fresh elements: other values, and none of them in the sums.
    assert report.fresh is not None
    assert len(report.fresh.labels) == 20
    listed = written["worst"]["structures"]
    assert len(listed) == 10
    assert all(each["first"] != each["again"] for each in listed)
    page = (tmp_path / "survey.html").read_text()
    assert "=1\\n&lt;b&gt;&amp;\\u202e" in page
    assert "<b>&" not in page
    assert "'=1\\n<b>&\\u202e" in [row[0] for row in rows]
    assert "\u202e" not in page + (tmp_path / "survey.txt").read_text()
    assert page.count("<svg") >= 5 + 10
    assert "symjax &lt;x&gt;" in page


def test_one_structure_does_not_tell_how_well_a_population_is_known(model, tmp_path):
    """What is infinite is null in the file, which the tables read."""
    over = Survey(8, until=0.01, of="population")
    survey_structures(model, molecules(1), over, tmp_path, options=OPTIONS)
    text = (tmp_path / "survey.json").read_text()
    read = TypeAdapter(SurveyFile).validate_json(text)
    assert json.loads(text)["outputs"][0]["A"]["population"]["high"] is None
    assert read.outputs[0].A.population.high == np.inf
    shown = " ".join((tmp_path / "survey.txt").read_text().split())
    assert "too few structures to say" in shown


def test_a_file_for_chemiscope_has_every_structure_and_atom(model, tmp_path):
    """The package checks what it writes; values are those of the columns."""
    structures = molecules(6)
    model = dataclasses.replace(model, name="<b>")
    structures["in a\ncell"] = ase.build.molecule("H2O", vacuum=4.0)
    report = survey_structures(model, structures, Survey(8), tmp_path, options=OPTIONS)
    path = tmp_path / "survey.chemiscope.json.gz"
    write_chemiscope(report, path)
    data = json.loads(gzip.decompress(path.read_bytes()))
    sizes = [one["size"] for one in data["structures"]]
    assert sizes == report.pool.sizes.tolist()
    own = data["properties"]["A of forces"]
    assert own["target"] == "structure"
    assert own["units"] == "eV/angstrom"
    rows = list(csv.DictReader((tmp_path / "survey.csv").open()))
    column = [float(row["A of forces (eV/angstrom)"]) for row in rows]
    assert own["values"] == pytest.approx(column)
    # A^2 of a structure is the mean of those of its atoms.
    atoms = np.array(data["properties"]["A of forces, atom"]["values"])
    squares = np.split(np.sign(atoms) * atoms**2, np.cumsum(sizes)[:-1])
    means = [float(part.mean()) for part in squares]
    assert means == pytest.approx([a * abs(a) for a in column], rel=1e-6, abs=1e-15)
    assert data["meta"]["name"] == "Survey of &lt;b&gt;"
    names = data["properties"]["structure"]["values"]
    place = names.index("in a\\ncell")
    assert names == [row["structure"] for row in rows]
    cell = structures["in a\ncell"].cell.array
    assert data["structures"][place]["cell"] == pytest.approx(cell.ravel())
    assert len(data["environments"]) == sum(sizes)


def test_chemiscope_hides_what_a_structure_does_not_have(model, tmp_path):
    """All but one without forces of their atoms; the package reads what it wrote."""
    structures = molecules(6)
    report = survey_structures(model, structures, Survey(8), tmp_path, options=OPTIONS)
    pool = report.pool
    columns = dict(pool.columns)
    kept = np.arange(6) == 0
    for key, column in columns.items():
        if key[0] == "forces":
            columns[key] = Sums(
                *(array * kept[:, None] for array in column[:3]), column.count * kept
            )
    samples = {"forces": (pool.samples["forces"][0], *5 * [None])}
    partial = dataclasses.replace(pool, columns=columns, samples=samples)
    report = dataclasses.replace(report, found=report.found._replace(pool=partial))
    path = tmp_path / "survey.chemiscope.json.gz"
    write_chemiscope(report, path)
    data = json.loads(gzip.decompress(path.read_bytes()))
    first = pool.sizes[0]
    atoms = np.array(data["properties"]["A of forces, atom"]["values"])
    assert np.isfinite(atoms[:first]).all()
    assert np.isnan(atoms[first:]).all()
    assert len(atoms) == pool.sizes.sum()
    for name in ("A of forces", "RMS force"):
        values = data["properties"][name]["values"]
        assert np.isfinite(values).tolist() == kept.tolist()
    shown = chemiscope.show_input(str(path))
    assert json.loads(shown.value)["meta"]["name"] == data["meta"]["name"]


@pytest.mark.slow
def test_against_the_full_rule_on_ethanol(model, tmp_path, shared):
    """40 frames, 16 elements each: A of the full rule lies within the interval."""
    import ase.io

    frames = ase.io.read(shared / "data" / "ethanol_reduced_100.xyz", ":40")
    structures = {str(number): atoms for number, atoms in enumerate(frames)}
    found = survey_structures(
        model, structures, Survey(16), tmp_path, options=OPTIONS
    ).pool
    exact = [
        measure(
            orbit_problem(model, atoms, layers="none"),
            over=Grid(13, on_aliasing="report"),
            max_degree=2,
        )
        for atoms in frames
    ]
    for name in ("energy", "forces"):
        squares = [result[name].equivariance_error ** 2 for result in exact]
        interval = found.error(name, of="data")
        # 3 standard errors, not 2: chance exceeds them in 0.3 % of seeds.
        error = abs(interval.value - np.sqrt(np.mean(squares)))
        assert error < 3 * interval.error
        assert interval.error < 0.06 * interval.value


def test_any_calculator_is_surveyed_one_by_one(tmp_path):
    """EMT is invariant, but for the positions that it prints: A is round-off."""
    metals = {}
    for number in range(4):
        metals[str(number)] = ase.build.molecule("H2O")
        metals[str(number)].rattle(0.05, seed=number)
    metals["U"] = ase.Atoms("U")
    report = survey_structures(
        CalculatorSource("ase.calculators.emt:EMT"),
        metals,
        Survey(4),
        tmp_path,
        options=Options(max_degree=1, dtype="float64"),
    )
    assert report.pool.sizes.tolist() == [3] * 4
    assert report.pool.error("forces", relative=True).value < 1e-6
    assert report.pool.content("forces", 1, 1).value == pytest.approx(1.0, abs=0.5)
    assert set(report.failed) == {"U"}


def test_one_bad_structure_spoils_no_other_of_its_pack(model, tmp_path, monkeypatch):
    measure_pack = surveys.measure_pack

    def fails(pack, *rest):
        if "molecule 3" in pack.labels:
            raise ArgumentError("forces", float("nan"), "is not finite", "Look at it")
        return measure_pack(pack, *rest)

    monkeypatch.setattr(surveys, "measure_pack", fails)
    report = survey_structures(
        model, molecules(6), Survey(8), tmp_path, options=OPTIONS
    )
    assert set(report.failed) == {"molecule 3"}
    assert sorted(report.pool.labels) == sorted(set(molecules(6)) - {"molecule 3"})


def test_an_interruption_is_not_an_error_of_a_structure(model, tmp_path, monkeypatch):
    monkeypatch.setattr(surveys, "measure_pack", interrupted_by_jax)
    with pytest.raises(KeyboardInterrupt):
        survey_structures(model, molecules(2), Survey(8), tmp_path, options=OPTIONS)


def test_an_empty_survey_is_refused(model, tmp_path):
    with pytest.raises(SymjaxError, match="none to measure"):
        survey_structures(model, {}, Survey(4), tmp_path)
    with pytest.raises(ArgumentError):
        survey_structures(model, {"u": ase.Atoms("U")}, Survey(4), tmp_path / "u")


def test_a_folder_that_cannot_be_is_refused(model, tmp_path):
    """As for a report: before anything is measured, in one sentence."""
    (tmp_path / "file").write_text("")
    for over in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ReportError, match="is a file, not a folder"):
            survey_structures(model, molecules(1), Survey(4), over, options=OPTIONS)
