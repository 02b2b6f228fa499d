"""Which target forces are derived from."""

from symjax.data.quantities import QuantityName
from symjax.errors import ModelError
from symjax.models.pet.config import PETConfig, Target
from symjax.models.pet.modules import is_invariant


def is_energy(target: Target) -> bool:
    """Whether a target is an energy by its name: ``energy``, or a variant of it.

    Args:
      target: The target.

    Returns:
      True for one invariant number, of structures or atoms, of such a name.

    Example:
      >>> from symjax.models.pet import Target
      >>> from symjax.models.pet.energies import is_energy
      >>> is_energy(Target("energy/pbe", "eV")), is_energy(Target("mtt::gap", "eV"))
      (True, False)
    """
    return QuantityName.parse(target.name).is_energy and _is_scalar(target)


def takes_repulsion(target: Target) -> bool:
    """Whether nuclear repulsion, which is in eV, is added to a target of a model.

    Args:
      target: The target.

    Returns:
      True for energies in eV.

    Example:
      >>> from symjax.models.pet import Target
      >>> from symjax.models.pet.energies import takes_repulsion
      >>> takes_repulsion(Target("energy", "eV")), takes_repulsion(Target("energy"))
      (True, False)
    """
    return is_energy(target) and target.unit == "eV"


def _is_scalar(target: Target) -> bool:
    block = target.blocks[0]
    return len(target.blocks) == 1 and block.properties == 1 and is_invariant(block)


def _scalars(config: PETConfig) -> list[str]:
    """Names of the targets that are one number for each structure."""
    targets = [t for t in config.targets if _is_scalar(t) and not t.per_atom]
    return [target.name for target in targets]


def check_energy(config: PETConfig, name: str) -> None:
    """Raises unless a target can be differentiated into forces.

    Args:
      config: Hyperparameters and targets.
      name: Name of the target.

    Raises:
      ModelError: There is no such target, or it is not one number per structure.

    Example:
      >>> from symjax.models.pet import PETConfig
      >>> from symjax.models.pet.energies import check_energy
      >>> check_energy(PETConfig(species=(1, 8)), "energy/pbe")
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: energy='energy/pbe': the model has no such target...
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
      >>> from symjax.models.pet import PETConfig, Target
      >>> from symjax.models.pet.energies import choose_energy
      >>> choose_energy(PETConfig((1, 8), targets=(Target("energy/pbe", "eV"),)))
      'energy/pbe'
    """
    if name is not None:
        check_energy(config, name)
        return name
    scalars = _scalars(config)
    found = [t.name for t in config.targets if is_energy(t) and t.name in scalars]
    if "energy" in found or len(found) <= 1:
        return "energy" if "energy" in found else next(iter(found), None)
    raise ModelError(
        "energy",
        None,
        f"forces are derived from one energy, and the model has {len(found)}",
        f"Name one of {', '.join(found)}",
    )


def energy_of_forces(config: PETConfig, name: str | None = None) -> str:
    """The same as :func:`choose_energy` where forces are asked for.

    Args:
      config: Hyperparameters and targets.
      name: Name of the target.

    Returns:
      The name.

    Raises:
      ModelError: There is none, or it cannot be chosen.

    Example:
      >>> from symjax.models.pet import PETConfig, Target
      >>> from symjax.models.pet.energies import energy_of_forces
      >>> energy_of_forces(PETConfig(species=(1, 8)))
      'energy'
    """
    chosen = choose_energy(config, name)
    if chosen is None:
        scalars = _scalars(config)
        raise ModelError(
            "energy",
            None,
            "the model can have no forces: no target is named energy",
            f"Name the scalar to differentiate: {', '.join(scalars)}"
            if scalars
            else "It has no scalar of structures: measure it without forces",
        )
    return chosen
