"""PET, the Point Edge Transformer, in Flax."""

from symjax.data.quantities import Block, Target
from symjax.models.pet.config import PETConfig, Uncertainty
from symjax.models.pet.derivatives import evaluate
from symjax.models.pet.energies import choose_energy
from symjax.models.pet.evaluation import Evaluation
from symjax.models.pet.graphs import pet_graph
from symjax.models.pet.inputs import PETInputs, pet_inputs
from symjax.models.pet.layers import layer_names
from symjax.models.pet.model import PETModel, init_pet, predict
from symjax.models.pet.network import PET
from symjax.models.pet.orbits import orbit_problem, select_layers
from symjax.models.pet.staged import staged_problem
from symjax.models.precision import cast_parameters

__all__ = [
    "PET", "Block", "Evaluation", "PETConfig", "PETInputs", "PETModel", "Target",
    "Uncertainty", "cast_parameters", "choose_energy", "evaluate", "init_pet",
    "layer_names", "orbit_problem", "pet_graph", "pet_inputs", "predict",
    "select_layers", "staged_problem",
]  # fmt: skip
