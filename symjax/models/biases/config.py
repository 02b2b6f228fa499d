"""Configuration of the symmetry biases of a model; hashable, to and from JSON."""

from typing import Annotated, Any, Literal

from pydantic import Field

from symjax._declared import Declared
from symjax.errors import ModelError
from symjax.models._limits import HIGHEST_DEGREE, Count, Degree
from symjax.models.biases.average import Average


class Biases(Declared):
    """Symmetry biases of an unconstrained network; by default none.

    Attributes:
      edge_harmonics: Largest degree of the real spherical harmonics of edge directions,
        times radial functions, that enter the tokens; None for none.
      pseudotensors: Largest degree of the pseudotensors that enter the tokens; 0 for
        pseudoscalars only, None for none.
      token_layers: The GNN layers whose tokens they enter: ``"first"`` or ``"every"``.
      radial: Number of radial functions, for ``edge_harmonics`` and for the atomic
        vectors from which pseudotensors are built.
      channels: Number of vectors of each atom for pseudotensors, and of tensor products
        for each irrep of an equivariant readout.
      readout: How tensors are read from the heads: ``"linear"`` as in PET;
        ``"equivariant"``, with coefficients from the heads times equivariant tensors
        of the geometry; or the ``"sum"`` of both, which is not equivariant.
      canonical_frame: Whether the network sees each structure in its canonical frame.
      symmetrized_layers: Layers whose features are averaged over a finite group:
        names or regular expressions, each of which must match a full name.
      symmetrized_group: The group, a name known to :func:`symjax.so3.finite_group`.
      symmetrized_share: Fraction of the channels that is averaged, counted from the
        first channel.
      output_average: What predictions are averaged over, in the notation of
        :meth:`Average.parse`; empty for no average.

    Raises:
      ModelError: A field has an impossible value.

    Example:
      >>> from symjax.models.biases import Biases
      >>> Biases(edge_harmonics=4, readout="sum").token_layers
      'first'
    """

    edge_harmonics: Degree | None = None
    pseudotensors: Annotated[int, Field(ge=0, le=HIGHEST_DEGREE)] | None = None
    token_layers: Literal["first", "every"] = "first"
    radial: Count = 8
    channels: Count = 4
    readout: Literal["linear", "equivariant", "sum"] = "linear"
    canonical_frame: bool = False
    symmetrized_layers: tuple[str, ...] = ()
    symmetrized_group: str = "O"
    symmetrized_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    output_average: str = ""

    def __post_init__(self) -> None:
        if self.output_average:
            Average.parse(self.output_average)
        group = self.symmetrized_group
        if self.symmetrized_layers and Average.parse(group).kind != "group":
            remedy = "Use for instance 'O' or 'Oh'"
            raise ModelError(
                "symmetrized_group", group, "is not a finite group", remedy
            )
        rotating = [
            field
            for field in ("canonical_frame", "symmetrized_layers", "output_average")
            if getattr(self, field)
        ]
        if len(rotating) > 1:
            raise ModelError(
                "biases",
                rotating,
                "each of these rotates the input in its own way",
                "Use one of them",
            )

    def to_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as JSON data."""
        return {
            name: value
            for name, value in super().to_json().items()
            if value != getattr(type(self), name)
        }


NO_BIASES = Biases()
