"""What simulations notice of broken symmetry."""

from symjax.stability.simulations import (
    net_torque,
    normal_modes,
    relax_rotated,
    run_nve,
)

__all__ = ["net_torque", "normal_modes", "relax_rotated", "run_nve"]
