"""``symjax label``: the file of ``write_labels``, and what is refused."""

import hashlib

import numpy as np
import pytest
from typer.testing import CliRunner

from symjax import cli
from symjax.data import read_structures
from symjax.data.label_blocks import read_labels


def test_the_file_and_its_digest(tmp_path):
    pytest.importorskip("tblite")
    path = tmp_path / "labels.xyz"
    words = f"label H2O -o {path} --num 2 --no-density --no-polarizability"
    done = CliRunner().invoke(cli.app, words.split())
    assert done.exit_code == 0, done.output
    assert hashlib.sha256(path.read_bytes()).hexdigest() in done.output
    labelled = read_labels(path)
    assert len(labelled) == 2
    assert labelled[0].info["dipole_moment"].shape == (3,)
    again = CliRunner().invoke(cli.app, words.split())
    assert again.exit_code == 2
    assert "--output" in again.output
    assert "exists already" in again.output


def test_the_same_seed_gives_the_same_file(tmp_path, shared):
    pytest.importorskip("tblite")
    data = shared / "data" / "ethanol_reduced_100.xyz"
    lines = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "labels.xyz"
        words = f"label {data} -o {path} --num 2 --seed 3 --no-density"
        words += " --no-polarizability"
        done = CliRunner().invoke(cli.app, words.split())
        lines.add(done.output.splitlines()[-1])
    assert len(lines) == 1
    # No rotation: labels are for the geometry as drawn.
    frames = read_structures(data)
    for atoms in read_labels(tmp_path / "one" / "labels.xyz"):
        moves = atoms.positions - frames[atoms.info["source"]].positions
        assert 0.01 < np.std(moves) < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--num 2 --amplitude -1", "--amplitude=-1.0"),
        ("--amplitude 0.1", "--amplitude=0.1: has no effect without --num"),
        ("--seed 3", "--seed=3: has no effect without --num"),
        ("--no-moments --polarizability", "--polarizability=True: is computed only"),
    ],
)
def test_options_are_named_as_typed(options, message, tmp_path):
    words = f"label H2O -o {tmp_path / 'a.xyz'} {options}"
    done = CliRunner().invoke(cli.app, words.split())
    assert done.exit_code == 2
    assert message in done.output
