"""Effects of broken symmetry on dynamics, relaxations and vibrations."""

from symjax.stability.simulations import (
    net_torque,
    normal_modes,
    relax_rotated,
    run_nve,
)
from symjax.stability.stability_file import StabilityFile

__all__ = [
    "StabilityFile",
    "net_torque",
    "normal_modes",
    "relax_rotated",
    "run_nve",
]
