"""What averaging is worth, from the command line to text, page, files and back."""

import json

import ase.build
import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from symjax import cli
from symjax.metrics import LabelErrors
from symjax.metrics.errors_on_labels import SUMS
from symjax.report import ReportError, read_report, read_results
from symjax.report.html import to_html
from symjax.report.storage import from_json, to_json
from symjax.report.tables import to_text
from symjax.report.worth import in_short, labels_of_output, next_step, worth_sentence

MODEL = '''
import jax
import jax.numpy as jnp
import numpy as np
from symjax.metrics import Output, Problem
from symjax.so3 import SCALAR, VECTOR


def function(x):
    """Energies and forces with a part of degree 2 and one of degree 1."""
    energy = 0.01 * x[0, 2] ** 2
    return {"energy": energy, "forces": x + jnp.array([0.0, 0.0, 0.1])}


def leaning(atoms):
    outputs = {
        "energy": Output(SCALAR, "eV"),
        "forces": Output(VECTOR, "eV/angstrom", samples=atoms.numbers),
    }
    return Problem(function, jnp.asarray(atoms.positions), outputs)
'''
KCAL = 23.060548
# Of |x| = 1: variance of z^2 over directions, and its mean.
VARIANCE, MEAN = 1e-4 * 4 / 45, 0.01 / 3
OFF = 0.002


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four structures with labels in kcal/mol, and reports on them."""
    path = tmp_path_factory.mktemp("worth")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(cli.report, "configure_jax", lambda *args: None)
        (path / "model.py").write_text(MODEL)
        frames = []
        for sign in (1, -1, 1, -1):
            atoms = ase.build.molecule("H2O")
            atoms.positions[0] = [0.6, 0.0, 0.8]
            atoms.info["dft"] = KCAL * (MEAN + sign * OFF)
            atoms.arrays["forces"] = KCAL * (atoms.positions + sign * 0.03)
            frames.append(atoms)
        ase.io.write("water.xyz", frames, columns=["symbols", "positions", "forces"])
        command = ["report", "water.xyz", "--model", "model.py:leaning", "--no-laws"]
        command += ["--max-degree", "2", "--no-figures"]
        named = ["--label", "energy=dft", "--label-energy-unit", "kcal/mol"]
        yield (
            path,
            CliRunner().invoke(
                cli.app, [*command, *named, "-o", "right", "--reach", "energy=1e-3 meV"]
            ),
            CliRunner().invoke(cli.app, [*command, "-o", "other"]),
            CliRunner().invoke(
                cli.app,
                [*command, "-o", "none", "--label", "energy=missing"],
            ),
        )


def test_numbers_are_those_of_a_closed_form(folder):
    path, right, _, _ = folder
    assert right.exit_code == cli.OK, right.output
    assert "For energy = 0.001 meV: 3 optimised elements, within" in right.output
    assert "; of groups and grids T, 12 elements." in right.output
    value = json.loads((path / "right" / "report.json").read_text())
    energy, forces = value["labels"]["energy"], value["labels"]["forces"]
    whole = OFF**2 + VARIANCE
    assert energy["rmse"] == pytest.approx(np.sqrt(whole), rel=1e-4)
    assert energy["rmse_per_atom"] == pytest.approx(np.sqrt(whole) / 3, rel=1e-4)
    assert energy["share"] == pytest.approx(VARIANCE / whole, rel=1e-4)
    assert energy["interval"] == pytest.approx(2 * [VARIANCE / whole], rel=1e-4)
    of = {one["average"]: one["share"] for one in energy["averages"]}
    # D2 leaves two of five functions of degree 2: of z^2 along an axis all of it
    assert of["T"] == pytest.approx(energy["share"], rel=1e-4)
    # a constant force is of degree 1 when turned back: all three components
    variance = 0.1**2 / 3
    assert forces["equivariance_error"] ** 2 == pytest.approx(variance, rel=1e-4)
    assert forces["share"] == pytest.approx(variance / (variance + 9e-4), rel=1e-4)
    assert value["summary"]["forces"]["averaging_share"] == forces["share"]
    after = {one["average"]: one["error"] for one in value["averages"]["energy"]}
    assert after["none"] == pytest.approx(np.sqrt(VARIANCE), rel=1e-4)
    assert after["T"] < 1e-7


def test_sentences_open_text_and_page(folder):
    path, right, _, _ = folder
    report = read_report(path / "right")
    sentence = json.loads((path / "right" / "report.json").read_text())["labels"][
        "energy"
    ]["sentence"]
    assert sentence.startswith("energy: error on labels 1.2 meV/atom (RMSE)")
    assert sentence.endswith("of the squared error: worth it.")
    assert right.output.index("error on labels") < right.output.index("Outputs\n")
    text = " ".join(to_text(report, 400).split())
    page = to_html(report)
    step = next_step(report)
    assert step.startswith("Next: average predictions over ")
    for line in [*in_short(report.aggregate().values()), step]:
        assert line in text
        assert line.replace("'", "&#x27;") in page
    assert 'id="averages"' in page
    assert '<svg class="frontier"' in page
    assert 'data-at="/averages/energy/0/error"' in page


def test_what_is_written_is_read_back(folder):
    path, _, _, _ = folder
    report = read_report(path / "right")
    again = from_json(to_json(report))
    for name, leaf in report.aggregate().items():
        other = again.aggregate()[name]
        for one, two in zip(leaf.response.gram, other.response.gram, strict=True):
            np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(leaf.labels.sums, other.labels.sums)
        assert labels_of_output(name, leaf.unit, leaf.labels) == labels_of_output(
            name, leaf.unit, other.labels
        )
    columns = read_results(path / "right" / "results.h5")
    assert set(columns["name"]) == {"energy", "forces"}
    energy = columns["name"] == "energy"
    np.testing.assert_allclose(
        columns["label_error"][energy], np.sqrt(OFF**2 + VARIANCE), rtol=1e-4
    )
    assert np.isnan(columns["own_uncertainty"]).all()
    assert (columns["A_after_T"][energy] < 1e-7).all()
    np.testing.assert_allclose(
        columns["A_after_Ci"][energy], np.sqrt(VARIANCE), rtol=1e-4
    )
    assert report.settings.labels == "kcal/mol, angstrom; energy from dft"


def test_another_unit_is_said(folder):
    """Forces 23 times the predictions are no error of 23 times their size."""
    path, _, other, _ = folder
    assert other.exit_code == cli.OK, other.output
    value = json.loads((path / "other" / "report.json").read_text())
    assert set(value["labels"]) == {"forces"}
    found = value["labels"]["forces"]
    assert (found["other_unit"], found["share"], found["rmse"]) == (
        "kcal/mol",
        None,
        None,
    )
    assert "kcal/mol; not compared" in found["sentence"]
    assert value["summary"]["forces"]["label_error"] is None


def test_a_field_that_was_named_must_be_there(folder):
    _, _, _, none = folder
    assert none.exit_code == cli.FAILED
    assert "missing" in none.output


@pytest.mark.parametrize("damage", ["gram", "sums", "field"])
def test_damaged_moments_are_refused(folder, damage):
    path, _, _, _ = folder
    value = json.loads((path / "right" / "report.json").read_text())
    leaf = value["structures"][0]["leaves"][0]
    if damage == "gram":
        leaf["response"]["gram"][1][0].append(0.0)
    elif damage == "sums":
        leaf["labels"]["sums"][0]["count"] = 0
    else:
        del leaf["labels"]["sums"][0]["variance"]
    with pytest.raises(ReportError, match="leaves"):
        from_json(value)


def test_zeros_and_uncertainties_are_said(folder):
    path, _, _, _ = folder
    labels = read_report(path / "right").aggregate()["energy"].labels
    sums = labels.sums.copy()
    sums[:, SUMS.index("uncertainty")] = 0.003**2
    own = LabelErrors(sums, labels.composition)
    assert "the model's own uncertainty 3 meV" in worth_sentence("energy", "eV", own)
    sums[:, SUMS.index("label")] += 2000.0
    moved = LabelErrors(sums, labels.composition)
    sentence = worth_sentence("energy", "eV", moved)
    assert "after 1 fitted constant of elements" in sentence
    one = LabelErrors(sums[:1], {k: v[:1] for k, v in labels.composition.items()})
    assert "too few to fit it" in worth_sentence("energy", "eV", one)
