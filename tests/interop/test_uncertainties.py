"""Uncertainties and ensembles of metatrain's LLPR, against metatrain's own numbers."""

import copy
import gzip
import pathlib

import ase.build
import jax
import numpy as np
import pytest

from symjax.errors import ModelError
from symjax.interop import load_metatrain, save_metatrain
from symjax.models import fingerprint, load_model, save_model
from symjax.models.pet import Uncertainty, orbit_problem
from symjax.models.pet.uncertainty import uncertain_outputs
from symjax.report.tables import to_text
from symjax.runs import Options, measure_items
from symjax.so3 import haar

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
metatrain = pytest.importorskip("metatrain", reason="needs the extra [torch]")
from torch_parity import TOLERANCE, compare, torch_outputs  # noqa: E402
from torch_pet import (  # noqa: E402
    energy,
    generic,
    make_torch_model,
    make_wrapper,
    spherical,
)

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

OLDER = sorted(
    (pathlib.Path(metatrain.__path__[0]) / "llpr/tests/checkpoints").glob("*.ckpt.gz")
)


def variants():
    """Energies with variants, and what else has one block."""
    vector, matrix = {"cartesian": {"rank": 1}}, {"cartesian": {"rank": 2}}
    return {
        "energy/pbe": energy(name="energy/pbe"),
        "energy/r2scan": energy(name="energy/r2scan"),
        "non_conservative_force/pbe": generic(
            "non_conservative_force/pbe", vector, True, unit="eV/A"
        ),
        "non_conservative_stress/pbe": generic(
            "non_conservative_stress/pbe", matrix, False, unit="eV/A^3"
        ),
        "mtt::bands": generic("mtt::bands", "scalar", False, 3),
        "mtt::density": generic("mtt::density", spherical((0, 1), (2, 1)), True, 2),
    }


MEMBERS = {"energy/pbe": 5, "non_conservative_force/pbe": 4, "mtt::bands": 3}


@pytest.fixture(scope="module")
def wrapped():
    """A PET in an uncertainty model that was calibrated for all targets but one."""
    known = [name for name in variants() if name != "energy/r2scan"]
    model = make_torch_model({"num_neighbors_adaptive": 4}, targets=variants)
    return make_wrapper(model, MEMBERS, known)


@pytest.fixture(scope="module")
def files(wrapped, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llpr")
    torch.save(wrapped.get_checkpoint(), folder / "model.ckpt")
    wrapped.export().save(folder / "model.pt")
    return folder


def molecules():
    ethanol = ase.build.molecule("CH3CH2OH")
    ethanol.rattle(0.05, seed=1)
    oxide = ase.build.bulk("CuO", "rocksalt", a=4.2) * (2, 1, 1)
    oxide.rattle(0.1, seed=3)
    return {"ethanol": ethanol, "oxide": oxide, "lone": ase.Atoms("C", [[0, 0, 0]])}


def test_both_kinds_of_file(wrapped, files, tmp_path):
    models = [load_metatrain(files / f"model.{kind}") for kind in ("ckpt", "pt")]
    assert fingerprint(models[0]) == fingerprint(models[1])
    assert models[0].config.uncertainties == (
        Uncertainty("energy/pbe", 5),
        Uncertainty("non_conservative_force/pbe", 4),
        Uncertainty("non_conservative_stress/pbe"),
        Uncertainty("mtt::bands", 3),
    )
    # Of several blocks metatrain has no uncertainty; of the other nothing was seen.
    assert models[0].card["not_calibrated"] == "energy/r2scan, mtt::density"
    save_model(models[0], tmp_path)
    model = load_model(tmp_path)
    assert fingerprint(model) == fingerprint(models[0])
    errors = compare(wrapped, model, "float64", molecules(), "energy/pbe")
    assert {"uncertainty", "ensemble"} <= set(errors.found)
    errors.check(TOLERANCE["float64"])


def same(model, path):
    """Every output and layer of a checkpoint, in float64."""
    from metatrain.utils.io import model_from_checkpoint

    assert model.config.uncertainties[0] == Uncertainty(
        "energy", model.config.uncertainties[0].members
    )
    cases = {name: ase.build.molecule(name) for name in ("CH3OH", "H2O", "CO")}
    with gzip.open(path) as file:
        contents = torch.load(file, weights_only=False)
    reference = model_from_checkpoint(contents, context="export").eval()
    errors = compare(reference, model, "float64", cases)
    assert {"uncertainty", "ensemble"} <= set(errors.found)
    errors.check(TOLERANCE["float64"])


@pytest.mark.filterwarnings("error:.*output name is deprecated")
def test_the_shared_checkpoint(shared):
    path = shared / "checkpoints" / "llpr-pet-adaptive.ckpt.gz"
    model = load_metatrain(path)
    same(model, path)
    assert model.config.uncertainties == (Uncertainty("energy", 16),)
    assert model.card["not_calibrated"] == "non_conservative_forces"


def test_the_uncertainty_stands_beside_a(shared, tmp_path):
    """In a report, the mean of metatrain's own over orientations."""
    from metatrain.utils.io import model_from_checkpoint

    path = shared / "checkpoints" / "llpr-pet-adaptive.ckpt.gz"
    model = load_metatrain(path, verify=False)
    with gzip.open(path) as file:
        contents = torch.load(file, weights_only=False)
    reference = model_from_checkpoint(contents, context="export").eval().double()

    def theirs(atoms):
        found, *_ = torch_outputs(reference, atoms, model.config, (), torch.float64)
        return [
            float(found[name][0].item()) for name in ("energy", "energy_uncertainty")
        ]

    structures, squares = {}, []
    for seed, name in enumerate(("CH3OH", "H2O")):
        atoms = ase.build.molecule(name)
        atoms.rattle(0.1, seed=seed)
        turned = []
        for element in haar(jax.random.key(seed), 8):
            turned.append(atoms.copy())
            turned[-1].positions = atoms.positions @ np.asarray(element, float).T
        energies, own = np.transpose([theirs(one) for one in turned])
        squares.append(own.mean() ** 2)
        atoms.info["energy"] = energies.mean() + 0.01
        structures[name] = atoms
    options = Options(max_degree=1, grid=5)
    report = measure_items(model, structures, options, tmp_path)
    labels = report.aggregate()["energy"].labels
    assert labels.uncertainty == pytest.approx(np.sqrt(np.mean(squares)), rel=0.05)
    assert labels.error_of(mean=True) == pytest.approx(0.01, rel=0.2)
    text = " ".join(to_text(report, 400).split())
    assert "the model's own uncertainty" in text


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if index in (0, 1) else pytest.mark.parity)
        for index, path in enumerate(OLDER)
    ],
    ids=lambda path: path.name,
)
def test_older_versions(path):
    """Version 2 has no best weights, version 3 the inverse covariance."""
    model = load_metatrain(path, verify=False)
    same(model, path)
    assert model.config.uncertainties[0].members == 8


def test_best_weights_of_an_older_version(tmp_path):
    """metatrain's upgrade leaves them without a Cholesky factor: infinite numbers."""
    path = next((path for path in OLDER if "model-v3" in path.name), None)
    if path is None:
        pytest.skip("metatrain was installed without its tests")
    with gzip.open(path) as file:
        contents = torch.load(file, weights_only=False)
    expected = load_metatrain(path, verify=False).parameters["uncertainty"]["energy"]
    best = {k: v.clone() for k, v in contents["model_state_dict"].items()}
    best["multiplier_energy_uncertainty"] *= 2
    contents["best_model_state_dict"] = best
    torch.save(contents, tmp_path / "model.ckpt")
    model = load_metatrain(tmp_path / "model.ckpt", verify=False)
    found = model.parameters["uncertainty"]["energy"]
    np.testing.assert_array_equal(found["cholesky"], expected["cholesky"])
    np.testing.assert_array_equal(found["multiplier"], 2 * expected["multiplier"])


def test_a_wrapper_around_something_else(wrapped, tmp_path):
    contents, path = wrapped.get_checkpoint(), tmp_path / "model.ckpt"
    contents["wrapped_model_checkpoint"]["architecture_name"] = "soap_bpnn"
    torch.save(contents, path)
    with pytest.raises(ModelError, match="has the architecture 'soap_bpnn'"):
        load_metatrain(path)
    del contents["wrapped_model_checkpoint"]
    torch.save(contents, path)
    with pytest.raises(ModelError, match="lacks the model that it wraps"):
        load_metatrain(path)


def test_a_factor_that_is_none(wrapped, tmp_path):
    contents, path = wrapped.get_checkpoint(), tmp_path / "model.ckpt"
    state = contents["best_model_state_dict"]
    name = "cholesky_mtt::aux::energy/pbe_uncertainty"
    state[name] = state[name].clone()
    state[name][2, 2] = 0.0
    torch.save(contents, path)
    with pytest.raises(ModelError, match=r"no Cholesky factor.*energy/pbe"):
        load_metatrain(path)


def test_on_the_orbit(wrapped, files):
    """Uncertainties and ensembles are outputs like any other; in float32."""
    model = load_metatrain(files / "model.ckpt", verify=False)
    water = ase.build.molecule("H2O")
    problem = orbit_problem(model, water, layers="none", energy="energy/pbe")
    names = uncertain_outputs(model.config)
    assert set(names) <= set(problem.outputs)
    values = jax.jit(problem.function)(problem.x, *problem.args)
    for name, own in names.items():
        output, unit = problem.outputs[name], model.config.target(own.target).unit
        assert output.unit == unit
        assert values[name].shape[1:] == (
            ()
            if name.endswith("uncertainty")
            else (
                *output.representation.shape,
                own.members * model.config.target(own.target).blocks[0].properties,
            )
        )
    single = copy.deepcopy(wrapped).to(torch.float32)
    theirs, *_ = torch_outputs(
        single, water, model.config, (), torch.float32, "energy/pbe"
    )
    for name in names:
        if name.endswith("uncertainty"):
            # One number, which metatrain repeats for every component.
            expected = theirs[name][0].reshape(len(theirs[name][0]), -1)[:, 0]
            np.testing.assert_allclose(
                np.ravel(values[name]), expected, rtol=0, atol=1e-5 * expected.max()
            )
    # Members spread about the prediction, which is their mean.
    mean = np.mean(values["mtt::aux::energy/pbe_ensemble"], axis=-1)
    np.testing.assert_allclose(mean, values["energy/pbe"], rtol=1e-4)
    chosen = orbit_problem(
        model, water, layers="none", outputs=["mtt::aux::bands_ensemble"]
    )
    assert list(chosen.outputs) == ["mtt::aux::bands_ensemble"]
    found = jax.eval_shape(chosen.function, chosen.x, *chosen.args)
    assert list(found) == ["mtt::aux::bands_ensemble"]


def test_back_to_metatrain(wrapped, files, tmp_path):
    """Written as the uncertainty model that it was, and to the bit."""
    from metatrain.utils.io import load_model as load_theirs

    model = load_metatrain(files / "model.ckpt", verify=False)
    path = tmp_path / "again.ckpt"
    save_metatrain(model, path)
    again = load_metatrain(path, verify=False)
    assert fingerprint(again) == fingerprint(model)
    theirs = load_theirs(path)
    for name, value in wrapped.named_buffers():
        if name.startswith(("cholesky", "multiplier")) and value.any():
            known = dict(theirs.named_buffers())[name]
            calibrated = "r2scan" not in name and "density" not in name
            assert torch.equal(known, value) or not calibrated, name
