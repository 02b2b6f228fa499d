"""Energy loss and scattering of charged particles in liquid argon.

Mean values and widths after the Particle Data Group, *Passage of particles through
matter* (Phys. Rev. D 110, 030001 (2024), Sec. 34). Energies in MeV, lengths in cm.
"""

import math

import numpy as np

ELECTRON_MASS, MUON_MASS, PION_MASS, PROTON_MASS = 0.510999, 105.6584, 139.5704, 938.272
"""Masses in MeV."""

DENSITY, CHARGE_OVER_MASS, EXCITATION = 1.396, 18 / 39.948, 188e-6
"""Of liquid argon: g/cm^3, Z/A in mol/g, mean excitation energy in MeV."""

RADIATION_LENGTH, PAIR_LENGTH = 14.0, 14.0 * 9 / 7
"""Of liquid argon in cm; the latter is the mean free path for pair production."""

COMPTON_LENGTH = 15.0
"""Typical attenuation length in cm of photons of a few MeV in liquid argon."""

_K = 0.307075  # MeV mol^-1 cm^2


def stopping_power(kinetic: float, mass: float) -> float:
    """Mean energy loss of a particle of unit charge, Bethe's equation.

      -dE/dx = K rho Z/A / beta^2 (1/2 ln(2 m_e beta^2 gamma^2 W / I^2) - beta^2),

    W being the largest energy transfer to one electron. Without the density and
    shell corrections, which are below 10 % for the energies that are generated.

    Args:
      kinetic: Kinetic energy in MeV, positive.
      mass: Mass in MeV.

    Returns:
      Energy loss in MeV/cm.
    """
    # Below 1 MeV a heavy particle stops within less than a voxel whatever its loss.
    gamma = 1 + max(kinetic, 1e-2 if mass < 1 else 0.5) / mass
    beta2 = 1 - 1 / gamma**2
    ratio = ELECTRON_MASS / mass
    transfer = 2 * ELECTRON_MASS * beta2 * gamma**2
    largest = transfer / (1 + 2 * gamma * ratio + ratio**2)
    logarithm = 0.5 * math.log(transfer * largest / EXCITATION**2)
    loss = _K * DENSITY * CHARGE_OVER_MASS / beta2 * (logarithm - beta2)
    return max(loss, 0.1)


def scattering_angle(kinetic: float, mass: float, length: float) -> float:
    """Width of the projected angle of multiple scattering, Highland's formula.

      theta_0 = 13.6 MeV / (beta p) sqrt(x / X0) (1 + 0.038 ln(x / X0))

    Args:
      kinetic: Kinetic energy in MeV, positive.
      mass: Mass in MeV.
      length: Length of the step in cm.

    Returns:
      Angle in radians, at most 1, beyond which the small-angle theory is void.
    """
    total = kinetic + mass
    beta_p = (total**2 - mass**2) / total
    share = length / RADIATION_LENGTH
    width = 13.6 / beta_p * math.sqrt(share) * (1 + 0.038 * math.log(share))
    return min(max(width, 0.0), 1.0)


def turn(
    direction: np.ndarray, angle: float, generator: np.random.Generator
) -> np.ndarray:
    """A unit vector at an angle to another one, at a random azimuth."""
    # A normal drawn isotropically has an isotropic azimuth after projection.
    normal = generator.standard_normal(3)
    normal -= direction * (normal @ direction)
    normal /= np.linalg.norm(normal)
    out: np.ndarray = math.cos(angle) * direction + math.sin(angle) * normal
    return out / np.linalg.norm(out)


def random_direction(generator: np.random.Generator) -> np.ndarray:
    """An isotropic unit vector."""
    vector = generator.standard_normal(3)
    return np.asarray(vector / np.linalg.norm(vector))


def michel_energy(generator: np.random.Generator) -> float:
    """Kinetic energy in MeV of the electron of a muon's decay at rest.

    Drawn from the Michel spectrum x^2 (3 - 2 x), x = E / 52.8 MeV, by rejection.
    """
    while True:
        x = generator.random()
        if generator.random() < x * x * (3 - 2 * x):
            return 52.83 * x


def delta_energy(
    minimum: float, maximum: float, generator: np.random.Generator
) -> float:
    """Energy of a knock-on electron, from the density 1 / T^2."""
    u = generator.random()
    return 1 / ((1 - u) / minimum + u / maximum)


def delta_rate(kinetic: float, mass: float, minimum: float) -> tuple[float, float]:
    """Mean number of knock-on electrons per length, and their largest energy.

      dN/dx = 1/2 K rho Z/A / beta^2 (1 / T_min - 1 / W)

    Args:
      kinetic: Kinetic energy of the particle in MeV.
      mass: Its mass in MeV.
      minimum: Smallest energy T_min in MeV that counts.

    Returns:
      Number per cm, 0 if none can be knocked on, and W in MeV.
    """
    gamma = 1 + kinetic / mass
    beta2 = 1 - 1 / gamma**2
    ratio = ELECTRON_MASS / mass
    largest = 2 * ELECTRON_MASS * beta2 * gamma**2 / (1 + 2 * gamma * ratio + ratio**2)
    if largest <= minimum:
        return 0.0, largest
    scale = 0.5 * _K * DENSITY * CHARGE_OVER_MASS / beta2
    return scale * (1 / minimum - 1 / largest), largest
