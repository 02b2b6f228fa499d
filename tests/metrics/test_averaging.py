"""Predicted errors of averages, against averages that are really taken."""

import functools
import itertools
import math

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_models import small_pet

from symjax.errors import ArgumentError
from symjax.metrics import (
    Grid,
    Output,
    Problem,
    add_spectra,
    cheapest,
    frontier,
    measure,
    optimised,
    response_spectra,
)
from symjax.metrics.orbit import respond_in_batches
from symjax.metrics.planning import default_batch_size
from symjax.metrics.response_spectrum import GROUPS
from symjax.models.pet import orbit_problem
from symjax.so3 import SCALAR, VECTOR, Irrep, Representation
from symjax.so3.averages import Rotations, rotations_of

# A polar and an axial direction, so that both cosets and both parities differ.
X = np.array([[0.2, -0.5, 0.8], [1.0, 0.4, 0.1], [-0.3, 0.9, 0.6]])
AXIAL = Representation("axial", (3,), (Irrep(1, -1),), basis="cartesian")


def polynomials(x):
    """Degrees to 4, even and odd under inversion, as a scalar and as vectors."""
    a, b, c = x
    odd = a[0] * b[2] ** 2 + jnp.dot(jnp.cross(a, b), c) * a[1]
    even = a[2] ** 4 + b[0] * b[1] - 0.3 * a[0] * b[0] * c[1] * c[2]
    bias = jnp.stack([a[0] * b[1], a[2] ** 3, 0.1 + c[0] * a[0] ** 2])
    return {
        "scalar": even + odd,
        "vector": (a * jnp.dot(b, c) + 0.2 * bias)[None],
        "axial": jnp.cross(a, b) + 0.1 * bias,
    }


def problem():
    """Outputs of every kind, of degree 4 to 5 after the rotation back."""
    outputs = {
        "scalar": Output(SCALAR, unit="eV"),
        "vector": Output(VECTOR),
        "axial": Output(AXIAL),
    }
    return Problem(polynomials, X, outputs)


def mean_of_polynomials(x, elements, weights):
    """Outputs averaged by hand: of h x, turned back."""

    def one(h):
        out = polynomials(x @ h.T)
        return {
            "scalar": out["scalar"],
            "vector": out["vector"] @ h,
            "axial": jnp.linalg.det(h) * (out["axial"] @ h),
        }

    responses = jax.vmap(one)(elements)
    return {name: jnp.tensordot(weights, v, 1) for name, v in responses.items()}


def averaged(average):
    """The problem of the averaged function; one program for up to 60 elements."""
    more = 60 - len(average.weights)
    elements = np.concatenate([average.elements, np.tile(np.eye(3), (more, 1, 1))])
    weights = np.append(average.weights, np.zeros(more))
    return Problem(mean_of_polynomials, X, problem().outputs, args=(elements, weights))


@functools.cache
def spectra_of_polynomials():
    with jax.enable_x64(True):
        return response_spectra(problem(), max_degree=6)


@pytest.mark.parametrize("average", ["C1", "D3h", "Td", "O", "I", 3])
def test_the_error_of_every_average_is_predicted(average):
    with jax.enable_x64(True):
        rotations = rotations_of(average, True)
        real = measure(averaged(rotations), over=Grid(13), max_degree=2)
    for name, spectrum in spectra_of_polynomials().items():
        predicted = spectrum.after(average)
        assert predicted.num_elements == len(rotations.elements)
        assert predicted.error == pytest.approx(
            real[name].equivariance_error, rel=1e-9, abs=1e-12
        )
        if average == "C1":
            whole = math.sqrt(spectrum.variance / spectrum.count)
            assert whole == pytest.approx(real[name].equivariance_error, rel=1e-9)
        # polynomials of a degree below that of the projection have no tail
        assert predicted.uncertainty < 1e-7


def test_any_elements_with_weights():
    elements = Rotation.random(5, random_state=3).as_matrix()
    elements[1] *= -1
    rotations = Rotations("five", elements, np.array([0.4, 0.3, 0.2, 0.2, -0.1]))
    with jax.enable_x64(True):
        real = measure(averaged(rotations), over=Grid(13), max_degree=2)
    for name, spectrum in spectra_of_polynomials().items():
        assert spectrum.after(rotations).error == pytest.approx(
            real[name].equivariance_error, rel=1e-9
        )


def test_a_closed_form():
    """P_4 of a direction under O: the cubic invariant alone is left, 7/12 of l = 4."""

    def quartic(x):
        z = x[0, 2]
        return (35 * z**4 - 30 * z**2 + 3) / 8

    with jax.enable_x64(True):
        spectrum = response_spectra(
            Problem(quartic, jnp.eye(3)[2:], {"output": Output(SCALAR)}), 4
        )["output"]
    # <P_4^2> = 1/9; the mean of P_4 over O is 7/12 times a function of norm 1/9 (its
    # coefficient: sum over the axes of Y_4 Y_4 / 3, P_4 of the angles 0, 90: 1, 3/8).
    assert spectrum.after(None).error == pytest.approx(1 / 3)
    kept = (1 + 2 * 3 / 8) / 3
    assert spectrum.after("O").error == pytest.approx(math.sqrt(kept) / 3)
    assert spectrum.after("I").error == pytest.approx(0, abs=1e-12)


def test_the_tail_is_within_the_uncertainty():
    def sharp(x):
        return jnp.exp(4 * x[0, 2])

    of = Problem(sharp, jnp.eye(3)[2:], {"output": Output(SCALAR)})
    with jax.enable_x64(True):
        low = response_spectra(of, 3)["output"]
        high = response_spectra(of, 12)["output"]
    assert low.tail > 1e-3 > 1e-9 > high.tail
    for name in GROUPS:
        right = high.after(name).error
        estimate = low.after(name)
        assert abs(estimate.error - right) <= estimate.uncertainty


@pytest.fixture(scope="module")
def network():
    """A PET on a molecule without symmetry."""
    atoms = ase.build.molecule("H2CO")
    atoms.rattle(0.05, seed=0)
    of = orbit_problem(small_pet(), atoms, layers="none")
    return of, response_spectra(of, 4)


@pytest.mark.parametrize("average", ["D2", "Th"])
def test_a_network(network, average):
    """Energy and forces at random orientations, averaged for real."""
    of, spectra = network
    rotations = rotations_of(average, True)
    turns = Rotation.random(30, random_state=1).as_matrix()
    turns = np.concatenate([turns, -turns])
    elements = np.einsum("hij,tjk->thik", rotations.elements, turns)
    responses = respond_in_batches(
        of.function,
        of.action,
        of.x,
        elements.reshape(-1, 3, 3),
        args=of.args,
        keep=(0, 1),
        batch_size=default_batch_size(),
    )
    energies, forces = (
        part.reshape(*elements.shape[:2], *part.shape[1:]).astype(float)
        for part in responses
    )
    averages = {
        "energy": np.tensordot(rotations.weights, energies, (0, 1)),
        "forces": np.tensordot(rotations.weights, forces @ elements, (0, 1)),
    }
    for name, values in averages.items():
        squares = np.square(values - values.mean(0)).reshape(len(turns), -1)
        squares = squares.mean(1)
        measured = math.sqrt(squares.sum() / (len(turns) - 1))
        # 30 pairs: the standard error of A, from the spread of the squares
        error = squares.std() / math.sqrt(30) / (2 * measured)
        predicted = spectra[name].after(average)
        assert predicted.error == pytest.approx(
            measured, abs=4 * error + predicted.uncertainty
        )
        assert predicted.error < 0.6 * spectra[name].after(None).error


def test_frontier():
    spectra = spectra_of_polynomials()
    assert sorted(spectra) == ["axial", "scalar", "vector"]
    for spectrum in spectra.values():
        best = frontier(spectrum)
        assert (best[0].average, best[0].num_elements) == ("none", 1)
        assert all(
            a.num_elements < b.num_elements and a.largest > b.largest
            for a, b in itertools.pairwise(best)
        )
        assert best[-1].error < 1e-6 < best[0].error


def test_the_cheapest_average():
    spectra = spectra_of_polynomials()
    before = {name: one.after(None).error for name, one in spectra.items()}
    assert cheapest(spectra, {"scalar": 2 * before["scalar"]}).name == "none"
    limits = {name: error / 20 for name, error in before.items()}
    chosen = cheapest(spectra, limits)
    assert all(spectra[n].after(chosen).largest <= limits[n] for n in limits)
    for name in GROUPS:
        if len(rotations_of(name, True).weights) < len(chosen.weights):
            assert any(spectra[n].after(name).largest > limits[n] for n in limits)
    with pytest.raises(ArgumentError, match="lowest errors are scalar="):
        cheapest(spectra, {"scalar": 1e-3}, ["D2"])
    with pytest.raises(ArgumentError, match="not a measured output"):
        cheapest(spectra, {"energy": 1.0})


@pytest.mark.parametrize("inversion", [True, False])
def test_optimised_rotations_beat_random_ones(inversion):
    spectra = spectra_of_polynomials()
    chosen = list(spectra.values())
    best = optimised(chosen, 4, inversion)
    assert len(best.weights) == (8 if inversion else 4)
    random = Rotation.random(4, random_state=0).as_matrix()
    if inversion:
        random = np.concatenate([random, -random])
    other = Rotations("random", random, np.full(len(random), 1 / len(random)))
    left = [
        sum((one.after(r).error / one.after(None).error) ** 2 for one in chosen)
        for r in (best, other)
    ]
    assert left[0] < 0.5 * left[1]
    # and what is predicted of them is what they leave
    with jax.enable_x64(True):
        real = measure(averaged(best), over=Grid(13), max_degree=2)
    for name, spectrum in spectra.items():
        assert spectrum.after(best).error == pytest.approx(
            real[name].equivariance_error, rel=1e-6
        )


def test_several_structures_add_up():
    found = spectra_of_polynomials()
    one = found["scalar"]
    many = add_spectra([one, one, one])
    assert many.after("T").error == pytest.approx(one.after("T").error)
    with pytest.raises(ArgumentError, match="one output"):
        add_spectra([one, found["vector"]])


def test_bad_input():
    with pytest.raises(ArgumentError, match="spectra"):
        add_spectra([])
    with pytest.raises(ArgumentError, match="max_degree"):
        response_spectra(problem(), -1)
    layer = Problem(lambda x: x, X, {"output": Output(VECTOR, kind="node")})
    with pytest.raises(ArgumentError, match="has only layers"):
        response_spectra(layer)
