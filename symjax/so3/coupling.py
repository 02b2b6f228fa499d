"""Clebsch-Gordan coefficients: how two irreps couple to a third."""

import functools
import math

import numpy as np
from jaxtyping import Float

from symjax.so3._tables import complex_to_real


@functools.lru_cache(maxsize=64)
def clebsch_gordan(a: int, b: int, c: int) -> Float[np.ndarray, "a b c"]:
    """Coefficients C that couple real tensors x, y of degrees a, b to degree c.

    ``z_k = sum_ij C_ijk x_i y_j`` rotates as degree c if x and y rotate as a and b, and
    ``sum_ij C_ijk C_ijl = delta_kl``. They are the complex ones of Racah's formula
    (1942) in the basis of real harmonics, times i^(a + b - c), which makes them real;
    signs are those of e3x.

    Args:
      a: Degree of x.
      b: Degree of y.
      c: Degree of z, with |a - b| <= c <= a + b.

    Returns:
      Array of shape ``(2a + 1, 2b + 1, 2c + 1)``, read-only.

    Example:
      >>> from symjax.so3.coupling import clebsch_gordan
      >>> cross = 2**0.5 * clebsch_gordan(1, 1, 1)  # in the order (y, z, x)
      >>> cross[2, 0].round(9) + 0.0  # x cross y is z
      array([0., 1., 0.])
    """
    factorials = [math.factorial(number) for number in range(a + b + c + 2)]
    sides = a + b - c, a - b + c, b + c - a
    below = factorials[-1] * math.prod(factorials[side] for side in sides)
    table = np.zeros((2 * a + 1, 2 * b + 1, 2 * c + 1))
    for m in range(-a, a + 1):
        for n in range(max(-b, -c - m), min(b, c - m) + 1):
            total = sum(
                (-1) ** k
                * math.comb(sides[0], k)
                * math.comb(sides[1], a - m - k)
                * math.comb(sides[2], b + n - k)
                for k in range(min(a - m, b + n) + 1)
            )
            orders = a + m, a - m, b + n, b - n, c + m + n, c - m - n
            above = (2 * c + 1) * math.prod(factorials[order] for order in orders)
            table[a + m, b + n, c + m + n] = math.sqrt(above / below) * total
    first, second, third = map(complex_to_real, (a, b, c))
    whole = first @ np.moveaxis(second @ table @ third.conj().T, 1, 0)
    real = (1j ** (a + b - c) * np.moveaxis(whole, 0, 1)).real
    real.setflags(write=False)
    return real
