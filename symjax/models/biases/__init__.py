"""Small inductive biases: symmetry built into a network that has none."""

from symjax.models.biases.average import Average, averaged
from symjax.models.biases.config import Biases
from symjax.models.biases.frames import canonical_frames, weighted_frames
from symjax.models.biases.readout import EquivariantReadout
from symjax.models.biases.tensors import (
    AtomVectors,
    HarmonicEmbedding,
    couple,
    directions,
    harmonics,
    pseudotensors,
    radial_functions,
)

__all__ = [
    "AtomVectors",
    "Average",
    "Biases",
    "EquivariantReadout",
    "HarmonicEmbedding",
    "averaged",
    "canonical_frames",
    "couple",
    "directions",
    "harmonics",
    "pseudotensors",
    "radial_functions",
    "weighted_frames",
]
