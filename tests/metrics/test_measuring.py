"""Closed forms, properties and refusals of `measure`."""

import re
from typing import ClassVar

import e3nn_jax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.special import spherical_jn

from symjax.errors import (
    AliasingError,
    ArgumentError,
    GridError,
    RepresentationError,
    SymjaxError,
)
from symjax.metrics import (
    Grid,
    HaarSamples,
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
from symjax.so3.harmonics import degree_slice, spherical_harmonics
from symjax.so3.quadratures import quadrature

# A content of exactly 0 or 1 comes out with the round-off of about 1e3 additions of
# squared float64 numbers.
EXACT = 1e-12

X = np.random.default_rng(0).normal(size=(4, 3))


def harmonics_sum(x, degree=2):
    y = spherical_harmonics(degree, x)[..., degree_slice(degree)]
    weights = jnp.linalg.norm(x, axis=-1, keepdims=True) ** degree
    return (y * weights).sum(0)


def triple_product(x):
    return jnp.dot(x[0], jnp.cross(x[1], x[2]))[None]


def feature_of_degree(x, degree):
    """Three channels of any degree, so that all degrees share one program."""
    mix = np.random.default_rng(degree).normal(size=(2 * degree + 1, 3))
    return harmonics_sum(x, degree) @ mix


class TestClosedForms:
    @pytest.mark.parametrize("method", ["factorised", "dense"])
    def test_solid_harmonics_have_one_sector(self, method):
        """Channels of an exactly equivariant (l, +) tensor: B = 1 in that sector."""
        result = measure(
            lambda x: {str(degree): harmonics_sum(x, degree) for degree in range(5)},
            X,
            representations=FEATURE,
            max_degree=4,
            over=Grid(method=method),
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

    @pytest.mark.parametrize("method", ["factorised", "dense"])
    def test_two_scalars_side_by_side(self, method):
        """(a, b + c) as two scalars: V of x is |v|^2 |r|^2 / 3, of |x|^2 nothing."""
        v, r = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.4, 1.0])
        leaf = measure(
            lambda x: jnp.stack([x @ x, 2.0 + x @ v]),
            r,
            representations=direct_sum(SCALAR, SCALAR),
            max_degree=2,
            over=Grid(method=method),
        )["output"]
        expected = [0, (v @ v) * (r @ r) / 3]
        np.testing.assert_allclose(leaf.variance, expected, rtol=1e-12, atol=1e-24)
        np.testing.assert_allclose(leaf.mean, [r @ r, 2.0], rtol=1e-13)

    def test_two_outputs_of_one_name_are_refused(self):
        with pytest.raises(ArgumentError, match="two outputs have this name"):
            measure(
                lambda x: {"a/b": x[0, 0], "a": {"b": x[1, 0]}},
                X,
                representations=SCALAR,
            )

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

    def test_product_of_two_vectors_splits_by_clebsch_gordan(self):
        """a (x) b = (a.b) + a x b + traceless: norms (a.b)^2/3, |a x b|^2/2, rest."""
        a, b = X[0], X[1]
        result = measure(
            lambda x: jnp.outer(x[0], x[1]), X, representations=MATRIX, max_degree=3
        )["output"]
        norm = (a @ a) * (b @ b)
        scalar, axial = (a @ b) ** 2 / 3, np.sum(np.cross(a, b) ** 2) / 2
        content = {"0+": scalar / norm, "1-": axial / norm}
        content["2+"] = 1 - sum(content.values())
        for irrep, value in content.items():
            assert result.content_of(irrep) == pytest.approx(value, abs=EXACT)
        assert result.relative_error < 1e-7
        # block by block: each irrep of the representation has only its own sector
        for index, irrep in enumerate(MATRIX.irreps):
            power = result.power[index]
            assert power.sum() == pytest.approx(
                power[irrep.degree, 0 if irrep.sigma == 1 else 1], rel=1e-10
            )

    def test_plane_wave_has_bessel_content(self):
        """exp(i k.x) = sum (2l+1) i^l j_l(kr) P_l: B_l = (2l+1) j_l(kr)^2."""
        k, x = 1.5, np.array([[0.0, 0.0, 1.2]])
        result = measure(
            lambda x: jnp.stack([jnp.cos(k * x[0, 0]), jnp.sin(k * x[0, 0])]),
            x,
            representations=FEATURE,
            max_degree=8,
        )["output"]
        degrees = np.arange(9)
        expected = (2 * degrees + 1) * spherical_jn(degrees, k * 1.2) ** 2
        np.testing.assert_allclose(result.content[:, 0], expected, atol=1e-10)
        np.testing.assert_allclose(result.content[:, 1], 0, atol=1e-12)
        assert result.remainder == pytest.approx(1 - expected.sum(), abs=1e-10)

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

    def test_two_paths_agree(self):
        a, b = (
            measure(
                self.model,
                X,
                representations=self.REPS,
                max_degree=4,
                over=Grid(9, on_aliasing="report", method=method),
            )
            for method in ("factorised", "dense")
        )
        for name in self.REPS:
            np.testing.assert_allclose(a[name].power, b[name].power, atol=1e-10)
            np.testing.assert_allclose(a[name].variance, b[name].variance, rtol=1e-12)

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

    @settings(max_examples=3)
    @given(st.integers(0, 2**31 - 1))
    def test_content_is_invariant_under_global_rotation(self, seed):
        rotation = Rotation.random(random_state=seed).as_matrix()
        kwargs = {"representations": self.REPS, "max_degree": 3, "over": Grid(15)}
        a = measure(self.model, X, **kwargs)
        b = measure(self.model, X @ rotation.T, **kwargs)
        for name in self.REPS:
            # aliasing differs between the two placements of the grid
            np.testing.assert_allclose(a[name].content, b[name].content, atol=1e-4)

    @pytest.mark.parametrize("memory", [2**30, 3 * 10**5])
    @pytest.mark.parametrize("batch_size", [None, 1, 7])
    def test_batching_and_passes_change_nothing(self, memory, batch_size):
        reference = measure(self.model, X, representations=self.REPS, max_degree=3)
        other = measure(
            self.model,
            X,
            representations=self.REPS,
            max_degree=3,
            memory=memory,
            batch_size=batch_size,
        )
        assert list(other) == list(reference)
        for name in self.REPS:
            np.testing.assert_allclose(
                other[name].power, reference[name].power, rtol=1e-9, atol=1e-13
            )
            np.testing.assert_allclose(
                other[name].mean, reference[name].mean, rtol=1e-9, atol=1e-13
            )

    def test_float32_against_float64(self):
        kwargs = {"representations": self.REPS, "max_degree": 3, "over": Grid(13)}
        a = measure(self.model, X, **kwargs)
        b = measure(
            lambda x: self.model(x.astype(jnp.float32)), X.astype(np.float32), **kwargs
        )
        for name in self.REPS:
            # a coefficient carries about 1e-6 of the response, its square twice that
            np.testing.assert_allclose(a[name].content, b[name].content, atol=5e-6)

    def test_host_function_goes_through_the_same_code(self):
        def host(x):
            return {k: np.asarray(v) for k, v in self.model(x).items()}

        a = measure(
            self.model, X, representations=self.REPS, max_degree=2, over=Grid(9)
        )
        for function in (
            HostFunction(host),
            HostFunction(lambda xs: [host(x) for x in xs], batched=True),
        ):
            b = measure(
                function, X, representations=self.REPS, max_degree=2, over=Grid(9)
            )
            for name in self.REPS:
                np.testing.assert_allclose(a[name].power, b[name].power, atol=1e-12)

    def test_masked_samples_do_not_count(self):
        mask = np.array([True, True, False, True])
        outputs = {name: Output(kind) for name, kind in self.REPS.items()}
        outputs["forces"] = Output(VECTOR, mask=mask)
        result = measure(Problem(self.model, X, outputs), max_degree=2, over=Grid(9))[
            "forces"
        ]
        full = measure(
            self.model, X, representations=self.REPS, max_degree=2, over=Grid(9)
        )["forces"]
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
            measure(
                self.model, x, representations=self.REPS, max_degree=2, over=Grid(9)
            )["forces"].totals()
            for x in (X, 1.1 * X)
        ]
        total = add_totals(parts)
        expected = np.sqrt(sum(p.variance.sum() for p in parts) / 24)
        assert total.equivariance_error == pytest.approx(expected)

    def test_direct_sum_and_channels(self):
        def function(x):
            v = x.sum(0)
            return jnp.concatenate([(v @ v)[None], v]), jnp.stack(
                [v[jnp.array([1, 2, 0])]] * 2, axis=-1
            )

        result = measure(
            function,
            X,
            representations=(
                direct_sum(SCALAR, VECTOR),
                spherical(1, channels=True),
            ),
            max_degree=2,
        )
        for leaf in result.values():
            assert leaf.relative_error < 1e-7
        assert result["1"].totals().count.tolist() == [6]

    @pytest.mark.parametrize("over", [Grid(5), HaarSamples(8)])
    def test_empty_outputs_are_skipped_and_shift_no_others(self, over):
        result = measure(
            lambda x: (x[:0], x.sum(0), jnp.cross(x[0], x[1])),
            X,
            representations=(VECTOR, VECTOR, PSEUDOVECTOR),
            max_degree=2,
            over=over,
        )
        assert list(result) == ["1", "2"]
        for leaf in result.values():
            assert leaf.relative_error < 1e-7

    def test_progress_reaches_the_total(self):
        calls = []
        result = measure(
            lambda x: x.sum(0),
            X,
            representations=VECTOR,
            max_degree=2,
            progress=lambda *args: calls.append(args),
        )
        assert calls[-1] == (result.num_elements, result.num_elements)
        assert len(calls) >= 4

    def test_memory_does_not_grow_with_the_grid(self):
        """The state is coefficients and moments: nothing has the size of the grid."""
        calls = []

        def function(x):
            calls.append(x.shape)
            return x

        measure(function, X, representations=VECTOR, max_degree=1, over=Grid(25))
        # traced once for the shapes, once for the budget, once for the program
        assert len(calls) <= 4


class TestAliasing:
    def test_degree_above_the_grid_is_refused(self):
        """Content at l = 9 on a degree-7 grid looks like lower degrees."""
        with pytest.raises(AliasingError, match=r"Try Grid\(\d+\)"):
            measure(
                lambda x: feature_of_degree(x, 9),
                X[:1],
                representations=FEATURE,
                max_degree=3,
                over=Grid(7),
            )

    @pytest.mark.parametrize("degree", range(7))
    def test_band_limited_responses_are_never_refused(self, degree):
        result = measure(
            lambda x: feature_of_degree(x, degree),
            X[:1],
            representations=FEATURE,
            max_degree=6,
            over=Grid(13),
        )
        assert result.resolved

    def test_remedy_works(self):
        def function(x):
            return feature_of_degree(x, 9)

        with pytest.raises(AliasingError) as error:
            measure(
                function, X[:1], representations=FEATURE, max_degree=3, over=Grid(7)
            )
        grid = int(re.findall(r"Grid\((\d+)\)", str(error.value))[-1])
        for _ in range(4):
            result = measure(
                function,
                X[:1],
                representations=FEATURE,
                max_degree=9,
                over=Grid(max(grid, 18), on_aliasing="report"),
            )
            if result.resolved:
                break
            grid = result["output"].convergence.degree_to_try
        assert result["output"].content_of("9+") == pytest.approx(1, abs=EXACT)

    def test_report_returns_the_verdict(self):
        result = measure(
            lambda x: feature_of_degree(x, 9),
            X[:1],
            representations=FEATURE,
            max_degree=3,
            over=Grid(7, on_aliasing="report"),
        )
        verdict = result["output"].convergence
        assert not result.resolved
        assert verdict.degree_to_try > 7
        assert verdict.reason

    def test_tail_is_reported(self):
        result = measure(
            lambda x: jnp.concatenate([harmonics_sum(x, 1), 0.5 * harmonics_sum(x, 4)]),
            X[:1] / np.linalg.norm(X[0]),
            representations=FEATURE,
            max_degree=3,
            over=Grid(15),
        )
        power = np.array([3.0, 0.25 * 9.0])
        assert result["output"].remainder == pytest.approx(power[1] / power.sum())


class TestSampled:
    def test_coverage_of_standard_errors(self):
        """Nominal 95 % intervals must contain the exact value in about 95 % of runs.

        With 60 runs, fewer than 49 hits has probability below 2e-4 at 95 %.
        """
        v = jnp.array([1.0, -2.0, 0.5])

        def function(x):
            return jnp.stack([x @ v, (x @ v) ** 2])

        x = np.array([0.3, 0.4, 1.0])
        exact = measure(
            function, x, representations=FEATURE, max_degree=2, over=Grid(9)
        )["output"]
        hits = {"variance": 0, "1+": 0, "2+": 0}
        for seed in range(60):
            leaf = measure(
                function,
                x,
                representations=FEATURE,
                max_degree=2,
                over=HaarSamples(48, seed=seed),
            )["output"]
            error = leaf.standard_errors
            hits["variance"] += (
                abs(leaf.variance.sum() - exact.variance.sum())
                < 2.01 * error.variance.sum()
            )
            for degree in (1, 2):
                deviation = leaf.power[0, degree, 0] - exact.power[0, degree, 0]
                hits[f"{degree}+"] += abs(deviation) < 2.01 * error.power[0, degree, 0]
        assert min(hits.values()) >= 49, hits

    def test_estimates_are_unbiased(self):
        """Absent sectors average to zero; a squared sample mean would not."""
        values = []
        for seed in range(80):
            leaf = measure(
                lambda x: x,
                X[0],
                representations=FEATURE,
                max_degree=3,
                over=HaarSamples(16, seed=seed),
            )["output"]
            # an odd function: sectors with sigma (-1)^l = +1 vanish identically
            power = leaf.power[0]
            values.append([power[2, 1], power[3, 0], power[0, 1]])
        values = np.array(values)
        error = values.std(0, ddof=1) / np.sqrt(len(values))
        assert (np.abs(values.mean(0)) < 4 * error).all()
        # the biased estimate would be (2l+1)^2 ||u||^2 / n, far outside
        assert (4 * error < 9 * (X[0] @ X[0]) / 16).all()

    def test_powers_are_as_accurate_as_a_model_is_equivariant(self):
        """1 % of a vector in other sectors: B to 1e-3 after 32 pairs, where sums of
        the whole response would scatter by 0.2."""

        def nearly(x):
            return x.sum(0) + 0.01 * jnp.stack([x[0, 0] ** 2, x[1, 1], 0.5])

        exact = measure(nearly, X, representations=VECTOR, over=Grid(9), max_degree=2)
        for seed in range(5):
            over = HaarSamples(32, seed=seed)
            leaf = measure(nearly, X, representations=VECTOR, over=over, max_degree=2)
            leaf, certificate = leaf["output"], leaf["output"].certificate
            wrong = np.abs(leaf.content - exact["output"].content).max()
            assert wrong < 1e-3
            assert wrong < 3 * certificate.content_uncertainty / 2
            assert certificate.content_uncertainty < 2e-3
            assert certificate.certified
            error = exact["output"].equivariance_error
            assert leaf.equivariance_error == pytest.approx(
                error, rel=2 * certificate.error_uncertainty
            )
            assert 0.02 < certificate.error_uncertainty < 0.25
            assert certificate.excluded == pytest.approx(1 - 0.05 ** (1 / 32))

    def test_certificates_cover_what_they_claim(self):
        """Two standard errors of B and of A hold in 95 % of runs, nominally.

        With 30 runs, fewer than 23 hits has probability below 2e-4 at 95 %.
        """
        v = jnp.array([1.0, -2.0, 0.5])

        def function(x):
            return 2.0 + jnp.sin(x @ v)

        x = np.array([0.3, 0.4, 1.0])
        how = {"representations": SCALAR, "max_degree": 2}
        exact = measure(function, x, over=Grid(15), **how)["output"]
        hits = np.zeros(2, int)
        for seed in range(30):
            over = HaarSamples(32, seed=seed)
            leaf = measure(function, x, over=over, **how)["output"]
            known = leaf.certificate
            wrong = np.abs(leaf.content - exact.content).max()
            ratio = leaf.equivariance_error / exact.equivariance_error
            hits += [
                wrong < known.content_uncertainty,
                abs(ratio - 1) < known.error_uncertainty,
            ]
        assert hits.min() >= 23, hits

    def test_too_few_elements_are_not_resolved(self):
        """A response of a high degree: each B is known badly, and that is said."""

        def wild(x):
            return jnp.cos(9 * x[0, 0]) * jnp.sin(7 * x[1, 1])

        how = {"representations": SCALAR, "max_degree": 4}
        result = measure(wild, X, over=HaarSamples(16), **how)
        leaf = result["output"]
        assert not result.resolved
        assert "each B is known to" in leaf.convergence.reason
        assert leaf.convergence.degree_to_try >= 32
        assert leaf.certificate.samples == 16

    def test_exact_functions_are_certified(self):
        leaf = measure(
            lambda x: x.sum(0), X, representations=VECTOR, over=HaarSamples(8)
        )["output"]
        assert leaf.certificate.certified
        assert leaf.certificate.noise > leaf.relative_error
        assert leaf.content_of("1+") == pytest.approx(1, abs=1e-6)

    def test_mean_and_vector_output(self):
        leaf = measure(
            lambda x: x.sum(0), X, representations=VECTOR, over=HaarSamples(8)
        )["output"]
        np.testing.assert_allclose(leaf.mean, X.sum(0), rtol=1e-12)
        assert leaf.relative_error < 1e-7


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


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rule": "fine"}, "rule"),
        ({"method": "fft"}, "method"),
        ({"tolerance": 0}, "tolerance"),
        ({"tolerance": 2.0}, "tolerance"),
        ({"on_aliasing": "ignore"}, "on_aliasing"),
    ],
)
def test_bad_grids_are_refused(change, text):
    with pytest.raises(ArgumentError, match=text):
        Grid(**change)


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"output": Output(VECTOR, mask=np.ones(4, bool))}, "masks"),
        ({"output": Output(VECTOR, mask=np.ones(()))}, "masks"),
        ({"force": Output(VECTOR)}, "outputs='force': the function returns no such"),
        ({}, "says nothing about 'output'"),
    ],
)
def test_bad_outputs_are_refused(outputs, text):
    with pytest.raises(ArgumentError, match=text):
        measure(Problem(vector, X, outputs), max_degree=2)


def test_what_a_problem_says_is_not_said_twice():
    problem = Problem(vector, X, {"output": Output(VECTOR)})
    for more in ({"x": X}, {"representations": VECTOR}, {"args": (1,)}):
        with pytest.raises(ArgumentError, match="is part of the problem"):
            measure(problem, max_degree=2, **more)


@pytest.mark.parametrize("kwargs", [{"num": 4}, {"num": 8.5}, {"num": 8, "seed": -1}])
def test_bad_samples_are_refused(kwargs):
    with pytest.raises(ArgumentError):
        HaarSamples(**kwargs)


def test_import_has_no_side_effects():
    assert jax.config.jax_enable_x64  # set by the test configuration alone


class TestPeaks:
    """exp(-K (1 - x . n)) with n at a node: V is (1 - exp(-4 K)) / 4 K - mean^2."""

    @pytest.mark.parametrize(("sharpness", "offset"), [(1000.0, 0.0), (100.0, 1.0)])
    @pytest.mark.parametrize("kind", ["lebedev", "auto"])
    @pytest.mark.parametrize("extreme", [np.argmin, np.argmax])
    def test_no_wrong_error_is_resolved(self, sharpness, offset, kind, extreme):
        rule = quadrature(13, kind)
        node = rule.points[extreme(rule.sphere_weights)]

        def run():
            return measure(
                lambda x, node: offset + jnp.exp(-sharpness * (1 - x @ node)),
                np.array([0.0, 0.0, 1.0]),
                args=(node,),
                representations=SCALAR,
                over=Grid(rule, on_aliasing="report"),
            )["output"]

        if kind == "lebedev" and extreme is np.argmin:
            with pytest.raises(AliasingError, match="weights are negative"):
                run()
            return
        leaf = run()
        mean = (1 - np.exp(-2 * sharpness)) / (2 * sharpness)
        square = (1 - np.exp(-4 * sharpness)) / (4 * sharpness)
        right = np.sqrt(square - mean**2)
        # Found: 0.08 to 0.16. No number within 10 % is refused or passed by chance.
        assert leaf.equivariance_error != pytest.approx(right, rel=0.1)
        assert not leaf.convergence.resolved
        assert leaf.convergence.error_uncertainty > 0.1 or "norm" in (
            leaf.convergence.reason
        )


class TestScale:
    """Ratios do not depend on the unit, as long as the responses are numbers in it."""

    @staticmethod
    def dipole(x, unit):
        return unit * (jnp.array([0.4, 0.4, -0.8, 0.1], x.dtype) @ x + 0.1 * x[0] ** 2)

    @pytest.mark.parametrize("method", ["factorised", "dense"])
    @pytest.mark.parametrize("unit", [1.6e-19, 1.6e-29, 1e25])
    def test_float32_in_units_of_any_size(self, unit, method):
        def run(unit):
            return measure(
                self.dipole,
                X.astype("f"),
                args=(np.float32(unit),),
                representations=VECTOR,
                max_degree=3,
                over=Grid(method=method),
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
