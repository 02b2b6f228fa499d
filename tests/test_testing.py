"""The assertion passes what is equivariant, and names what breaks."""

import ase.build
import jax.numpy as jnp
import numpy as np
import pytest
from ase.calculators.emt import EMT
from small_models import drawn_pet

from symjax.errors import ArgumentError
from symjax.models.pet import orbit_problem
from symjax.so3 import FEATURE, SCALAR, VECTOR, spherical
from symjax.testing import assert_equivariant

X = np.random.default_rng(0).normal(size=(4, 3))


def test_equivariant_functions_pass():
    def jax_function(x):
        return {"energy": jnp.sum(x**2), "dipole": x.sum(0)}

    kinds = {"energy": SCALAR, "dipole": VECTOR}
    assert_equivariant(jax_function, X, representations=kinds)
    assert_equivariant(
        lambda x: np.linalg.norm(x, axis=-1), X, representations=SCALAR, tolerance=1e-10
    )
    assert_equivariant(EMT, ase.build.molecule("CO"), tolerance=1e-9)


@pytest.mark.parametrize(
    ("function", "kind", "text"),
    [
        (lambda x: x.sum(0) + 0.1, VECTOR, r"output is not.*Content in 0\+"),
        (lambda x: jnp.cross(x[0], x[1]), VECTOR, r"Content in 1- \(1\), where 1\+"),
        (lambda x: jnp.sum(x**4), SCALAR, r"Content in 4\+ \(\d"),
        (lambda x: x[0, 0] * x[0, 1], SCALAR, r"Content in 2\+ \(1\)"),
        # An ordering of components that is not ours: x, y, z where y, z, x belong.
        (lambda x: x.sum(0), spherical(1), "another basis or order"),
        (lambda x: np.tanh(x).sum(0), VECTOR, r"Content in 3\+"),
    ],
)
def test_what_breaks_is_named(function, kind, text):
    with pytest.raises(AssertionError, match=text):
        assert_equivariant(function, X, representations=kind)


def test_tolerances_in_the_unit_of_the_output():
    def function(x):
        return x.sum(0) + 1e-3

    assert_equivariant(function, X, representations=VECTOR, tolerance=0.1)
    assert_equivariant(function, X, representations=VECTOR, absolute={"output": 2e-3})
    with pytest.raises(AssertionError):
        assert_equivariant(
            function, X, representations=VECTOR, absolute={"output": 1e-4}
        )
    with pytest.raises(ArgumentError, match="absolute='energy'"):
        assert_equivariant(
            function, X, representations=VECTOR, absolute={"energy": 1e-4}
        )


def test_a_network_that_has_only_learned_it_fails():
    problem = orbit_problem(
        drawn_pet((1, 6, 8)), ase.build.molecule("H2O"), layers="none"
    )
    with pytest.raises(AssertionError, match=r"forces is not.*eV/angstrom"):
        assert_equivariant(problem, tolerance=1e-6)


def test_vanishing_outputs_pass():
    assert_equivariant(lambda x: 0 * x.sum(0), X, representations=VECTOR)


def test_features_must_not_change():
    with pytest.raises(AssertionError, match=r"1\+"):
        assert_equivariant(lambda x: x[0], X, representations=FEATURE)


def test_representations_are_needed():
    with pytest.raises(ArgumentError, match="representations"):
        assert_equivariant(lambda x: x, X)


@pytest.mark.torch
def test_a_torch_module():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match="output is not equivariant"):
        assert_equivariant(torch.nn.Linear(3, 3), X, representations=VECTOR)
    assert_equivariant(torch.nn.Identity(), X, representations=VECTOR)
