"""What JAX refuses in its own words works, or one line says what to write."""

import dataclasses

import ase.build
import e3nn_jax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.errors import ArgumentError, RepresentationError, SymjaxError
from symjax.metrics import Grid, HostFunction, Output, Problem, measure
from symjax.so3 import SCALAR, VECTOR, spherical

X = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
HOW = {"over": Grid(5, on_aliasing="report"), "max_degree": 2}
NETWORK = eqx.nn.MLP(3, 3, 4, 1, key=jax.random.key(0))


@dataclasses.dataclass
class Result:
    energy: object


def both(x):
    return {"energy": x.sum(), "forces": x}


def short(function, x=X, representations=VECTOR, **more):
    return measure(function, x, representations=representations, **{**HOW, **more})


def test_modules_of_equinox_are_functions_and_arguments():
    """Whichever way a network comes in, its numbers are the same."""
    ways = (
        short(jax.vmap(NETWORK)),
        short(lambda x, network: jax.vmap(network)(x), args=(NETWORK,)),
        measure(
            Problem(
                lambda x, parts: {"output": jax.vmap(parts["network"])(x)},
                X,
                {"output": Output(VECTOR)},
                args=({"network": NETWORK, "name": "a text", "scale": 2.0},),
            ),
            **HOW,
        ),
    )
    errors = [way["output"].equivariance_error for way in ways]
    assert errors[0] > 1e-3
    np.testing.assert_allclose(errors, errors[0], rtol=1e-6)
    single = short(NETWORK, X[0])["output"]
    assert single.relative_error > 0.1


def test_what_is_bound_to_a_function_is_never_stale():
    """A second network in args, of the same structure, has its own numbers."""
    other = jax.tree.map(lambda a: 2 * a if eqx.is_array(a) else a, NETWORK)

    def apply(x, network):
        return jax.vmap(network)(x)

    first, second = (short(apply, args=(network,)) for network in (NETWORK, other))
    direct = short(jax.vmap(other))
    one, two, three = (r["output"].equivariance_error for r in (first, second, direct))
    assert two == pytest.approx(three, rel=1e-6)
    assert abs(one - two) > 1e-3
    # Functions too: they are no arrays, and not told apart by them.
    tanh, sin = (short(lambda x, f: f(x), args=(f,)) for f in (jnp.tanh, jnp.sin))
    assert tanh["output"].equivariance_error != sin["output"].equivariance_error


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: short(lambda x: np.linalg.norm(x, axis=0)), "HostFunction"),
        (lambda: short(lambda x: x if x[0, 0] > 0 else -x), r"jax.numpy.where.*HostF"),
        (lambda: short(lambda x: x * float(x.sum())), r"float\(\).*HostFunction"),
        (lambda: short(lambda x: x, ase.build.molecule("H2O")), "atoms.positions"),
        (lambda: short(lambda x: x["a"], {"a": ase.Atoms("H")}), r"x\['a'\]='Atoms'"),
        (
            lambda: short(HostFunction(lambda a: a.positions), ase.Atoms("H")),
            "calculator_problem",
        ),
        (lambda: short(lambda x: x, "text"), "is not a numeric array"),
        (lambda: short(HostFunction(np.ndarray.tolist), X), "list of num.*numpy.array"),
        (lambda: short(lambda x: x, [[0.0, 1.0, 2.0]]), "Pass numpy.asarray"),
        (lambda: short(lambda x: Result(x.sum())), r"Result.*register_dataclass"),
        (lambda: short(lambda x: {"a": Result(x)}), r"Result.*register_dataclass"),
        (lambda: short(HostFunction(lambda x: Result(x.sum()))), "object of Result"),
        (lambda: short(lambda x: None), "function='<lambda>': returns no array"),
        (
            lambda: Problem(
                lambda x: x, X, {"output": Output(VECTOR)}, symmetry="auto"
            ),
            r"symmetry='auto'.*orbit_problem",
        ),
        (lambda: short(lambda x: x, over="auto"), r"Write over=Adaptive\(\)"),
        (lambda: short(lambda x: x, over=7), r"Write over=Grid\(7\)"),
        (lambda: short(lambda x: x, over="Oh"), r"finite_group\('Oh'\)"),
        (lambda: short(lambda x: x, grid="auto"), r"over=Adaptive\(\)"),
        (lambda: short(lambda x: x, symmetry="auto"), r"orbit_problem"),
        (lambda: short(lambda x: x, colour=1), "colour=1: is not an argument"),
        (lambda: Grid("auto"), r"Adaptive\(\) to let it be chosen"),
        (
            lambda: short(both, representations={"energy": SCALAR, "force": VECTOR}),
            r"'force': 'vector'.*it has no force; forces is not described",
        ),
        (
            lambda: short(both, representations={"energy": SCALAR}),
            "forces is not described",
        ),
        (
            lambda: measure(
                Problem(both, X, {"energy": Output(SCALAR), "force": Output(VECTOR)}),
                **HOW,
            ),
            "outputs='force': is not an output.*energy, forces",
        ),
        (lambda: short(lambda x: x, representations="vector"), "is not a repres"),
    ],
)
def test_one_line_says_what_to_write(call, text):
    with pytest.raises(SymjaxError, match=text) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400


def test_errors_of_the_function_itself_stay_as_they_are():
    def wrong(x):
        return x + "1"

    with pytest.raises(TypeError, match="str"):
        short(wrong)


def test_another_basis_is_asked_about():
    """A correct 2e of e3nn: content all in 2+, and an error near 1, in our basis."""

    def harmonics(x):
        return e3nn_jax.spherical_harmonics("2e", x, True).array

    with pytest.warns(UserWarning, match=r"B is 1.0000 in 2\+.*another basis"):
        wrong = measure(harmonics, X, representations=spherical(2), max_degree=2)
    assert wrong["output"].relative_error > 0.9
    right = measure(
        harmonics, X, representations=spherical(2, basis="e3nn"), max_degree=2
    )
    assert right["output"].relative_error < 1e-5


def test_models_of_other_libraries_have_ways_of_their_own():
    from ase.calculators.emt import EMT
    from flax import linen

    for model, words in (
        (EMT(), "is an ASE calculator.*calculator_problem"),
        (linen.Dense(3), "without its variables.*linen_problem"),
    ):
        with pytest.raises(ArgumentError, match=words):
            measure(model, X, representations=VECTOR)
    with pytest.raises(ArgumentError, match="is an ASE calculator"):
        measure(EMT(), ase.build.molecule("CO"))


def test_libraries_that_do_not_know_traced_values():
    """As PyTorch says it of a tracer; one line says what to write."""

    def foreign(x):
        if isinstance(x, jax.core.Tracer):
            raise TypeError(f"linear() must be Tensor, not {type(x).__name__}")
        return x

    with pytest.raises(ArgumentError, match=r"computes with PyTorch.*HostFunction"):
        measure(foreign, X, representations=VECTOR)


@pytest.mark.parametrize("kind", ["1o", e3nn_jax.Irrep("1o"), e3nn_jax.Irreps("2e")])
def test_irreps_of_e3nn_are_not_taken_for_pytrees(kind):
    with pytest.raises(RepresentationError, match=r"spherical\(2, basis='e3nn'\)"):
        measure(lambda x: x, X, representations=kind)
