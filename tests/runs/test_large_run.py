"""Many structures: workers, devices, columns on disk, and memory that stays bounded."""

import weakref

import ase.build
import ase.io
import jax
import pytest

from symjax.errors import StructureError
from symjax.metrics import measure
from symjax.report import (
    ReportError,
    read_report,
    read_results,
    schema,
    storage,
)
from symjax.report.files import RESULTS_FILE
from symjax.report.html import to_html
from symjax.report.tables import to_text
from symjax.runs import Destination, Options, Workers, measure_items, run

OPTIONS = Options(max_degree=1, dtype="float64")
NAMES = ("H2O", "SiH4", "H2O:1", "H2O:2", "H2O:3")


def molecules(*names):
    """Waters that differ but share one compiled program, and what is unknown."""
    found = {name: ase.build.molecule(name.partition(":")[0]) for name in names}
    for seed, atoms in enumerate(found.values()):
        atoms.rattle(0.01, seed=seed)
    return found


def untimed(report):
    value = storage.to_json(report)
    for structure in value["structures"]:
        structure.pop("timing")
    return value


class TestDevices:
    def test_same_report_as_one_after_another(self, model, tmp_path):
        one = measure_items(model, molecules(*NAMES), OPTIONS, tmp_path / "one")
        seen = []
        many = measure_items(
            model,
            molecules(*NAMES),
            OPTIONS,
            tmp_path / "many",
            # two threads for one device are as good a test as two devices
            workers=Workers(devices=jax.devices()[:1] * 2),
            watch=lambda step: seen.append((step.position, step.num_items)),
        )
        # the same program for the same device: identical to the last bit
        assert untimed(many) == untimed(one)
        assert [s.label for s in many.structures] == [*NAMES]
        assert seen == [(n, 5) for n in range(1, 6)]
        columns = read_results(tmp_path / "many")
        assert list(dict.fromkeys(columns["structure"])) == [*NAMES]

    def test_bugs_end_the_run(self, model, tmp_path, monkeypatch):
        def fail(*args, **kwargs):
            raise RuntimeError("a bug")

        monkeypatch.setattr(run, "measure", fail)
        with pytest.raises(RuntimeError, match="a bug"):
            measure_items(
                model,
                molecules(*NAMES),
                OPTIONS,
                tmp_path,
                workers=Workers(devices=jax.devices()[:1] * 2),
            )


class TestUnreadable:
    def test_is_recorded_and_tried_again(self, model, tmp_path):
        broken = {"b.xyz": StructureError("path", "b.xyz", "is empty", "Check it")}
        report = measure_items(
            *(model, molecules("H2O"), OPTIONS, tmp_path), unreadable=broken
        )
        (failed,) = report.failed
        assert (failed.label, failed.num_atoms) == ("b.xyz", 0)
        assert "is empty" in failed.failure.message
        assert [s.label for s in read_report(tmp_path).failed] == ["b.xyz"]
        structures = {**molecules("H2O"), "b.xyz": ase.build.molecule("H2O")}
        again = measure_items(
            model, structures, OPTIONS, Destination(tmp_path, resume=True)
        )
        assert len(again.measured) == 2

    def test_the_only_one_leaves_nothing_behind(self, model, tmp_path):
        error = StructureError("path", "b.xyz", "is empty", "Check it")
        with pytest.raises(StructureError, match="is empty"):
            measure_items(
                *(model, {}, OPTIONS, tmp_path / "out"), unreadable={"b.xyz": error}
            )
        assert not (tmp_path / "out").exists()


def test_columns_are_written_again_on_resuming(model, tmp_path):
    report = measure_items(model, molecules(*NAMES), OPTIONS, tmp_path)
    whole = (tmp_path / RESULTS_FILE).read_bytes()
    (tmp_path / RESULTS_FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReportError, match="resume=True"):
        read_results(tmp_path)
    measure_items(model, molecules(*NAMES), OPTIONS, Destination(tmp_path, resume=True))
    assert set(read_results(tmp_path)["structure"]) == {*NAMES}
    assert len(report.measured) == 4


class TestMemory:
    NUMBER = 110

    @pytest.fixture
    def cheap(self, model, monkeypatch):
        """The first structure is measured, the others take its numbers.

        Of a report of more than 20 structures, none is held in memory.
        """
        monkeypatch.setattr("symjax.runs.folder._HELD_STRUCTURES", 20)
        measured = []

        def once(problem, **options):
            if not measured:
                measured.append(measure(problem, **options))
            return measured[0]

        monkeypatch.setattr(run, "measure", once)
        monkeypatch.setattr("symjax.runs.folder.os.fsync", lambda number: None)
        return model

    @pytest.fixture
    def alive(self, monkeypatch):
        """How many structures with their numbers existed, each time one was made."""
        existing, counts = weakref.WeakSet(), []
        original = schema.StructureReport.__init__

        def init(self, *args, **kwargs):
            original(self, *args, **kwargs)
            if self.leaves:
                existing.add(self)
                counts.append(len(existing))

        monkeypatch.setattr(schema.StructureReport, "__init__", init)
        return counts

    def test_many_structures(self, cheap, alive, tmp_path):
        water = ase.build.molecule("H2O")
        structures = {f"w.xyz:{n}": water for n in range(self.NUMBER)}
        options = Options(max_degree=2, dtype="float64")
        report = measure_items(cheap, structures, options, tmp_path)
        text, page = to_text(report), to_html(report)
        # measured, read for the columns, and read for the sums
        assert len(alive) >= 3 * self.NUMBER
        # the one that is read, those before it until they are collected, and those
        # that the page draws
        assert max(alive) < 100
        assert len(page) < 1.2e6
        assert f"{self.NUMBER} with {3 * self.NUMBER} atoms" in text
        assert len(report.structures) == self.NUMBER
        assert report.structures[-1].label == f"w.xyz:{self.NUMBER - 1}"
        assert report.structures[3:5][1].leaves[0].name == "energy"
        assert len(read_results(tmp_path)["name"]) == 2 * self.NUMBER

    def test_report_that_was_replaced_says_so(self, cheap, tmp_path):
        water = ase.build.molecule("H2O")
        options = Options(max_degree=2, dtype="float64")
        waters = {f"a:{n}": water for n in range(21)}
        old = measure_items(cheap, waters, options, tmp_path)
        # The same structures and numbers: only the times differ.
        again = Destination(tmp_path, overwrite=True)
        measure_items(cheap, waters, options, again)
        with pytest.raises(ReportError, match="written again"):
            old.structures[7]


def test_a_name_that_no_file_system_takes(model, tmp_path):
    with pytest.raises(ReportError, match="255 bytes"):
        measure_items(model, molecules("H2O"), OPTIONS, tmp_path / ("é" * 150))
