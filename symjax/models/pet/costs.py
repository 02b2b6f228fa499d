"""Cost and effect of each symmetry bias of a PET."""

import dataclasses
import functools
import math

import jax
import numpy as np

from symjax.data.graph import Graph
from symjax.models._paths import unflatten
from symjax.models.biases.average import Average
from symjax.models.biases.config import Biases
from symjax.models.pet.config import PETConfig
from symjax.models.pet.derivatives import evaluate
from symjax.models.pet.evaluation import Evaluation
from symjax.models.pet.model import parameter_shapes
from symjax.so3.irreps import Irrep


@dataclasses.dataclass(frozen=True)
class BiasCost:
    """Cost and effect of one bias.

    Attributes:
      name: Its field in :class:`~symjax.models.biases.Biases`.
      sectors: Irreps of the features or outputs that it adds; empty for biases that
        average or use a frame.
      group: Group under which it makes predictions (or, for ``symmetrized_layers``, the
        averaged features) equivariant; empty if it enforces no equivariance.
      parameters: Number of additional parameters.
      operations: Operations of a prediction, divided by those without any bias.

    Example:
      >>> from symjax.models.pet.costs import BiasCost
      >>> BiasCost("output_average", (), "O", 0, 24.0).group
      'O'
    """

    name: str
    sectors: tuple[Irrep, ...]
    group: str
    parameters: int
    operations: float


def bias_costs(config: PETConfig, graph: Graph) -> tuple[BiasCost, ...]:
    """Costs and effects of the biases of a model, each one by itself.

    Args:
      config: Hyperparameters, targets and biases.
      graph: Structures for which operations are counted (by XLA, before optimisation).

    Returns:
      One entry for each bias.

    Example:
      >>> import ase.build
      >>> from symjax.models.biases import Biases
      >>> from symjax.models.pet import PETConfig, pet_graph
      >>> from symjax.models.pet.costs import bias_costs
      >>> biases = Biases(output_average="Oh")
      >>> config = PETConfig(species=(1, 8), d_pet=8, d_node=8, d_head=8,
      ...                    d_feedforward=8, num_heads=2, biases=biases)
      >>> graph = pet_graph(config, ase.build.molecule("H2O"), dtype="float32")
      >>> (cost,) = bias_costs(config, graph)
      >>> cost.group, cost.parameters, cost.operations
      ('Oh', 0, 48.0)
    """
    biases = config.biases
    base = dataclasses.replace(config, biases=Biases())
    without = _operations(base, graph)
    found = []
    for name, sectors, group in _described(config):
        kept = {
            "symmetrized_layers": (
                "symmetrized_layers",
                "symmetrized_group",
                "symmetrized_share",
            )
        }.get(name, (name, "token_layers", "radial", "channels"))
        alone = Biases(**{field: getattr(biases, field) for field in kept})
        own = dataclasses.replace(config, biases=alone)
        found.append(
            BiasCost(
                name,
                sectors,
                group,
                _size(own) - _size(base),
                # XLA counts the body of a loop once.
                float(_evaluations(biases.output_average))
                if name == "output_average"
                else _operations(own, graph) / without,
            )
        )
    return tuple(found)


def _described(config: PETConfig) -> list[tuple[str, tuple[Irrep, ...], str]]:
    biases = config.biases
    found: list[tuple[str, tuple[Irrep, ...], str]] = []
    if biases.edge_harmonics is not None:
        degrees = range(1, biases.edge_harmonics + 1)
        found.append(("edge_harmonics", tuple(Irrep(d, 1) for d in degrees), ""))
    if biases.pseudotensors is not None:
        degrees = range(biases.pseudotensors + 1)
        found.append(("pseudotensors", tuple(Irrep(d, -1) for d in degrees), ""))
    if biases.readout != "linear":
        irreps = {
            irrep
            for target in config.targets
            for block in target.blocks
            for irrep in block.representation.irreps
        } - {Irrep(0, 1)}
        ordered = sorted(irreps, key=lambda irrep: (irrep.degree, -irrep.sigma))
        found.append(("readout", tuple(ordered), ""))
    if biases.canonical_frame:
        found.append(("canonical_frame", (), "O(3)"))
    if biases.symmetrized_layers:
        found.append(("symmetrized_layers", (), biases.symmetrized_group))
    if biases.output_average:
        average = Average.parse(biases.output_average)
        groups = {"group": average.group, "frames": "O(3)"}
        group = groups.get(average.kind, f"O(3) to degree {average.number}")
        found.append(("output_average", (), group))
    return found


def _evaluations(output_average: str) -> int:
    average = Average.parse(output_average)
    if average.kind == "frames":
        return 2 * average.number
    return len(average.fixed()[1])


def _size(config: PETConfig) -> int:
    shapes = parameter_shapes(config).items()
    return sum(math.prod(shape) for path, shape in shapes if path.startswith("network"))


def _operations(config: PETConfig, graph: Graph) -> float:
    config = dataclasses.replace(config, uncertainties=())
    # Nothing is computed: shapes are enough.
    parameters = unflatten(
        {
            path: jax.ShapeDtypeStruct(shape, np.float32)
            for path, shape in parameter_shapes(config).items()
        }
    )
    outputs = jax.jit(functools.partial(evaluate, Evaluation(config)))
    analysis = outputs.lower(parameters, graph).cost_analysis()
    assert analysis is not None
    return float(analysis["flops"])
