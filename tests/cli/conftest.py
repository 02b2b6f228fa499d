"""What the tests of commands share."""

import fake_model
import pytest
from typer.testing import CliRunner

from symjax import cli


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """Runs a command in an empty folder with the fake model, in this process."""
    fake_model.offer(monkeypatch, fake_model.FakeModel())
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def run(*args):
        return runner.invoke(cli.app, [str(arg) for arg in args])

    return run
