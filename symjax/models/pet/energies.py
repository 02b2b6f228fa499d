"""Chooses the energy that forces are derived from."""

from symjax.data.quantities import Target, energy_among
from symjax.errors import ModelError
from symjax.models.pet.config import PETConfig


def takes_repulsion(target: Target) -> bool:
    """Whether the ZBL repulsion of a model, in eV, is added to a target."""
    return target.is_energy and target.unit == "eV"


def _scalars(config: PETConfig) -> list[str]:
    """Names of the targets that are one scalar for each structure."""
    targets = [t for t in config.targets if t.is_scalar and not t.per_atom]
    return [target.name for target in targets]


def choose_energy(config: PETConfig, name: str | None = None) -> str | None:
    """The target that forces are derived from.

    Args:
      config: Hyperparameters and targets.
      name: Name of the target; by default ``energy``, or its only variant such as
        ``energy/pbe``.

    Returns:
      The name; None if ``name`` is None and the model has no energy.

    Raises:
      ModelError: The named target does not exist or is not one scalar per structure;
        or ``name`` is None and the model has several variants of the energy.

    Example:
      >>> from symjax.data.quantities import Target, energy_among
      >>> from symjax.models.pet import PETConfig
      >>> from symjax.models.pet.energies import choose_energy
      >>> choose_energy(PETConfig((1, 8), targets=(Target("energy/pbe", "eV"),)))
      'energy/pbe'
    """
    scalars = _scalars(config)
    if name is None:
        return energy_among(scalars)
    if name not in scalars:
        raise ModelError(
            "energy",
            name,
            "is not one scalar per structure, so forces cannot be derived from it"
            if name in [target.name for target in config.targets]
            else "the model has no such target",
            f"Use {' or '.join(scalars)}"
            if scalars
            else "This model has no scalar of structures: measure it without forces",
        )
    return name


def energy_of_forces(config: PETConfig, name: str | None = None) -> str:
    """:func:`choose_energy`, but raises if there is none.

    Raises:
      ModelError: The model has no energy, or as in :func:`choose_energy`.
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
