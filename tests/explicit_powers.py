"""Powers of sectors by their definition, from all elements of a rule."""

import numpy as np

from symjax.so3.wigner import wigner_d_tables


def explicit_power(elements, weights, u, max_degree):
    """||P_{l,sigma} u||^2, ``(degrees, 2)``, summed over components."""
    u = np.reshape(u, (len(u), -1))
    signs = np.linalg.det(elements)
    power = np.zeros((max_degree + 1, 2))
    matrices = wigner_d_tables(max_degree, elements * signs[:, None, None])
    for degree, d in enumerate(matrices):
        plus, minus = (
            2 * np.tensordot(d, (weights * (signs * s > 0))[:, None] * u, (0, 0))
            for s in (1, -1)
        )
        for index, sigma in enumerate((1, -1)):
            both = plus + sigma * (-1) ** degree * minus
            power[degree, index] = (2 * degree + 1) / 4 * np.square(both).sum()
    return power
