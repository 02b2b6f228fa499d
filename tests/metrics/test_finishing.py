"""Numbers at the end of the stream, in units of any size."""

import jax.numpy as jnp
import numpy as np
import pytest

from symjax.errors import (
    ArgumentError,
)
from symjax.metrics import (
    Grid,
    measure,
)
from symjax.so3 import (
    SCALAR,
    VECTOR,
)

X = np.random.default_rng(0).normal(size=(4, 3))


class TestScale:
    """Ratios do not depend on the unit, as long as the responses are numbers in it."""

    @staticmethod
    def dipole(x, unit):
        return unit * (jnp.array([0.4, 0.4, -0.8, 0.1], x.dtype) @ x + 0.1 * x[0] ** 2)

    @pytest.mark.parametrize("unit", [1.6e-19, 1.6e-29, 1e25])
    def test_float32_in_units_of_any_size(self, unit):
        def run(unit):
            return measure(
                self.dipole,
                X.astype("f"),
                args=(np.float32(unit),),
                representations=VECTOR,
                max_degree=3,
            )["output"]

        leaf, expected = run(unit), run(1.0)
        # Each response has the round-off of float32, and A is 0.02 of it.
        assert leaf.relative_error == pytest.approx(expected.relative_error, rel=1e-5)
        np.testing.assert_allclose(leaf.content, expected.content, atol=1e-6)
        error = expected.equivariance_error * unit
        assert leaf.equivariance_error == pytest.approx(error, rel=1e-5)
        np.testing.assert_allclose(leaf.mean, expected.mean * unit, rtol=1e-5)
        assert leaf.check.misfit == pytest.approx(expected.check.misfit, abs=1e-6)
        coarse = leaf.coarser[0].totals.relative_error
        assert coarse == pytest.approx(expected.coarser[0].totals.relative_error, 1e-4)

    def test_what_underflows_is_refused(self):
        for unit in (1e-33, 1e-36):
            with pytest.raises(ArgumentError, match="too small"):
                measure(
                    self.dipole,
                    X.astype("f"),
                    args=(np.float32(unit),),
                    representations=VECTOR,
                    max_degree=1,
                    over=Grid(on_aliasing="report"),
                )

    def test_a_small_variation_of_a_large_offset(self):
        """1e6 + 1e-3 v.r in float64: V is 1e-6 |v|^2 |r|^2 / 3."""
        v, r = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.4, 1.0])
        leaf = measure(
            lambda x: 1e6 + 1e-3 * (x @ v), r, representations=SCALAR, max_degree=2
        )["output"]
        # eps of 1e6 is 1e-10, averaged over 100 elements and more.
        expected = 1e-6 * (v @ v) * (r @ r) / 3
        assert leaf.variance.sum() == pytest.approx(expected, rel=1e-6)
