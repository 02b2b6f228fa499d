"""Arrays handed to JAX are those that JAX would make, without a program."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax._arrays import fitting, to_device

VALUES = {
    "doubles": np.linspace(0, 1, 7),
    "a step": np.arange(12.0)[::3],
    "a transpose": np.arange(6.0).reshape(2, 3).T,
    "integers": np.arange(5),
    "bool": np.array([True, False]),
    "no axis": np.array(2.5),
    "a number of NumPy": np.float64(0.1),
    "a number": 0.1,
    "a list": [1.0, 2.0],
    "an array of JAX": jnp.arange(3.0),
}


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("dtype", [None, "float32", "float64", jnp.bfloat16])
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_equals_that_of_jax(values, dtype, x64):
    with jax.enable_x64(x64):
        wanted = jnp.asarray(values, dtype)
        made = to_device(values, dtype)
        assert (made.dtype, made.weak_type) == (wanted.dtype, wanted.weak_type)
        np.testing.assert_array_equal(made, wanted, strict=True)


@pytest.mark.parametrize("dtype", [None, "float32"])
def test_nothing_is_compiled(dtype, caplog):
    """jnp.asarray compiles for this shape, which no other test has."""
    values = np.ones((1, 1, 17, 1, 1, 3))
    with caplog.at_level(logging.DEBUG, "jax"), jax.log_compiles():
        to_device(values, dtype)
        assert "Compiling" not in caplog.text
        jnp.asarray(values, dtype)
        assert "Compiling" in caplog.text


def test_within_a_compiled_function():
    table = np.arange(3.0)
    total = jax.jit(lambda x: jnp.sum(x * to_device(table, x.dtype)))
    assert float(total(jnp.arange(3.0))) == 5


@pytest.mark.parametrize("values", [[None], np.array(["a"]), np.array([{}])])
def test_what_is_no_number_is_refused(values):
    with pytest.raises((TypeError, ValueError)):
        to_device(values)


def test_what_is_on_the_host_stays_there():
    double = jax.jit(lambda pair: [2 * array for array in pair])
    host, device = np.arange(3.0), jnp.arange(3.0)
    for pair in ([host, host], [host, device]):
        found = fitting(double, pair)(pair)
        kind = np.ndarray if pair[1] is host else jax.Array
        assert all(isinstance(array, kind) for array in found)
        np.testing.assert_array_equal(found, [2 * host] * 2)
