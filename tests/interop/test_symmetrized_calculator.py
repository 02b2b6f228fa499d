"""One PET in ASE, averaged here and by metatomic's ``SymmetrizedCalculator``.

Both sides evaluate the same rotated structures, so that means and standard deviations
agree although the rule does not resolve the predictions of a random PET.
"""

import ase.build
import numpy as np
import pytest

from symjax.interop import SymjaxCalculator, load_metatrain
from symjax.so3 import Quadrature, quadrature

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
metatomic_ase = pytest.importorskip("metatomic_ase", reason="needs metatomic-ase")
pytest.importorskip("metatrain", reason="needs the extra [torch]")
from torch_pet import make_variant  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

# Relative to the largest entry of what is compared; both sides agree to 1e-12.
TOLERANCE = 1e-10
MAX_DEGREE = 2


@pytest.fixture(scope="module")
def model():
    return make_variant("default").to(torch.float64).export()


@pytest.fixture(scope="module")
def imported(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("torch") / "model.pt"
    model.save(path)
    return load_metatrain(path, verify=False)


def oxide():
    atoms = ase.build.bulk("CuO", "rocksalt", a=4.2, cubic=True)
    atoms.rattle(0.1, seed=3)
    return atoms


def base(model):
    calculator = metatomic_ase.MetatomicCalculator(model, device="cpu")
    compute = calculator.compute_energy

    def symmetric(*arguments, **options):
        # ASE's stress is the symmetric part, and our spreads are of its entries.
        results = compute(*arguments, **options)
        if "stress" in results:
            results["stress"] = [(s + s.T) / 2 for s in results["stress"]]
        return results

    calculator.compute_energy = symmetric
    return calculator


def their_rule():
    """The product rule that metatomic takes for MAX_DEGREE."""
    sphere = quadrature(3, "lebedev")
    return Quadrature(
        sphere.alpha,
        sphere.beta,
        sphere.sphere_weights,
        in_plane=2 * MAX_DEGREE + 1,
        degree=3,
        name="metatomic",
    )


def assert_close(ours, theirs):
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * scale)


def voigt(stress):
    return stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


@pytest.mark.parametrize("inversion", [True, False])
@pytest.mark.parametrize("make", [oxide, lambda: ase.build.molecule("CH3CH2OH")])
def test_means_and_spreads(model, imported, make, inversion):
    atoms = make()
    peer = metatomic_ase.SymmetrizedCalculator(
        base(model),
        l_max=MAX_DEGREE,
        batch_size=10,
        include_inversion=inversion,
        store_rotational_std=True,
    )
    peer.calculate(atoms, ["energy", "energies", "forces"], [])
    theirs = peer.results
    calculator = SymjaxCalculator(
        imported, average=their_rule(), include_inversion=inversion, dtype="float64"
    )
    calculator.calculate(atoms)
    ours = calculator.results
    for name in ("energy", "energies", "forces"):
        assert_close(ours[name], theirs[name])
        assert_close(ours[f"{name}_rotational_std"], theirs[f"{name}_rot_std"])
    assert ours["energy_rotational_std"] > 1e-3
    if atoms.pbc.all():
        assert_close(ours["stress"], voigt(theirs["stress"]))
        assert_close(ours["stress_rotational_std"], voigt(theirs["stress_rot_std"]))


def test_space_group(model, imported):
    atoms = ase.build.bulk("CuO", "rocksalt", a=4.2, cubic=True)
    atoms.positions[0] += (0, 0, 0.2)
    peer = metatomic_ase.SymmetrizedCalculator(
        base(model),
        l_max=0,
        include_inversion=False,
        apply_space_group_symmetry=True,
    )
    peer.calculate(atoms, ["energy", "forces", "stress"], [])
    calculator = SymjaxCalculator(imported, symmetrize=True, dtype="float64")
    calculator.calculate(atoms)
    assert_close(calculator.results["energy"], peer.results["energy"])
    assert_close(calculator.results["forces"], peer.results["forces"])
    assert_close(calculator.results["stress"], voigt(peer.results["stress"]))
