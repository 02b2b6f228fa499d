"""A survey for chemiscope: the package checks and reads what is written."""

import gzip
import json
import sys

import numpy as np
import pytest
from fake_survey import survey

from symjax.errors import ArgumentError
from symjax.report.chemiscope import find_chemiscope, write_chemiscope


def test_every_structure_and_atom_has_its_error(tmp_path):
    pytest.importorskip("chemiscope")
    report = survey(4, names=["a\nb", "c", "d", "e"])
    path = tmp_path / "survey.chemiscope.json.gz"
    write_chemiscope(report, path)
    assert [*tmp_path.iterdir()] == [path]
    data = json.loads(gzip.decompress(path.read_bytes()))
    assert [one["size"] for one in data["structures"]] == [3, 5, 3, 5]
    found = data["properties"]
    assert found["structure"]["values"] == ["a\\nb", "c", "d", "e"]
    assert found["A of forces"]["units"] == "eV/angstrom"
    squares = np.square(found["A of forces"]["values"])
    np.testing.assert_allclose(squares, report.pool.by_item("forces"))
    atoms = np.square(found["A of forces, atom"]["values"])
    np.testing.assert_allclose(atoms, np.concatenate(report.pool.samples["forces"]))
    assert len(data["environments"]) == 16


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "chemiscope", None)
    with pytest.raises(ArgumentError, match=r"symjax\[chemiscope\]"):
        find_chemiscope()
