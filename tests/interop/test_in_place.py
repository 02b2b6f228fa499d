"""Models of other architectures, exports and checkpoints, measured in place."""

import ase.build
import numpy as np
import pytest
from ase.io import write
from typer.testing import CliRunner

from symjax import cli
from symjax.errors import ModelError, StructureError
from symjax.interop import metatomic_problem
from symjax.interop.in_place import MetatomicSource
from symjax.metrics import Grid, measure
from symjax.models.pet import orbit_problem
from symjax.report import read_report
from symjax.runs import Options

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
torch = pytest.importorskip("torch", reason="needs the extra [torch]")
pytest.importorskip("metatrain", reason="needs the extra [torch]")

from torch_closed import UNITS, closed, water  # noqa: E402
from torch_pet import make_torch_model, other_targets  # noqa: E402

HOW = {"over": Grid(5, on_aliasing="report"), "max_degree": 2}
# Of networks that take their time.
FEW = {"over": Grid(3, on_aliasing="report"), "max_degree": 1}


def exported(folder, unit="angstrom", broken=0.0):
    path = folder / f"{unit}.pt"
    closed(unit, broken).save(path)
    return path


@pytest.mark.parametrize("unit", UNITS)
def test_outputs_are_what_a_model_announces(unit, tmp_path):
    path = exported(tmp_path, unit)
    problem = metatomic_problem(path, water())
    kinds = {name: str(o.representation) for name, o in problem.outputs.items()}
    assert kinds == {
        "energy/pbe": "scalar",
        "mtt::vector": "vector",
        "mtt::quadrupole": "spherical 2+",
        "forces": "vector",
    }
    units = {name: output.unit for name, output in problem.outputs.items()}
    assert units["mtt::vector"] == "e*A"
    assert units["forces"] == "eV/angstrom"
    (row,) = problem.function.function([problem.x])
    r = water().positions
    # Every pair twice; lengths in the unit of the model, derivatives in angstrom.
    factor = UNITS[unit]
    expected = factor**2 * np.sum((r[:, None] - r) ** 2)
    assert row["energy/pbe"] == pytest.approx(expected, rel=1e-6)
    forces = -4 * factor**2 * (len(r) * r - r.sum(axis=0))
    np.testing.assert_allclose(row["forces"], forces, rtol=1e-6, atol=1e-9)
    result = measure(problem, **HOW)
    for leaf in result.values():
        assert leaf.relative_error < 1e-9
    assert result["mtt::quadrupole"].content_of("2+") == pytest.approx(1)


def test_a_broken_model_in_nm_is_found(tmp_path):
    """A of sum z^2 in closed form; without neighbors it would be 0."""
    problem = metatomic_problem(exported(tmp_path, "nm", broken=0.3), water())
    result = measure(problem, **HOW)
    r = 0.1 * (water().positions[:, None] - water().positions)
    tensor = np.einsum("ijx,ijy->xy", r, r)
    traceless = tensor - np.trace(tensor) / 3 * np.eye(3)
    # <(n.T n)^2> over directions n is 2/15 |T|^2 of a traceless T.
    expected = 0.3 * np.sqrt(2 / 15 * np.sum(traceless**2))
    assert result["energy/pbe"].equivariance_error == pytest.approx(expected, rel=1e-6)


def test_what_a_source_says(tmp_path):
    source = MetatomicSource(str(exported(tmp_path, "nm")))
    assert source.name == "nm"
    assert source.dtype == "float64"
    assert source.settings(Options())["energy"] == "energy/pbe"
    assert "lengths in nm" in source.note
    assert "checkpoint" in source.note
    with pytest.raises(ModelError, match=r"whose layers cannot be read.*checkpoint"):
        source.settings(Options(layers="all"))
    with pytest.raises(ModelError, match="no such output"):
        source.settings(Options(energy="energy"))
    sizes, errors = source.sizes({"a": water(), "b": ase.build.molecule("CO")})
    assert list(sizes) == ["a"]
    assert isinstance(errors["b"], StructureError)
    assert "does not know: [6]" in str(errors["b"])


@pytest.fixture(scope="module")
def pet():
    return make_torch_model({}, targets=other_targets)


def test_a_pet_in_place_is_the_one_that_is_imported(pet, tmp_path):
    """The same numbers, layers included; both in float64, so 1e-8 is round-off."""
    from symjax.interop import load_metatrain

    torch.save(pet.to(torch.float64).get_checkpoint(), tmp_path / "pet.ckpt")
    atoms = ase.build.molecule("H2O2")
    layers = "gnn_layers.*,edge_heads.energy.0"
    in_place = metatomic_problem(tmp_path / "pet.ckpt", atoms, layers=layers)
    imported = orbit_problem(
        load_metatrain(tmp_path / "pet.ckpt", verify=False),
        atoms,
        layers=layers,
        dtype="float64",
    )
    theirs, ours = measure(in_place, **FEW), measure(imported, **FEW)
    alike = set(ours) & set(theirs)
    # symjax gives "non_conservative_forces" the name of the file, metatomic today's.
    assert set(ours) - alike == {
        *("non_conservative_forces", "non_conservative_stress")
    }
    others = {name for name in set(theirs) - alike if "mtt::aux" not in name}
    assert others == {"non_conservative_force"}
    assert "gnn_layers.0.trans.layers.0_edge" in alike
    for name in alike:
        assert in_place.outputs[name].kind == imported.outputs[name].kind
        assert theirs[name].equivariance_error == pytest.approx(
            ours[name].equivariance_error, rel=1e-7, abs=1e-12
        )
        # Baselines, which only metatrain's module adds, are invariant.
        mine, other = (side[name].totals().power[:, 1:] for side in (ours, theirs))
        np.testing.assert_allclose(other, mine, rtol=1e-7, atol=1e-9 * mine.max())


@pytest.fixture(scope="module")
def soap(tmp_path_factory):
    """A checkpoint and an export of SOAP-BPNN with random weights."""
    pytest.importorskip("spex", reason="needs metatrain[soap-bpnn]")
    from metatrain.soap_bpnn import SoapBpnn
    from metatrain.utils.architectures import get_default_hypers
    from metatrain.utils.data import DatasetInfo
    from torch_pet import targets

    torch.manual_seed(0)
    hypers = get_default_hypers("soap_bpnn")["model"]
    hypers["soap"].update(max_angular=2, max_radial=2)
    hypers["soap"]["cutoff"] = {"radius": 3.5, "width": 0.5}
    hypers["bpnn"]["num_neurons_per_layer"] = 6
    model = SoapBpnn(hypers, DatasetInfo("angstrom", [1, 6, 8], targets())).eval()
    folder = tmp_path_factory.mktemp("soap")
    checkpoint = model.to(torch.float64).get_checkpoint()
    checkpoint["best_model_state_dict"] = checkpoint["model_state_dict"]
    checkpoint["best_epoch"] = 0
    torch.save(checkpoint, folder / "soap.ckpt")
    model.export().save(folder / "soap.pt")
    return folder


def test_another_architecture_of_metatrain(soap):
    """SOAP-BPNN is equivariant by construction: every output, and its features."""
    atoms = ase.build.molecule("H2O2")
    problem = metatomic_problem(
        soap / "soap.ckpt", atoms, layers="feature,soap_calculator,heads.*energy.*"
    )
    assert problem.outputs["mtt::dipole"].samples is None  # of a structure
    assert problem.outputs["mtt::density/2+"].samples.tolist() == [8, 8, 1, 1]
    result = measure(problem, **FEW)
    for name in ("energy", "forces", "mtt::dipole", "mtt::alpha", "mtt::density/1-"):
        assert result[name].relative_error < 1e-6
    assert result["feature"].content_of("0+") == pytest.approx(1)
    for name in ("soap_calculator", "heads.energy"):
        # Blocks of species are rows of one array again, in the order of the atoms.
        assert problem.outputs[name].samples.tolist() == [8, 8, 1, 1]
        assert result[name].content_of("0+") == pytest.approx(1)


def test_the_export_has_the_same_numbers(soap):
    atoms = ase.build.molecule("H2O2")
    one, two = (
        metatomic_problem(soap / name, atoms) for name in ("soap.ckpt", "soap.pt")
    )
    first, second = (p.function.function([p.x])[0] for p in (one, two))
    assert set(first) == set(second)
    for name in ("energy", "forces", "mtt::alpha", "mtt::density/2+"):
        np.testing.assert_allclose(second[name], first[name], atol=1e-10)
    # An export does not say that this is of structures: its atoms' parts are summed.
    total = second["mtt::dipole"].sum(axis=0)
    np.testing.assert_allclose(total, first["mtt::dipole"].reshape(3), atol=1e-10)
    assert two.outputs["mtt::dipole"].samples is not None


def test_a_report_of_an_export(tmp_path):
    """From the command line, in nm: the numbers, and what the report says of layers."""
    path = exported(tmp_path, "nm", broken=0.3)
    write(tmp_path / "water.xyz", water())

    def run(*args):
        words = [str(arg) for arg in ("report", tmp_path / "water.xyz", *args)]
        return CliRunner().invoke(cli.app, [*words, "--max-degree", "2"])

    out = tmp_path / "out"
    result = run("--model", path, "-o", out, "--no-figures")
    assert result.exit_code == 0, result.output
    assert "measured in place, not imported" in result.output
    report = read_report(out / "report.json")
    assert report.settings.dtype == "float64"
    assert report.settings.energy == "energy/pbe"
    leaf = report.aggregate()["energy/pbe"]
    assert leaf.unit == "eV"
    again = measure(metatomic_problem(path, water()), **HOW)["energy/pbe"]
    assert leaf.totals.equivariance_error == pytest.approx(again.equivariance_error)
    for name in ("report.txt", "report.html"):
        text = " ".join((out / name).read_text("utf-8").split())
        assert "Layers of an export cannot be read" in text
        assert "lengths in nm" in text
    result = run("--model", path, "-o", tmp_path / "no", "--layers", "all")
    assert result.exit_code == 2
    assert "Pass the checkpoint .ckpt" in " ".join(result.output.split())
    result = run("--model", path, "-o", tmp_path / "no", "--dtype", "float32")
    assert "measured in place, in float64" in " ".join(result.output.split())
    assert not (tmp_path / "no").exists()
