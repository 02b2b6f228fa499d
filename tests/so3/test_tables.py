"""The constant matrices behind the Wigner functions."""

import numpy as np

from symjax.so3._tables import complex_to_real

EPS = np.finfo(float).eps


def test_complex_to_real_is_unitary():
    for degree in (0, 1, 7, 64):
        change = complex_to_real(degree)
        np.testing.assert_allclose(
            change @ change.conj().T, np.eye(2 * degree + 1), atol=4 * EPS
        )
