"""A PyTorch model measured in place, against its import measured natively."""

import ase.build
import jax
import numpy as np
import pytest

from symjax.data import build_graph
from symjax.errors import ArgumentError, ModelError
from symjax.interop import load_metatrain, torch_callable
from symjax.metrics import Grid, measure
from symjax.models.pet import orbit_problem, predict
from symjax.so3 import (
    FEATURE,
    MATRIX,
    SCALAR,
    VECTOR,
    finite_group,
    spherical,
)

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
pytest.importorskip("metatrain", reason="needs the extra [torch]")
from torch_pet import make_torch_model, make_variant  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

OUTPUTS = {
    "energy": SCALAR,
    "forces": VECTOR,
    "non_conservative_forces": VECTOR,
    "mtt::charges": SCALAR,
    "mtt::bands": FEATURE,
    "mtt::pseudo/0-": spherical(0, -1, channels=True),
    "mtt::pseudo/2-": spherical(2, -1, channels=True),
    "mtt::octupole": spherical(3, 1),
}
PER_ATOM = ("non_conservative_forces", "mtt::charges")
SETTINGS = {"max_degree": 1, "over": Grid(3, on_aliasing="report")}


@pytest.fixture(scope="module")
def model():
    """An exported model in float64, not compiled by TorchScript."""
    return make_variant("other targets").to(torch.float64).export()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """The path of the same model on disk."""
    path = tmp_path_factory.mktemp("torch") / "model.pt"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def imported(exported):
    return load_metatrain(exported, verify=False)


def measured(problem):
    return measure(problem, **SETTINGS)


def test_same_numbers_as_the_imported_model(model, imported):
    """Both run in float64; 1e-8 of the largest number is round-off."""
    atoms = ase.build.molecule("CH3OH")
    theirs = torch_callable(model, atoms, OUTPUTS, per_atom=PER_ATOM)
    ours = orbit_problem(
        imported,
        atoms,
        layers="none",
        outputs=list({name.split("/")[0]: None for name in OUTPUTS}),
        dtype="float64",
    )
    assert set(theirs.outputs) <= set(ours.outputs)
    elements = np.stack([np.eye(3), *finite_group("Oh").elements[[5, 30]]])
    rows = theirs.function.function(
        [{name: x @ g.T for name, x in theirs.x.items()} for g in elements]
    )
    function = jax.jit(ours.function)
    found = [
        function(jax.tree.map(lambda x: x @ g.T, ours.x), *ours.args)  # noqa: B023
        for g in elements
    ]
    for name in OUTPUTS:
        mine, other = (
            np.stack([np.asarray(row[name], float).ravel() for row in side])
            for side in (found, rows)
        )
        # Baselines, which only the exported model adds, do not change.
        change, expected = mine - mine[0], other - other[0]
        scale = np.abs(expected).max()
        assert scale > 1e-4
        np.testing.assert_allclose(change, expected, rtol=0, atol=1e-8 * scale)
    assert measured(theirs)["forces"].relative_error > 1e-3


def test_forces_and_stress(exported, imported):
    """Derivatives of a crystal, against the same of the imported model."""
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    outputs = {"stress": MATRIX, "forces": VECTOR, "non_conservative_stress": MATRIX}
    problem = torch_callable(exported, atoms, outputs)
    (theirs,) = problem.function.function([problem.x])
    graph = build_graph(atoms, imported.config.cutoff)
    ours = predict(imported, graph, forces=True, stress=True)
    for name in outputs:
        mine = np.asarray(ours[name]).reshape(theirs[name].shape)
        np.testing.assert_allclose(
            theirs[name], mine, rtol=0, atol=1e-10 * np.abs(mine).max()
        )


@pytest.mark.parametrize("periodic", [(1, 1, 0), (0, 0, 1)], ids=["slab", "wire"])
def test_stress_within_the_periodic_directions(model, imported, periodic):
    """Over the volume of the cell with its vacuum, as of the imported model.

    And by strain: the energy of a cell that is stretched along a periodic direction.
    """
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    cell = np.array([[3.6, 0, 0], [0.4, 3.6, 0], [0.3, 0, 3.6]])
    cell[~np.array(periodic, bool)] *= 3
    atoms.set_cell(cell)
    atoms.pbc = periodic
    outputs = {"stress": MATRIX}
    problem = torch_callable(model, atoms, outputs)
    (theirs,) = problem.function.function([problem.x])
    ours = predict(imported, build_graph(atoms, imported.config.cutoff), stress=True)
    stress = theirs["stress"].reshape(3, 3)
    scale = np.abs(stress).max()
    np.testing.assert_allclose(stress, ours["stress"][0], rtol=0, atol=1e-9 * scale)

    def energy(strain):
        moved = atoms.copy()
        moved.set_cell(atoms.cell[:] @ strain, scale_atoms=True)
        again = torch_callable(model, moved, {"energy": SCALAR})
        return float(again.function.function([again.x])[0]["energy"][0])

    along = atoms.cell[int(np.argmax(periodic))]
    direction = along / np.linalg.norm(along)
    steps = [np.eye(3) + h * np.outer(direction, direction) for h in (1e-5, -1e-5)]
    slope = (energy(steps[0]) - energy(steps[1])) / 2e-5
    found = direction @ stress @ direction * abs(np.linalg.det(atoms.cell[:]))
    assert found == pytest.approx(slope, rel=1e-6)
    leaf = measured(problem)["stress"]
    assert leaf.relative_error > 1e-3  # of random weights
    normal = np.linalg.svd(atoms.cell[:][np.array(periodic, bool)])[2][-1]
    assert np.abs(stress @ normal).max() < 1e-12 * scale


def test_features(model):
    """metatrain's features of a whole model, with their distance from invariance."""
    atoms = ase.build.molecule("H2O")
    problem = torch_callable(model, atoms, {"feature": FEATURE}, per_atom=["feature"])
    found = measured(problem)["feature"]
    assert problem.function.function([problem.x])[0]["feature"].shape == (3, 12 + 8)
    assert 1e-3 < found.relative_error < 1


def test_charge_and_spin_are_passed_on(tmp_path):
    model = make_torch_model({"system_conditioning": True}).to(torch.float64)
    torch.save(model.get_checkpoint(), tmp_path / "model.ckpt")
    imported = load_metatrain(tmp_path / "model.ckpt", verify=False)
    energies = []
    for charge in (0, 2):
        atoms = ase.build.molecule("H2O")
        atoms.info.update(charge=charge, spin_multiplicity=3)
        problem = torch_callable(model.export(), atoms, {"energy": SCALAR})
        (theirs,) = problem.function.function([problem.x])
        ours = predict(imported, build_graph(atoms, 4.5))["energy"]
        energies.append(theirs["energy"].item())
        assert energies[-1] == pytest.approx(float(ours[0]), rel=1e-10)
    assert abs(energies[0] - energies[1]) > 1e-3


def test_bad_arguments(model, tmp_path):
    water = ase.build.molecule("H2O")

    def make(outputs, **settings):
        problem = torch_callable(model, water, outputs, **settings)
        return problem.function.function([problem.x])

    with pytest.raises(ModelError, match=r"no such output.*forces or stress"):
        make({"charge": SCALAR})
    with pytest.raises(ArgumentError, match="empty"):
        make({})
    with pytest.raises(ArgumentError, match="not among the outputs"):
        make({"energy": SCALAR}, per_atom=["mtt::charges"])
    with pytest.raises(ModelError, match=r"3 blocks.*0-, 0\+, 2-"):
        make({"mtt::pseudo": spherical(0, -1)})
    with pytest.raises(ModelError, match="3 blocks"):
        make({"mtt::pseudo/5+": spherical(5, 1)})
    with pytest.raises(ModelError, match="2 properties"):
        make({"mtt::pseudo/2-": spherical(2, -1)})
    with pytest.raises(ArgumentError, match="all blocks of an output or none"):
        make(
            {f"mtt::pseudo/{key}": FEATURE for key in ("0-", "0+")},
            per_atom=["mtt::pseudo/0+"],
        )
    with pytest.raises(ArgumentError, match="no stress"):
        make({"stress": MATRIX})
    with pytest.raises(ModelError, match="AtomisticModel"):
        torch_callable(torch.nn.Identity(), water, {"energy": SCALAR})
    path = tmp_path / "broken.pt"
    path.write_bytes(b"hello")
    with pytest.raises(ModelError, match="cannot be read"):
        torch_callable(path, water, {"energy": SCALAR})
