"""Probes: what is there in a usable form is read, what is not is not named."""

import jax
import numpy as np
import pytest
from scipy.special import sph_harm_y

from symjax.errors import ArgumentError
from symjax.metrics import Output, Problem, measure, probe
from symjax.so3 import FEATURE, Irrep, haar, irrep_matrix, spherical_harmonics

STRUCTURES, ELEMENTS, ATOMS = 24, 4, 5
OWNER = np.repeat(np.arange(STRUCTURES), ELEMENTS * ATOMS)


@pytest.fixture(scope="module")
def environments():
    """Harmonics of two neighbors of every atom, at random elements of O(3)."""
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        turns = np.array(haar(jax.random.key(0), STRUCTURES * ELEMENTS))
        turns[1::2] *= -1
        near = random.normal(size=(2, STRUCTURES, 1, ATOMS, 3))
        turns = turns.reshape(STRUCTURES, ELEMENTS, 1, 3, 3)
        vectors = (turns @ near[..., None])[..., 0].reshape(2, -1, 3)
        return vectors, np.asarray(spherical_harmonics(5, vectors))


@pytest.fixture(scope="module")
def tensors(environments):
    """l = 0 to 5 of the sum, 1- the cross product."""
    vectors, y = environments
    summed = y[0] + 0.5 * y[1]
    found = {Irrep(n, 1): summed[:, n * n : (n + 1) ** 2, None] for n in range(6)}
    found[Irrep(1, -1)] = np.cross(*vectors)[..., None]
    return found


def mixed(values, seed=1, noise=0.0):
    """Features in another basis, as a network has them."""
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(random.normal(size=(values.shape[1],) * 2))[0]
    return values @ basis + noise * random.normal(size=values.shape)


def test_harmonics_are_those_of_scipy(environments):
    """The tensors that are asked for: real combinations of scipy's, at l = 3."""
    vectors, y = environments
    x, y_, z = np.moveaxis(vectors[0, :7], -1, 0)
    theta = np.arccos(z / np.linalg.norm(vectors[0, :7], axis=-1))
    phi = np.arctan2(y_, x)
    for m in (1, 2, 3):
        complex_ = np.sqrt(2) * (-1) ** m * sph_harm_y(3, m, theta, phi)
        np.testing.assert_allclose(y[0, :7, 9 + 3 + m], complex_.real, atol=1e-12)
        np.testing.assert_allclose(y[0, :7, 9 + 3 - m], complex_.imag, atol=1e-12)


def test_the_ceiling_of_features_is_found(environments, tensors):
    """Harmonics through l = 3 hold 3 and not 4; invariants hold 0 alone."""
    _, y = environments
    layers = {
        "through 3": mixed(np.concatenate([y[0, :, :16], y[1, :, :16]], axis=1)),
        "vectors": mixed(np.concatenate([y[0, :, :4], y[1, :, :4]], axis=1), 2),
        "constant": np.ones((len(OWNER), 3)),
    }
    found = probe(layers, tensors, OWNER)
    assert found.comparisons == 3 * 6  # l = 0 is one number, and is left out
    assert [found.largest(name, 1) for name in layers] == [3, 1, None]
    assert all(found.largest(name, -1) is None for name in layers)
    for degree in (1, 2, 3):
        one = found.sectors["through 3"][Irrep(degree, 1)]
        assert one.score > 1 - 1e-9
        assert one.low > 0.9
    # Products of two vectors are tensors of degree 2, and 1- where they differ.
    del layers["through 3"]
    found = probe(layers, tensors, OWNER, products=True)
    assert found.comparisons == 2 * 6 * 2
    assert found.largest("vectors", 1, products=True) == 2
    assert found.largest("vectors", -1, products=True) == 1
    assert found.largest("constant", 1, products=True) is None


def test_harmonics_of_tiny_variance_are_found(environments, tensors):
    """Amplitude 1e-4 beside what does not depend on it, in a random basis."""
    _, y = environments
    loud = np.random.default_rng(3).normal(size=(len(OWNER), 12))
    tiny = np.concatenate([y[0, :, 4:9] + 0.5 * y[1, :, 4:9], loud * 1e4], axis=1)
    found = probe({"layer": mixed(tiny)}, tensors, OWNER)
    assert found.largest("layer", 1) == 2
    assert found.sectors["layer"][Irrep(2, 1)].score > 0.99


def test_round_off_is_not_read(environments, tensors):
    """2+ at 1e-8 of the features is there in float64; of float32 it could be rounding.

    As it is in edges of a PET, whose rounding was read with R^2 = 0.03.
    """
    _, y = environments
    faint = 1e-8 * (y[0, :, 4:9] + 0.5 * y[1, :, 4:9])
    rows = mixed(np.concatenate([y[0, :, :4], faint], axis=1))
    assert probe({"layer": rows}, tensors, OWNER).largest("layer", 1) == 2
    for products in (False, True):
        single = probe(
            {"layer": rows}, tensors, OWNER, epsilon=1.2e-7, products=products
        )
        assert single.largest("layer", 1) == 1


def test_what_is_carried_and_of_no_use_is_not_named(environments, tensors):
    """l = 4 of environments that were turned by what no other structure shares."""
    _, y = environments
    with jax.enable_x64(True):
        others = haar(jax.random.key(7), STRUCTURES)
        table = np.asarray(irrep_matrix(Irrep(4, 1), others))
    own = y[0, :, 16:25].reshape(STRUCTURES, -1, 9)
    rows = np.einsum("sna,sab->snb", own, table).reshape(-1, 9)
    found = probe({"layer": np.concatenate([rows, y[0, :, :4]], 1)}, tensors, OWNER)
    assert found.largest("layer", 1) == 1
    # B sees 4+ there.
    direction = np.array([0.3, -0.5, 0.8])
    turned = table[0]

    def layer(x):
        return turned.T @ spherical_harmonics(4, x)[16:25]

    with jax.enable_x64(True):
        problem = Problem(layer, direction, {"output": Output(FEATURE)})
        content = measure(problem, max_degree=4)["output"]
    assert content.content_of("4+") == pytest.approx(1, abs=1e-9)


def test_nothing_is_named_where_there_is_nothing(tensors):
    """40 layers of noise that is shared within structures: the level is kept."""
    random = np.random.default_rng(5)
    shared = random.normal(size=(40, STRUCTURES, 6))[:, OWNER]
    layers = {
        str(n): rows + 0.3 * random.normal(size=rows.shape)
        for n, rows in enumerate(shared)
    }
    found = probe(layers, tensors, OWNER)
    assert all(
        found.largest(name, sigma) is None for name in layers for sigma in (1, -1)
    )


def test_species_alone_decode_no_invariant():
    """Means of a species are what permuted structures know too."""
    random = np.random.default_rng(6)
    species = np.tile(np.eye(ATOMS), (STRUCTURES * ELEMENTS, 1))
    of_atoms = random.normal(size=(STRUCTURES, 1, ATOMS))
    values = 3 * np.arange(ATOMS) + np.broadcast_to(
        of_atoms, (STRUCTURES, ELEMENTS, ATOMS)
    )
    asked = {Irrep(0, 1): values.reshape(-1, 1, 1)}
    knows = np.concatenate([species, values.reshape(-1, 1)], axis=1)
    found = probe({"species": species, "all": knows}, asked, OWNER)
    blind = found.sectors["species"][Irrep(0, 1)]
    assert blind.score > 0.8
    assert blind.permuted == pytest.approx(blind.score, abs=0.1)
    assert found.largest("species", 1) is None
    assert found.largest("all", 1) == 0


def test_what_symmetry_forbids_is_not_asked_for(environments, tensors):
    _, y = environments
    planar = {**tensors, Irrep(0, -1): np.full((len(OWNER), 1, 1), 1e-17)}
    found = probe({"layer": y[0]}, planar, OWNER)
    assert Irrep(0, -1) not in found.sectors["layer"]
    assert found.largest("layer", -1) is None


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"structures": np.zeros(480, int)}, "structures=1: are too few.*8 or more"),
        ({"level": 1.5}, "level=1.5: is not between 0 and 1"),
        (
            {"features": {"a": np.ones((3, 2))}},
            r"features\['a'\]=\(3, 2\).*480 samples",
        ),
        ({"features": {"a": np.full((480, 2), np.nan)}}, "is not finite"),
        ({"tensors": {Irrep(1, 1): np.ones((480, 3))}}, r"tensors\[1\+\]=\(480, 3\)"),
    ],
)
def test_bad_input(changes, match, tensors):
    given = {
        "features": {"a": np.ones((480, 2))},
        "tensors": tensors,
        "structures": OWNER,
        **changes,
    }
    with pytest.raises(ArgumentError, match=match):
        probe(**given)
