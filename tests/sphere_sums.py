"""What a rule on the sphere makes of spherical harmonics, by SciPy alone."""

import numpy as np
from scipy.special import sph_harm_y


def largest_sums(points, weights, max_degree):
    """Largest |sum_i w_i Y_lm(x_i)| over m, for each degree from 0 on."""
    x, y, z = points.T
    polar, azimuth = np.arccos(np.clip(z, -1, 1)), np.arctan2(y, x)
    # Those of -m are complex conjugates.
    orders = [np.arange(degree + 1)[:, None] for degree in range(max_degree + 1)]
    return np.array(
        [
            np.abs(sph_harm_y(degree, m, polar, azimuth) @ weights).max()
            for degree, m in enumerate(orders)
        ]
    )
