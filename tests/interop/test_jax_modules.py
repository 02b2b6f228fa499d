"""Linen, NNX and Equinox networks: outputs, layers, and equal numbers by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from small_models import random_parameters

from symjax.errors import ArgumentError, ModelError
from symjax.interop import equinox_problem, linen_problem, nnx_problem
from symjax.interop.jax_modules import mark_layer, with_marks
from symjax.metrics import Grid, measure
from symjax.so3 import FEATURE, SCALAR, VECTOR

X = np.random.default_rng(0).normal(size=(4, 3))
OPTIONS = {"over": Grid(7, on_aliasing="report"), "max_degree": 3}


def values_of(problem):
    return jax.jit(problem.function)(problem.x, *problem.args)


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x, scale=1.0):
        hidden = linen.Dense(5, name="first")(x)
        return scale * linen.Dense(3, name="last")(jnp.tanh(hidden))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(3, 5, rngs=rngs)
        self.last = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        hidden = self.first(x)
        self.sow(nnx.Intermediate, "squares", hidden**2)
        return self.last(jnp.tanh(hidden))


class Equinox(eqx.Module):
    first: eqx.nn.Linear
    last: eqx.nn.Linear

    def __init__(self, key):
        one, two = jax.random.split(key)
        self.first = eqx.nn.Linear(3, 5, key=one)
        self.last = eqx.nn.Linear(5, 3, key=two)

    def __call__(self, x):
        return jax.vmap(self.last)(jnp.tanh(jax.vmap(self.first)(x)))


def linen_case():
    module = Linen()
    variables = random_parameters(module, X)
    layers = variables["params"]
    problem = linen_problem(module, variables, X, outputs=VECTOR, layers="first")
    return problem, layers["first"]["kernel"], layers["first"]["bias"]


def nnx_case():
    model = Nnx(nnx.Rngs(0))
    problem = nnx_problem(model, X, outputs=VECTOR, layers=["first"])
    return problem, model.first.kernel[...], model.first.bias[...]


def equinox_case():
    model = Equinox(jax.random.key(0))
    problem = equinox_problem(
        model, X, outputs=VECTOR, layers={"first": lambda model: model.first}
    )
    return problem, model.first.weight.T, model.first.bias


@pytest.mark.parametrize("case", [linen_case, nnx_case, equinox_case])
def test_a_layer_is_what_its_parameters_say(case):
    """The first layer is affine: x W + b, with content in 0+ and 1+ in closed form."""
    problem, kernel, bias = case()
    assert list(problem.outputs) == ["output", "first"]
    found = values_of(problem)
    np.testing.assert_allclose(found["first"], X @ kernel + bias, rtol=1e-6, atol=1e-7)
    result = measure(problem, **OPTIONS)
    constant = len(X) * float(np.sum(np.square(bias)))
    linear = float(np.sum(X**2)) * float(np.sum(np.square(kernel))) / 3
    first = result["first"]
    # float32 parameters
    assert first.content_of("0+") == pytest.approx(
        constant / (constant + linear), abs=1e-5
    )
    assert first.content_of("1+") == pytest.approx(
        linear / (constant + linear), abs=1e-5
    )
    assert result["output"].relative_error > 0.05


def test_what_a_module_sows_is_a_layer():
    model = Nnx(nnx.Rngs(0))
    problem = nnx_problem(model, X, outputs=VECTOR, layers="squ.*")
    found = values_of(problem)
    np.testing.assert_allclose(found["squares"], model.first(X) ** 2, rtol=1e-6)


def test_members_of_lists_are_layers_of_their_own():
    one, two = (nnx.Linear(3, size, rngs=nnx.Rngs(size)) for size in (3, 2))
    model = nnx.Sequential(one, jnp.tanh, two)
    problem = nnx_problem(model, X, outputs=FEATURE, layers=r"layers\..*")
    assert list(problem.outputs) == ["output", "layers.0", "layers.2"]
    found = values_of(problem)
    np.testing.assert_allclose(found["layers.0"], one(X), rtol=1e-6)
    np.testing.assert_allclose(found["layers.2"], found["output"], rtol=1e-6)


def test_several_arrays_of_a_layer_are_named_by_their_places():
    """Those of its first call."""

    class Pair(linen.Module):
        @linen.compact
        def __call__(self, x):
            return 2 * x, {"norm": jnp.sum(x**2)}

    class Network(linen.Module):
        @linen.compact
        def __call__(self, x):
            pair = Pair(name="pair")
            return pair(x)[0] + pair(x + 1)[0]

    problem = linen_problem(Network(), {}, X, outputs=VECTOR, layers="pair.*")
    assert list(problem.outputs) == ["output", "pair.0", "pair.1.norm"]
    found = values_of(problem)
    np.testing.assert_array_equal(found["pair.0"], 2 * X)
    np.testing.assert_allclose(found["pair.1.norm"], np.sum(X**2))


def test_layers_of_equinox_may_be_within_each_other():
    class Outer(eqx.Module):
        inner: Equinox

        def __call__(self, x):
            return 2 * self.inner(x)

    layers = {"whole": lambda m: m.inner, "first": lambda m: m.inner.first}
    model = Outer(Equinox(jax.random.key(0)))
    problem = equinox_problem(model, X, outputs=VECTOR, layers=layers)
    found = values_of(problem)
    np.testing.assert_allclose(found["whole"], found["output"] / 2, rtol=1e-6)
    expected = jax.vmap(model.inner.first)(X)
    np.testing.assert_allclose(found["first"], expected, rtol=1e-6)


def test_arguments_that_do_not_rotate():
    module = Linen()
    variables = random_parameters(module, X)
    problem = linen_problem(module, variables, X, outputs=VECTOR, args=(2.0,))
    found = values_of(problem)["output"]
    np.testing.assert_allclose(found, 2 * module.apply(variables, X), rtol=1e-6)


def test_a_dictionary_of_outputs():
    class Both(linen.Module):
        @linen.compact
        def __call__(self, x):
            return {"norm": jnp.sum(x**2), "same": x}

    problem = linen_problem(Both(), {}, X, outputs={"norm": SCALAR, "same": VECTOR})
    result = measure(problem, **OPTIONS)
    assert all(leaf.relative_error < 1e-7 for leaf in result.values())


@pytest.mark.parametrize(
    ("layers", "text"),
    [("second", "layers='second'.*first, last"), ("(", "regular expression")],
)
def test_unknown_layers_are_refused(layers, text):
    module = Linen()
    variables = random_parameters(module, X)
    with pytest.raises(ModelError, match=text):
        linen_problem(module, variables, X, outputs=VECTOR, layers=layers)


def test_a_layer_does_not_replace_an_output_of_its_name():
    class Energies(linen.Module):
        @linen.compact
        def __call__(self, x):
            features = linen.Dense(2, name="energy")(x**2)
            return {"energy": jnp.sum(features)}

    module = Energies()
    variables = random_parameters(module, X)
    outputs = {"energy": SCALAR}
    assert list(linen_problem(module, variables, X, outputs=outputs).outputs) == [
        "energy"
    ]
    with pytest.raises(ArgumentError, match=r"layers='energy'.*name of an output"):
        linen_problem(module, variables, X, outputs=outputs, layers=".*")


def marked_tanh(x, *_):
    return mark_layer(jnp.tanh(x), "cell")


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("scan", lambda x: jax.lax.scan(lambda c, _: (marked_tanh(c), 0), x, None, 3)),
        ("while", lambda x: jax.lax.while_loop(lambda c: c.sum() > 1, marked_tanh, x)),
        ("cond", lambda x: jax.lax.cond(x.sum() > 9, marked_tanh, jnp.sin, x)),
    ],
)
def test_a_layer_within_a_loop_or_a_condition_is_refused(name, function):
    with pytest.raises(ArgumentError, match=rf"layers='cell'.*within {name}"):
        with_marks(function)(jnp.ones(3))


def test_marks_within_a_checkpoint_are_found():
    def energy(x):
        return jnp.sum(jax.checkpoint(marked_tanh)(x))

    out, found = with_marks(energy, {"cell": 1.0})(jnp.zeros(3))
    assert float(out) == 3
    np.testing.assert_array_equal(found["cell"], np.zeros(3))


def test_marks_pass_through_compiled_functions_and_derivatives():
    def energy(x):
        return jnp.sum(jax.jit(lambda y: mark_layer(y**2, "square"))(x))

    out, found = with_marks(energy)(jnp.arange(3.0))
    assert float(out) == 5
    np.testing.assert_allclose(found["square"], [0, 1, 4])
    slope, _ = with_marks(jax.grad(energy))(jnp.arange(3.0))
    np.testing.assert_allclose(slope, [0, 2, 4])
