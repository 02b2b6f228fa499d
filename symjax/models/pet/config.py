"""Hyperparameters and targets of PET; hashable, to and from JSON."""

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
    """Uncertainty of a target, see :mod:`symjax.models.pet.uncertainty`.

    Attributes:
      target: Name of the target, which must have one block.
      members: Number of members of its ensemble; 0 for no ensemble.

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
      cutoff: Cutoff radius of the neighbor list in angstrom.
      cutoff_function: Smooth cutoff function, ``"Bump"`` or ``"Cosine"``.
      cutoff_width: Width of the interval below the cutoff on which it goes from 1 to 0,
        in angstrom.
      num_neighbors_adaptive: Target number of neighbors of the adaptive cutoff;
        None for a fixed cutoff.
      adaptive_cutoff_method: How adaptive cutoffs are found, ``"solver"`` or
        ``"grid"``.
      cutoff_width_adaptive: Width of the smooth step with which neighbors are counted,
        in angstrom.
      d_pet: Width of the edge features.
      d_node: Width of the node features.
      d_head: Width of the heads.
      d_feedforward: Hidden width of the transformer's MLPs.
      num_heads: Number of attention heads; must divide ``d_pet``.
      num_attention_layers: Number of attention layers in each GNN layer.
      num_gnn_layers: Number of GNN layers.
      normalization: ``"RMSNorm"`` or ``"LayerNorm"``.
      activation: ``"SwiGLU"`` or ``"SiLU"``.
      attention_temperature: Divisor of the attention scores.
      transformer_type: ``"PreLN"`` or ``"PostLN"``.
      featurizer_type: ``"feedforward"`` or ``"residual"``.
      system_conditioning: Whether total charge and spin multiplicity are inputs.
      max_charge: Largest absolute total charge, in elementary charges.
      max_spin_multiplicity: Largest spin multiplicity 2S+1.
      zbl: Whether the ZBL nuclear repulsion is added to energies.
      long_range: Long-range features of the nodes; None for none.
      biases: Symmetry biases; by default none.
      uncertainties: Uncertainties of the targets of a trained model.

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
        for uncertainty in self.uncertainties:
            if len(self.target(uncertainty.target).blocks) > 1:
                raise ModelError(
                    "uncertainties",
                    uncertainty.target,
                    "is a target with several blocks",
                    "Leave its uncertainty out",
                )
        if self.uncertainties and self.biases != NO_BIASES:
            raise ModelError(
                "uncertainties",
                [uncertainty.target for uncertainty in self.uncertainties],
                "were calibrated for the network without biases",
                "Leave them out, with uncertainties=()",
            )

    @property
    def num_readout_layers(self) -> int:
        """Number of GNN layers that the heads read: 1, or all for ``"residual"``."""
        return 1 if self.featurizer_type == "feedforward" else self.num_gnn_layers

    def target(self, name: str) -> Target:
        """The target with the given name.

        Raises:
          ModelError: There is no such target.
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
        """All outputs: name, target and block of each."""
        return tuple(
            (name, target, block)
            for target in self.targets
            for name, block in target.outputs
        )

    def by_block(
        self, make: Callable[[Target, Block], Any], *, invariant: bool = False
    ) -> dict[str, dict[str, Any]]:
        """Nested dictionary of ``make(target, block)``, as in the parameters.

        Args:
          make: Function of a target and one of its blocks.
          invariant: Whether to leave out all but the invariant blocks.

        Returns:
          Values by name of the target and key of the block.
        """
        return {
            target.name: {
                block.key: make(target, block)
                for block in target.blocks
                if block.is_invariant or not invariant
            }
            for target in self.targets
        }
