"""Compiled code is found again for the same function, and only for the same."""

import dataclasses
import functools
import sys
import types

import ase.build
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import drawn_pet

from symjax.metrics import measure
from symjax.metrics.identity import pinned
from symjax.models.pet import orbit_problem
from symjax.so3 import VECTOR, act, finite_group, spherical

X = np.random.default_rng(0).normal(size=(4, 3)).astype("f")

WEIGHT = 1.0
SETTINGS = types.ModuleType("settings_of_a_user")
SETTINGS.inner = types.ModuleType("settings_of_a_user.inner")


def squared(x, weight):
    """Equivariant for weight 0 alone."""
    return x.sum(0) + weight * x[0] ** 2


class Model:
    weight = 1.0

    def predict(self, x):
        return squared(x, self.weight)

    __call__ = predict


@dataclasses.dataclass
class Box:
    values: dict


class Dense(nn.Module):
    weight: float = 1.0

    @nn.compact
    def __call__(self, x):
        return squared(x, self.weight)


def by_global(x):
    return squared(x, WEIGHT)


def by_global_of_another(x):
    return by_global(x)


def by_module(x):
    return squared(x, SETTINGS.inner.weight)


def by_attribute(x):
    return squared(x, by_attribute.weight)


def by_default(x, weight=1.0):
    return squared(x, weight)


def by_keyword(x, *, weight=1.0):
    return squared(x, weight)


def case_of(name):
    """A function with weight 1, and what sets its weight to 0."""
    if name == "cell":
        weight = 1.0

        def change():
            nonlocal weight
            weight = 0.0

        return lambda x: squared(x, weight), change
    if name == "array changed in place":
        array = np.ones(1)
        return lambda x: squared(x, array[0]), lambda: array.fill(0)
    if name == "nested containers":
        box = Box({"layers": [{"weight": 1.0}]})
        return (
            lambda x: squared(x, box.values["layers"][0]["weight"]),
            lambda: box.values["layers"][0].update(weight=0.0),
        )
    if name == "array of JAX":
        box = {"weight": jnp.ones(())}
        return (
            functools.partial(lambda box, x: squared(x, box["weight"]), box),
            lambda: box.update(weight=jnp.zeros(())),
        )
    model = Model()
    if name == "attribute of the class":
        return model.predict, lambda: setattr(Model, "weight", 0.0)
    if name == "method of the class":
        return model.predict, lambda: setattr(
            Model, "predict", lambda self, x: squared(x, 0.0)
        )
    of_model = {
        "bound method": model.predict,
        "object": model,
        "closure over an object": lambda x: model.predict(x),
        "partial of a method": functools.partial(Model.predict, model),
        "vmap": lambda x: jax.vmap(model.predict, in_axes=1)(x[:, None])[0],
        "gradient": jax.grad(lambda x: (x * squared(x, model.weight)[None]).sum()),
    }
    if name in of_model:
        return of_model[name], lambda: setattr(model, "weight", 0.0)
    globals_ = {
        "global": (by_global, "WEIGHT"),
        "global of another function": (by_global_of_another, "WEIGHT"),
    }
    if name in globals_:
        function, key = globals_[name]
        return function, lambda: globals().update({key: 0.0})
    if name == "module":
        return by_module, lambda: setattr(SETTINGS.inner, "weight", 0.0)
    if name == "attribute":
        return by_attribute, lambda: setattr(by_attribute, "weight", 0.0)
    if name == "default":
        return by_default, lambda: setattr(by_default, "__defaults__", (0.0,))
    if name == "keyword":
        return by_keyword, lambda: by_keyword.__kwdefaults__.update(weight=0.0)
    assert name == "generator"
    generator = np.random.default_rng(0)
    return lambda x: squared(x, generator.uniform()), lambda: None


STALE = [
    "cell",
    "array changed in place",
    "nested containers",
    "array of JAX",
    "attribute of the class",
    "method of the class",
    "bound method",
    "object",
    "closure over an object",
    "partial of a method",
    "vmap",
    "gradient",
    "global",
    "global of another function",
    "module",
    "attribute",
    "default",
    "keyword",
]


@pytest.fixture(autouse=True)
def weights(monkeypatch):
    monkeypatch.setitem(globals(), "WEIGHT", 1.0)
    monkeypatch.setattr(SETTINGS.inner, "weight", 1.0, raising=False)
    monkeypatch.setattr(by_attribute, "weight", 1.0, raising=False)
    monkeypatch.setattr(by_default, "__defaults__", (1.0,))
    monkeypatch.setattr(by_keyword, "__kwdefaults__", {"weight": 1.0})
    monkeypatch.setattr(Model, "weight", 1.0)
    monkeypatch.setattr(Model, "predict", Model.predict)


@pytest.mark.parametrize("name", STALE)
def test_a_change_is_seen(name):
    function, change = case_of(name)
    before = pinned(function)
    assert before == pinned(function)
    change()
    after = pinned(function)
    assert before != after
    assert after == pinned(function)


@pytest.mark.parametrize("name", ["cell", "bound method", "global", "module"])
def test_measured_again_after_a_change(name):
    function, change = case_of(name)

    def error():
        leaf = measure(function, X, representations=VECTOR, max_degree=2)["output"]
        return leaf.relative_error

    assert error() > 0.1
    change()
    assert error() < 1e-6
    over_group = measure(function, X, representations=VECTOR, over=finite_group("C4"))
    assert over_group["output"].relative_error < 1e-6


def test_an_action_is_traced_again_too():
    scale = [1.0]

    def action(rotation, x):
        return scale[0] * x @ rotation.T

    before = pinned(action)
    scale[0] = 0.0
    assert before != pinned(action)


def test_what_cannot_be_seen_is_traced_for_every_measurement():
    function, _ = case_of("generator")
    assert pinned(function) != pinned(function)


def test_the_same_function_is_traced_once(monkeypatch):
    # An attribute of a module of Python, which is taken as constant.
    monkeypatch.setattr(sys, "traces", 0, raising=False)

    def function_of(weight):
        def function(x):
            sys.traces += 1
            return squared(x, weight)

        return function

    def traces_of(weight):
        before = sys.traces
        measure(function_of(weight), X, representations=VECTOR, max_degree=2)
        return sys.traces - before

    assert traces_of(0.25) > 0
    assert traces_of(0.25) == 0
    assert traces_of(0.5) > 0


def test_equal_functions_are_one_key():
    """A closure made again, methods of equal objects, Linen modules."""
    models = Model(), Model()
    assert pinned(models[0].predict) == pinned(models[1].predict)
    linen = Dense(), Dense(), Dense(weight=2.0)
    assert pinned(linen[0].apply) == pinned(linen[1].apply)
    assert pinned(linen[0].apply) != pinned(linen[2].apply)
    closures = [case_of("cell")[0] for _ in range(2)]
    assert pinned(closures[0]) == pinned(closures[1])


def test_representations_are_seen():
    def of(representation):
        return pinned(lambda g, x: act(representation, g, x))

    assert of(spherical(2, basis="e3nn")) == of(spherical(2, basis="e3nn"))
    assert of(spherical(2, basis="e3nn")) != of(spherical(2))


def test_the_function_of_a_problem_is_found_again():
    model = drawn_pet((1, 6, 8))
    problems = [
        orbit_problem(model, ase.build.molecule(name), layers="none")
        for name in ("H2O", "CH4")
    ]
    assert pinned(problems[0].function) == pinned(problems[1].function)


def test_numbers_that_python_takes_for_equal_are_not():
    def of(value):
        return pinned(lambda x: x / value)

    assert of(0.0) != of(-0.0)
    assert of(1) != of(1.0)
    assert of(True) != of(1)
    assert of(np.float32(1)) != of(np.float64(1))
    assert of(np.nan) == of(np.nan)
