"""Bridges to other packages; none of them is imported before it is needed."""

from symjax.interop.ase_calculator import SymjaxCalculator
from symjax.interop.averaged import AveragedCalculator
from symjax.interop.calculators import calculator_problem
from symjax.interop.in_place import metatomic_problem
from symjax.interop.jax_modules import (
    equinox_problem,
    linen_problem,
    marked_equinox,
    nnx_problem,
)
from symjax.interop.metatomic_models import torch_callable
from symjax.interop.metatrain import load_metatrain
from symjax.interop.metatrain_export import save_metatrain
from symjax.interop.physics import PhysicalCheck, physical_checks
from symjax.interop.staged_modules import (
    marked_linen,
    marked_nnx,
    marked_stages,
    torch_stages,
)
from symjax.interop.torch_modules import torch_problem

__all__ = [
    "AveragedCalculator",
    "PhysicalCheck",
    "SymjaxCalculator",
    "calculator_problem",
    "equinox_problem",
    "linen_problem",
    "load_metatrain",
    "marked_equinox",
    "marked_linen",
    "marked_nnx",
    "marked_stages",
    "metatomic_problem",
    "nnx_problem",
    "physical_checks",
    "save_metatrain",
    "torch_callable",
    "torch_problem",
    "torch_stages",
]
