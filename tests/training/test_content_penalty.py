"""The penalty on contents of layers: an unbiased estimate of B, sector by sector."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from symjax.so3 import Irrep, finite_group, spherical_harmonics
from symjax.training.augmentation import random_elements
from symjax.training.content_penalty import content_penalty

GROUP = finite_group("Oh").elements


def graph_of(num):
    """As many structures of one atom, and one of padding."""
    mask = np.append(np.ones(num, bool), False)
    return SimpleNamespace(
        atom_mask=mask,
        structure_mask=mask,
        structure=np.arange(num + 1),
        cells=np.zeros((num + 1, 3, 3)),
        edge_mask=mask[:, None],
    )


def penalty(rows, num, elements, sectors=()):
    """That of so many structures, compiled as a whole."""
    graph = graph_of(num)
    function = jax.jit(
        lambda *given: content_penalty(given[0], graph, given[1], sectors)
    )
    return float(function(rows, elements))


@pytest.mark.parametrize(
    ("irrep", "expected"), [("1+", 39 / 47), ("1-", -9 / 47), (None, 1 + 1 / 47)]
)
def test_a_vector_over_a_group(irrep, expected):
    """All pairs but those of one element: (|G|^2 P - |G| (2l + 1)^2) / |G| (|G| - 1).

    P is 1 for 1+, which O_h keeps irreducible, and 0 for 1-; the mean vanishes.
    """
    rows = (GROUP @ [0.3, -0.5, 0.8])[:, None]
    features = np.concatenate([rows, np.full_like(rows, np.nan)], axis=1)
    sectors = () if irrep is None else (Irrep.parse(irrep),)
    found = penalty(features, 1, np.stack([GROUP, GROUP]), sectors)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_two_elements_estimate_the_content_without_bias():
    """Features of 1+ and 2-, 0.3 and 0.7 of their square, at 2000 pairs of elements."""
    num = 2000
    elements = random_elements(jax.random.key(1), 2 * num).reshape(num, 2, 3, 3)
    elements = np.asarray(elements)
    vector = np.array([0.3, -0.5, 0.8]) / np.sqrt(0.98)
    turned = np.swapaxes(elements @ vector, 0, 1)
    y = np.asarray(spherical_harmonics(2, turned, normalization="racah"))
    sign = np.swapaxes(np.linalg.det(elements), 0, 1)[..., None]
    rows = np.concatenate(
        [np.sqrt(0.3) * y[..., 1:4], np.sqrt(0.7) * sign * y[..., 4:9]], axis=-1
    )
    rows = np.pad(rows, ((0, 0), (0, 1), (0, 0)))
    elements = np.pad(elements, ((0, 1), (0, 0), (0, 0), (0, 0)))
    for labels, expected in (("1+", 0.3), ("2-", 0.7), ("2+", 0.0), ("1+ 2-", 1.0)):
        sectors = tuple(map(Irrep.parse, labels.split()))
        found = penalty(rows, num, elements, sectors) / num
        # One pair scatters by at most its largest weight, 2 l + 1 or their sum.
        error = sum(irrep.dimension for irrep in sectors) / np.sqrt(num)
        assert found == pytest.approx(expected, abs=4 * error)
    assert error < 0.2


def test_what_is_invariant_is_not_penalised():
    rows = np.ones((3, 2, 4))
    elements = random_elements(jax.random.key(2), 6).reshape(2, 3, 3, 3)
    assert abs(penalty(rows, 1, elements)) < 1e-6
    # and what vanishes has no content, nor a gradient that is no number
    gradient = jax.jit(
        jax.grad(lambda rows: content_penalty(rows, graph_of(1), elements))
    )
    assert not np.any(gradient(0.0 * rows))
