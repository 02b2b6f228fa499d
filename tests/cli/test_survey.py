"""``symjax report --survey``: what it takes, and what it says of what it does not."""

import json
import sys

import pytest
from typer.testing import CliRunner
from water_runs import save_smallest_model

from symjax import cli

RUN = CliRunner()


def report(*words):
    return RUN.invoke(cli.app, ["report", "H2O", *words])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--until", "1%"], "--until='1%': has no effect without --survey"),
        (["--strata", "size"], "--strata='size': has no effect without --survey"),
        (["--survey", "16", "--grid", "3"], "--grid='3': only applies if"),
        (["--survey", "16", "--no-laws"], "--laws=False: only applies if"),
        (["--survey", "2"], "--survey=2: is not an integer from 4"),
        (["--survey", "16", "--until", "200%"], "is not between 0 and 100 %"),
        (["--survey", "16", "--until", "x"], "is not between 0 and 100 %"),
        (["--survey", "16", "--turn", "T"], "the 24 elements of turn 'T'"),
        (["--survey", "16", "--turn", "Q"], "--turn='Q'"),
    ],
)
def test_impossible_options_are_named(words, says, tmp_path):
    done = report(*words, "-o", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert says in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_a_survey_from_the_command_line(tmp_path):
    out, model = tmp_path / "out", tmp_path / "model"
    save_smallest_model(model)
    words = ["--survey", "8", "--strata", "size", "--max-degree", "1", "-o", str(out)]
    words += ["--chemiscope", "--model", str(model)]
    done = report(*words)
    assert done.exit_code == 0, done.output
    assert "1 of 1 structures were visited" in done.output
    written = json.loads((out / "survey.json").read_text())
    assert written["survey"]["num"] == 8
    assert "--survey 8" in written["command"]
    assert (out / "survey.chemiscope.json.gz").exists()
    assert "already holds a survey" in " ".join(report(*words).output.split())
    assert report(*words, "--resume").exit_code == 0


def test_chemiscope_that_is_not_installed_is_named_first(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "chemiscope", None)
    done = report("--survey", "4", "--chemiscope", "-o", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert "pip install 'symjax[chemiscope]'" in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()
