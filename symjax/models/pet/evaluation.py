"""Describes what to evaluate of a PET."""

import dataclasses
from typing import Any

from symjax.errors import ModelError
from symjax.models.pet.config import PETConfig
from symjax.models.pet.energies import energy_of_forces
from symjax.models.pet.layers import layer_names, stage_names
from symjax.models.pet.uncertainty import uncertain_outputs


def output_names(config: PETConfig) -> tuple[str, ...]:
    """Names of all targets, uncertainties and ensembles of a model."""
    return (*(target.name for target in config.targets), *uncertain_outputs(config))


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What to evaluate of a PET; hashable, so that compiled code is cached by it.

    Attributes:
      config: Hyperparameters and targets.
      targets: Names of targets, uncertainties and ensembles to return; None for all.
      layers: Names of layers whose features to return, see :func:`layer_names`.
      energy: Name of the target that forces and stress are derivatives of, see
        :func:`~symjax.models.pet.choose_energy`.
      forces: Whether to return ``"forces"``, minus the gradient of the energy.
      stress: Whether to return ``"stress"``.
      baseline: Whether to add the baseline of each species.
      network_dtype: Dtype of the network, for instance ``bfloat16``; scales, baselines
        and sums over atoms keep the dtype of the graph. None for that dtype throughout.

    Raises:
      ModelError: The model has no such target, layer or energy; it has several energies
        and none was named; or a target and a layer have the same name.

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
        for field, chosen, known in (
            ("layers", self.layers, layer_names(self.config)),
            ("targets", self.chosen, output_names(self.config)),
        ):
            for name in chosen:
                if name not in known:
                    problem = f"the model has no such {field.rstrip('s')}"
                    remedy = f"Use names from {', '.join(known)}"
                    raise ModelError(field, name, problem, remedy)
        for name in (*self.layers, *stage_names(self.config)):
            if name in self.chosen:
                raise ModelError(
                    "targets", name, "is also the name of a layer", "Rename the target"
                )
        _ = self.differentiated  # raises here rather than at its first use

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the targets, uncertainties and ensembles to return."""
        return output_names(self.config) if self.targets is None else self.targets

    @property
    def differentiated(self) -> str | None:
        """Target whose derivatives to return; None for no derivatives."""
        if self.forces or self.stress:
            return energy_of_forces(self.config, self.energy)
        return None
