"""``results.h5``: its columns, and the code of the page on batches that reads it."""

import dataclasses
import pathlib
import re

import fake_report
import h5py
import numpy as np
import pytest

from symjax.metrics import Certificate
from symjax.report import read_results, write_results
from symjax.report.columns_file import ResultsFile
from symjax.report.files import RESULTS_FILE
from symjax.runs import Options

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "batch.md"


def snippet(library):
    """The one block of the page that imports the library."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if f"import {library}" in block]
    return found


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Two structures and one that failed, in the folder that the page names."""
    found = fake_report.report(layers=1, failed=1)
    (tmp_path / "out").mkdir()
    write_results(found, tmp_path / "out" / RESULTS_FILE)
    monkeypatch.chdir(tmp_path)
    return found


def of_forces(report, quantity):
    return {
        structure.label: getattr(leaf.totals, quantity)
        for structure in report.measured
        for leaf in structure.leaves
        if leaf.name == "forces"
    }


def test_pandas_as_written(report, capsys):
    names = {}
    exec(snippet("pandas"), names)
    table, errors = names["table"], names["errors"]
    columns = read_results("out")
    assert list(table.columns) == list(columns)
    assert table["structure"].tolist() == columns["structure"].tolist()
    assert table["num_atoms"].dtype == np.int64
    assert table["B_1-"].dtype == np.float64
    found = errors["forces"].dropna().to_dict()
    assert found == of_forces(report, "equivariance_error")
    # The worst first, below the names of the columns.
    expected = of_forces(report, "relative_error")
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[1] for line in lines] == sorted(
        expected, key=expected.get, reverse=True
    )


def test_xarray_as_written(report, capsys):
    names = {}
    exec(snippet("xarray"), names)
    xarray, data, forces = (names[name] for name in ("xarray", "data", "forces"))
    columns = read_results("out")
    assert dict(data.sizes) == {"row": len(columns["name"])}
    assert set(data.data_vars) == set(columns)
    for name, column in columns.items():
        assert data[name].dims == ("row",)
        np.testing.assert_array_equal(data[name].values, column)
    expected = of_forces(report, "equivariance_error")
    assert forces["structure"].values.tolist() == list(expected)
    assert forces["equivariance_error"].values.tolist() == list(expected.values())
    largest, unit = capsys.readouterr().out.split()
    assert (float(largest), unit) == (max(expected.values()), "eV/angstrom")
    assert list(data.to_dataframe().columns) == list(data.data_vars)
    # The file of a run that has just begun, which xarray keeps open.
    path = pathlib.Path("out", "begun.h5")
    ResultsFile(path, Options(max_degree=1).settings())
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert dict(data.sizes) == {"row": 0}
        assert "B_1-" in data
        assert data["name"].values.tolist() == read_results(path)["name"].tolist()


def test_what_errors_are_compared_with_and_certificates(tmp_path):
    report = fake_report.report(layers=1, failed=1)
    certificate = Certificate(
        *(True, 11, 5, 2e-4, 3e-3, 1e-4, "", 11),
        excluded=0.005,
        confidence=0.95,
        noise=1e-7,
    )
    first, *others = report.structures
    certified = tuple(
        dataclasses.replace(leaf, certificate=certificate) for leaf in first.leaves
    )
    structures = (dataclasses.replace(first, leaves=certified), *others)
    report = dataclasses.replace(report, structures=structures)
    write_results(report, tmp_path / RESULTS_FILE)
    columns = read_results(tmp_path)
    leaves = [leaf for structure in report.measured for leaf in structure.leaves]
    measured = columns["status"] == "measured"
    for row, leaf in zip(np.flatnonzero(measured), leaves, strict=True):
        against = leaf.comparison(report.settings.dtype)
        assert columns["compared_with"][row] == against.scale
        ratio = np.nan if against.ratio is None else against.ratio
        np.testing.assert_equal(columns["ratio"][row], ratio)
        assert columns["missing"][row] == leaf.missing
        own = leaf.certificate
        excluded = (leaf.convergence if own is None else own).excluded
        assert columns["excluded"][row] == excluded
        for name in ("certified", "confidence", "noise", "tail"):
            expected = np.nan if own is None else float(getattr(own, name))
            np.testing.assert_equal(columns[name][row], expected)
    assert np.isnan(columns["ratio"][~measured]).all()


def test_columns_agree_with_the_report(tmp_path):
    report = fake_report.report(layers=1, failed=1)
    write_results(report, tmp_path / RESULTS_FILE)
    columns = read_results(tmp_path)
    assert len({len(column) for column in columns.values()}) == 1
    rows = [
        (structure, leaf) for structure in report.measured for leaf in structure.leaves
    ]
    assert len(columns["name"]) == len(rows) + 1
    for index, (structure, leaf) in enumerate(rows):
        totals = leaf.totals
        expected = {
            "structure": structure.label,
            "status": "measured",
            "failure": "",
            "formula": structure.formula,
            "num_atoms": structure.num_atoms,
            "name": leaf.name,
            "kind": leaf.kind,
            "unit": leaf.unit,
            "channels": leaf.channels,
            "resolved": leaf.resolved,
            "degree_to_try": leaf.convergence.degree_to_try,
            "equivariance_error": totals.equivariance_error,
            "relative_error": totals.relative_error,
            "root_mean_square": totals.root_mean_square,
            "remainder": totals.remainder,
            "B_1-": totals.content[1, 1],
            "B_2+": totals.content[2, 0],
            "evaluation_seconds": 0.25,
        }
        assert {name: columns[name][index] for name in expected} == expected
    assert columns["status"][-1] == "failed"
    assert columns["failure"][-1] == report.failed[0].failure.message
    assert columns["name"][-1] == ""
    assert np.isnan(columns["equivariance_error"][-1])


def test_follows_the_conventions_of_netcdf(tmp_path):
    write_results(fake_report.report(), tmp_path / RESULTS_FILE)
    with h5py.File(tmp_path / RESULTS_FILE) as file:
        assert file["row"].is_scale
        assert file["row"][()].tolist() == [*range(len(file["row"]))]
        for name, column in file.items():
            if name != "row":
                assert column.dims[0][0] == file["row"], name


def test_grows_while_a_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("symjax.report.columns_file.EVERY_SECONDS", 0.0)
    first, second = fake_report.report().structures
    path = tmp_path / RESULTS_FILE
    file = ResultsFile(path, fake_report.report().settings)
    file.append(first)
    with h5py.File(path, locking=False) as reader:
        assert set(reader["structure"].asstr()[()]) == {first.label}
    file.append(second)
    assert set(read_results(path)["structure"]) == {first.label, second.label}
