"""Which target forces are derived from."""

from symjax.data.quantities import Target, energy_among
from symjax.errors import ModelError
from symjax.models.pet.config import PETConfig


def takes_repulsion(target: Target) -> bool:
    """Whether nuclear repulsion, which is in eV, is added to a target of a model."""
    return target.is_energy and target.unit == "eV"


def _scalars(config: PETConfig) -> list[str]:
    """Names of the targets that are one number for each structure."""
    targets = [t for t in config.targets if t.is_scalar and not t.per_atom]
    return [target.name for target in targets]


def check_energy(config: PETConfig, name: str) -> None:
    """Raises unless a target can be differentiated into forces.

    Raises:
      ModelError: There is no such target, or it is not one number per structure.
    """
    scalars = _scalars(config)
    if name not in scalars:
        raise ModelError(
            "energy",
            name,
            "forces are derivatives of one scalar per structure, which it is not"
            if name in [target.name for target in config.targets]
            else "the model has no such target",
            f"Use {' or '.join(scalars)}"
            if scalars
            else "This model has no scalar of structures: measure it without forces",
        )


def choose_energy(config: PETConfig, name: str | None = None) -> str | None:
    """The target that forces are derived from.

    Args:
      config: Hyperparameters and targets.
      name: Its name; by default ``energy``, or the only variant of it.

    Returns:
      The name; None if none was named and no target is an energy of structures.

    Raises:
      ModelError: The target that was named is none, or cannot be differentiated; or
        none was named, and there are several variants to choose from.

    Example:
      >>> from symjax.data.quantities import Target, energy_among
      >>> from symjax.models.pet import PETConfig
      >>> from symjax.models.pet.energies import choose_energy
      >>> choose_energy(PETConfig((1, 8), targets=(Target("energy/pbe", "eV"),)))
      'energy/pbe'
    """
    if name is not None:
        check_energy(config, name)
        return name
    return energy_among(_scalars(config))


def energy_of_forces(config: PETConfig, name: str | None = None) -> str:
    """The same as :func:`choose_energy` where forces are asked for.

    Raises:
      ModelError: There is none, or it cannot be chosen.
    """
    chosen = choose_energy(config, name)
    if chosen is None:
        scalars = _scalars(config)
        raise ModelError(
            "energy",
            None,
            "the model cannot give forces: no target is named energy",
            f"Name the scalar to differentiate: {', '.join(scalars)}"
            if scalars
            else "It has no scalar of structures: measure it without forces",
        )
    return chosen
