"""ZBL screened nuclear repulsion."""

import ase.data
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from symjax.errors import ModelError

# Universal screening function of Ziegler, Biersack and Littmark, The Stopping and Range
# of Ions in Solids (1985): amplitudes, exponents, length in angstrom, power.
_AMPLITUDES = (0.02817, 0.28022, 0.50986, 0.18175)
_EXPONENTS = (0.20162, 0.40290, 0.94229, 3.19980)
_LENGTH = 0.46850
_POWER = 0.23
# e^2 / (4 pi epsilon_0) in eV angstrom
_COULOMB = 14.399645478425668


def check_zbl_cutoff(species: tuple[int, ...], cutoff: float) -> None:
    """Raises unless the cutoff in angstrom encloses the range of the repulsion.

    Raises:
      ModelError: Twice the largest covalent radius is above the cutoff.
    """
    reach = 2 * max(float(ase.data.covalent_radii[number]) for number in species)
    if reach > cutoff:
        raise ModelError(
            "cutoff",
            cutoff,
            f"the nuclear repulsion reaches {reach:.2f} angstrom, beyond the cutoff",
            "Use a cutoff of at least twice the largest covalent radius, or zbl=False",
        )


def zbl_energies(
    species: tuple[int, ...],
    centers: Int[Array, "atoms"],
    neighbors: Int[Array, "atoms neighbors"],
    lengths: Float[Array, "atoms neighbors"],
    mask: Bool[Array, "atoms neighbors"],
) -> Float[Array, "atoms"]:
    """Repulsion energy of every atom in eV: half the sum of V(r) over its pairs.

    V(r) = Z Z' e^2 / (4 pi epsilon_0 r) phi(r / a) + A r^3 / 3 + B r^4 / 4 + C with
    a = 0.4685 angstrom / (Z^0.23 + Z'^0.23). The constants A, B and C make V, V' and
    V'' vanish at the sum of the covalent radii, beyond which V is 0.

    Args:
      species: Atomic numbers Z by index of the species.
      centers: Index of each atom's species.
      neighbors: Index of each neighbor's species.
      lengths: Distances r in angstrom; positive for padding.
      mask: True for pairs.

    Returns:
      Energies in eV.
    """
    dtype = lengths.dtype
    numbers = np.array(species, float)
    radii = np.asarray(ase.data.covalent_radii)[list(species)]
    # Pairs of species: constants, tabulated in float64.
    product = _COULOMB * numbers[:, None] * numbers
    screening = (numbers[:, None] ** _POWER + numbers**_POWER) / _LENGTH
    end = radii[:, None] + radii
    rates = np.array(_EXPONENTS)[:, None, None] * screening
    amplitudes = np.array(_AMPLITUDES)[:, None, None]
    waves = amplitudes * np.exp(-rates * end)
    # The screening function and its derivatives.
    phi, first, second = ((waves * (-rates) ** order).sum(0) for order in range(3))
    value = product / end * phi
    slope = product / end * (first - phi / end)
    curvature = product / end * (second - 2 / end * first + 2 * phi / end**2)
    cubic = (end * curvature - 3 * slope) / end**2
    quartic = (2 * slope - end * curvature) / end**3
    constant = -value + end * slope / 2 - end**2 * curvature / 12

    def pick(table: np.ndarray) -> Array:
        return jnp.asarray(table, dtype)[centers[:, None], neighbors]

    screened = sum(
        amplitude * jnp.exp(-exponent * pick(screening) * lengths)
        for amplitude, exponent in zip(_AMPLITUDES, _EXPONENTS, strict=True)
    )
    energy = (
        pick(product) / lengths * screened
        + pick(cubic) / 3 * lengths**3
        + pick(quartic) / 4 * lengths**4
        + pick(constant)
    )
    inside = mask & (lengths <= pick(end))
    return jnp.sum(jnp.where(inside, energy / 2, 0), axis=1)
