"""The machine-readable report: what it holds, written and read with validation.

``report.json`` stores additive totals, not ratios: every error and every content
follows from them, also over several structures (:func:`symjax.metrics.add_totals`).
All fields, with units, are listed in ``docs/report_schema.md``.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float

from symjax._files import check_readable, replace_atomically
from symjax.errors import SymjaxError
from symjax.metrics import Certificate, Convergence, RuleTotals, Totals, add_totals
from symjax.metrics.physical_check import PhysicalCheck
from symjax.report.event_schema import (
    Breaking,
    EventPoints,
    breaking_to_json,
    points_to_json,
    read_breaking,
    read_points,
)
from symjax.report.event_summary import event_lines, summarise_events
from symjax.report.scales import (
    Comparison,
    Spread,
    add_spreads,
    compare,
    is_invariant,
)
from symjax.so3.irreps import Irrep
from symjax.so3.quadrature import quadrature

SCHEMA = "symjax-report/1"
"""Name and version of the format; the number grows when a field changes meaning."""

KINDS = ("output", "node", "edge", "token", "point")
"""Kinds of measured leaves: outputs of the model, features of atoms, of edges; for
events, features of tokens and of points."""


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


@dataclasses.dataclass(frozen=True)
class Software:
    """What computed a report.

    Attributes:
      symjax: Version of symjax.
      jax: Version of JAX.
      platform: Backend of JAX: ``"cpu"``, ``"gpu"`` or ``"tpu"``.
    """

    symjax: str
    jax: str
    platform: str


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """Which model was measured.

    Attributes:
      name: Name of the model.
      digest: SHA-256 of its parameters and hyperparameters, hexadecimal.
      note: How it was evaluated, where that matters; empty for models of symjax.
    """

    name: str
    digest: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Climb:
    """How the grid of each structure was chosen: see :class:`symjax.metrics.Adaptive`.

    Attributes:
      content_tolerance: Error admitted on each B.
      error_tolerance: Relative error admitted on A.
      limit: Largest degree of a rule that is tried.
      samples: Random rotations at which every rule is checked.
    """

    content_tolerance: float
    error_tolerance: float
    limit: int
    samples: int


@dataclasses.dataclass(frozen=True)
class Settings:
    """How it was measured; two reports add up only if these agree.

    Attributes:
      max_degree: Largest degree L of the projected sectors.
      grid: Name of the quadrature rule; ``"auto"`` where each structure has its own.
      degree: Degree through which the rule is exact; the largest that is tried where
        each structure has its own.
      num_elements: Elements of O(3) at which the model was evaluated; at most, where
        each structure has its own rule.
      layers: Selection of layers, as it was asked for.
      dtype: Floating-point type of the evaluation.
      tolerance: Change of B above which a response counts as not resolved.
      symmetry: Whether the point groups of the structures were used; each structure
        then has its own number of elements.
      seed: Seed of the random elements at which results are checked; None in reports
        of before.
      adaptive: How the rule of each structure was chosen; None for a fixed one.
      matmul_precision: Precision of the model's matrix products, by JAX's names.
      energy: Name of the output whose derivatives are forces and stress; empty if the
        model has no energy, None for models of something else than atoms.
      points: Which points of events were read; empty for structures.
    """

    max_degree: int
    grid: str
    degree: int
    num_elements: int
    layers: str
    dtype: str
    tolerance: float
    symmetry: bool = False
    seed: int | None = None
    adaptive: Climb | None = None
    matmul_precision: str = "highest"
    energy: str | None = None
    points: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Leaf:
    """One output, or the features of one layer, of one structure.

    Attributes:
      name: Name of the output or of the layer.
      kind: ``"output"``, ``"node"`` or ``"edge"``; ``"token"`` or ``"point"`` for
        events.
      unit: Unit of the equivariance error; empty for features.
      representation: Name of the representation.
      irreps: Labels of its irreps, in the order of the totals.
      channels: Number of channels.
      totals: Sums over all samples. ``variance`` and ``norm`` are in unit squared.
      species: The same for the atoms of each element, by symbol, or for the points
        of each class, by its name; empty where samples are neither.
      convergence: Verdict on the integration.
      coarser: Totals under coarser rules, the coarsest first; empty in reports of
        before, and where structures that were added up have no rules in common.
      certificate: Accuracy that was reached, where the grid was chosen by it.
      spread: Sums behind the standard deviation of an invariant output; None for
        others and for features.
      forbidden: Elements for whose atoms the symmetry of the structures allows no
        output, and ``""`` where it allows none at all.
      particles: The totals of the points of each particle, by its name; empty where
        samples are no points, or particles are not known.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import Totals
      >>> from symjax.report import Leaf
      >>> totals = Totals(np.ones(1), 4 * np.ones(1), np.ones((1, 2, 2)), np.ones(1))
      >>> leaf = Leaf("energy", "output", "eV", "scalar", ("0+",), 1, totals, {}, None)
      >>> leaf.totals.equivariance_error, leaf.unit
      (1.0, 'eV')
    """

    name: str
    kind: str
    unit: str
    representation: str
    irreps: tuple[str, ...]
    channels: int
    totals: Totals
    species: Mapping[str, Totals]
    convergence: Convergence | None
    coarser: tuple[RuleTotals, ...] = ()
    certificate: Certificate | None = None
    spread: Spread | None = None
    forbidden: tuple[str, ...] = ()
    particles: Mapping[str, Totals] = dataclasses.field(default_factory=dict)

    def comparison(self, dtype: str, species: str = "") -> Comparison:
        """What the equivariance error is compared with.

        Args:
          dtype: Precision of the model.
          species: An element or class, for its samples alone; by default all.

        Returns:
          The comparison; of an invariant of one species there is none, because the
          spread is known of all only.

        Example:
          >>> from symjax.metrics import Totals
          >>> from symjax.report import Leaf
          >>> one = np.ones(1)
          >>> totals = Totals(one, 4 * one, np.ones((1, 2, 2)), one)
          >>> leaf = Leaf("d", "output", "e", "vector", ("1+",), 1, totals, {}, None)
          >>> leaf.comparison("float32").ratio
          0.5
        """
        totals = self.species[species] if species else self.totals
        if species and self.kind == "output" and is_invariant(self.irreps):
            return Comparison("one value", None, totals.equivariance_error)
        return compare(
            totals,
            unit=self.unit,
            spread=self.spread,
            forbidden=species in self.forbidden,
            dtype=dtype,
        )

    @property
    def missing(self) -> float:
        """1 - B in the sectors that an equivariant output would have.

        Summed over the other sectors and what lies above, so that it is not a
        difference from 1 where all is projected.
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
          settings: Of the report.

        Returns:
          Totals under coarser rules, the coarsest first, and last those that are
          reported; empty where no coarser rule is known.

        Example:
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


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a structure was not measured.

    Attributes:
      type: Name of the exception.
      message: Its message: what is wrong, with which value, and what to do.
    """

    type: str
    message: str


@dataclasses.dataclass(frozen=True)
class Timing:
    """Measured wall-clock times of one structure.

    Attributes:
      compile_seconds: Time in which JAX traced and compiled; small where compiled
        code was found again.
      evaluation_seconds: All other time of the measurement.
    """

    compile_seconds: float
    evaluation_seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class AtomErrors:
    """Where the atoms of a structure are, and the error of each.

    Attributes:
      numbers: Atomic numbers.
      positions: In angstrom, shape ``(atoms, 3)``.
      cell: Cell vectors as rows, in angstrom; 0 where not periodic.
      errors: For every output of atoms its equivariance error A of each atom, in the
        unit of the output, shape ``(atoms,)``.

    Example:
      >>> import numpy as np
      >>> from symjax.report.schema import AtomErrors
      >>> errors = {"forces": np.array([0.1, 0.2])}
      >>> AtomErrors((1, 1), np.zeros((2, 3)), np.zeros((3, 3)), errors).numbers
      (1, 1)
    """

    numbers: tuple[int, ...]
    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    errors: Mapping[str, Float[np.ndarray, "atoms"]]


@dataclasses.dataclass(frozen=True, eq=False)
class StructureReport:
    """One structure: measured, or failed.

    Attributes:
      label: Name of the structure, unique in a report.
      formula: Chemical formula in Hill order; ``"event"`` for a point cloud.
      num_atoms: Number of atoms, or of points.
      digest: SHA-256 of species, positions, cell, periodicity and charge.
      leaves: What was measured; empty if it failed.
      timing: Wall-clock times; None if it failed.
      failure: Why it failed; None if it did not.
      point_group: Schoenflies symbol of the symmetry that was used; empty where none
        was.
      num_elements: Elements of O(3) at which the model was evaluated; 0 if it failed.
      grid: Name of its own rule; empty where that of the settings was used.
      atoms: Positions, and errors of each atom; None for events, failed structures
        and reports of before.
      points: The points of an event; None for structures and failed events.
      breaking: Sources of symmetry breaking of an event, for each set of elements;
        empty without segmentation.
      laws: Checks of other laws of nature; empty where none was made.

    Example:
      >>> from symjax.report import StructureReport
      >>> StructureReport("water", "H2O", 3, digest="ab").leaves
      ()
    """

    label: str
    formula: str
    num_atoms: int
    digest: str
    leaves: tuple[Leaf, ...] = ()
    timing: Timing | None = None
    failure: Failure | None = None
    point_group: str = ""
    num_elements: int = 0
    atoms: AtomErrors | None = None
    grid: str = ""
    points: EventPoints | None = None
    breaking: tuple[Breaking, ...] = ()
    laws: tuple[PhysicalCheck, ...] = ()


class Place(NamedTuple):
    """Where the line of one structure stands.

    Attributes:
      path: The file, as ``structures.jsonl``.
      offset: Position of its first byte.
      length: Number of bytes, with the line feed.
    """

    path: Path
    offset: int
    length: int

    def read(self) -> str:
        """The line, without the line feed.

        Raises:
          ReportError: The file cannot be read any more.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.length).decode("utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ReportError(
                "path",
                str(self.path),
                f"cannot be read any more ({error})",
                "Keep the file as long as its report is in use",
            ) from error


class StoredStructures(Sequence[StructureReport]):
    """Structures that stay on disk, and are read one by one when they are needed.

    Thousands of structures with all layers would fill the memory. What is short of
    each, all but leaves and atoms, is kept.

    Attributes:
      places: Where each stands.
      overview: The structures without leaves and atoms.
    """

    def __init__(
        self,
        places: Sequence[Place],
        overview: Sequence[StructureReport],
        max_degree: int,
    ):
        self.places, self.overview = tuple(places), tuple(overview)
        self._max_degree = max_degree

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return StoredStructures(
                self.places[index], self.overview[index], self._max_degree
            )
        place = self.places[index]
        value = parse(place.read(), str(place.path))
        structure = structure_from_json(value, self._max_degree, str(place.path))
        if structure.label != self.overview[index].label:
            raise ReportError(
                "path",
                str(place.path),
                "has been written again since this report was made",
                "Read the new report, or write each into a folder of its own",
            )
        return structure

    def choose(self, indices: Sequence[int]) -> "StoredStructures":
        """Some of the structures."""
        return StoredStructures(
            [self.places[i] for i in indices],
            [self.overview[i] for i in indices],
            self._max_degree,
        )


def without_numbers(structure: StructureReport) -> StructureReport:
    """A structure without leaves, atoms and points: label, formula, timing, failure.

    Args:
      structure: The structure.

    Returns:
      What is short of it.

    Example:
      >>> from symjax.report import StructureReport
      >>> from symjax.report.schema import without_numbers
      >>> without_numbers(StructureReport("water", "H2O", 3, digest="ab")).label
      'water'
    """
    return dataclasses.replace(structure, leaves=(), atoms=None, points=None)


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """A complete report.

    Attributes:
      software: What computed it.
      model: Which model was measured.
      settings: How it was measured.
      structures: The structures, in the order in which they were given. Those of a
        large run are read from ``structures.jsonl`` when they are needed.
      command: The command that was typed; empty for reports written from Python.

    Example:
      >>> from symjax.report import Report, StructureReport, schema
      >>> failure = schema.Failure("StructureError", "no atoms")
      >>> report = Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     (StructureReport("a", "H2", 2, "ab", failure=failure),))
      >>> len(report.measured), len(report.failed)
      (0, 1)
    """

    software: Software
    model: ModelInfo
    settings: Settings
    structures: Sequence[StructureReport]
    command: str = ""

    @functools.cached_property
    def overview(self) -> tuple[StructureReport, ...]:
        """The structures without leaves and atoms, which never fill the memory."""
        if isinstance(self.structures, StoredStructures):
            return self.structures.overview
        return tuple(without_numbers(s) for s in self.structures)

    @property
    def measured(self) -> Sequence[StructureReport]:
        """The structures that did not fail."""
        return self._choose(failed=False)

    @property
    def failed(self) -> Sequence[StructureReport]:
        """The structures that failed."""
        return self._choose(failed=True)

    def _choose(self, failed: bool) -> Sequence[StructureReport]:
        chosen = [
            index
            for index, structure in enumerate(self.overview)
            if (structure.failure is not None) == failed
        ]
        if isinstance(self.structures, StoredStructures):
            return self.structures.choose(chosen)
        return tuple(self.structures[index] for index in chosen)

    @property
    def resolved(self) -> bool:
        """Whether every leaf of every measured structure is resolved."""
        return all(leaf.resolved for leaf in self._aggregated.values())

    @property
    def of_events(self) -> bool:
        """Whether events were measured, not structures."""
        of_event = (structure.formula == "event" for structure in self.overview)
        return bool(self.settings.points) or any(of_event)

    @functools.cached_property
    def event_summary(self) -> dict[str, Any]:
        """Figures over events with their intervals; for structures, empty ones."""
        return summarise_events(self.structures if self.of_events else ())

    @functools.cached_property
    def event_lines(self) -> list[dict[str, Any]]:
        """One line for each measured event, the largest error first."""
        return event_lines(self.structures if self.of_events else ())

    def aggregate(self) -> dict[str, Leaf]:
        """All leaves over all measured structures, by name.

        Totals are added. The verdict is that of the worst structure: resolved only
        if all are, the largest degree to try, the largest changes; the remainder
        is that of the added totals.

        Returns:
          The leaves, in the order of the model.

        Raises:
          ReportError: A leaf has not the same kind, unit, representation and
            channels in all structures.
        """
        return dict(self._aggregated)

    @functools.cached_property
    def _aggregated(self) -> dict[str, Leaf]:
        grouped: dict[str, list[Leaf]] = {}
        for structure in self.measured:
            for leaf in structure.leaves:
                group = grouped.setdefault(leaf.name, [])
                group.append(leaf)
                if len(group) == _HELD_LEAVES:
                    group[:] = [_merge(group)]
        return {name: _merge(leaves) for name, leaves in grouped.items()}


# Leaves of one name that are held before they are added up.
_HELD_LEAVES = 64


def _merge(leaves: list[Leaf]) -> Leaf:
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
    species = _merge_parts([leaf.species for leaf in leaves])
    verdicts = [leaf.convergence for leaf in leaves if leaf.convergence is not None]
    convergence = None
    if verdicts:
        worst = max(verdicts, key=lambda v: (not v.resolved, v.degree_to_try))
        convergence = Convergence(
            resolved=all(verdict.resolved for verdict in verdicts),
            content_change=max(verdict.content_change for verdict in verdicts),
            error_change=max(verdict.error_change for verdict in verdicts),
            remainder=totals.remainder,
            degree_to_try=max(verdict.degree_to_try for verdict in verdicts),
            reason=worst.reason,
            excess=max(verdict.excess for verdict in verdicts),
        )
    return dataclasses.replace(
        first,
        totals=totals,
        species=species,
        particles=_merge_parts([leaf.particles for leaf in leaves]),
        convergence=convergence,
        coarser=_merge_coarser(leaves),
        certificate=_worst([leaf.certificate for leaf in leaves]),
        spread=add_spreads(leaf.spread for leaf in leaves),
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


def _merge_parts(parts: list[Mapping[str, Totals]]) -> dict[str, Totals]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: add_totals(part[name] for part in parts if name in part) for name in names
    }


def _merge_coarser(leaves: list[Leaf]) -> tuple[RuleTotals, ...]:
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


def _worst(found: list[Certificate | None]) -> Certificate | None:
    certificates = [certificate for certificate in found if certificate is not None]
    if not certificates:
        return None
    first = max(certificates, key=lambda c: (not c.certified, c.degree_to_try))
    return Certificate(
        certified=all(certificate.certified for certificate in certificates),
        degree=max(certificate.degree for certificate in certificates),
        projected_degree=min(c.projected_degree for c in certificates),
        content_uncertainty=max(c.content_uncertainty for c in certificates),
        error_uncertainty=max(c.error_uncertainty for c in certificates),
        tail=max(certificate.tail for certificate in certificates),
        reason=first.reason,
        degree_to_try=max(certificate.degree_to_try for certificate in certificates),
        excluded=max(certificate.excluded for certificate in certificates),
        confidence=min(certificate.confidence for certificate in certificates),
        noise=max(certificate.noise for certificate in certificates),
    )


def to_json(report: Report) -> dict[str, Any]:
    """A report as the JSON object of ``report.json``.

    Args:
      report: The report.

    Returns:
      Nested dictionaries, lists, strings and numbers.

    Example:
      >>> from symjax.report import schema
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     ())
      >>> schema.to_json(report)["schema"]
      'symjax-report/1'
      >>> schema.from_json(schema.to_json(report)).settings.max_degree
      6
    """
    structures = [structure_to_json(s) for s in report.structures]
    return head_to_json(report) | {"structures": structures}


def head_to_json(report: Report) -> dict[str, Any]:
    """All but the structures of a report as a JSON object.

    Args:
      report: The report.

    Returns:
      Nested dictionaries, lists, strings and numbers.

    Example:
      >>> from symjax.report import schema
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     ())
      >>> "structures" in schema.head_to_json(report)
      False
    """
    return {
        "schema": SCHEMA,
        "software": dataclasses.asdict(report.software),
        "model": dataclasses.asdict(report.model),
        "settings": dataclasses.asdict(report.settings),
        "command": report.command,
        "summary": {
            name: _summary_to_json(leaf, report.settings)
            for name, leaf in report.aggregate().items()
        },
        "events": report.event_summary,
    }


def structure_to_json(structure: StructureReport) -> dict[str, Any]:
    """One structure as a JSON object, as in a line of ``structures.jsonl``.

    Args:
      structure: The structure.

    Returns:
      Nested dictionaries, lists, strings and numbers.

    Example:
      >>> from symjax.report import schema
      >>> failed = schema.StructureReport(
      ...     "a", "H2", 2, "ab", failure=schema.Failure("StructureError", "no atoms"))
      >>> schema.structure_to_json(failed)["status"]
      'failed'
    """
    plain = dataclasses.asdict
    return {
        "label": structure.label,
        "formula": structure.formula,
        "num_atoms": structure.num_atoms,
        "digest": structure.digest,
        "status": "measured" if structure.failure is None else "failed",
        "failure": None if structure.failure is None else plain(structure.failure),
        "timing": None if structure.timing is None else plain(structure.timing),
        "point_group": structure.point_group,
        "num_elements": structure.num_elements,
        "grid": structure.grid,
        "atoms": None if structure.atoms is None else _atoms_to_json(structure.atoms),
        "points": None
        if structure.points is None
        else points_to_json(structure.points),
        "breaking": [breaking_to_json(part) for part in structure.breaking],
        "laws": [_law_to_json(check) for check in structure.laws],
        "leaves": [_leaf_to_json(leaf) for leaf in structure.leaves],
    }


def _law_to_json(check: PhysicalCheck) -> dict[str, Any]:
    """A check; what is no number is null, as of the zero of an energy."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in dataclasses.asdict(check).items()
    } | {"holds": check.holds}


def _atoms_to_json(atoms: AtomErrors) -> dict[str, Any]:
    return {
        "numbers": list(atoms.numbers),
        "positions": np.asarray(atoms.positions, float).tolist(),
        "cell": np.asarray(atoms.cell, float).tolist(),
        "errors": {k: np.asarray(v, float).tolist() for k, v in atoms.errors.items()},
    }


def _leaf_to_json(leaf: Leaf) -> dict[str, Any]:
    verdict = leaf.convergence
    return {
        "name": leaf.name,
        "kind": leaf.kind,
        "unit": leaf.unit,
        "representation": leaf.representation,
        "irreps": list(leaf.irreps),
        "channels": leaf.channels,
        "totals": _totals_to_json(leaf.totals),
        "species": {s: _totals_to_json(t) for s, t in leaf.species.items()},
        "particles": {s: _totals_to_json(t) for s, t in leaf.particles.items()},
        "convergence": None if verdict is None else dataclasses.asdict(verdict),
        "coarser": [
            {
                "degree": point.degree,
                "num_elements": point.num_elements,
                "totals": _totals_to_json(point.totals),
            }
            for point in leaf.coarser
        ],
        "certificate": _certificate_to_json(leaf.certificate),
        "spread": None if leaf.spread is None else _spread_to_json(leaf.spread),
        "forbidden": list(leaf.forbidden),
    }


def _spread_to_json(spread: Spread) -> dict[str, Any]:
    return spread._asdict() | {"first": spread.first.tolist()}


def _certificate_to_json(certificate: Certificate | None) -> dict[str, Any] | None:
    if certificate is None:
        return None
    value = dataclasses.asdict(certificate)
    # A single rule says nothing about its error, and JSON has no infinity.
    for name in ("content_uncertainty", "error_uncertainty"):
        value[name] = value[name] if math.isfinite(value[name]) else None
    return value


def _totals_to_json(totals: Totals) -> dict[str, Any]:
    return {
        name: np.asarray(array, float).tolist()
        for name, array in totals._asdict().items()
    }


def _summary_to_json(leaf: Leaf, settings: Settings) -> dict[str, Any]:
    totals = leaf.totals
    against = leaf.comparison(settings.dtype)
    return {
        "kind": leaf.kind,
        "unit": leaf.unit,
        "equivariance_error": totals.equivariance_error,
        "relative_error": totals.relative_error,
        "root_mean_square": totals.root_mean_square,
        "content": totals.content.tolist(),
        "remainder": totals.remainder,
        "missing": leaf.missing,
        "compared_with": against.scale,
        "scale": against.size,
        "ratio": against.ratio,
        "error_per_atom": against.error if against.per_atom else None,
        "resolved": leaf.resolved,
        "degree_to_try": (
            None if leaf.convergence is None else leaf.convergence.degree_to_try
        ),
    }


class _Fields:
    """Reads typed fields of a JSON object and names what is wrong with them."""

    def __init__(self, value: Any, source: str, where: str = ""):
        self.source, self.where = source, where
        if not isinstance(value, dict):
            raise self.error(value, "is not an object")
        self.value = value

    def error(self, value: Any, problem: str, where: str | None = None) -> ReportError:
        where = self.where if where is None else where
        field = f"{self.source}: {where}" if where else self.source
        return ReportError(
            field,
            value,
            f"{problem}, so this is no report of symjax or a damaged one",
            "Write the report again, or restore the file",
        )

    def path(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def get(self, name: str, *types: type) -> Any:
        if name not in self.value:
            raise self.error(sorted(self.value), f"lacks the field {name!r}")
        value = self.value[name]
        # True is an int for Python, but not a number for a reader.
        wrong = isinstance(value, bool) and bool not in types
        if wrong or not isinstance(value, types):
            names = " or ".join(t.__name__ for t in types)
            raise self.error(value, f"is not of type {names}", self.path(name))
        return value

    def text(self, name: str, among: tuple[str, ...] = ()) -> str:
        value: str = self.get(name, str)
        if among and value not in among:
            known = ", ".join(among)
            raise self.error(value, f"is none of {known}", self.path(name))
        return value

    def number(
        self, name: str, minimum: float = -math.inf, maximum: float = math.inf
    ) -> float:
        given = self.get(name, int, float)
        try:
            value = float(given)
        except OverflowError:  # a whole number with hundreds of digits
            value = math.inf
        if not (math.isfinite(value) and minimum <= value <= maximum):
            where = f">= {minimum}"
            if maximum < math.inf:
                where = f"from {minimum} to {maximum}"
            raise self.error(value, f"is not a number {where}", self.path(name))
        return value

    def integer(self, name: str, minimum: int = 0) -> int:
        value: int = self.get(name, int)
        if value < minimum:
            raise self.error(value, f"is less than {minimum}", self.path(name))
        return value

    def fields(self, name: str) -> "_Fields":
        return _Fields(self.get(name, dict), self.source, self.path(name))

    def optional(self, name: str) -> "_Fields | None":
        return None if self.get(name, dict, type(None)) is None else self.fields(name)

    def if_there(self, name: str) -> "_Fields | None":
        """As ``optional``, of a field that reports of before do not have."""
        return self.optional(name) if name in self.value else None

    def each(self, name: str) -> "list[_Fields]":
        return [
            _Fields(item, self.source, f"{self.path(name)}[{index}]")
            for index, item in enumerate(self.get(name, list))
        ]

    def array(
        self, name: str, shape: tuple[int, ...], minimum: float = 0.0
    ) -> np.ndarray:
        value = self.get(name, list)
        try:
            array = np.array(value, float)
        except (TypeError, ValueError, OverflowError):
            array = np.array(np.nan)
        allowed = np.isfinite(array) & (array >= minimum)
        if array.shape != shape or not allowed.all():
            problem = f"is not an array of numbers >= {minimum:g} of shape {shape}"
            raise self.error(value, problem, self.path(name))
        return array

    def integers(
        self, name: str, shape: tuple[int, ...], minimum: float = 0.0
    ) -> np.ndarray:
        array = self.array(name, shape, minimum)
        # Beyond that, float64 does not hold every integer, nor int64 the others.
        if not ((array == np.rint(array)) & (abs(array) <= 2**53)).all():
            raise self.error(
                self.value[name], "is not an array of integers", self.path(name)
            )
        return array.astype(int)


def from_json(value: Any, source: str = "report") -> Report:
    """Reads the JSON object of ``report.json``, the inverse of :func:`to_json`.

    The summary is not read: it follows from the totals.

    Args:
      value: The object.
      source: Name of the file, for messages.

    Returns:
      The report.

    Raises:
      ReportError: The schema is another one, or a field is missing or has a wrong
        type, shape or range; the message names the file and the field.

    Example:
      >>> from symjax.report import schema
      >>> schema.from_json({"schema": "other/3"}, "out/report.json")
      Traceback (most recent call last):
      ...
      symjax.report.schema.ReportError: out/report.json: schema='other/3': is not ...
    """
    fields = _Fields(value, source)
    check_schema(fields.text("schema"), SCHEMA, source)
    head = header_from_json(value, source)
    structures = tuple(
        _read_structure(item, head[2].max_degree) for item in fields.each("structures")
    )
    seen = set()
    for structure in structures:
        if structure.label in seen:
            raise fields.error(structure.label, "occurs twice as a label", "structures")
        seen.add(structure.label)
    # absent in reports of before
    command = fields.text("command") if "command" in fields.value else ""
    return Report(*head, structures, command)


def check_schema(found: str, expected: str, source: str) -> None:
    """Raises if a file has another format or version than expected.

    Args:
      found: The schema that the file names.
      expected: The schema that is read.
      source: Name of the file.

    Raises:
      ReportError: They differ.

    Example:
      >>> from symjax.report.schema import SCHEMA, check_schema
      >>> check_schema("symjax-report/1", SCHEMA, "report.json")
    """
    if found != expected:
        raise ReportError(
            f"{source}: schema",
            found,
            f"is not the format that this version of symjax reads ({expected})",
            "Read it with the version that wrote it, or write the report again",
        )


def header_from_json(
    value: Any, source: str = "report"
) -> tuple[Software, ModelInfo, Settings]:
    """Reads what report and journal have in common.

    Args:
      value: Object with the fields ``software``, ``model`` and ``settings``.
      source: Name of the file, for messages.

    Returns:
      Software, model and settings.

    Raises:
      ReportError: A field is missing, or has a wrong type or range.

    Example:
      >>> from symjax.report.schema import header_from_json
      >>> header_from_json({"software": 1}, "structures.jsonl")
      Traceback (most recent call last):
      ...
      symjax.report.schema.ReportError: structures.jsonl: software=1: is not of ...
    """
    fields = _Fields(value, source)
    software, model = fields.fields("software"), fields.fields("model")
    settings = fields.fields("settings")
    return (
        Software(*(software.text(name) for name in ("symjax", "jax", "platform"))),
        ModelInfo(
            model.text("name"),
            model.text("digest"),
            # absent in reports of before
            model.text("note") if "note" in model.value else "",
        ),
        Settings(
            max_degree=settings.integer("max_degree"),
            grid=settings.text("grid"),
            degree=settings.integer("degree"),
            num_elements=settings.integer("num_elements", 1),
            layers=settings.text("layers"),
            dtype=settings.text("dtype", ("float32", "float64")),
            tolerance=settings.number("tolerance", 0.0),
            # absent in reports of before
            symmetry="symmetry" in settings.value and settings.get("symmetry", bool),
            seed=(
                settings.get("seed", int, type(None))
                if "seed" in settings.value
                else None
            ),
            adaptive=_read_climb(settings.if_there("adaptive")),
            matmul_precision=settings.text("matmul_precision"),
            energy=settings.get("energy", str, type(None)),
            points=settings.text("points") if "points" in settings.value else "",
        ),
    )


def _read_climb(fields: _Fields | None) -> Climb | None:
    if fields is None:
        return None
    return Climb(
        fields.number("content_tolerance", 0.0),
        fields.number("error_tolerance", 0.0),
        fields.integer("limit"),
        fields.integer("samples"),
    )


def structure_from_json(
    value: Any, max_degree: int, source: str = "report"
) -> StructureReport:
    """Reads one structure, the inverse of :func:`structure_to_json`.

    Args:
      value: The object.
      max_degree: Largest projected degree, from the settings.
      source: Name of the file, for messages.

    Returns:
      The structure.

    Raises:
      ReportError: A field is missing, or has a wrong type, shape or range.

    Example:
      >>> from symjax.report import schema
      >>> failed = schema.StructureReport(
      ...     "a", "H2", 2, "ab", failure=schema.Failure("StructureError", "no atoms"))
      >>> schema.structure_from_json(schema.structure_to_json(failed), 6).label
      'a'
    """
    return _read_structure(_Fields(value, source), max_degree)


def _read_structure(fields: _Fields, max_degree: int) -> StructureReport:
    status = fields.text("status", ("measured", "failed"))
    timing, failure = fields.optional("timing"), fields.optional("failure")
    if (failure is not None) != (status == "failed"):
        raise fields.error(status, "contradicts 'failure'", fields.path("status"))
    return StructureReport(
        label=fields.text("label"),
        formula=fields.text("formula"),
        num_atoms=fields.integer("num_atoms"),
        digest=fields.text("digest"),
        leaves=tuple(_read_leaf(leaf, max_degree) for leaf in fields.each("leaves")),
        timing=None
        if timing is None
        else Timing(
            timing.number("compile_seconds", 0.0),
            timing.number("evaluation_seconds", 0.0),
        ),
        failure=None
        if failure is None
        else Failure(failure.text("type"), failure.text("message")),
        # absent in reports of before
        point_group=fields.text("point_group") if "point_group" in fields.value else "",
        num_elements=fields.integer("num_elements")
        if "num_elements" in fields.value
        else 0,
        atoms=_read_atoms(fields),
        grid=fields.text("grid") if "grid" in fields.value else "",
        points=_read_event_points(fields),
        breaking=tuple(
            read_breaking(part)
            for part in (fields.each("breaking") if "breaking" in fields.value else [])
        ),
        laws=tuple(
            _read_law(part)
            for part in (fields.each("laws") if "laws" in fields.value else [])
        ),
    )


def _read_law(fields: _Fields) -> PhysicalCheck:
    def number(name: str) -> float:
        known = fields.get(name, int, float, type(None)) is not None
        return fields.number(name) if known else math.nan

    return PhysicalCheck(
        *(fields.text("law"), fields.text("quantity")),
        *(number("deviation"), number("error"), number("scale")),
        fields.text("unit"),
    )


def _read_event_points(fields: _Fields) -> EventPoints | None:
    points = fields.if_there("points")
    return None if points is None else read_points(points, fields.integer("num_atoms"))


def _read_atoms(fields: _Fields) -> AtomErrors | None:
    # absent in reports of before
    atoms = fields.if_there("atoms")
    if atoms is None:
        return None
    size = fields.integer("num_atoms")
    numbers = atoms.integers("numbers", (size,))
    if (numbers >= len(chemical_symbols)).any():
        raise atoms.error(numbers.tolist(), "is beyond the periodic table", "numbers")
    errors = atoms.fields("errors")
    return AtomErrors(
        tuple(numbers.tolist()),
        atoms.array("positions", (size, 3), -math.inf),
        atoms.array("cell", (3, 3), -math.inf),
        {name: errors.array(name, (size,)) for name in errors.value},
    )


def _read_leaf(fields: _Fields, max_degree: int) -> Leaf:
    irreps = fields.get("irreps", list)
    for label in irreps:
        try:
            Irrep.parse(label)
        except SymjaxError as error:
            problem = "holds what is no irrep"
            raise fields.error(label, problem, fields.path("irreps")) from error
    if not irreps:
        raise fields.error(irreps, "is empty", fields.path("irreps"))
    verdict = fields.optional("convergence")

    def parts(found: _Fields | None) -> dict[str, Totals]:
        if found is None:
            return {}
        return {
            name: _read_totals(found.fields(name), len(irreps), max_degree)
            for name in found.value
        }

    return Leaf(
        name=fields.text("name"),
        kind=fields.text("kind", KINDS),
        unit=fields.text("unit"),
        representation=fields.text("representation"),
        irreps=tuple(irreps),
        channels=fields.integer("channels", 1),
        totals=_read_totals(fields.fields("totals"), len(irreps), max_degree),
        species=parts(fields.fields("species")),
        particles=parts(fields.if_there("particles")),
        convergence=None
        if verdict is None
        else Convergence(
            resolved=verdict.get("resolved", bool),
            content_change=verdict.number("content_change"),
            error_change=verdict.number("error_change"),
            remainder=verdict.number("remainder"),
            degree_to_try=verdict.integer("degree_to_try"),
            reason=verdict.text("reason"),
            excess=verdict.number("excess"),
        ),
        # absent in reports of before
        coarser=tuple(
            _read_point(point, len(irreps), max_degree)
            for point in (fields.each("coarser") if "coarser" in fields.value else [])
        ),
        certificate=_read_certificate(fields.if_there("certificate")),
        spread=_read_spread(fields.optional("spread")),
        forbidden=tuple(fields.get("forbidden", list)),
    )


def _read_spread(fields: _Fields | None) -> Spread | None:
    if fields is None:
        return None
    channels = len(fields.get("first", list))
    return Spread(
        fields.number("count", 0.0),
        fields.array("first", (channels,), -math.inf),
        fields.number("second", 0.0),
        fields.number("variance"),
    )


def _read_point(fields: _Fields, num_irreps: int, max_degree: int) -> RuleTotals:
    totals = fields.fields("totals")
    power = totals.get("power", list)
    # A coarser rule resolves fewer degrees.
    first = power[0] if power else None
    degrees = len(first) if isinstance(first, list) else 0
    if not 1 <= degrees <= max_degree + 1:
        raise totals.error(degrees, "is no number of degrees", totals.path("power"))
    return RuleTotals(
        fields.integer("degree"),
        fields.integer("num_elements"),
        _read_totals(totals, num_irreps, degrees - 1),
    )


def _read_certificate(fields: _Fields | None) -> Certificate | None:
    if fields is None:
        return None

    def uncertainty(name: str) -> float:
        if fields.get(name, int, float, type(None)) is None:
            return math.inf
        return fields.number(name, 0.0)

    return Certificate(
        certified=fields.get("certified", bool),
        degree=fields.integer("degree"),
        projected_degree=fields.integer("projected_degree"),
        content_uncertainty=uncertainty("content_uncertainty"),
        error_uncertainty=uncertainty("error_uncertainty"),
        tail=fields.number("tail"),
        reason=fields.text("reason"),
        degree_to_try=fields.integer("degree_to_try"),
        excluded=fields.number("excluded", 0.0, 1.0),
        confidence=fields.number("confidence", 0.0, 1.0),
        noise=fields.number("noise", 0.0),
    )


def _read_totals(fields: _Fields, num_irreps: int, max_degree: int) -> Totals:
    return Totals(
        variance=fields.array("variance", (num_irreps,)),
        norm=fields.array("norm", (num_irreps,)),
        power=fields.array("power", (num_irreps, max_degree + 1, 2)),
        count=fields.array("count", (num_irreps,)),
    )


def dumps(value: Any) -> str:
    """JSON text on one line; refuses NaN and infinity, which JSON does not have.

    Args:
      value: Nested dictionaries, lists, strings and numbers.

    Returns:
      The text, ASCII only.

    Raises:
      ValueError: A number is not finite.

    Example:
      >>> from symjax.report.schema import dumps
      >>> dumps({"a": 0.1})
      '{"a": 0.1}'
    """
    return json.dumps(value, allow_nan=False)


def write_report(report: Report, path: str | Path) -> None:
    """Writes ``report.json`` atomically: readers see the old file or the new one.

    Args:
      report: The report.
      path: The file to write; its folder must exist.

    Raises:
      ReportError: The file cannot be written.

    Example:
      >>> import pathlib, tempfile
      >>> from symjax.report import schema
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     ())
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "report.json"
      ...     schema.write_report(report, path)
      ...     schema.read_report(path).model.name
      'pet'
    """

    def write(temporary: Path) -> None:
        with temporary.open("w") as file:
            file.writelines(_pieces(report))

    write_atomically(Path(path), write, lambda: sum(map(len, _pieces(report))))


def _pieces(report: Report) -> Iterator[str]:
    """The text of ``report.json``, a structure at a time."""
    yield dumps(head_to_json(report)).removesuffix("}") + ', "structures": ['
    structures = report.structures
    lines = (
        (place.read() for place in structures.places)
        if isinstance(structures, StoredStructures)
        else (dumps(structure_to_json(structure)) for structure in structures)
    )
    for number, line in enumerate(lines):
        yield f", {line}" if number else line
    yield "]}\n"


def write_atomically(
    path: Path, write: Callable[[Path], Any], size: Callable[[], int] | None = None
) -> None:
    """Lets a function write a temporary file, then renames it.

    Args:
      path: The file to be written.
      write: Called with the path of a temporary file in the same folder and with
        the same suffix.
      size: Says how many bytes are written; asked where there is no space for them.

    Raises:
      ReportError: The file cannot be written.

    Example:
      >>> import pathlib, tempfile
      >>> from symjax.report.schema import write_atomically
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "a.txt"
      ...     write_atomically(path, lambda temporary: temporary.write_text("done"))
      ...     path.read_text(), len(list(path.parent.iterdir()))
      ('done', 1)
    """
    try:
        replace_atomically(path, write, size)
    except OSError as error:
        raise ReportError(
            "output",
            str(path),
            f"cannot be written ({error.strerror or error})",
            "Choose a folder that can be written to, with space left",
        ) from error


def read_report(path: str | Path) -> Report:
    """Reads and validates ``report.json``.

    Args:
      path: The file, or the folder that holds it.

    Returns:
      The report.

    Raises:
      ReportError: The file is missing, truncated or no report; the message names
        it.

    Example:
      >>> from symjax.report.schema import read_report
      >>> read_report("nowhere/report.json")
      Traceback (most recent call last):
      ...
      symjax.report.schema.ReportError: path='nowhere/report.json': cannot be read ...
    """
    path = Path(path)
    if path.is_dir():
        path = path / "report.json"
    try:
        check_readable(path)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(
            "path",
            str(path),
            f"cannot be read ({error})",
            "Pass a report.json written by symjax, or the folder that holds it",
        ) from error
    return from_json(parse(text, str(path)), str(path))


def parse(text: str, source: str) -> Any:
    """Parses JSON text, and names the file where it is truncated or foreign.

    Args:
      text: The text.
      source: Name of the file.

    Returns:
      The parsed value.

    Raises:
      ReportError: It is no JSON.

    Example:
      >>> from symjax.report.schema import parse
      >>> parse('{"a": ', "out/report.json")
      Traceback (most recent call last):
      ...
      symjax.report.schema.ReportError: path='out/report.json': is truncated or no ...
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ReportError(
            "path",
            source,
            f"is truncated or no JSON ({error})",
            "Write the report again, or restore the file",
        ) from error
