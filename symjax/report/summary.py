"""Figures of one output or layer, which tables, page and columns show."""

import dataclasses
import math
from typing import Annotated

import numpy as np
from jaxtyping import Float

from symjax.report.leaves import Leaf
from symjax.report.scales import energy_unit
from symjax.report.stored import Numbers, Record
from symjax.so3.irreps import Irrep


@dataclasses.dataclass(frozen=True, eq=False)
class Summary(Record):
    """Figures of a leaf, all of which follow from its totals.

    Attributes:
      name: Name of the output or of the layer.
      kind: As in :class:`~symjax.report.Leaf`.
      unit: Unit of the errors; empty for features.
      channels: Number of channels.
      samples: Number of structures, atoms, edges, tokens or points.
      equivariance_error: A.
      relative_error: A over the root mean square.
      root_mean_square: Root mean square of a component over the orbit.
      content: B(l, sigma), sigma = +, -, shape ``(degrees, 2)``.
      remainder: B above the largest degree.
      missing: 1 - B in the irreps of the output.
      compared_with: What A is compared with, as in
        :class:`~symjax.report.scales.Comparison`.
      scale: Size of that; None if there is nothing to compare with.
      ratio: A over ``scale``, or ``error_per_atom`` over it if ``per_atom``; None
        without a scale.
      per_atom: Whether ``scale`` is per atom.
      error_per_atom: A of an energy per atom; None for all other outputs.
      resolved: Whether the grid, or the number of random elements, resolves it.
      degree_to_try: Degree of a grid, or number of random rotations, that is expected
        to resolve it; None without a verdict.
      label_error: Root-mean-square error on labels, averaged over orientations; None
        without labels, and if their unit or zero differs from that of the output.
      label_error_per_atom: The same for an energy per atom.
      averaging_share: Fraction of the squared error that averaging over O(3) removes.
      own_uncertainty: Root mean square of the model's own uncertainty, if it has one.
      error_uncertainty: Relative uncertainty of A for random elements, two standard
        errors; None for a grid.
      content_uncertainty: The same for each B, absolute.
      epsilon: Machine epsilon of the precision of the run, or of the type in which the
        output was returned, whichever is larger.
    """

    name: str
    kind: str
    unit: str
    channels: int
    samples: int
    equivariance_error: float
    relative_error: float
    root_mean_square: float
    content: Annotated[Float[np.ndarray, "degrees 2"], Numbers(-math.inf)]
    remainder: float
    missing: float
    compared_with: str
    scale: float | None
    ratio: float | None
    per_atom: bool
    error_per_atom: float | None
    resolved: bool
    degree_to_try: int | None
    label_error: float | None
    label_error_per_atom: float | None
    averaging_share: float | None
    own_uncertainty: float | None
    error_uncertainty: float | None
    content_uncertainty: float | None
    epsilon: float


def summarise(leaf: Leaf, dtype: str, species: str = "") -> Summary:
    """The figures of a leaf.

    Args:
      leaf: The leaf, of one structure or added up over many.
      dtype: Precision of the run.
      species: An element or class, to summarise its samples only; by default all.

    Returns:
      The figures; those of one species have no ``error_per_atom`` and no labels.
    """
    against = leaf.comparison(dtype, species)
    if species:
        totals = leaf.species[species]
        leaf = dataclasses.replace(leaf, totals=totals, spread=None, labels=None)
    totals, known = leaf.totals, leaf.certificate
    if known is not None and not known.samples:
        known = None
    spread = None if energy_unit(leaf.unit) is None else leaf.spread
    own = None if leaf.labels is None else leaf.labels.uncertainty
    labels = leaf.labels
    if labels is not None and not labels.usable:
        labels = None
    size = leaf.channels * Irrep.parse(leaf.irreps[0]).dimension
    return Summary(
        name=leaf.name,
        kind=leaf.kind,
        unit=leaf.unit,
        channels=leaf.channels,
        samples=round(float(totals.count[0]) / size),
        equivariance_error=totals.equivariance_error,
        relative_error=totals.relative_error,
        root_mean_square=totals.root_mean_square,
        content=totals.content,
        remainder=totals.remainder,
        missing=leaf.missing,
        compared_with=against.scale,
        scale=against.size,
        ratio=against.ratio,
        per_atom=against.per_atom,
        error_per_atom=None if spread is None else spread.equivariance_error,
        resolved=leaf.resolved,
        degree_to_try=leaf.convergence.degree_to_try if leaf.convergence else None,
        label_error=None if labels is None else labels.error,
        label_error_per_atom=(
            labels.error_of(per_atom=True) if labels and labels.divided else None
        ),
        averaging_share=None if labels is None else labels.share,
        own_uncertainty=own,
        error_uncertainty=known.error_uncertainty if known else None,
        content_uncertainty=known.content_uncertainty if known else None,
        epsilon=leaf.round_off(dtype),
    )
