"""A run made ready: which structures are learnt from, and which are held out."""

import ase.io
import pytest
from water_runs import frames, settings

from symjax.training import parse_run
from symjax.training.problems import atoms_problem


def test_structures_on_both_sides_of_the_split_are_counted(tmp_path):
    ase.io.write(tmp_path / "frames.xyz", frames(4))
    ase.io.write(tmp_path / "others.xyz", frames(6)[3:])
    data = {"training": str(tmp_path / "frames.xyz")}
    data["validation"] = str(tmp_path / "others.xyz")
    run = parse_run(settings(tmp_path / "frames.xyz", data=data))
    with pytest.warns(UserWarning, match="1 of 3 structures for validation are also"):
        atoms_problem(run)
