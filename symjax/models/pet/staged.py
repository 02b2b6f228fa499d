"""A PET on the orbit whose layers can be interfered with."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import ase
from jaxtyping import Array

from symjax.errors import ModelError
from symjax.metrics.interventions import StagedProblem
from symjax.models.pet.config import PETConfig
from symjax.models.pet.model import (
    PETModel,
    outputs_from_inputs,
    pet_inputs,
    stage_names,
)
from symjax.models.pet.orbit import moved, orbit_problem


@functools.lru_cache(maxsize=16)
def _function(config: PETConfig, targets: tuple[str, ...]) -> Callable[..., Any]:
    def function(
        x: Any, shifts: Mapping[str, Array], parameters: Any, graph: Any
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        graph = moved(graph, x)
        return outputs_from_inputs(
            config,
            parameters,
            graph,
            pet_inputs(config, graph),
            targets=targets,
            baseline=False,
            shifts=shifts,
        )

    return function


def staged_problem(
    model: PETModel, atoms: ase.Atoms, *, dtype: Any = "float32"
) -> StagedProblem:
    """Prepares a model and a structure for :func:`symjax.metrics.trace`.

    A stage is what a GNN layer hands on: features of nodes and of edges. Outputs are
    those that the network has itself, not derivatives.

    Args:
      model: The model.
      atoms: The structure.
      dtype: ``"float32"`` or ``"float64"``.

    Returns:
      The problem with its stages.

    Raises:
      ModelError: The model moves its input itself (averages, canonical frames), so that
        its layers do not see the orientation that is asked for.
      StructureError: The structure cannot be used, or has unknown species.

    Example:
      >>> import ase.build
      >>> from symjax.models import load_model
      >>> from symjax.models.pet import staged_problem
      >>> model = load_model("pet-ethanol")
      >>> [one[0] for one in staged_problem(model, ase.build.molecule("H2O")).stages]
      ['node_0', 'node_1']
    """
    config, biases = model.config, model.config.biases
    for name in ("canonical_frame", "symmetrized_layers", "output_average"):
        if getattr(biases, name):
            raise ModelError(
                "model",
                model.name,
                f"has the bias {name}, and moves its input itself",
                "Trace the model without it",
            )
    names = tuple(target.name for target in config.targets)
    problem = orbit_problem(
        model, atoms, layers="none", outputs=names, forces=False, dtype=dtype
    )
    stages = stage_names(config)
    return StagedProblem(
        problem,
        tuple(zip(stages[::2], stages[1::2], strict=True)),
        _function(config, names),
    )
