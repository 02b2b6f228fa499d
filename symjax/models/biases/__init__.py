"""Small inductive biases: symmetry built into a network that has none."""

from symjax.models.biases.average import Average, averaged
from symjax.models.biases.config import Biases
from symjax.models.biases.readout import EquivariantReadout

__all__ = ["Average", "Biases", "EquivariantReadout", "averaged"]
