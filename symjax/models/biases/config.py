"""Which biases a model has: plain data, hashable, to and from JSON."""

from typing import Annotated, Any, Literal

from pydantic import Field

from symjax._declared import Declared
from symjax.errors import ModelError
from symjax.models._limits import HIGHEST_DEGREE, Count, Degree
from symjax.models.biases.average import Average


class Biases(Declared):
    """Symmetry that is built into an unconstrained network; by default none.

    Attributes:
      edge_harmonics: Largest degree of the real spherical harmonics of each edge's
        direction, times radial functions, that the tokens see; None for none.
      pseudotensors: Largest degree of the pseudotensor channels that the tokens see;
        0 for pseudoscalars alone, None for none.
      token_layers: Which GNN layers see these: ``"first"`` or ``"every"``.
      radial: Radial functions of ``edge_harmonics``, and of the vectors of each atom
        that pseudotensors are made of.
      channels: Vectors of each atom for pseudotensors, and products of vectors in an
        equivariant readout.
      readout: How tensors are read from the heads: ``"linear"`` as in PET;
        ``"equivariant"``, their features being coefficients of equivariant tensors;
        or the ``"sum"`` of both, which leaves the model unconstrained.
      canonical_frame: Whether the network sees each structure in a frame of its own.
      symmetrized_layers: Layers whose features are averaged over a finite group:
        names or regular expressions, each of which must match a full name.
      symmetrized_group: The group, as :func:`symjax.so3.finite_group` knows it.
      symmetrized_share: Share of the channels that is averaged, the first ones.
      output_average: Group or grid over which predictions are averaged, see
        :class:`~symjax.models.biases.Average`; empty for none.

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
        if self.symmetrized_layers:
            Average.parse(self.symmetrized_group).check_finite("symmetrized_group")
        several = [
            field
            for field in ("canonical_frame", "symmetrized_layers", "output_average")
            if getattr(self, field)
        ]
        if len(several) > 1:
            raise ModelError(
                "biases",
                several,
                "each of these moves the input in its own way",
                "Use one of them",
            )

    def to_json(self) -> dict[str, Any]:
        """What differs from no bias, as data that JSON can hold."""
        return {
            name: value
            for name, value in super().to_json().items()
            if value != getattr(type(self), name)
        }


NO_BIASES = Biases()
