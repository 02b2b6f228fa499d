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

RADIATION_LENGTH, CRITICAL_ENERGY, PAIR_LENGTH = 14.0, 32.8, 14.0 * 9 / 7
"""Of liquid argon: cm, MeV, and the mean free path in cm for pair production."""

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

    Example:
      >>> from symjax.data.point_clouds.argon import MUON_MASS, stopping_power
      >>> 2.0 < stopping_power(270.0, MUON_MASS) < 2.3  # a minimum-ionising muon
      True
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

    Example:
      >>> from symjax.data.point_clouds.argon import MUON_MASS, scattering_angle
      >>> 0.01 < scattering_angle(100.0, MUON_MASS, 1.0) < 0.03
      True
    """
    total = kinetic + mass
    beta_p = (total**2 - mass**2) / total
    share = length / RADIATION_LENGTH
    width = 13.6 / beta_p * math.sqrt(share) * (1 + 0.038 * math.log(share))
    return min(max(width, 0.0), 1.0)


def turn(
    direction: np.ndarray, angle: float, generator: np.random.Generator
) -> np.ndarray:
    """A unit vector at an angle to another one, at a random azimuth.

    Args:
      direction: Unit vector, shape ``(3,)``.
      angle: Angle in radians.
      generator: Source of the azimuth.

    Returns:
      Unit vector.

    Example:
      >>> import numpy as np
      >>> from symjax.data.point_clouds.argon import turn
      >>> z = np.array([0.0, 0.0, 1.0])
      >>> round(float(np.arccos(turn(z, 0.3, np.random.default_rng(0)) @ z)), 9)
      0.3
    """
    # A normal drawn isotropically has an isotropic azimuth after projection.
    normal = generator.standard_normal(3)
    normal -= direction * (normal @ direction)
    normal /= np.linalg.norm(normal)
    out: np.ndarray = math.cos(angle) * direction + math.sin(angle) * normal
    return out / np.linalg.norm(out)


def random_direction(generator: np.random.Generator) -> np.ndarray:
    """An isotropic unit vector.

    Args:
      generator: Source of randomness.

    Returns:
      Unit vector, shape ``(3,)``.

    Example:
      >>> import numpy as np
      >>> from symjax.data.point_clouds.argon import random_direction
      >>> vector = random_direction(np.random.default_rng(0))
      >>> round(float(np.linalg.norm(vector)), 12)
      1.0
    """
    vector = generator.standard_normal(3)
    return np.asarray(vector / np.linalg.norm(vector))


def michel_energy(generator: np.random.Generator) -> float:
    """Kinetic energy of the electron of a muon's decay at rest.

    Drawn from the Michel spectrum x^2 (3 - 2 x), x = E / 52.8 MeV, by rejection.

    Args:
      generator: Source of randomness.

    Returns:
      Energy in MeV.

    Example:
      >>> import numpy as np
      >>> from symjax.data.point_clouds.argon import michel_energy
      >>> 0 < michel_energy(np.random.default_rng(0)) < 52.9
      True
    """
    while True:
        x = generator.random()
        if generator.random() < x * x * (3 - 2 * x):
            return 52.83 * x


def delta_energy(
    minimum: float, maximum: float, generator: np.random.Generator
) -> float:
    """Energy of a knock-on electron, from the density 1 / T^2.

    Args:
      minimum: Smallest energy in MeV.
      maximum: Largest energy in MeV.
      generator: Source of randomness.

    Returns:
      Energy in MeV.

    Example:
      >>> import numpy as np
      >>> from symjax.data.point_clouds.argon import delta_energy
      >>> 5 <= delta_energy(5.0, 50.0, np.random.default_rng(0)) <= 50
      True
    """
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

    Example:
      >>> from symjax.data.point_clouds.argon import MUON_MASS, delta_rate
      >>> rate, largest = delta_rate(1000.0, MUON_MASS, 5.0)
      >>> 0.01 < rate < 0.05, 80 < largest < 130
      (True, True)
    """
    gamma = 1 + kinetic / mass
    beta2 = 1 - 1 / gamma**2
    ratio = ELECTRON_MASS / mass
    largest = 2 * ELECTRON_MASS * beta2 * gamma**2 / (1 + 2 * gamma * ratio + ratio**2)
    if largest <= minimum:
        return 0.0, largest
    scale = 0.5 * _K * DENSITY * CHARGE_OVER_MASS / beta2
    return scale * (1 / minimum - 1 / largest), largest
