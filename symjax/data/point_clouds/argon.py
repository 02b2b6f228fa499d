"""Energy loss and scattering of charged particles in liquid argon.

Formulas follow the Particle Data Group, *Passage of particles through matter* (Phys.
Rev. D 110, 030001 (2024), Sec. 34). Energies are in MeV, lengths in cm.
"""

import math

import numpy as np

ELECTRON_MASS, MUON_MASS, PION_MASS, PROTON_MASS = 0.510999, 105.6584, 139.5704, 938.272
"""Particle masses in MeV."""

DENSITY, CHARGE_OVER_MASS, EXCITATION = 1.396, 18 / 39.948, 188e-6
"""Liquid argon: density in g/cm^3, Z/A in mol/g, mean excitation energy in MeV."""

RADIATION_LENGTH, PAIR_LENGTH = 14.0, 14.0 * 9 / 7
"""Liquid argon: radiation length and mean free path of pair production, in cm."""

COMPTON_LENGTH = 15.0
"""Attenuation length in cm of photons of a few MeV in liquid argon."""

_K = 0.307075  # MeV mol^-1 cm^2


def stopping_power(kinetic: float, mass: float) -> float:
    """Mean energy loss of a particle of unit charge, by Bethe's equation.

      -dE/dx = K rho Z/A / beta^2 (1/2 ln(2 m_e beta^2 gamma^2 W / I^2) - beta^2),

    where W is the maximum energy transfer to an electron. The density and shell
    corrections are omitted; they are below 10 % for the generated energies.

    Args:
      kinetic: Kinetic energy in MeV, positive. The loss is constant below 0.5 MeV, for
        electrons below 0.01 MeV.
      mass: Mass in MeV.

    Returns:
      Energy loss in MeV/cm, at least 0.1.
    """
    # Below 0.5 MeV a heavy particle stops within a voxel for any loss.
    gamma = 1 + max(kinetic, 1e-2 if mass < 1 else 0.5) / mass
    beta2 = 1 - 1 / gamma**2
    ratio = ELECTRON_MASS / mass
    transfer = 2 * ELECTRON_MASS * beta2 * gamma**2
    largest = transfer / (1 + 2 * gamma * ratio + ratio**2)
    logarithm = 0.5 * math.log(transfer * largest / EXCITATION**2)
    loss = _K * DENSITY * CHARGE_OVER_MASS / beta2 * (logarithm - beta2)
    return max(loss, 0.1)


def scattering_angle(kinetic: float, mass: float, length: float) -> float:
    """Width of the projected multiple-scattering angle, by Highland's formula.

      theta_0 = 13.6 MeV / (beta p) sqrt(x / X0) (1 + 0.038 ln(x / X0))

    Args:
      kinetic: Kinetic energy in MeV, positive.
      mass: Mass in MeV.
      length: Length x of the step in cm.

    Returns:
      Standard deviation of the angle in radians, clipped to 1, where the small-angle
      approximation fails.
    """
    total = kinetic + mass
    beta_p = (total**2 - mass**2) / total
    share = length / RADIATION_LENGTH
    width = 13.6 / beta_p * math.sqrt(share) * (1 + 0.038 * math.log(share))
    return min(max(width, 0.0), 1.0)


def deflect(
    direction: np.ndarray, angle: float, generator: np.random.Generator
) -> np.ndarray:
    """Deflects a unit vector by an angle in radians, with uniform random azimuth."""
    # The projection of an isotropic vector has a uniform azimuth.
    normal = generator.standard_normal(3)
    normal -= direction * (normal @ direction)
    normal /= np.linalg.norm(normal)
    out: np.ndarray = math.cos(angle) * direction + math.sin(angle) * normal
    return out / np.linalg.norm(out)


def random_direction(generator: np.random.Generator) -> np.ndarray:
    """Draws an isotropic unit vector."""
    vector = generator.standard_normal(3)
    return np.asarray(vector / np.linalg.norm(vector))


def michel_energy(generator: np.random.Generator) -> float:
    """Draws the energy in MeV of the electron from a muon decay at rest.

    The Michel spectrum is proportional to x^2 (3 - 2 x) with x = E / 52.83 MeV; it is
    sampled by rejection.
    """
    while True:
        x = generator.random()
        if generator.random() < x * x * (3 - 2 * x):
            return 52.83 * x


def delta_energy(
    minimum: float, maximum: float, generator: np.random.Generator
) -> float:
    """Draws the energy T of a knock-on electron, with density proportional to T^-2."""
    u = generator.random()
    return 1 / ((1 - u) / minimum + u / maximum)


def delta_rate(kinetic: float, mass: float, minimum: float) -> tuple[float, float]:
    """Mean number of knock-on electrons per length, and their maximum energy.

      dN/dx = 1/2 K rho Z/A / beta^2 (1 / T_min - 1 / W)

    Args:
      kinetic: Kinetic energy of the particle in MeV.
      mass: Its mass in MeV.
      minimum: Lower limit T_min of their energy in MeV.

    Returns:
      Number per cm, 0 if W is not above T_min, and W in MeV.
    """
    gamma = 1 + kinetic / mass
    beta2 = 1 - 1 / gamma**2
    ratio = ELECTRON_MASS / mass
    largest = 2 * ELECTRON_MASS * beta2 * gamma**2 / (1 + 2 * gamma * ratio + ratio**2)
    if largest <= minimum:
        return 0.0, largest
    scale = 0.5 * _K * DENSITY * CHARGE_OVER_MASS / beta2
    return scale * (1 / minimum - 1 / largest), largest
