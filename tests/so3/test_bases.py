"""Bases of components: what they are in the words of other packages."""

import functools

import jax
import numpy as np
import pytest

from symjax.so3 import (
    from_spherical,
    spherical,
    to_e3nn,
    to_e3x,
    to_spherical,
)


def compiled(function, **options):
    """One program instead of one for each operation."""
    return jax.jit(functools.partial(function, **options))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_representations_in_the_bases_of_others(degree):
    """The same vector of spherical components, in every order that has a name."""
    ours = np.random.default_rng(3).normal(size=(4, 2 * degree + 1))
    for name, convert in (("e3nn", to_e3nn), ("e3x", to_e3x), ("metatensor", None)):
        theirs = ours if convert is None else compiled(convert, degree=degree)(ours)
        representation = spherical(degree, -1, basis=name)
        back = to_spherical(representation, theirs)[..., 0]
        np.testing.assert_allclose(back, ours, atol=1e-12)
        again = from_spherical(representation, ours[..., None])
        np.testing.assert_allclose(again, theirs, atol=1e-12)
