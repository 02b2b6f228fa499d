"""Hyperparameters and targets of PET: plain data, hashable, to and from JSON."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from ase.data import chemical_symbols

from symjax.data.quantities import Block, Target
from symjax.errors import ModelError
from symjax.models._limits import MOST_LAYERS, WIDEST
from symjax.models.biases.config import NO_BIASES, Biases
from symjax.models.pet.long_range import LongRange
from symjax.models.pet.zbl import check_zbl_cutoff

_CHOICES: dict[str, tuple[str, ...]] = {
    "normalization": ("RMSNorm", "LayerNorm"),
    "activation": ("SwiGLU", "SiLU"),
    "transformer_type": ("PreLN", "PostLN"),
    "featurizer_type": ("feedforward", "residual"),
    "cutoff_function": ("Bump", "Cosine"),
    "adaptive_cutoff_method": ("solver", "grid"),
}
_POSITIVE_INTEGERS = (
    "d_pet",
    "d_node",
    "d_head",
    "d_feedforward",
    "num_heads",
    "num_attention_layers",
    "num_gnn_layers",
    "max_spin_multiplicity",
)
_POSITIVE_NUMBERS = (
    "cutoff",
    "cutoff_width",
    "cutoff_width_adaptive",
    "attention_temperature",
)


def _is_integer(value: object, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _is_positive(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0  # type: ignore[arg-type,operator]


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """How sure a model is of a target; see :mod:`symjax.models.pet.uncertainty`.

    Attributes:
      target: Name of the target, which has one block.
      members: Size of its ensemble; 0 without one.

    Example:
      >>> from symjax.models.pet import Uncertainty
      >>> Uncertainty("energy", members=16).members
      16
    """

    target: str
    members: int = 0

    def __post_init__(self) -> None:
        if not _is_integer(self.members, 0) or self.members > WIDEST:
            raise ModelError(
                "members",
                self.members,
                f"is not a count from 0 to {WIDEST}",
                "Pass 0 or more",
            )


@dataclasses.dataclass(frozen=True)
class PETConfig:
    """Hyperparameters of PET, under metatrain's names.

    Attributes:
      species: Atomic numbers that the model knows, ascending.
      targets: What the model predicts.
      cutoff: Radius of the neighbor list, in angstrom.
      cutoff_function: ``"Bump"`` or ``"Cosine"``.
      cutoff_width: Width of the smooth end of the cutoff, in angstrom.
      num_neighbors_adaptive: Target number of neighbors of the adaptive cutoff;
        None for a fixed cutoff.
      adaptive_cutoff_method: ``"solver"`` or ``"grid"``.
      cutoff_width_adaptive: Width of the taper in the count of neighbors, angstrom.
      d_pet: Width of the edge features.
      d_node: Width of the node features.
      d_head: Width of the heads.
      d_feedforward: Hidden width of the transformer's MLPs.
      num_heads: Attention heads; divides ``d_pet``.
      num_attention_layers: Attention layers in each GNN layer.
      num_gnn_layers: GNN layers.
      normalization: ``"RMSNorm"`` or ``"LayerNorm"``.
      activation: ``"SwiGLU"`` or ``"SiLU"``.
      attention_temperature: Divides the attention scores.
      transformer_type: ``"PreLN"`` or ``"PostLN"``.
      featurizer_type: ``"feedforward"`` or ``"residual"``.
      system_conditioning: Whether total charge and spin enter.
      max_charge: Largest absolute charge, in elementary charges.
      max_spin_multiplicity: Largest 2S+1.
      zbl: Whether the screened nuclear repulsion is added to energies.
      long_range: Long-range features of the nodes; None for none.
      biases: Symmetry that is built in; by default none, which is PET.
      uncertainties: Targets of a trained model whose uncertainty is known.

    Raises:
      ModelError: A field has an impossible value.

    Example:
      >>> from symjax.models.pet import PETConfig
      >>> PETConfig(species=(1, 6, 8)).num_readout_layers
      1
    """

    species: tuple[int, ...]
    targets: tuple[Target, ...] = (Target("energy", "eV"),)
    cutoff: float = 4.5
    cutoff_function: str = "Bump"
    cutoff_width: float = 0.5
    num_neighbors_adaptive: float | None = None
    adaptive_cutoff_method: str = "solver"
    cutoff_width_adaptive: float = 1.0
    d_pet: int = 128
    d_node: int = 256
    d_head: int = 128
    d_feedforward: int = 256
    num_heads: int = 8
    num_attention_layers: int = 2
    num_gnn_layers: int = 2
    normalization: str = "RMSNorm"
    activation: str = "SwiGLU"
    attention_temperature: float = 1.0
    transformer_type: str = "PreLN"
    featurizer_type: str = "feedforward"
    system_conditioning: bool = False
    max_charge: int = 10
    max_spin_multiplicity: int = 10
    zbl: bool = False
    long_range: LongRange | None = None
    biases: Biases = NO_BIASES
    uncertainties: tuple[Uncertainty, ...] = ()

    def __post_init__(self) -> None:
        for field in _POSITIVE_INTEGERS:
            if not _is_integer(getattr(self, field), 1):
                raise _impossible(self, field, "is not a positive integer")
            largest = MOST_LAYERS if field.endswith("_layers") else WIDEST
            if getattr(self, field) > largest:
                raise _impossible(self, field, f"is larger than {largest}")
        if not _is_integer(self.max_charge, 0):
            raise _impossible(self, "max_charge", "is not a non-negative integer")
        if self.max_charge > WIDEST:
            raise _impossible(self, "max_charge", f"is larger than {WIDEST}")
        for field in _POSITIVE_NUMBERS:
            if not _is_positive(getattr(self, field)):
                raise _impossible(self, field, "is not a positive number")
        adaptive = self.num_neighbors_adaptive
        if adaptive is not None and not _is_positive(adaptive):
            raise _impossible(self, "num_neighbors_adaptive", "is not positive")
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise ModelError(
                    field,
                    getattr(self, field),
                    "is not a variant of PET",
                    f"Use one of {', '.join(choices)}",
                )
        for field in ("system_conditioning", "zbl"):
            if not isinstance(getattr(self, field), bool):
                raise _impossible(self, field, "is neither true nor false")
        if not isinstance(self.long_range, LongRange | None):
            raise ModelError(
                "long_range",
                self.long_range,
                "is not a LongRange",
                "Pass LongRange() of symjax.models.pet.long_range, or None",
            )
        if not isinstance(self.biases, Biases):
            raise ModelError("biases", self.biases, "is not a Biases", "Pass Biases()")
        if self.d_pet % self.num_heads:
            raise ModelError(
                "num_heads",
                self.num_heads,
                f"does not divide d_pet={self.d_pet}",
                "Choose d_pet as a multiple of num_heads",
            )
        known = all(
            _is_integer(z, 1) and z < len(chemical_symbols) for z in self.species
        )
        if (
            not self.species
            or not known
            or list(self.species) != sorted(set(self.species))
        ):
            raise ModelError(
                "species",
                self.species,
                "is not an ascending list of atomic numbers",
                "Pass for instance (1, 6, 8)",
            )
        if self.zbl:
            check_zbl_cutoff(self.species, self.cutoff)
        names = [target.name for target in self.targets]
        if len(set(names)) != len(names):
            raise ModelError(
                "targets", names, "two targets share a name", "Rename one of them"
            )
        outputs = [name for name, _, _ in self.outputs]
        if len(set(outputs)) != len(outputs):
            raise ModelError(
                "targets",
                outputs,
                "a variant of one target and a block of another share a name",
                "Rename one of them",
            )

        for own in self.uncertainties:
            if len(self.target(own.target).blocks) > 1:
                raise ModelError(
                    "uncertainties",
                    own.target,
                    "is a target of several blocks",
                    "Leave its uncertainty out",
                )
        if self.uncertainties and self.biases != NO_BIASES:
            raise ModelError(
                "uncertainties",
                [own.target for own in self.uncertainties],
                "were calibrated for the network without biases",
                "Leave them out, with uncertainties=()",
            )

    @property
    def num_readout_layers(self) -> int:
        """GNN layers that the heads read: the last, or all for ``"residual"``."""
        return 1 if self.featurizer_type == "feedforward" else self.num_gnn_layers

    def target(self, name: str) -> Target:
        """The target of a name.

        Raises:
          ModelError: There is none.
        """
        for target in self.targets:
            if target.name == name:
                return target
        raise ModelError(
            "target",
            name,
            "the model has no such target",
            f"Use one of {', '.join(target.name for target in self.targets)}",
        )

    @property
    def outputs(self) -> tuple[tuple[str, Target, Block], ...]:
        """Names of all outputs, each with the target and the block that it is."""
        return tuple(
            (name, target, block)
            for target in self.targets
            for name, block in target.outputs
        )

    def by_block(
        self, make: Callable[[Target, Block], Any], *, invariant: bool = False
    ) -> dict[str, dict[str, Any]]:
        """What ``make`` gives for every block of every target, as parameters are kept.

        By target and key of the block; of ``invariant`` blocks alone, if asked for.
        """
        return {
            target.name: {
                block.key: make(target, block)
                for block in target.blocks
                if block.is_invariant or not invariant
            }
            for target in self.targets
        }

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON-serialisable data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PETConfig":
        """Inverse of :meth:`to_json`.

        Raises:
          ModelError: A field is missing, unknown or impossible.
        """
        if not isinstance(data, Mapping):
            raise ModelError("config", data, "is not an object", "Use a file of symjax")
        fields = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(data) - fields)
        if unknown or "species" not in data:
            raise ModelError(
                "config",
                unknown or sorted(data),
                "has unknown hyperparameters" if unknown else "has no 'species'",
                f"Known hyperparameters: {', '.join(sorted(fields))}",
            )
        values = dict(data)
        try:
            values["species"] = tuple(values["species"])
            if "targets" in values:
                values["targets"] = tuple(
                    Target(
                        **{
                            **target,
                            "blocks": tuple(
                                Block(**block) for block in target["blocks"]
                            ),
                        }
                    )
                    for target in values["targets"]
                )
            own = values.get("long_range")
            values["long_range"] = None if own is None else LongRange(**own)
            values["uncertainties"] = tuple(
                Uncertainty(**own) for own in values.get("uncertainties", ())
            )
            values["biases"] = Biases.from_json(values.get("biases", {}))
            return cls(**values)
        except (TypeError, KeyError, OverflowError) as error:
            raise ModelError(
                "config", error, "is not a configuration of PET", "Use a file of symjax"
            ) from error


def _impossible(config: PETConfig, field: str, problem: str) -> ModelError:
    default = PETConfig.__dataclass_fields__[field].default
    return ModelError(
        field, getattr(config, field), problem, f"Use for instance {default}"
    )
