"""How group elements act on arrays and pytrees."""

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from symjax.errors import RepresentationError
from symjax.so3 import (
    MATRIX,
    SCALAR,
    VECTOR,
    act,
    spherical,
)
from symjax.so3.action import act_on_host, act_tree, broadcast_prefix

# Matrices orthogonal to 1e-14 act on numbers of order 1 in sums of at most 9 terms.
TOLERANCE = 1e-13

ELEMENTS = [
    np.eye(3),
    -np.eye(3),
    np.diag([1.0, 1.0, -1.0]),
    *Rotation.random(2, rng=np.random.default_rng(0)).as_matrix(),
    *-Rotation.random(2, rng=np.random.default_rng(1)).as_matrix(),
]


def example(representation, samples=(2,), seed=0):
    tail = (4,) if representation.has_channels else ()
    shape = (*samples, *representation.shape, *tail)
    return np.random.default_rng(seed).normal(size=shape)


def test_trivial_actions_return_any_dtype_untouched():
    for x in (np.arange(3), np.array([True, False])):
        moved = act(SCALAR, -np.eye(3), x)
        assert moved.dtype == x.dtype
        np.testing.assert_array_equal(moved, x)


class TestTrees:
    def test_act_tree(self):
        tree = {"x": example(VECTOR), "s": (example(MATRIX), np.arange(2))}
        moved = act_tree({"x": VECTOR, "s": (MATRIX, SCALAR)}, ELEMENTS[-1], tree)
        g = ELEMENTS[-1]
        np.testing.assert_allclose(moved["x"], tree["x"] @ g.T, atol=TOLERANCE)
        np.testing.assert_allclose(
            moved["s"][0], g @ tree["s"][0] @ g.T, atol=TOLERANCE
        )
        np.testing.assert_array_equal(moved["s"][1], tree["s"][1])

    def test_a_prefix_covers_its_subtree(self):
        tree = {"a": {"b": 0, "c": 0}, "d": [0]}
        found = broadcast_prefix({"a": VECTOR, "d": [SCALAR]}, tree, "representations")
        assert found == [VECTOR, VECTOR, SCALAR]

    def test_a_mismatch_lists_the_leaves(self):
        with pytest.raises(RepresentationError, match="forces") as caught:
            act_tree({"force": VECTOR}, np.eye(3), {"forces": np.zeros(3)})
        assert caught.value.remedy


def test_many_elements_by_numpy_equal_one_by_one():
    kinds = {"x": VECTOR, "s": (MATRIX, SCALAR, spherical(2, -1, basis="e3nn"))}
    tensor = example(spherical(2)).astype(np.float32)
    tree = {"x": example(VECTOR), "s": (example(MATRIX), np.arange(2), tensor)}
    for g, found in zip(
        ELEMENTS, act_on_host(kinds, np.stack(ELEMENTS), tree), strict=True
    ):
        expected = act_tree(kinds, g, tree)
        assert jax.tree.map(np.shape, found) == jax.tree.map(np.shape, tree)
        for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            assert one.dtype == other.dtype
            tolerance = 1e-6 if one.dtype == np.float32 else TOLERANCE
            np.testing.assert_allclose(one, other, atol=tolerance)
    with pytest.raises(RepresentationError, match="cannot carry"):
        act_on_host(VECTOR, np.stack(ELEMENTS), np.ones((2, 3), int))


def test_act_under_vmap_and_grad():
    x = example(MATRIX, ())
    stack = np.stack(ELEMENTS)
    moved = jax.vmap(act, in_axes=(None, 0, None))(MATRIX, stack, x)
    np.testing.assert_allclose(
        moved, stack @ x @ stack.swapaxes(-1, -2), atol=TOLERANCE
    )
    gradient = jax.grad(lambda x: act(MATRIX, stack[-1], x)[0, 1])(x)
    exact = np.outer(stack[-1][0], stack[-1][1])
    np.testing.assert_allclose(gradient, exact, atol=TOLERANCE)
