"""PET, the Point Edge Transformer, in Flax."""

from symjax.models.pet.config import Block, PETConfig, Target, Uncertainty
from symjax.models.pet.cutoff import bump, cosine, cutoff_factors
from symjax.models.pet.energies import choose_energy
from symjax.models.pet.graphs import pet_graph, seen_edges
from symjax.models.pet.layers import distinct_layers, layer_names
from symjax.models.pet.model import (
    PETModel,
    cast_parameters,
    conservative,
    init_pet,
    outputs_from_inputs,
    pet_inputs,
    predict,
)
from symjax.models.pet.modules import PET, PETInputs
from symjax.models.pet.orbit import orbit_problem, select_layers
from symjax.models.pet.staged import staged_problem

__all__ = [
    "PET",
    "Block",
    "PETConfig",
    "PETInputs",
    "PETModel",
    "Target",
    "Uncertainty",
    "bump",
    "cast_parameters",
    "choose_energy",
    "conservative",
    "cosine",
    "cutoff_factors",
    "distinct_layers",
    "init_pet",
    "layer_names",
    "orbit_problem",
    "outputs_from_inputs",
    "pet_graph",
    "pet_inputs",
    "predict",
    "seen_edges",
    "select_layers",
    "staged_problem",
]
