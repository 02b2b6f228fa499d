"""Coefficients of couplings, against e3x, and their orthogonality."""

import e3x
import numpy as np
import pytest

from symjax.so3.coupling import clebsch_gordan
from symjax.so3.harmonics import degree_slice


@pytest.mark.parametrize(("a", "b"), [(0, 2), (1, 1), (2, 1), (1, 3), (3, 2), (3, 3)])
def test_coefficients_are_e3xs_with_their_signs(a, b):
    for c in range(abs(a - b), a + b + 1):
        table = e3x.so3.clebsch_gordan(a, b, c, cartesian_order=False)
        wanted = np.asarray(table)[degree_slice(a), degree_slice(b), degree_slice(c)]
        np.testing.assert_allclose(clebsch_gordan(a, b, c), wanted, atol=1e-14)


@pytest.mark.parametrize(("a", "b"), [(4, 3), (9, 9)])
def test_tables_of_all_degrees_make_an_orthogonal_matrix(a, b):
    size = (2 * a + 1) * (2 * b + 1)
    tables = [clebsch_gordan(a, b, c) for c in range(abs(a - b), a + b + 1)]
    matrix = np.concatenate([table.reshape(size, -1) for table in tables], axis=1)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(size), atol=1e-12)
