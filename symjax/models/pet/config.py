"""Hyperparameters and targets of PET: plain data, hashable, to and from JSON."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from ase.data import chemical_symbols
from pydantic import Field

from symjax._declared import Declared
from symjax.data.quantities import Block, Target
from symjax.errors import ModelError
from symjax.models._limits import Count, CountFromZero, Layers, Positive
from symjax.models.biases.config import NO_BIASES, Biases
from symjax.models.pet.long_range import LongRange
from symjax.models.pet.zbl import check_zbl_cutoff

AtomicNumber = Annotated[int, Field(ge=1, lt=len(chemical_symbols))]


class Uncertainty(Declared):
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
    members: CountFromZero = 0


class PETConfig(Declared):
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

    species: tuple[AtomicNumber, ...]
    targets: tuple[Target, ...] = (Target("energy", "eV"),)
    cutoff: Positive = 4.5
    cutoff_function: Literal["Bump", "Cosine"] = "Bump"
    cutoff_width: Positive = 0.5
    num_neighbors_adaptive: Positive | None = None
    adaptive_cutoff_method: Literal["solver", "grid"] = "solver"
    cutoff_width_adaptive: Positive = 1.0
    d_pet: Count = 128
    d_node: Count = 256
    d_head: Count = 128
    d_feedforward: Count = 256
    num_heads: Count = 8
    num_attention_layers: Layers = 2
    num_gnn_layers: Layers = 2
    normalization: Literal["RMSNorm", "LayerNorm"] = "RMSNorm"
    activation: Literal["SwiGLU", "SiLU"] = "SwiGLU"
    attention_temperature: Positive = 1.0
    transformer_type: Literal["PreLN", "PostLN"] = "PreLN"
    featurizer_type: Literal["feedforward", "residual"] = "feedforward"
    system_conditioning: bool = False
    max_charge: CountFromZero = 10
    max_spin_multiplicity: Count = 10
    zbl: bool = False
    long_range: LongRange | None = None
    biases: Biases = NO_BIASES
    uncertainties: tuple[Uncertainty, ...] = ()

    def __post_init__(self) -> None:
        if self.d_pet % self.num_heads:
            raise ModelError(
                "num_heads",
                self.num_heads,
                f"does not divide d_pet={self.d_pet}",
                "Choose d_pet as a multiple of num_heads",
            )
        if not self.species or list(self.species) != sorted(set(self.species)):
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
