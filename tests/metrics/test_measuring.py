"""Closed forms, properties and refusals of `measure`."""

from typing import ClassVar

import e3nn_jax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from explicit_powers import explicit_power
from harmonic_sums import EXACT, X, harmonics_sum
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from symjax.errors import (
    ArgumentError,
    GridError,
    RepresentationError,
    SymjaxError,
)
from symjax.metrics import (
    Grid,
    HostFunction,
    Output,
    Problem,
    add_totals,
    measure,
)
from symjax.so3 import (
    FEATURE,
    MATRIX,
    PSEUDOSCALAR,
    PSEUDOVECTOR,
    SCALAR,
    VECTOR,
    Irrep,
    Representation,
    direct_sum,
    spherical,
)
from symjax.so3.action import act
from symjax.so3.quadratures import quadrature


def triple_product(x):
    return jnp.dot(x[0], jnp.cross(x[1], x[2]))[None]


class TestClosedForms:
    def test_solid_harmonics_have_one_sector(self):
        """Channels of an exactly equivariant (l, +) tensor: B = 1 in that sector."""
        result = measure(
            lambda x: {str(degree): harmonics_sum(x, degree) for degree in range(5)},
            X,
            representations=FEATURE,
            max_degree=4,
        )
        for degree in range(5):
            leaf = result[str(degree)]
            expected = np.zeros((5, 2))
            expected[degree, 0] = 1
            np.testing.assert_allclose(leaf.content, expected, atol=EXACT)
            assert abs(leaf.remainder) < EXACT
            if degree:
                assert leaf.relative_error == pytest.approx(1.0, abs=1e-6)

    def test_equivariant_output_has_no_variance(self):
        leaf = measure(harmonics_sum, X, representations=spherical(2), max_degree=3)[
            "output"
        ]
        assert leaf.relative_error < 1e-7
        assert leaf.content_of("2+") == pytest.approx(1, abs=EXACT)
        np.testing.assert_allclose(leaf.mean, harmonics_sum(X), atol=1e-12)

    def test_a_basis_is_data_and_its_name_nothing(self):
        """A dipole under three names and four bases; the wrong basis gets a hint."""
        irreps = (Irrep(1, 1),)
        for basis in ("cartesian", "metatensor", "e3nn", "e3x"):
            own = Representation(f"vector {basis}", (3,), irreps, basis=basis)
            roll = -1 if basis == "metatensor" else 0
            leaf = measure(
                lambda x, roll: jnp.roll(x.sum(0), roll[0]),
                X,
                args=(np.array([roll]),),
                representations=own,
                max_degree=1,
            )["output"]
            assert leaf.relative_error < 1e-7
            assert leaf.hint == ""
        own = Representation("vector", (3,), irreps, basis="metatensor")
        with pytest.warns(UserWarning, match="another basis"):
            leaf = measure(lambda x: x.sum(0), X, representations=own, max_degree=1)
        assert leaf["output"].relative_error > 0.5

    def test_e3nns_harmonics_in_e3nns_basis(self):
        def harmonics(x):
            values = e3nn_jax.spherical_harmonics("2e + 3o", x, normalize=False)
            return values.array.sum(0)

        both = direct_sum(spherical(2, basis="e3nn"), spherical(3, basis="e3nn"))
        leaf = measure(harmonics, X, representations=both, max_degree=3)["output"]
        assert leaf.relative_error < 1e-7
        with pytest.warns(UserWarning, match="another basis"):
            leaf = measure(
                harmonics,
                X,
                representations=direct_sum(spherical(2), spherical(3)),
                max_degree=3,
            )["output"]
        assert leaf.relative_error > 0.9

    def test_two_scalars_side_by_side(self):
        """(a, b + c) as two scalars: V of x is |v|^2 |r|^2 / 3, of |x|^2 nothing."""
        v, r = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.4, 1.0])
        leaf = measure(
            lambda x: jnp.stack([x @ x, 2.0 + x @ v]),
            r,
            representations=direct_sum(SCALAR, SCALAR),
            max_degree=2,
        )["output"]
        expected = [0, (v @ v) * (r @ r) / 3]
        np.testing.assert_allclose(leaf.variance, expected, rtol=1e-12, atol=1e-24)
        np.testing.assert_allclose(leaf.mean, [r @ r, 2.0], rtol=1e-13)

    def test_triple_product_is_a_pseudoscalar(self):
        leaf = measure(triple_product, X, representations=PSEUDOSCALAR, max_degree=2)[
            "output"
        ]
        assert leaf.relative_error < 1e-7
        assert leaf.content_of("0-") == pytest.approx(1, abs=EXACT)

    def test_pseudovector(self):
        leaf = measure(
            lambda x: jnp.cross(x[0], x[1]),
            X,
            representations=PSEUDOVECTOR,
            max_degree=2,
        )["output"]
        assert leaf.relative_error < 1e-7
        assert leaf.content_of("1-") == pytest.approx(1, abs=EXACT)

    def test_variance_of_a_linear_function(self):
        """f = v.r with fixed v and scalar output: E f^2 = |v|^2 |r|^2 / 3."""
        v, r = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.4, 1.0])
        leaf = measure(lambda x: x @ v, r, representations=SCALAR, max_degree=2)[
            "output"
        ]
        assert leaf.variance.sum() == pytest.approx((v @ v) * (r @ r) / 3, rel=1e-12)
        assert leaf.mean == pytest.approx(0, abs=1e-13)
        assert leaf.content_of(Irrep(1, 1)) == pytest.approx(1, abs=EXACT)

    def test_group_average_of_squared_error_splits(self):
        """E_g RMSE^2(g) = RMSE^2[mean] + A^2 against an equivariant reference."""
        v = np.array([1.0, -2.0, 0.5])

        def model(x):
            return x.sum(0) + 0.1 * (x @ v)[:, None].sum(0) * x[0] + 0.05 * x[1] ** 2

        reference = X.sum(0)
        rule = quadrature(9)
        leaf = measure(model, X, representations=VECTOR, max_degree=4, over=Grid(rule))[
            "output"
        ]
        total = 0.0
        for sign in (1, -1):
            for rotation, weight in zip(rule.rotations, rule.weights, strict=True):
                g = sign * rotation
                z = g.T @ model(X @ g.T)
                total += weight / 2 * np.mean((z - reference) ** 2)
        bias = np.mean((leaf.mean - reference) ** 2)
        assert total == pytest.approx(bias + leaf.equivariance_error**2, rel=1e-12)

    def test_small_error_of_a_float32_model_is_resolved(self):
        """1e-6 of the mean, which a plain E[x^2] - E[x]^2 in float32 would lose."""
        eps = 1e-6

        def model(x):
            y = (x / jnp.linalg.norm(x))[0]
            return (1 + eps * y).astype(jnp.float32)

        leaf = measure(
            model, np.array([0.0, 0.0, 1.0]), representations=SCALAR, max_degree=2
        )["output"]
        assert leaf.equivariance_error == pytest.approx(eps / np.sqrt(3), rel=0.05)


class TestConsistency:
    @staticmethod
    def model(x):
        centre = x - x.mean(0)
        d = jnp.sum(centre**2, -1)
        return {
            "energy": jnp.tanh(centre @ jnp.array([0.3, 0.2, -0.4])).sum()[None],
            "forces": centre * jnp.exp(-d)[:, None] + 0.1 * centre**2,
            "features": jnp.tanh(centre @ jnp.arange(15.0).reshape(3, 5) / 10),
            "stress": jnp.einsum("ai,aj->ij", centre, jnp.sin(centre)),
        }

    REPS: ClassVar = {
        "energy": SCALAR,
        "forces": VECTOR,
        "features": FEATURE,
        "stress": MATRIX,
    }

    # Of all tests, so that one program serves them.
    OPTIONS: ClassVar = {
        "representations": REPS,
        "max_degree": 4,
        "over": Grid(9, on_aliasing="report"),
    }

    def test_powers_by_the_definition(self):
        """Of what the grid does not resolve too: the same sums, element by element."""
        found = measure(self.model, X, **self.OPTIONS)
        rule = quadrature(9)
        elements = np.concatenate([rule.rotations, -rule.rotations])
        respond = jax.jit(jax.vmap(lambda g: self.model(X @ g.T)))
        weights = np.tile(rule.weights, 2) / 2
        for name, u in respond(elements).items():
            power = explicit_power(elements, weights, u, 4)
            total = found[name].totals().power.sum(axis=0)
            np.testing.assert_allclose(total, power, atol=1e-10)

    def test_lebedev_and_gauss_agree(self):
        """Of polynomials of degree 3, with the rotation back 4: both are exact."""

        def model(x):
            along = x @ jnp.array([0.3, 0.2, -0.4])
            return {
                "features": jnp.stack([along**3, along * x[:, 0]], axis=-1),
                "forces": x * along[:, None] ** 2 + 0.1 * along[:, None],
            }

        kinds = {"features": FEATURE, "forces": VECTOR}
        a, b = (
            measure(model, X, representations=kinds, max_degree=4, over=Grid(grid))
            for grid in (quadrature(9), quadrature(9, "gauss"))
        )
        for name in kinds:
            np.testing.assert_allclose(a[name].content, b[name].content, atol=EXACT)
            assert a[name].equivariance_error == pytest.approx(
                b[name].equivariance_error, rel=1e-10
            )

    @settings(max_examples=2)
    @given(st.integers(0, 2**31 - 1))
    def test_content_is_invariant_under_global_rotation(self, seed):
        rotation = Rotation.random(random_state=seed).as_matrix()
        kwargs = {"representations": self.REPS, "max_degree": 3, "over": Grid(15)}
        a = measure(self.model, X, **kwargs)
        b = measure(self.model, X @ rotation.T, **kwargs)
        for name in self.REPS:
            # aliasing differs between the two placements of the grid
            np.testing.assert_allclose(a[name].content, b[name].content, atol=1e-4)

    @pytest.mark.parametrize(
        ("memory", "batch_size"), [(2**30, 1), (4 * 10**5, None), (4 * 10**5, 7)]
    )
    def test_batching_and_passes_change_nothing(self, memory, batch_size):
        reference = measure(self.model, X, **self.OPTIONS)
        how = {"memory": memory, "batch_size": batch_size}
        other = measure(self.model, X, **self.OPTIONS, **how)
        assert list(other) == list(reference)
        for name in self.REPS:
            np.testing.assert_allclose(
                other[name].power, reference[name].power, rtol=1e-9, atol=1e-13
            )
            np.testing.assert_allclose(
                other[name].mean, reference[name].mean, rtol=1e-9, atol=1e-13
            )

    def test_float32_against_float64(self):
        a = measure(self.model, X, **self.OPTIONS)
        b = measure(
            lambda x: self.model(x.astype(jnp.float32)),
            X.astype(np.float32),
            **self.OPTIONS,
        )
        for name in self.REPS:
            # a coefficient carries about 1e-6 of the response, its square twice that
            np.testing.assert_allclose(a[name].content, b[name].content, atol=5e-6)

    def test_host_function_goes_through_the_same_code(self):
        model = jax.jit(self.model)

        def host(x):
            return {k: np.asarray(v) for k, v in model(x).items()}

        a = measure(self.model, X, **self.OPTIONS)
        for function in (
            HostFunction(host),
            HostFunction(lambda xs: [host(x) for x in xs], batched=True),
        ):
            b = measure(function, X, **self.OPTIONS)
            for name in self.REPS:
                np.testing.assert_allclose(a[name].power, b[name].power, atol=1e-12)

    def test_masked_samples_do_not_count(self):
        mask = np.array([True, True, False, True])
        outputs = {name: Output(kind) for name, kind in self.REPS.items()}
        outputs["forces"] = Output(VECTOR, mask=mask)
        over = self.OPTIONS["over"]
        problem = Problem(self.model, X, outputs)
        result = measure(problem, max_degree=4, over=over)["forces"]
        full = measure(self.model, X, **self.OPTIONS)["forces"]
        totals = full.totals(mask)
        np.testing.assert_allclose(result.totals().variance, totals.variance)
        assert result.totals().count.sum() == 9

    def test_custom_action_and_args(self):
        def function(x, scale):
            return scale * x["r"].sum(0) * x["q"].sum()

        x = {"r": X, "q": np.arange(4.0)}
        by_prefix = measure(
            function,
            x,
            args=(2.0,),
            action={"r": VECTOR, "q": SCALAR},
            representations=VECTOR,
            max_degree=1,
        )
        by_function = measure(
            function,
            x,
            args=(2.0,),
            action=lambda g, x: {"r": act(VECTOR, g, x["r"]), "q": x["q"]},
            representations=VECTOR,
            max_degree=1,
        )
        for result in (by_prefix, by_function):
            assert result["output"].relative_error < 1e-7

    def test_totals_add_over_structures(self):
        parts = [
            measure(self.model, x, **self.OPTIONS)["forces"].totals()
            for x in (X, 1.1 * X)
        ]
        total = add_totals(parts)
        expected = np.sqrt(sum(p.variance.sum() for p in parts) / 24)
        assert total.equivariance_error == pytest.approx(expected)


def vector(x):
    return x.sum(0)


BAD = [
    ({"max_degree": -1}, ArgumentError, "max_degree"),
    ({"max_degree": 1.5}, ArgumentError, "max_degree"),
    ({"max_degree": True}, ArgumentError, "max_degree"),
    ({"over": Grid(11)}, GridError, "grid"),
    ({"over": Grid(-3)}, SymjaxError, "degree"),
    ({"over": 13}, ArgumentError, r"over=13: .*Grid\(13\)"),
    ({"memory": 0}, ArgumentError, "memory"),
    ({"memory": 1000}, ArgumentError, "memory"),
    ({"batch_size": 0}, ArgumentError, "batch_size"),
    ({"batch_size": 2.5}, ArgumentError, "batch_size"),
    ({"representations": MATRIX}, RepresentationError, "output"),
    ({"representations": spherical(2)}, RepresentationError, "output"),
    ({"representations": {"a": VECTOR}}, RepresentationError, "representations"),
    ({"representations": "vector"}, RepresentationError, "representations"),
    ({"action": "rotate"}, ArgumentError, "action"),
    ({"action": {"positions": VECTOR}}, RepresentationError, "action"),
    ({"x": np.full((4, 3), np.nan)}, ArgumentError, "x="),
    ({"x": np.array([[0.0, np.inf, 1.0]])}, ArgumentError, "x="),
    ({"x": np.ones((4, 2))}, RepresentationError, "values"),
    ({"x": np.ones((4, 3), int)}, RepresentationError, "values"),
    ({"function": lambda x: ()}, ArgumentError, "function"),
    ({"function": lambda x: x[:0]}, ArgumentError, "function"),
    ({"function": lambda x: x.sum(0) + 1j}, RepresentationError, "complex"),
    ({"function": lambda x: x.sum(0) / 0}, ArgumentError, "not finite"),
    ({"representations": None}, ArgumentError, "representations"),
]


@pytest.mark.parametrize(("change", "error", "text"), BAD)
def test_bad_input_is_refused(change, error, text):
    arguments = {"function": vector, "x": X, "representations": VECTOR, "max_degree": 6}
    arguments.update(change)
    function, x = arguments.pop("function"), arguments.pop("x")
    with pytest.raises(error, match=text) as raised:
        measure(function, x, **arguments)
    assert raised.value.remedy


def test_import_has_no_side_effects():
    assert jax.config.jax_enable_x64  # set by the test configuration alone
