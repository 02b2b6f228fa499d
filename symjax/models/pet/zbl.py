"""Screened nuclear repulsion, for models that were trained on top of it."""

import ase.data
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from symjax.errors import ModelError

# Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Solids (1985): the
# universal screening function, its exponents, length (angstrom) and power.
_AMPLITUDES = (0.02817, 0.28022, 0.50986, 0.18175)
_EXPONENTS = (0.20162, 0.40290, 0.94229, 3.19980)
_LENGTH = 0.46850
_POWER = 0.23
# e^2 / (4 pi epsilon_0) in eV angstrom
_COULOMB = 14.399645478425668


def check_zbl_cutoff(species: tuple[int, ...], cutoff: float) -> None:
    """Raises unless the cutoff, in angstrom, holds all pairs that repel each other."""
    reach = 2 * max(float(ase.data.covalent_radii[number]) for number in species)
    if reach > cutoff:
        raise ModelError(
            "cutoff",
            cutoff,
            f"the nuclear repulsion reaches {reach:.2f} angstrom, beyond the cutoff",
            "Models with zbl need a cutoff above twice the largest covalent radius",
        )


def zbl_energies(
    species: tuple[int, ...],
    centers: Int[Array, "atoms"],
    neighbors: Int[Array, "atoms neighbors"],
    lengths: Float[Array, "atoms neighbors"],
    mask: Bool[Array, "atoms neighbors"],
) -> Float[Array, "atoms"]:
    """Repulsion energy of every atom in eV, half of each of its pairs.

    V(r) = Z Z' e^2 / (4 pi epsilon_0 r) phi(r / a), plus the polynomial
    A r^3 / 3 + B r^4 / 4 + C with which V, V' and V'' vanish at the sum of the
    covalent radii; 0 beyond. Lengths are in angstrom, positive for padding; centers and
    neighbors are indices of species.
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
    phi, first, second = (
        waves.sum(0),
        -(rates * waves).sum(0),
        (rates**2 * waves).sum(0),
    )
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
