"""Interventions in networks of other packages: planted causes are found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from symjax.errors import ModelError
from symjax.interop import linen_stages, torch_stages
from symjax.metrics import trace
from symjax.so3 import SCALAR, Irrep

X = np.array([[0.2, -0.5, 0.8], [1.0, 0.4, 0.1]])


class Invariant(linen.Module):
    """Lengths and angle, with noise of degree 3 where it is planted."""

    noise: float = 0.0

    @linen.compact
    def __call__(self, x):
        a, b = x
        cubic = a[0] * a[1] * a[2] / jnp.linalg.norm(a) ** 3
        return jnp.stack([a @ a, b @ b, a @ b]) + self.noise * cubic, a


class Network(linen.Module):
    """Two stages; the second sees one component of the input again."""

    first: float
    second: float

    @linen.compact
    def __call__(self, x):
        features, _ = Invariant(self.first, name="one")(x)
        hidden = jnp.tanh(linen.Dense(4, name="dense")(features))
        b = x[1] / jnp.linalg.norm(x[1])
        return hidden.sum() + self.second * b[0] * b[1]


@pytest.mark.parametrize("planted", [0, 1, None])
def test_a_linen_module(planted):
    """What is planted in a layer is found there, and nothing else is blamed."""
    module = Network(0.3 * (planted == 0), 0.3 * (planted == 1))
    variables = module.init(jax.random.key(0), jnp.asarray(X))
    with jax.enable_x64(True):
        staged = linen_stages(
            module,
            variables,
            X,
            outputs=SCALAR,
            stages=["one", "dense"],
        )
        found = trace(staged, max_degree=3, sectors=planted == 0, rule=9)
    parts = found.contributions("output")
    whole = found.errors["output"][0] ** 2
    if planted is None:
        assert whole < 1e-12
        return
    # the second enters behind both stages
    assert parts[0] == pytest.approx(whole if planted == 0 else 0, abs=1e-6 * whole)
    assert parts[2] == pytest.approx(whole if planted == 1 else 0, abs=1e-6 * whole)
    if planted == 0:
        assert found.blamed("output") == (0, Irrep(3, 1))


def test_layers_that_are_not_there():
    module = Network(0.0, 0.0)
    variables = module.init(jax.random.key(0), jnp.asarray(X))
    with pytest.raises(ModelError):
        linen_stages(module, variables, X, outputs=SCALAR, stages=["other"])
    with pytest.raises(ModelError, match="twice"):
        linen_stages(module, variables, X, outputs=SCALAR, stages=["one", "one"])


@pytest.mark.torch
@pytest.mark.parametrize("planted", [0, 1])
def test_a_torch_module(planted):
    """Forward hooks replace what a submodule returns; afterwards none is left."""
    torch = pytest.importorskip("torch")

    class First(torch.nn.Module):
        def forward(self, x):
            a, b = x
            cubic = a.prod() / a.norm() ** 3
            features = torch.stack([a @ a, b @ b, a @ b])
            return features + (0.3 if planted == 0 else 0.0) * cubic

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.dense = First(), torch.nn.Linear(3, 4)

        def forward(self, x):
            b = x[1] / x[1].norm()
            second = b[0] * b[1] * (0.3 if planted == 1 else 0.0)
            return torch.tanh(self.dense(self.one(x))).sum() + second

    torch.manual_seed(0)
    module = Whole().double()
    staged = torch_stages(module, X, outputs=SCALAR, stages=["one", "dense"])
    found = trace(staged, max_degree=3, rule=7)
    parts = found.contributions("output")
    whole = found.errors["output"][0] ** 2
    assert parts[0] == pytest.approx(whole if planted == 0 else 0, abs=1e-6 * whole)
    assert parts[2] == pytest.approx(whole if planted == 1 else 0, abs=1e-6 * whole)
    assert not any(m._forward_hooks for m in module.modules())
