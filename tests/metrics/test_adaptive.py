"""Certificates of adaptive rules: they hold, and adversaries are caught."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symjax.errors import AliasingError, ArgumentError
from symjax.metrics import (
    Adaptive,
    Grid,
    HostFunction,
    Output,
    Problem,
    SampleSymmetry,
    measure,
)
from symjax.metrics.adaptive import climb
from symjax.so3 import FEATURE, SCALAR, VECTOR
from symjax.so3.harmonics import spherical_harmonics

REPRESENTATIONS = {"features": FEATURE, "forces": VECTOR}
MAX_DEGREE = 6


def exponentials(x, weights):
    """Content at every degree, decaying faster the smaller the scale."""
    values = jnp.exp(weights["scale"] * (x @ weights["directions"]))
    energies = values @ weights["coefficients"]
    return {
        "features": values,
        "forces": x * (1 + 0.1 * energies)[:, None],
    }


def draw(seed, scale):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    weights = {
        "directions": rng.normal(size=(3, 5)),
        "coefficients": rng.normal(size=5),
        "scale": np.array(scale),
    }
    return x, weights


def assert_holds(result, reference, content=1e-3, error=1e-2):
    """Where certified, every B and A are within the tolerances.

    The bounds are estimates of the error; far below the tolerances they are right to
    a small factor only.
    """
    for name, leaf in result.items():
        certificate = leaf.certificate
        if not certificate.certified:
            continue
        deviation = np.abs(leaf.content - reference[name].content).max()
        assert deviation <= min(3 * certificate.content_uncertainty + 1e-9, content), (
            name
        )
        wanted = reference[name].equivariance_error
        if reference[name].relative_error > 1e-6:
            relative = abs(leaf.equivariance_error / wanted - 1)
            assert relative <= min(3 * certificate.error_uncertainty + 1e-5, error), (
                name
            )


@settings(max_examples=2)
@given(st.integers(0, 2**31 - 1), st.floats(0.05, 0.9))
def test_certificates_hold_for_exponentials(seed, scale):
    x, weights = draw(seed, scale)
    options = {
        "args": (weights,),
        "representations": REPRESENTATIONS,
        "max_degree": MAX_DEGREE,
    }
    result = measure(
        exponentials,
        x,
        over=Adaptive(limit=15, seed=seed % 7, on_aliasing="report"),
        **options,
    )
    assert_holds(
        result, measure(exponentials, x, over=Grid(23, on_aliasing="report"), **options)
    )
    assert result.max_degree == MAX_DEGREE
    assert result["features"].content.shape == (MAX_DEGREE + 1, 2)


# Largest degree of the bands, and what mixes the harmonics of a degree into channels.
TOP = 9
MIX = np.concatenate(
    [np.random.default_rng(n).normal(size=(2 * n + 1, 3)) for n in range(TOP + 1)]
)
THREE = np.array([[0.3, -0.5, 0.8], [0.9, 0.2, -0.1], [-0.2, -0.7, 0.4]])


def band(x, amplitudes):
    """Harmonics of the directions of all atoms, each degree with its amplitude."""
    harmonics = spherical_harmonics(TOP, x).sum(0)
    each = jnp.repeat(
        amplitudes, 2 * np.arange(TOP + 1) + 1, total_repeat_length=len(MIX)
    )
    return (each * harmonics) @ MIX


def bands(x, amplitudes):
    # As a layer, of which no spectrum of averages is made.
    return Problem(
        band, x, {"output": Output(FEATURE, kind="node")}, args=(amplitudes,)
    )


OVER = Adaptive(limit=29, on_aliasing="report"), Grid(2 * TOP + 1, on_aliasing="report")


@settings(max_examples=2)
@given(st.integers(0, 2**31 - 1))
def test_certificates_hold_for_signed_bands(seed):
    """Random signs and a random decay through degree 9."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, 3))
    decay = rng.uniform(0.05, 0.9)
    problem = bands(x, rng.normal(size=TOP + 1) * decay ** np.arange(TOP + 1))
    assert_holds(*(measure(problem, over=over, max_degree=6) for over in OVER))


@pytest.mark.parametrize(("degree", "amplitude"), [(6, 1.0), (9, 0.1)])
def test_energy_at_high_degree_only_is_caught(degree, amplitude):
    """1 + a Y_l: low rules see nothing or a wrong norm, until they resolve l.

    The change to the first rule that does is large, so one more is needed.
    """
    amplitudes = np.zeros(TOP + 1)
    amplitudes[0], amplitudes[degree] = 1.0, amplitude
    problem = bands(THREE, amplitudes)
    result, exact = (measure(problem, over=over, max_degree=6) for over in OVER)
    assert result["output"].certificate.certified
    assert_holds(result, exact)


def test_a_band_limited_response_costs_little():
    amplitudes = np.zeros(TOP + 1)
    amplitudes[:3] = 1.0, 0.5, 0.2
    result = measure(bands(THREE, amplitudes), max_degree=12, over=Adaptive())
    certificate = result["output"].certificate
    assert certificate.degree == 9
    assert certificate.content_uncertainty < 1e-9
    assert certificate.tail < 1e-9
    assert result["output"].content.shape == (13, 2)


def test_the_limit_is_reported_or_raised():
    x, weights = draw(0, 3.0)
    options = {
        "args": (weights,),
        "representations": REPRESENTATIONS,
        "max_degree": MAX_DEGREE,
    }
    with pytest.raises(AliasingError, match=r"limit=9"):
        measure(exponentials, x, over=Adaptive(limit=7), **options)
    over = Adaptive(limit=7, on_aliasing="report")
    result = measure(exponentials, x, over=over, **options)
    certificate = result["features"].certificate
    assert not certificate.certified
    assert certificate.reason
    assert certificate.degree_to_try == 9


def test_chosen_outputs_decide():
    x, weights = draw(1, 0.8)
    options = {
        "args": (weights,),
        "representations": REPRESENTATIONS,
        "max_degree": MAX_DEGREE,
    }
    every = measure(exponentials, x, over=Adaptive(), **options)
    one = measure(exponentials, x, over=Adaptive(outputs=("forces",)), **options)
    assert one["forces"].certificate.certified
    assert one.num_elements <= every.num_elements
    with pytest.raises(ArgumentError, match="not the name of an output"):
        measure(exponentials, x, over=Adaptive(outputs=("stress",)), **options)


def test_with_symmetry():
    x = np.array([[0, 0, 1.0], [0, 0, -1], [0.5, 0, 0], [-0.5, 0, 0]])
    swap = np.array([[0, 1, 2, 3], [1, 0, 3, 2]])
    symmetry = SampleSymmetry(np.stack([np.eye(3), -np.eye(3)]), {"output": swap})

    def function(x):
        return jnp.exp(x @ jnp.array([0.3, 0.5, -0.4]))

    options = {"representations": SCALAR, "max_degree": 4, "over": Adaptive()}
    full = measure(function, x, **options)
    outputs = {"output": Output(SCALAR)}
    problem = Problem(function, x, outputs, symmetry=symmetry)
    half = measure(problem, max_degree=4, over=Adaptive())
    assert half.num_elements * 1.9 < full.num_elements
    assert half["output"].certificate.certified
    assert half["output"].equivariance_error == pytest.approx(
        full["output"].equivariance_error, rel=1e-2
    )


def test_budget_is_known_before():
    adaptive = Adaptive(limit=11)
    assert adaptive.ladder == (5, 7, 9, 11)
    assert adaptive.most_elements == 168 + 416 + 760 + 1200 + 1216


def test_the_checks_are_evaluated_once():
    """Elements of all rules, the pairs of the checks, some turned, and little else."""
    seen = []

    def energy(x):
        seen.append(x)
        return np.exp(x[0, 0] + 0.5 * x[0, 1])[None]

    result = measure(
        HostFunction(energy),
        np.array([[0.6, 0.0, 0.8]]),
        representations=SCALAR,
        max_degree=2,
        over=Adaptive(samples=10),
        batch_size=2,  # nothing is filled up
    )
    assert len(result["output"].coarser) > 1
    # eight pairs turned by a few eps, four to see that nothing changes from call to
    # call, and once more to know its shape
    assert len(seen) == result.num_elements + 2 * 10 + 2 * 8 + 4 + 1


def test_chance_does_not_stop_a_climb(monkeypatch):
    """Others are drawn when nothing but the random elements contradicts a rule."""
    x, weights = draw(0, 0.5)
    real = measure(
        exponentials,
        x,
        args=(weights,),
        representations=REPRESENTATIONS,
        max_degree=2,
        over=Adaptive(),
    )
    known = next(iter(real.values())).certificate
    reasons = ["coarse", "contradicted", "contradicted", ""]
    uncertainties = {"coarse": 1.0, "contradicted": 1e-6, "": 1e-6}
    draws = []

    def certificates(*_):
        reason = reasons[len(draws) - 1]
        return dataclasses.replace(
            known,
            certified=not reason,
            reason=reason,
            content_uncertainty=uncertainties[reason],
            error_uncertainty=uncertainties[reason],
        )

    def rung(degree, projected, draw):
        draws.append(draw)
        return real

    monkeypatch.setattr("symjax.metrics.adaptive.certify", certificates)
    climb(Adaptive(), rung, 2)
    assert draws == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content_tolerance", 0.0),
        ("error_tolerance", 2),
        ("limit", 3),
        ("samples", 2.5),
        ("seed", -1),
    ],
)
def test_bad_options(name, value):
    with pytest.raises(ArgumentError, match=name):
        Adaptive(**{name: value})
