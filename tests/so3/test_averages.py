"""What predictions are averaged over, by whatever name it is given."""

import numpy as np
import pytest

from symjax.errors import ArgumentError, GridError
from symjax.so3 import finite_group, quadrature
from symjax.so3.averages import Rotations, rotations_of


@pytest.mark.parametrize(
    ("average", "inversion", "name", "num"),
    [
        (None, True, "none", 1),
        ("Td", True, "Td", 24),
        ("T", True, "T", 12),
        (finite_group("Oh"), False, "Oh", 48),
        (3, False, "lebedev 3 x 4", 24),
        (np.int64(3), True, "lebedev 3 x 4", 48),
        (quadrature(3, "gauss"), False, "gauss 2 x 4 x 4", 32),
    ],
)
def test_elements_and_weights(average, inversion, name, num):
    """Groups are taken as they are, quadratures with their negatives if asked for."""
    found = rotations_of(average, inversion)
    assert (found.name, found.elements.shape) == (name, (num, 3, 3))
    assert found.weights.shape == (num,)
    assert found.weights.sum() == pytest.approx(1, abs=1e-14)
    proper = found.weights[np.linalg.det(found.elements) > 0].sum()
    both = inversion and not isinstance(average, str | None)
    improper = both or name in ("Td", "Oh")
    assert proper == pytest.approx(0.5 if improper else 1.0, abs=1e-14)
    # Every set integrates a vector to 0, but for no average.
    mean = np.tensordot(found.weights, found.elements, 1)
    np.testing.assert_allclose(mean, np.eye(3) * (average is None), atol=1e-14)


def test_elements_with_weights_stay():
    own = Rotations("two", np.stack([np.eye(3), -np.eye(3)]), np.array([0.25, 0.75]))
    found = rotations_of(own, True)
    np.testing.assert_array_equal(found.elements, own.elements)
    np.testing.assert_array_equal(found.weights, own.weights)


@pytest.mark.parametrize("average", [2.5, True, [], object()])
def test_what_stands_for_no_elements(average):
    with pytest.raises(ArgumentError, match=r"average=.*does not name elements of O"):
        rotations_of(average, True)


def test_a_degree_that_no_rule_has():
    with pytest.raises(GridError, match="degree=900"):
        rotations_of(900, True)
