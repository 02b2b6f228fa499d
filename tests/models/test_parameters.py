"""How parameters of networks are drawn and read."""

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.models import _parameters as ours

KEY = jax.random.key(3)


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (2, 3, 4), (8, 4)])
@pytest.mark.parametrize(
    ("draw", "reference"),
    [
        (ours.lecun_normal, nn.initializers.lecun_normal()),
        (ours.truncated_normal(0.02), nn.initializers.truncated_normal(0.02)),
        (ours.normal(1.0), nn.initializers.normal(1.0)),
        (ours.zeros, nn.initializers.zeros),
        (ours.ones, nn.initializers.ones),
    ],
)
def test_numbers_are_those_of_jax(draw, reference, shape):
    # Numbers of JAX do not depend on how many are drawn; the last bit may.
    np.testing.assert_allclose(
        draw(KEY, shape), reference(KEY, shape, jnp.float32), rtol=3e-7
    )
    # Double precision, which these tests have, changes nothing.
    assert draw(KEY, shape).dtype == np.float32
    traced = jax.eval_shape(lambda: draw(KEY, shape))
    assert (traced.shape, traced.dtype) == (shape, np.float32)


class _Network(ours.Module):
    width: int = 4

    @nn.compact
    def __call__(self, x):
        shift = self.param("shift", ours.normal(1.0), (self.width,))
        x = ours.Dense(self.width, name="dense")(x) + shift
        return ours.LayerNorm(name="norm")(x)


class _Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        shift = self.param("shift", nn.initializers.normal(1.0), (4,), jnp.float32)
        x = nn.Dense(4, name="dense")(x) + shift
        return nn.LayerNorm(name="norm")(x)


def test_networks_start_and_act_as_those_of_linen():
    inputs = jnp.linspace(-1, 1, 6, dtype=jnp.float32).reshape(2, 3)
    expected = _Linen().init(KEY, inputs)
    drawn = ours.fresh_variables(_Network(), KEY, (inputs,), ("params",))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 3e-7), drawn, expected)
    np.testing.assert_array_equal(
        _Network().apply(drawn, inputs), _Linen().apply(drawn, inputs)
    )


def test_shapes_are_those_of_what_is_drawn():
    inputs = (jnp.ones((2, 3), jnp.float32),)
    shapes = ours.fresh_variables(_Network(), None, inputs, ("params",))
    drawn = ours.fresh_variables(_Network(), KEY, inputs, ("params",))
    assert jax.tree.map(np.shape, drawn) == jax.tree.map(lambda x: x.shape, shapes)
    with pytest.raises(flax.errors.InvalidRngError, match="params"):
        _Network().init({}, *inputs)
    # With a key that is traced, and in a program of the caller.
    traced = jax.jit(_Network().init)(KEY, *inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 3e-7), drawn, traced)


def test_parameters_of_another_shape_are_refused():
    inputs = jnp.ones((2, 3), jnp.float32)
    drawn = ours.fresh_variables(_Network(), KEY, (inputs,), ("params",))
    with pytest.raises(flax.errors.ScopeParamShapeError, match="dense"):
        _Network().apply(drawn, inputs[:, :2])
    with pytest.raises(flax.errors.ScopeParamNotFoundError, match="shift"):
        _Network().apply({"params": {"dense": drawn["params"]["dense"]}}, inputs)


def test_reading_parameters_draws_none():
    drawn = []

    class Told(ours.Module):
        @nn.compact
        def __call__(self, x):
            return x + self.param("shift", lambda *_: drawn.append(1), (3,))

    out = Told().apply({"params": {"shift": np.arange(3.0)}}, jnp.ones(3))
    np.testing.assert_array_equal(out, [1, 2, 3])
    assert not drawn
