"""Symmetry biases for unconstrained networks."""

from symjax.models.biases.average import Average, averaged
from symjax.models.biases.config import Biases
from symjax.models.biases.readout import EquivariantReadout

__all__ = ["Average", "Biases", "EquivariantReadout", "averaged"]
