"""Nuclear repulsion against its published form, and where it ends."""

import ase.data
import jax
import numpy as np
import pytest

from symjax.errors import ModelError
from symjax.models.pet.zbl import check_zbl_cutoff, zbl_energies

SPECIES = (1, 8)
END = ase.data.covalent_radii[1] + ase.data.covalent_radii[8]
energies = jax.jit(zbl_energies, static_argnums=0)


def of_pairs(lengths):
    """Energies of an oxygen whose only neighbor is a hydrogen, at many lengths."""
    number = len(lengths)
    centers, neighbors = np.ones(number, int), np.zeros((number, 1), int)
    mask = np.ones((number, 1), bool)
    return np.asarray(energies(SPECIES, centers, neighbors, lengths[:, None], mask))


def universal(r):
    """Ziegler, Biersack and Littmark, half of the pair's energy in eV."""
    x = r * (1 + 8**0.23) / 0.46850
    phi = 0.18175 * np.exp(-3.19980 * x) + 0.50986 * np.exp(-0.94229 * x)
    phi += 0.28022 * np.exp(-0.40290 * x) + 0.02817 * np.exp(-0.20162 * x)
    return 0.5 * 8 * 14.399645478 / r * phi


def test_it_is_the_universal_potential_and_a_polynomial():
    """Of r^3, r^4 and a constant, which make it end."""
    r = np.linspace(0.05, 0.9 * END, 40)
    added = of_pairs(r) - universal(r)
    powers = np.stack([r**3, r**4, np.ones(40)], axis=1)
    coefficients, *_ = np.linalg.lstsq(powers, added, rcond=None)
    np.testing.assert_allclose(powers @ coefficients, added, atol=1e-5)
    assert np.abs(coefficients).min() > 1


def test_it_ends_smoothly_at_the_sum_of_the_radii():
    """V, V' and V'' vanish there: V falls as the cube of the distance from it."""
    near, nearer = of_pairs(END - 0.02 / 2.0 ** np.arange(40))[:2]
    assert near > 0
    assert near / nearer == pytest.approx(8, rel=0.1)
    np.testing.assert_array_equal(of_pairs(END + np.linspace(1e-6, 1, 40)), 0)


def test_padding_and_every_pair_once():
    centers, neighbors = np.array([1, 0]), np.array([[0, 0], [1, 0]])
    lengths, mask = np.array([[0.7, 1.0], [0.7, 1.0]]), np.eye(2, 1, dtype=bool)
    found = energies(SPECIES, centers, neighbors, lengths, mask | [[True, False]])
    np.testing.assert_allclose(found, [of_pairs(np.full(40, 0.7))[0]] * 2, rtol=1e-12)


def test_a_cutoff_must_hold_all_pairs():
    check_zbl_cutoff(SPECIES, 2 * ase.data.covalent_radii[8])
    with pytest.raises(ModelError, match=r"reaches 1\.32 angstrom"):
        check_zbl_cutoff(SPECIES, 1.3)
