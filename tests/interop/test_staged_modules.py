"""Interventions in networks of other packages: planted causes are found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from small_models import random_parameters

from symjax.errors import ArgumentError, ModelError
from symjax.interop import (
    marked_equinox,
    marked_linen,
    marked_nnx,
    marked_stages,
    torch_stages,
)
from symjax.interop.jax_modules import mark_layer
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


def stages_of(marked, stages):
    """Stages of a marked module, of which the arrays come first among the arguments."""
    function, arrays = marked
    return marked_stages(function, X, outputs=SCALAR, stages=stages, args=(arrays,))


@pytest.mark.parametrize("planted", [0, 1, None])
def test_a_linen_module(planted):
    """What is planted in a layer is found there, and nothing else is blamed."""
    module = Network(0.3 * (planted == 0), 0.3 * (planted == 1))
    variables = random_parameters(module, jnp.asarray(X))
    with jax.enable_x64(True):
        staged = stages_of(marked_linen(module, variables), ["one", "dense"])
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
    variables = random_parameters(module, jnp.asarray(X))
    with pytest.raises(ModelError):
        stages_of(marked_linen(module, variables), ["other"])
    model = nnx.Sequential(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), jnp.sum)
    for name in ("other", "layers.1", "layers.7"):
        with pytest.raises(ModelError, match=r"Use some of .*layers\.0"):
            stages_of(marked_nnx(model, [name]), [name])
    with pytest.raises(ModelError, match="twice"):
        stages_of(marked_linen(module, variables), ["one", "one"])


def cubic(a):
    return a[0] * a[1] * a[2] / jnp.linalg.norm(a) ** 3


class Nnx(nnx.Module):
    """A stage of which the second call is not interfered with, under nnx.jit."""

    def __init__(self, noise):
        self.noise = noise
        self.dense = nnx.Linear(2, 4, rngs=nnx.Rngs(0))

    def __call__(self, x):
        features = jnp.stack([x[0] @ x[0], x[0] @ x[1]])
        noisy = nnx.jit(self.dense)(features + self.noise[0] * cubic(x[0]))
        again = self.dense(features + self.noise[1] * cubic(x[0]))
        return jnp.tanh(noisy).sum() + again.sum()


def equinox_network(noise):
    equinox = pytest.importorskip("equinox")

    class Network(equinox.Module):
        rows: equinox.nn.Linear

        def __call__(self, x):
            features = jnp.stack([x @ x[0], x @ x[0] + noise[0] * cubic(x[0])])
            seen = jax.vmap(self.rows)(features)
            return jnp.tanh(seen).sum() + noise[1] * cubic(x[0])

    return Network(equinox.nn.Linear(2, 3, key=jax.random.key(0)))


@pytest.mark.parametrize("planted", [0, 1])
@pytest.mark.parametrize("kind", ["nnx", "equinox"])
def test_what_is_planted_in_other_packages_is_found(kind, planted):
    """In a layer under jit or vmap, or behind it."""
    noise = (0.5, 0.0) if planted == 0 else (0.0, 0.5)
    with jax.enable_x64(True):
        if kind == "nnx":
            model = Nnx(noise)
            staged = stages_of(marked_nnx(model, ["dense"]), ["dense"])
        else:
            model = equinox_network(noise)
            layers = {"rows": lambda model: model.rows}
            staged = stages_of(marked_equinox(model, layers), [*layers])
        plain = model(jnp.asarray(X))
        found = trace(staged, max_degree=3, rule=9)
    values = jax.jit(staged.problem.function)(X, *staged.problem.args)
    np.testing.assert_allclose(values["output"], plain, rtol=1e-6)
    whole = found.errors["output"][0] ** 2
    assert whole > 1e-6
    parts = found.contributions("output")
    assert parts[planted] == pytest.approx(whole, rel=1e-6)
    assert type(model).__name__ in ("Nnx", "Network")


def test_marks_in_loops_are_refused():
    def loop(x):
        def step(carry, _):
            return mark_layer(carry + 1, "h"), None

        return jax.lax.scan(step, x.sum(), None, length=2)[0]

    with pytest.raises(ArgumentError, match="within scan"):
        marked_stages(loop, X, outputs=SCALAR, stages=["h"])


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
