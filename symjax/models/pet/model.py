"""A PET with its parameters: initialisation and predictions.

Predictions are pure functions of model and graph: they can be jitted, vmapped and
differentiated.
"""

import dataclasses
import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from symjax.data.graph import Graph
from symjax.data.mesh import find_mesh
from symjax.data.quantities import Block, Target
from symjax.errors import ModelError
from symjax.models._parameters import fresh_variables
from symjax.models._paths import flatten, join_path
from symjax.models.pet.config import PETConfig
from symjax.models.pet.derivatives import evaluate
from symjax.models.pet.evaluation import Evaluation
from symjax.models.pet.graphs import check_graph
from symjax.models.pet.inputs import PETInputs
from symjax.models.pet.network import PET
from symjax.models.pet.uncertainty import uncertainty_shapes
from symjax.models.precision import cast_parameters, check_dtype


@dataclasses.dataclass(frozen=True, eq=False)
class PETModel:
    """A PET with its parameters.

    Attributes:
      name: Name in reports.
      config: Hyperparameters and targets.
      parameters: Dictionary with ``"network"`` (Flax parameters), and ``"scale"`` and
        ``"baseline"`` by target and block, each of shape ``(species, properties)``:
        the prediction of an atom is ``scale * raw + baseline``, where only invariant
        blocks have a baseline. Models with uncertainties also have ``"uncertainty"``,
        see :func:`~symjax.models.pet.uncertainty.uncertainty_shapes`.
      card: Model card with origin, data and errors; JSON-serialisable.

    Example:
      >>> from symjax.models import load_model
      >>> model = load_model("pet-ethanol")
      >>> model.name, sorted(model.parameters)
      ('pet-ethanol', ['baseline', 'network', 'scale'])
    """

    name: str
    config: PETConfig
    parameters: dict[str, Any]
    card: dict[str, Any] = dataclasses.field(default_factory=dict)


def _init_network(config: PETConfig, key: Array | None) -> Any:
    integer, mask = np.zeros((1, 1), np.int32), np.ones((1, 1), bool)
    inputs = PETInputs(
        vectors=np.zeros((1, 1, 3), np.float32),
        distances=np.ones((1, 1), np.float32),
        cutoff_factors=np.ones((1, 1), np.float32),
        edge_mask=mask,
        reverse=integer,
        centers=integer[0],
        neighbors=integer,
        structure=integer[0],
        charge=integer[0],
        spin_multiplicity=integer[0] + 1,
        repulsion=np.zeros(1, np.float32),
        long_range=None
        if config.long_range is None
        else find_mesh([ase.Atoms("H")], 1.0, 1.0, np.float32),
    )
    return fresh_variables(PET(config), key, (inputs,), ("params",))["params"]


@functools.lru_cache(maxsize=64)
def parameter_shapes(config: PETConfig) -> Mapping[str, tuple[int, ...]]:
    """Shape of every parameter by path, found by tracing; cached."""
    leaves = flatten(_init_network(config, None)).items()
    shapes = {f"network/{path}": leaf.shape for path, leaf in leaves}
    for target in config.targets:
        for block in target.blocks:
            shape = (len(config.species), block.properties)
            for kind in ("scale", *(["baseline"] if block.is_invariant else [])):
                shapes[join_path(kind, target.name, block.key)] = shape
    return types.MappingProxyType(shapes | uncertainty_shapes(config))


def init_pet(config: PETConfig, key: Array, name: str = "pet") -> PETModel:
    """Initialises a PET with random parameters, scales of 1 and baselines of 0.

    Args:
      config: Hyperparameters and targets.
      key: Random key.
      name: Name in reports.

    Returns:
      The model, with float32 parameters.

    Raises:
      ModelError: The configuration has uncertainties, which need a trained model.

    Example:
      >>> import jax
      >>> from symjax.models.pet import PETConfig, init_pet
      >>> config = PETConfig(species=(1, 8), d_pet=8, d_node=8, d_head=8,
      ...                    d_feedforward=8, num_heads=2, num_gnn_layers=1)
      >>> model = init_pet(config, jax.random.key(0))
      >>> sorted(model.parameters)
      ['baseline', 'network', 'scale']
    """
    network = jax.tree.map(np.asarray, _init_network(config, key))
    species = len(config.species)
    if config.uncertainties:
        raise ModelError(
            "uncertainties",
            [uncertainty.target for uncertainty in config.uncertainties],
            "belong to a trained network, and this one is not trained",
            "Leave them out",
        )

    def constant(value: float) -> Callable[[Target, Block], Any]:
        return lambda _, block: np.full((species, block.properties), value, np.float32)

    parameters = {
        "network": network,
        "scale": config.by_block(constant(1.0)),
        "baseline": config.by_block(constant(0.0), invariant=True),
    }
    return PETModel(name, config, parameters)


def without_uncertainties(model: PETModel) -> PETModel:
    """Removes uncertainties, which are wrong once other parameters change."""
    config = dataclasses.replace(model.config, uncertainties=())
    parameters = {k: v for k, v in model.parameters.items() if k != "uncertainty"}
    return dataclasses.replace(model, config=config, parameters=parameters)


def predict(model: PETModel, graph: Graph, **choices: Any) -> dict[str, Array]:
    """Evaluates a model on a graph.

    Computed in the dtype of the graph. One program is compiled for each configuration
    and graph shape, and reused.

    Args:
      model: The model.
      graph: Graph from :func:`pet_graph`.
      choices: Fields of :class:`Evaluation`, such as ``forces=True``.

    Returns:
      Arrays by name, see :func:`evaluate`.

    Raises:
      ModelError: The model has no such layer or energy, or it has several energies and
        none was named; it does not know a total charge or spin multiplicity of the
        graph; or the graph is in float64 while JAX has it disabled.
      ArgumentError: The graph was not made for this model's cutoff.
      StructureError: The model does not know one of its species.

    Example:
      >>> import ase.build
      >>> import jax
      >>> from symjax.models.pet import PETConfig, init_pet, pet_graph, predict
      >>> config = PETConfig(species=(1, 8), d_pet=8, d_node=8, d_head=8,
      ...                    d_feedforward=8, num_heads=2, num_gnn_layers=1)
      >>> model = init_pet(config, jax.random.key(0))
      >>> graph = pet_graph(config, ase.build.molecule("H2O"), dtype="float32")
      >>> predict(model, graph, forces=True)["forces"].shape
      (3, 3)
    """
    check_dtype(graph.vectors.dtype)
    check_graph(model.config, graph)
    return _predict(Evaluation(model.config, **choices), model.parameters, graph)


@functools.partial(jax.jit, static_argnames="evaluation")
def _predict(evaluation: Evaluation, parameters: Any, graph: Graph) -> dict[str, Array]:
    dtype = jnp.asarray(graph.vectors).dtype
    return evaluate(evaluation, cast_parameters(parameters, dtype), graph)
