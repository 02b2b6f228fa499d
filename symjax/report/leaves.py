"""What is measured for one output or layer, and its sum over structures."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeVar

import numpy as np
from pydantic import Field

from symjax.errors import SymjaxError
from symjax.metrics import (
    Certificate,
    Convergence,
    ResponseSpectrum,
    RuleTotals,
    SampledResponse,
    Totals,
    add_label_errors,
    add_spectra,
    add_totals,
)
from symjax.metrics.problem import Kind
from symjax.report.run_settings import Settings
from symjax.report.scales import Comparison, add_spreads, compare, is_invariant
from symjax.report.stored import (
    IrrepLabel,
    Positive,
    Record,
    Size,
    StoredCertificate,
    StoredRule,
    StoredSpread,
    StoredTotals,
    StoredVerdict,
    Text,
)
from symjax.report.stored_moments import StoredLabelErrors, StoredResponse
from symjax.so3.irreps import Irrep
from symjax.so3.quadratures import quadrature


class ReportError(SymjaxError):
    """A report, its folder or its file cannot be used.

    Example:
      >>> from symjax.report import ReportError, read_report
      >>> try:
      ...     read_report("no-such-report.json")
      ... except ReportError as error:
      ...     print(error.value)
      no-such-report.json
    """


@dataclasses.dataclass(frozen=True, eq=False)
class Leaf(Record):
    """One output, or the features of one layer, of one structure.

    Attributes:
      name: Name of the output or of the layer.
      kind: ``"output"``, or for a layer what its features belong to: ``"node"``,
        ``"edge"``, ``"token"`` or ``"point"``; ``"layer"`` if that is not known.
      unit: Unit of the equivariance error; empty for features.
      representation: Name of the representation.
      irreps: Labels of its irreps, in the order of the totals.
      channels: Number of channels.
      totals: Sums over all samples. ``variance`` and ``norm`` are in unit squared.
      species: The same for the atoms of each element, by symbol, or for the points
        of each class, by name; empty if samples are neither atoms nor points.
      convergence: Verdict on the integration.
      coarser: Totals under coarser rules, the coarsest first; empty if the structures
        that were added up have no rules in common.
      certificate: Accuracy that was reached, for adaptive grids and random elements.
      spread: Sums behind the standard deviation of an invariant output; None for
        other outputs and for features.
      forbidden: Elements for whose atoms the symmetry of the structures allows no
        output, and ``""`` where it allows none at all.
      particles: The totals of the points of each particle, by name; empty if samples
        are not points, or particles are not known.
      response: Second moments of the rotated-back response of an output, from which A
        after any average follows; None for features.
      labels: Errors of an output on labels; None without labels.
      reads: Layers that an output is read from, by name; empty if the model does not
        say.
      beside: Whether a layer is an input, or a branch beside the main path.
      epsilon: Machine epsilon of the type in which the function returned it; 0 if that
        is not known.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import Totals
      >>> from symjax.report import Leaf
      >>> totals = Totals(np.ones(1), 4 * np.ones(1), np.ones((1, 2, 2)), np.ones(1))
      >>> leaf = Leaf("energy", "output", "eV", "scalar", ("0+",), 1, totals, {}, None)
      >>> leaf.totals.equivariance_error, leaf.unit
      (1.0, 'eV')
      >>> leaf.comparison("float32").ratio, leaf.round_off("float64") == 2.0**-52
      (0.5, True)
    """

    name: Text
    kind: Kind
    unit: str
    representation: str
    irreps: Annotated[tuple[IrrepLabel, ...], Field(min_length=1)]
    channels: Positive
    totals: StoredTotals
    species: Mapping[str, StoredTotals]
    convergence: StoredVerdict | None
    coarser: tuple[StoredRule, ...] = ()
    certificate: StoredCertificate | None = None
    spread: StoredSpread | None = None
    forbidden: tuple[str, ...] = ()
    particles: Mapping[str, StoredTotals] = dataclasses.field(default_factory=dict)
    response: StoredResponse | None = None
    labels: StoredLabelErrors | None = None
    reads: tuple[Text, ...] = ()
    beside: bool = False
    epsilon: Size = 0.0

    def round_off(self, dtype: str) -> float:
        """Machine epsilon of its values.

        Args:
          dtype: Precision of the run; an output that was returned in a coarser type
            has the epsilon of that type.
        """
        return max(float(np.finfo(dtype).eps), self.epsilon)

    def comparison(self, dtype: str, species: str = "") -> Comparison:
        """What the equivariance error is compared with.

        Args:
          dtype: Precision of the run.
          species: An element or class, to compare its samples only; by default all.

        Returns:
          The comparison. For one species of an invariant it has no scale, because the
          spread is only known over all samples.
        """
        totals = self.species[species] if species else self.totals
        if species and self.kind == "output" and is_invariant(self.irreps):
            return Comparison("one value", None, totals.equivariance_error)
        return compare(
            totals,
            unit=self.unit,
            spread=self.spread,
            forbidden=species in self.forbidden,
            epsilon=self.round_off(dtype),
        )

    @property
    def missing(self) -> float:
        """1 - B in the sectors that an equivariant output would have.

        The sum of B over all other sectors and of the remainder, which is more accurate
        than the difference from 1.
        """
        content = self.totals.content.copy()
        above = self.totals.remainder
        for irrep in map(Irrep.parse, self.irreps):
            if irrep.degree < len(content):
                content[irrep.degree, 0 if irrep.sigma == 1 else 1] = 0.0
        return float(content.sum()) + above if self.totals.norm.sum() > 0 else 0.0

    def curve(self, settings: Settings) -> tuple[RuleTotals, ...]:
        """How the figures converge with the degree of the rule.

        Args:
          settings: Settings of the report.

        Returns:
          Totals under coarser rules, the coarsest first, followed by those of the
          leaf; empty if no coarser rule is known.

        Example:
          >>> import numpy as np
          >>> from symjax.metrics import RuleTotals, Totals
          >>> from symjax.report import Leaf
          >>> from symjax.runs import Options
          >>> totals = Totals(np.ones(1), np.ones(1), np.ones((1, 7, 2)), np.ones(1))
          >>> leaf = Leaf("energy", "output", "eV", "scalar", ("0+",), 1, totals, {},
          ...             None, (RuleTotals(7, 728, totals),))
          >>> [point.degree for point in leaf.curve(Options().settings())]
          [7, 13]
        """
        if not self.coarser:
            return ()
        degree, elements = settings.degree, settings.num_elements
        if self.certificate is not None:
            degree = self.certificate.degree
            elements = 2 * quadrature(degree).num_rotations
        return (*self.coarser, RuleTotals(degree, elements, self.totals))

    @property
    def resolved(self) -> bool:
        """Whether the grid resolved the response."""
        return self.convergence is None or self.convergence.resolved


def add_leaves(leaves: list[Leaf]) -> Leaf:
    """The sum of one leaf over several structures.

    Totals are added. The verdict is that of the worst structure: resolved only if all
    are, with the largest degree to try and the largest changes; the remainder is that
    of the added totals.

    Raises:
      ReportError: Kind, unit, representation, irreps or channels differ.
    """
    first = leaves[0]
    for leaf in leaves[1:]:
        for field in ("kind", "unit", "representation", "irreps", "channels"):
            if getattr(leaf, field) != getattr(first, field):
                raise ReportError(
                    f"{first.name}.{field}",
                    getattr(leaf, field),
                    f"differs from {getattr(first, field)!r} of another structure",
                    "Write one report for each model",
                )
    totals = add_totals(leaf.totals for leaf in leaves)
    species = _add_parts([leaf.species for leaf in leaves])
    verdict = _worst([leaf.convergence for leaf in leaves], ("resolved",))
    if verdict is not None:
        verdict = dataclasses.replace(verdict, remainder=totals.remainder)
    return dataclasses.replace(
        first,
        totals=totals,
        species=species,
        particles=_add_parts([leaf.particles for leaf in leaves]),
        convergence=verdict,
        coarser=_add_coarser(leaves),
        certificate=_worst(
            [leaf.certificate for leaf in leaves],
            ("certified", "projected_degree", "confidence"),
        ),
        spread=add_spreads(leaf.spread for leaf in leaves),
        response=_add_responses([leaf.response for leaf in leaves]),
        epsilon=max(leaf.epsilon for leaf in leaves),
        labels=add_label_errors(
            [
                None
                if leaf.labels is None
                else leaf.labels.with_response(leaf.response)
                for leaf in leaves
            ]
        ),
        forbidden=tuple(
            label
            for label in ("", *species)
            if all(
                label in leaf.forbidden
                for leaf in leaves
                if not label or label in leaf.species
            )
        ),
    )


def _add_responses(
    parts: Sequence[ResponseSpectrum | SampledResponse | None],
) -> ResponseSpectrum | SampledResponse | None:
    """Their sum, where all are known."""
    known = [part for part in parts if part is not None]
    return add_spectra(known) if len(known) == len(parts) else None


def _add_parts(parts: list[Mapping[str, Totals]]) -> dict[str, Totals]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: add_totals(part[name] for part in parts if name in part) for name in names
    }


def _add_coarser(leaves: list[Leaf]) -> tuple[RuleTotals, ...]:
    """Totals under each coarser rule, if all leaves have the same rules."""
    rules = {
        (
            0 if leaf.certificate is None else leaf.certificate.degree,
            *((point.degree, point.totals.power.shape) for point in leaf.coarser),
        )
        for leaf in leaves
    }
    if len(rules) > 1:
        return ()
    return tuple(
        RuleTotals(
            points[0].degree,
            max(point.num_elements for point in points),
            add_totals(point.totals for point in points),
        )
        for points in zip(*(leaf.coarser for leaf in leaves), strict=True)
    )


Verdict = TypeVar("Verdict", Convergence, Certificate)


def _worst(found: Sequence[Verdict | None], least: Sequence[str]) -> Verdict | None:
    """The largest value of every field, or the smallest of those in ``least``."""
    verdicts = [verdict for verdict in found if verdict is not None]
    if not verdicts:
        return None
    good = least[0]
    worst = max(verdicts, key=lambda v: (not getattr(v, good), v.degree_to_try))
    figures = {
        field.name: [getattr(verdict, field.name) for verdict in verdicts]
        for field in dataclasses.fields(worst)
        if field.name != "reason"
    }
    return dataclasses.replace(
        worst,
        **{name: (min if name in least else max)(v) for name, v in figures.items()},
    )
