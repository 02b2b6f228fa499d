"""The same function measured here and by ``metatomic.torch.o3.SymmetrizedModel``.

Mean, variance and character projections agree to 1e-8 relative in float64. Both rules
integrate this polynomial exactly, so that only round-off remains; theirs averages the
variance over components, and lists projections by component.
"""

import ase.build
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.metrics import Grid, measure
from symjax.so3 import MATRIX, SCALAR, VECTOR

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
pytest.importorskip("metatomic.torch.o3", reason="needs the extra [torch]")

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

MAX_DEGREE = 4
REPRESENTATIONS = {"scalar": SCALAR, "vector": VECTOR, "matrix": MATRIX}


def function(x):
    """Polynomials of degree 3, equivariant but for some of their terms."""
    crossed = jnp.stack([x[0, 1] ** 2, x[1, 2] * x[0, 0], x[1, 0]])
    return {
        "scalar": (x[:, 0] ** 2 * x[:, 1]).sum() + (x[0] * x[1]).sum(),
        "vector": x.sum(0) + 0.1 * crossed,
        "matrix": x.T @ x + 0.2 * jnp.outer(x[0], x[1] ** 2),
    }


def peer(positions):
    from metatensor.torch import Labels, TensorBlock, TensorMap
    from metatomic.torch import ModelOutput, System
    from metatomic.torch.o3 import SymmetrizedModel

    components = {"scalar": [], "vector": ["xyz"], "matrix": ["xyz_1", "xyz_2"]}

    def labels(name, length):
        return Labels([name], torch.arange(length).reshape(-1, 1))

    class Model(torch.nn.Module):
        def requested_inputs(self):
            return {}

        def requested_neighbor_lists(self):
            return []

        def forward(self, systems, outputs, selected_atoms=None):
            values = {name: [] for name in components}
            for system in systems:
                x = system.positions
                crossed = torch.stack([x[0, 1] ** 2, x[1, 2] * x[0, 0], x[1, 0]])
                values["scalar"].append(
                    (x[:, 0] ** 2 * x[:, 1]).sum() + (x[0] * x[1]).sum()
                )
                values["vector"].append(x.sum(0) + 0.1 * crossed)
                values["matrix"].append(x.T @ x + 0.2 * torch.outer(x[0], x[1] ** 2))
            samples = labels("system", len(systems))
            return {
                f"mtt::{name}": TensorMap(
                    labels("_", 1),
                    [
                        TensorBlock(
                            torch.stack(values[name])[..., None],
                            samples,
                            [labels(axis, 3) for axis in components[name]],
                            labels("property", 1),
                        )
                    ],
                )
                for name in components
            }

    model = SymmetrizedModel(
        Model(),
        max_angular_momentum_target=2,
        max_angular_momentum_character=MAX_DEGREE,
        max_angular_momentum_grid=13,
    )
    system = System(
        torch.arange(1, len(positions) + 1),
        torch.tensor(positions),
        torch.zeros(3, 3, dtype=torch.float64),
        torch.zeros(3, dtype=torch.bool),
    )
    kinds = ("", "o3::variance::", "o3::character_projection::")
    requests = {
        f"{kind}mtt::{name}": ModelOutput(sample_kind="system")
        for name in components
        for kind in kinds
    }
    return model([system], requests, None)


@pytest.fixture(scope="module", params=["H2O", "random"])
def both(request):
    if request.param == "random":
        positions = np.random.default_rng(0).normal(size=(5, 3))
    else:
        positions = ase.build.molecule(request.param).positions + 0.1
    ours = measure(
        function,
        positions,
        representations=REPRESENTATIONS,
        max_degree=MAX_DEGREE,
        over=Grid(13),
    )
    return ours, peer(positions)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_mean(both, name):
    ours, theirs = both
    if name == "matrix":
        # The mean comes split into its irreps.
        expected = sum(
            float((block.values**2).sum()) for block in theirs[f"mtt::{name}"].blocks()
        )
        assert (ours[name].mean ** 2).sum() == pytest.approx(expected, rel=1e-8)
        return
    expected = theirs[f"mtt::{name}"].block().values.numpy()
    np.testing.assert_allclose(
        ours[name].mean.ravel(), expected.ravel(), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_variance(both, name):
    ours, theirs = both
    size = REPRESENTATIONS[name].dimension
    blocks = theirs[f"o3::variance::mtt::{name}"].blocks()
    assert len(blocks) == 1
    expected = float(blocks[0].values.sum()) * size
    assert ours[name].variance.sum() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_projections(both, name):
    ours, theirs = both
    leaf = ours[name]
    power = leaf.totals().power.sum(axis=0)
    largest = power.max()
    seen = 0
    for key, block in theirs[f"o3::character_projection::mtt::{name}"].items():
        degree, sigma = int(key["chi_lambda"]), int(key["chi_sigma"])
        mine = power[degree, 0 if sigma == 1 else 1]
        # Sectors that vanish are round-off of the largest.
        expected = pytest.approx(
            float(block.values.sum()), rel=1e-8, abs=1e-12 * largest
        )
        assert mine == expected
        seen += 1
    assert seen == 2 * (MAX_DEGREE + 1)
