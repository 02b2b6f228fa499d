"""Cost and effect of each symmetry bias of a PET."""

import dataclasses
import functools
import math

import jax
import numpy as np

from symjax.data.graph import Graph
from symjax.models._paths import unflatten
from symjax.models.biases.average import Average
from symjax.models.biases.config import NO_BIASES
from symjax.models.pet.config import PETConfig
from symjax.models.pet.derivatives import evaluate
from symjax.models.pet.evaluation import Evaluation
from symjax.models.pet.model import parameter_shapes
from symjax.so3.irreps import Irrep

# Fields of Biases that each turn on one bias.
_BIASES = (
    *("edge_harmonics", "pseudotensors", "readout"),
    *("canonical_frame", "symmetrized_layers", "output_average"),
)


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
    base = dataclasses.replace(config, biases=NO_BIASES)
    operations = functools.cache(functools.partial(_operations, graph=graph))
    found = []
    for name, sectors, group in _described(config):
        others = {
            field: getattr(NO_BIASES, field) for field in _BIASES if field != name
        }
        alone = dataclasses.replace(biases, **others)
        own = dataclasses.replace(config, biases=alone)
        found.append(
            BiasCost(
                name,
                sectors,
                group,
                _size(own) - _size(base),
                # XLA counts the body of a loop once.
                _evaluations(Average.parse(biases.output_average))
                if name == "output_average"
                else operations(own) / operations(base),
            )
        )
    return tuple(found)


def _described(config: PETConfig) -> list[tuple[str, tuple[Irrep, ...], str]]:
    """Name, sectors and group of each bias of a model."""
    biases = config.biases
    found: list[tuple[str, tuple[Irrep, ...], str]] = []
    for name, first, sigma in (("edge_harmonics", 1, 1), ("pseudotensors", 0, -1)):
        degree = getattr(biases, name)
        if degree is not None:
            irreps = (Irrep(d, sigma) for d in range(first, degree + 1))
            found.append((name, tuple(irreps), ""))
    if biases.readout != "linear":
        blocks = [block for target in config.targets for block in target.blocks]
        read = {irrep for block in blocks for irrep in block.representation.irreps}
        read -= {Irrep(0, 1)}
        ordered = sorted(read, key=lambda irrep: (irrep.degree, -irrep.sigma))
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


def _evaluations(average: Average) -> float:
    frames = average.kind == "frames"
    return 2.0 * average.number if frames else float(len(average.fixed()[1]))


def _size(config: PETConfig) -> int:
    shapes = parameter_shapes(config).items()
    return sum(math.prod(shape) for path, shape in shapes if path.startswith("network"))


def _operations(config: PETConfig, graph: Graph) -> float:
    config = dataclasses.replace(config, uncertainties=())
    # Nothing is computed: shapes are enough.
    shapes = parameter_shapes(config).items()
    arrays = {path: jax.ShapeDtypeStruct(size, np.float32) for path, size in shapes}
    parameters = unflatten(arrays)
    outputs = jax.jit(functools.partial(evaluate, Evaluation(config)))
    analysis = outputs.lower(parameters, graph).cost_analysis()
    assert analysis is not None
    return float(analysis["flops"])
