"""Actions and functions that are not what they say, and cells that do not turn."""

import jax.numpy as jnp
import numpy as np
import pytest

from symjax.errors import AliasingError, ArgumentError
from symjax.metrics import Grid, HostFunction, measure
from symjax.so3 import SCALAR, VECTOR

X = np.random.default_rng(0).normal(size=(4, 3))
CELL = np.diag([2.0, 2.5, 3.0])


SHEAR = np.array([[1.0, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def run(function, x=X, **options):
    options = {"representations": SCALAR, "max_degree": 1} | options
    return measure(function, x, **options)


def norm(x):
    return (x**2).sum()


@pytest.mark.parametrize(
    ("action", "problem"),
    [
        (lambda g, x: x @ g, "not an action of O"),
        (lambda g, x: 2 * x @ g.T, "at the identity"),
        (lambda g, x: x @ (g + 0.01 * g @ g).T, "at the identity"),
        (lambda g, x: x @ jnp.linalg.matrix_power(g, 2).T, "not an action of O"),
        (lambda g, x: x @ g.T + g[0], "at the identity"),
        (lambda g, x: x @ (SHEAR @ g @ jnp.linalg.inv(SHEAR)).T, "not orthogonal"),
        (lambda g, x: {"x": x @ g.T}, "a structure other"),
        (lambda g, x: jnp.where(g[2, 2] > 0, x @ g.T, x), "not an action of O"),
    ],
)
def test_what_is_no_action_is_refused(action, problem):
    with pytest.raises(ArgumentError, match=problem) as caught:
        run(norm, X.astype("f"), action=action)
    assert caught.value.argument == "action"


@pytest.mark.parametrize(
    "action",
    [
        lambda g, x: x @ g.T,
        lambda g, x: (x - x.mean(0)) @ g.T + x.mean(0),
        lambda g, x: x @ (jnp.linalg.det(g) * g).T,
        lambda g, x: x,
    ],
)
def test_actions_are_measured(action):
    run(lambda x: norm(x - x.mean(0)), X.astype("f"), action=action)


def test_of_long_floats_smaller_deviations_are_told():
    for dtype, size in (("f", 1e-3), ("d", 1e-4)):
        with pytest.raises(ArgumentError, match="at the identity"):
            run(
                norm, X.astype(dtype), action=lambda g, x, s=size: x @ (g + s * g @ g).T
            )


def test_outputs_that_change_from_call_to_call_are_refused():
    random = np.random.default_rng(0)

    def noisy(size):
        return HostFunction(lambda x: norm(x) + size * random.normal())

    with pytest.raises(ArgumentError, match="between two calls"):
        run(noisy(10.0))
    with pytest.warns(UserWarning, match="A below this is noise"):
        run(noisy(1e-3), over=Grid(on_aliasing="report"))


def near_the_origin(x, cell):
    """How many atoms of a crystal are near, by a step of 1/50 in squared distance."""
    fractional = x @ jnp.linalg.inv(cell)
    square = (((fractional - jnp.round(fractional)) @ cell) ** 2).sum(-1)
    return jnp.tanh(50 * (square - 1.1)).sum()


def test_a_cell_that_does_not_turn_is_asked_for():
    fine = Grid(9, tolerance=1e-4)
    hint = "Does the cell rotate too"
    forgotten = {"cell": SCALAR, "positions": VECTOR}
    both = {"cell": CELL, "positions": X}

    def of_both(x):
        return near_the_origin(x["positions"], x["cell"])

    with pytest.raises(AliasingError, match=hint) as caught:
        run(of_both, both, action=forgotten, over=fine)
    assert "x['cell']" in str(caught.value)
    with pytest.raises(AliasingError, match=hint):
        run(near_the_origin, X, args=(CELL,), over=fine)
    with pytest.warns(UserWarning, match=hint):
        run(of_both, both, action=forgotten, over=Grid(on_aliasing="report"))
    turning = run(of_both, both, action=VECTOR, max_degree=4)
    assert turning["output"].relative_error < 1e-6
