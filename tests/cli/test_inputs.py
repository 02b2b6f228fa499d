"""What stands for TARGET: structures or events, and which frames."""

import ase.build
import ase.io
import pytest
from typer.testing import CliRunner

from symjax.cli import BAD_INPUT, app
from symjax.cli.inputs import check_new_file, find_events, find_structures, is_events
from symjax.data.point_clouds import SMALL, generate_events, write_events
from symjax.errors import ArgumentError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_events("event.h5", generate_events(3, seed=12, settings=SMALL))
    ase.io.write("w.xyz", [ase.build.molecule("H2O")] * 3)
    return tmp_path


def test_events_are_told_by_their_files(folder):
    assert is_events("event.h5")
    assert is_events("*.h5")
    assert not is_events("w.xyz")
    assert not is_events("H2O")
    # A folder of structures may hold results beside them.
    assert not is_events(".")
    (folder / "w.xyz").unlink()
    assert is_events(".")


@pytest.mark.parametrize(
    ("frames", "numbers"),
    [(None, [0, 1, 2]), ("1", [1]), ("-1", [2]), ("::2", [0, 2]), ("1:", [1, 2])],
)
def test_frames_of_structures_and_of_events(folder, frames, numbers):
    found = find_events("event.h5", frames)
    assert list(found.events) == [f"event.h5:{number}" for number in numbers]
    labels = list(find_structures("w.xyz", frames).structures)
    assert labels == [f"w.xyz:{number}" for number in numbers]


@pytest.mark.parametrize("command", ["stability", "label -o labels.xyz"])
def test_a_file_of_a_folder_that_cannot_be_read_is_not_passed_over(folder, command):
    (folder / "bad.xyz").write_text("3\n\nH 0 0\n")
    done = CliRunner().invoke(app, [*command.split(), "*.xyz"])
    assert done.exit_code == BAD_INPUT
    assert "bad.xyz" in done.output
    assert not (folder / "labels.xyz").exists()


@pytest.mark.parametrize("frames", ["x", "1.5", "::0", "0:1:2:3"])
def test_what_is_no_frame_is_refused(folder, frames):
    with pytest.raises(ArgumentError, match="--frames="):
        find_events("event.h5", frames)


def test_a_file_that_exists_is_replaced_only_if_asked(folder):
    check_new_file("--json", None, False)
    check_new_file("--json", folder / "new.json", False)
    check_new_file("--json", folder / "w.xyz", True)
    with pytest.raises(ArgumentError, match=r"--json=.*exists already.*--overwrite"):
        check_new_file("--json", folder / "w.xyz", False)
