"""The folder of a report: its journal, and what is resumed from it."""

import dataclasses
import json

import fake_model
import pytest
from fake_model import molecules
from fake_report import totals_of

from symjax.report import ReportError, read_report, read_results
from symjax.report.files import REPORT_FILE
from symjax.report.storage import to_json
from symjax.runs import Destination, Options, measure_items, run
from symjax.runs.folder import JOURNAL_FILE, Journal

OPTIONS = Options(max_degree=1, dtype="float64")


NAMES = ("H2O", "CH3OH", "C2H6")


class TestJournal:
    def interrupted(self, model, folder, after, structures=None):
        """A run that is interrupted while measuring structure number ``after``."""

        def watch(step):
            if step.position > after and step.done > 0 and step.finished is None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            measure_items(
                model, structures or molecules(*NAMES), OPTIONS, folder, watch=watch
            )

    def test_interrupted_run_keeps_what_is_complete(self, model, tmp_path):
        folder = tmp_path / "out"
        self.interrupted(model, folder, after=2)
        assert not (folder / REPORT_FILE).exists()
        lines = (folder / JOURNAL_FILE).read_text().splitlines()
        labels = [json.loads(line)["label"] for line in lines[1:]]
        assert labels == ["H2O", "CH3OH"]
        assert [*dict.fromkeys(read_results(folder)["structure"])] == labels

    def test_resumed_run_equals_an_uninterrupted_one(
        self, model, tmp_path, monkeypatch
    ):
        folder = tmp_path / "out"
        self.interrupted(model, folder, after=1)
        measured = []
        original = run.measure

        def counting(*args, **kwargs):
            measured.append(1)
            return original(*args, **kwargs)

        monkeypatch.setattr(run, "measure", counting)
        kept = []
        resumed = measure_items(
            model,
            molecules(*NAMES),
            OPTIONS,
            Destination(folder, resume=True),
            watch=lambda step: kept.append(step.label) if step.kept else None,
        )
        assert kept == ["H2O"]
        assert len(measured) == 2
        whole = measure_items(model, molecules(*NAMES), OPTIONS, tmp_path / "whole")
        # the same program on the same machine: identical to the last bit
        assert totals_of(resumed) == totals_of(whole)
        assert to_json(read_report(folder)) == to_json(resumed)

    @pytest.mark.parametrize("cut", [1, 7, 200])
    def test_truncated_last_line_is_measured_again(self, model, tmp_path, cut):
        folder = tmp_path / "out"
        whole = measure_items(model, molecules(*NAMES), OPTIONS, folder)
        journal = folder / JOURNAL_FILE
        journal.write_bytes(journal.read_bytes()[:-cut])
        (folder / REPORT_FILE).unlink()
        kept = []
        resumed = measure_items(
            model,
            molecules(*NAMES),
            OPTIONS,
            Destination(folder, resume=True),
            watch=lambda step: kept.append(step.label) if step.kept else None,
        )
        assert kept == ["H2O", "CH3OH"]
        assert totals_of(resumed) == totals_of(whole)
        # every line of the repaired journal is whole again
        for line in journal.read_text().splitlines():
            json.loads(line)
        assert len(journal.read_text().splitlines()) == 4

    def test_zeros_after_a_loss_of_power_are_dropped(self, model, tmp_path):
        folder = tmp_path / "out"
        self.interrupted(model, folder, after=2)
        journal = folder / JOURNAL_FILE
        journal.write_bytes(journal.read_bytes() + b"\0" * 100 + b"\n")
        report = measure_items(
            model, molecules(*NAMES), OPTIONS, Destination(folder, resume=True)
        )
        assert len(report.measured) == 3
        for line in journal.read_text().splitlines():
            json.loads(line)

    def test_damage_before_the_last_line_is_refused(self, model, tmp_path):
        folder = tmp_path / "out"
        self.interrupted(model, folder, after=2)
        journal = folder / JOURNAL_FILE
        lines = journal.read_text().splitlines()
        lines[1] = lines[1][:50]
        journal.write_text("\n".join(lines) + "\n")
        with pytest.raises(ReportError, match="line 2"):
            measure_items(
                model, molecules(*NAMES), OPTIONS, Destination(folder, resume=True)
            )

    def test_resuming_a_complete_run_measures_nothing(
        self, model, tmp_path, monkeypatch
    ):
        folder = tmp_path / "out"
        first = measure_items(model, molecules(*NAMES), OPTIONS, folder)
        monkeypatch.setattr(run, "measure", None)
        again = measure_items(
            model, molecules(*NAMES), OPTIONS, Destination(folder, resume=True)
        )
        assert to_json(again) == to_json(first)

    def test_more_structures_than_before(self, model, tmp_path):
        folder = tmp_path / "out"
        measure_items(model, molecules("H2O"), OPTIONS, folder)
        report = measure_items(
            model, molecules(*NAMES), OPTIONS, Destination(folder, resume=True)
        )
        assert [structure.label for structure in report.measured] == [*NAMES]

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"max_degree": 2}, "max_degree=2.*which has 1"),
            ({"grid": 5}, "grid=.*which has 'lebedev 3"),
            ({"layers": "all"}, "layers='all'.*which has 'none'"),
            ({"dtype": "float32"}, "dtype='float32'.*which has 'float64'"),
            ({"tolerance": 0.1}, "tolerance=0.1.*which has 0.05"),
        ],
    )
    def test_other_settings_are_refused(self, model, tmp_path, change, match):
        folder = tmp_path / "out"
        self.interrupted(model, folder, after=1)
        before = (folder / JOURNAL_FILE).read_bytes()
        options = dataclasses.replace(OPTIONS, **change)
        with pytest.raises(ReportError, match=match):
            measure_items(
                model, molecules(*NAMES), options, Destination(folder, resume=True)
            )
        assert (folder / JOURNAL_FILE).read_bytes() == before

    def test_memory_may_change(self, model, tmp_path):
        folder = tmp_path / "out"
        self.interrupted(model, folder, after=1)
        options = dataclasses.replace(OPTIONS, memory=2**28)
        measure_items(
            model, molecules(*NAMES), options, Destination(folder, resume=True)
        )

    def test_another_model_is_refused(self, model, tmp_path):
        folder = tmp_path / "out"
        self.interrupted(model, folder, after=1)
        other = fake_model.FakeModel(digest="e" * 64)
        with pytest.raises(ReportError, match=r"model='eeee.*which has 'ffff"):
            measure_items(
                other, molecules(*NAMES), OPTIONS, Destination(folder, resume=True)
            )

    def test_another_version_is_refused(self, model, tmp_path, monkeypatch):
        folder = tmp_path / "out"
        self.interrupted(model, folder, after=1)
        monkeypatch.setattr(run.symjax, "__version__", "9.9")
        with pytest.raises(ReportError, match=r"version='9\.9'"):
            measure_items(
                model, molecules(*NAMES), OPTIONS, Destination(folder, resume=True)
            )

    @pytest.mark.parametrize("what", ["position", "number", "charge", "cell"])
    def test_changed_structure_is_refused(self, model, tmp_path, what):
        folder = tmp_path / "out"
        self.interrupted(model, folder, after=1)
        structures = molecules(*NAMES)
        atoms = structures["H2O"]
        if what == "position":
            atoms.positions[0, 0] += 1e-12
        elif what == "number":
            atoms.numbers[0] = 6
        elif what == "charge":
            atoms.info["charge"] = 1
        else:
            atoms.cell = [9.0, 9.0, 9.0]
        with pytest.raises(ReportError, match=r"'H2O'.*has changed"):
            measure_items(model, structures, OPTIONS, Destination(folder, resume=True))

    def test_missing_structure_is_refused(self, model, tmp_path):
        folder = tmp_path / "out"
        self.interrupted(model, folder, after=2)
        with pytest.raises(ReportError, match=r"'CH3OH'.*not among the items"):
            measure_items(
                model, molecules("H2O"), OPTIONS, Destination(folder, resume=True)
            )

    @pytest.mark.parametrize(
        ("content", "match"),
        [
            (b"", "no complete line"),
            (b'{"schema": "symjax-str', "no complete line"),
            (b"not json\n", "line 1"),
            (b"[1]\n", "should be an object"),
            (b'{"schema": "symjax-structures/9"}\n', "schema"),
            (b'{"schema": "symjax-structures/1"}\n', "software"),
        ],
    )
    def test_foreign_journal_is_refused(self, model, tmp_path, content, match):
        (tmp_path / JOURNAL_FILE).write_bytes(content)
        with pytest.raises(ReportError, match=match) as error:
            measure_items(
                model, molecules("H2O"), OPTIONS, Destination(tmp_path, resume=True)
            )
        assert JOURNAL_FILE in str(error.value)
        assert (tmp_path / JOURNAL_FILE).read_bytes() == content

    def test_existing_report_needs_a_decision(self, model, tmp_path):
        measure_items(model, molecules("H2O"), OPTIONS, tmp_path)
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(ReportError, match="already holds a report"):
            measure_items(model, molecules("CH3OH"), OPTIONS, tmp_path)
        report = measure_items(
            model, molecules("CH3OH"), OPTIONS, Destination(tmp_path, overwrite=True)
        )
        assert [s.label for s in report.structures] == ["CH3OH"]
        # only files of a report are replaced
        assert (tmp_path / "notes.txt").read_text() == "mine"

    def test_full_disk_is_reported(self, model, tmp_path, monkeypatch):
        def fail(*args):
            raise OSError(28, "No space left on device")

        structures = molecules(*NAMES)
        original = Journal.append

        def append(self, structure):
            monkeypatch.setattr("symjax.runs.folder.os.fsync", fail)
            original(self, structure)

        monkeypatch.setattr(Journal, "append", append)
        with pytest.raises(ReportError, match="no space is left: it needs"):
            measure_items(model, structures, OPTIONS, tmp_path / "out")
