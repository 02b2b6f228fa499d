"""What of a PET is evaluated."""

import dataclasses
from typing import Any

from symjax.errors import ModelError
from symjax.models.pet.config import PETConfig
from symjax.models.pet.energies import energy_of_forces
from symjax.models.pet.layers import check_layers, stage_names
from symjax.models.pet.uncertainty import uncertain_outputs


def output_names(config: PETConfig) -> tuple[str, ...]:
    """Names of targets, of their uncertainties and of their ensembles."""
    return (*(target.name for target in config.targets), *uncertain_outputs(config))


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What of a PET is evaluated; hashable, so that it keys compiled code.

    Attributes:
      config: Hyperparameters and targets.
      targets: Names of targets, of their uncertainties and ensembles; None for all.
      layers: Names of layers whose features are returned as well, see
        :func:`layer_names`.
      energy: Name of the target whose derivatives are forces and stress, see
        :func:`~symjax.models.pet.choose_energy`.
      forces: Whether ``"forces"`` are returned, minus the gradient of the energy.
      stress: Whether ``"stress"`` is.
      baseline: Whether each species' constant is added.
      network_dtype: Type in which the network computes, for instance ``bfloat16``;
        scales, baselines and sums over atoms keep that of the graph. None for the
        same throughout.

    Raises:
      ModelError: The model has no such target, layer or energy; it has several energies
        and none was named; or a target and a layer share a name.

    Example:
      >>> from symjax.models.pet import Evaluation, PETConfig
      >>> Evaluation(PETConfig(species=(1, 8)), forces=True).differentiated
      'energy'
    """

    config: PETConfig
    targets: tuple[str, ...] | None = None
    layers: tuple[str, ...] = ()
    energy: str | None = None
    forces: bool = False
    stress: bool = False
    baseline: bool = True
    network_dtype: Any = None

    def __post_init__(self) -> None:
        check_layers(self.config, self.layers)
        known = output_names(self.config)
        for name in self.chosen:
            if name not in known:
                raise ModelError(
                    "targets",
                    name,
                    "the model has no such target",
                    f"Use names from {', '.join(known)}",
                )
        for name in (*self.layers, *stage_names(self.config)):
            if name in self.chosen:
                raise ModelError(
                    "targets",
                    name,
                    "is the name of a layer too",
                    "Rename the target",
                )
        _ = self.differentiated  # refused here, not where it is first used

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of targets, uncertainties and ensembles that are returned."""
        return output_names(self.config) if self.targets is None else self.targets

    @property
    def differentiated(self) -> str | None:
        """The target whose derivatives are returned; None without derivatives."""
        if self.forces or self.stress:
            return energy_of_forces(self.config, self.energy)
        return None
