"""Which biases a model has: plain data, hashable, to and from JSON."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from symjax.errors import ModelError
from symjax.models._limits import HIGHEST_DEGREE, WIDEST
from symjax.models.biases.average import Average

_LAYERS = ("first", "every")
_READOUTS = ("linear", "equivariant", "sum")


@dataclasses.dataclass(frozen=True)
class Biases:
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

    edge_harmonics: int | None = None
    pseudotensors: int | None = None
    token_layers: str = "first"
    radial: int = 8
    channels: int = 4
    readout: str = "linear"
    canonical_frame: bool = False
    symmetrized_layers: tuple[str, ...] = ()
    symmetrized_group: str = "O"
    symmetrized_share: float = 1.0
    output_average: str = ""

    def __post_init__(self) -> None:
        _check(self, "edge_harmonics", _is_degree(self.edge_harmonics, 1), "3")
        _check(self, "pseudotensors", _is_degree(self.pseudotensors, 0), "0")
        _check(self, "token_layers", self.token_layers in _LAYERS, repr(_LAYERS))
        _check(self, "readout", self.readout in _READOUTS, repr(_READOUTS))
        for field in ("radial", "channels"):
            value = getattr(self, field)
            _check(self, field, type(value) is int and 0 < value <= WIDEST, "8")
        _check(self, "canonical_frame", type(self.canonical_frame) is bool, "true")
        share = self.symmetrized_share
        number = isinstance(share, int | float) and not isinstance(share, bool)
        _check(self, "symmetrized_share", number and 0 < share <= 1, "0.5")
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

    @property
    def in_tokens(self) -> bool:
        """Whether tokens see more than in the model without biases."""
        return self.edge_harmonics is not None or self.pseudotensors is not None

    def to_json(self) -> dict[str, Any]:
        """What differs from no bias, as JSON-serialisable data."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Biases":
        """Inverse of :meth:`to_json`.

        Raises:
          ModelError: A field is unknown or impossible.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(data, Mapping) or set(data) - set(known):
            raise ModelError(
                "biases", data, "has unknown fields", f"Use {', '.join(known)}"
            )
        layers = data.get("symmetrized_layers", ())
        if isinstance(layers, str) or not isinstance(layers, list | tuple):
            raise ModelError(
                "symmetrized_layers", layers, "is not a list", "List names of layers"
            )
        return cls(**{**data, "symmetrized_layers": tuple(layers)})


def _is_degree(value: object, smallest: int) -> bool:
    return value is None or (type(value) is int and smallest <= value <= HIGHEST_DEGREE)


def _check(biases: Biases, field: str, good: bool, example: str) -> None:
    if not good:
        raise ModelError(
            f"biases.{field}",
            getattr(biases, field),
            "is impossible",
            f"Use for instance {example}",
        )


NO_BIASES = Biases()
