"""What a diagnosis returns: findings with their evidence, and what was looked for."""

import dataclasses
import enum
import math
from collections.abc import Iterable
from typing import Annotated, Any

from symjax.errors import ArgumentError
from symjax.report.stored import Count, Marker, Record, Share, Text


class Kind(enum.StrEnum):
    """Failure modes, by the names that reports and JSON use.

    Example:
      >>> from symjax.diagnose import Kind
      >>> Kind("late emergence") is Kind.LATE_EMERGENCE
      True
    """

    UNLEARNED = "symmetry not learned"
    MISSING_IRREP = "missing irrep"
    BOTTLENECK = "spectral bottleneck"
    LATE_EMERGENCE = "late emergence"
    PARITY_BLINDNESS = "parity blindness"
    LEAKAGE = "leakage"
    ALIASING = "aliasing"
    SYMMETRY_TRAP = "symmetry trap"


class Severity(enum.IntEnum):
    """How much of an answer a failure can spoil; ordered.

    A severity is the decade of :attr:`Finding.effect`, the relative error that the
    failure causes or can cause in the quantity that it concerns:

    - ``CRITICAL``: at least 1 / sqrt(2), more wrong than right in square;
    - ``SEVERE``: at least 0.1, the first digit;
    - ``MODERATE``: at least 0.01, the second digit;
    - ``MINOR``: at least the square root of float32's epsilon, 3.5e-4, half of its
      digits;
    - ``NOTE``: less than that.

    Example:
      >>> from symjax.diagnose import Severity
      >>> Severity.NOTE < Severity.CRITICAL
      True
    """

    NOTE = 0
    MINOR = 1
    MODERATE = 2
    SEVERE = 3
    CRITICAL = 4

    @classmethod
    def of(cls, effect: float) -> "Severity":
        """The severity of an effect.

        Args:
          effect: A relative error, at least 0.

        Returns:
          The largest severity whose threshold the effect reaches.

        Raises:
          ArgumentError: ``effect`` is negative or no number.

        Example:
          >>> from symjax.diagnose import Severity
          >>> [Severity.of(effect).name for effect in (0.0, 1e-3, 0.05, 0.2, 1.0)]
          ['NOTE', 'MINOR', 'MODERATE', 'SEVERE', 'CRITICAL']
        """
        if not effect >= 0:
            raise ArgumentError(
                "effect", effect, "is not a relative error", "Pass 0 or more"
            )
        return cls(sum(effect >= threshold for threshold in _THRESHOLDS))


_THRESHOLDS = (2.0**-11.5, 0.01, 0.1, 1 / math.sqrt(2))


class _ByName(Marker):
    """Marks a severity that is written by its name, in small letters."""

    def _read(self, value: Any) -> Severity:
        return Severity[str(value).upper()]

    def _write(self, value: Severity) -> str:
        return value.name.lower()


@dataclasses.dataclass(frozen=True)
class Figure(Record):
    """A number with its uncertainty: the evidence of a finding.

    Attributes:
      name: What it is, such as ``"B(2+)"``.
      value: The number.
      uncertainty: One standard error, or a bound where ``docs/diagnose.md`` says so.
      unit: Its unit; empty for fractions.

    Example:
      >>> from symjax.diagnose import Figure
      >>> print(Figure("forces", 0.0213, 0.0004, "eV/angstrom"))
      forces = 0.0213 +- 4e-04 eV/angstrom
    """

    name: Text
    value: float
    uncertainty: float
    unit: str = ""

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.name} = {self.value:.3g} +- {self.uncertainty:.0e}{unit}"


@dataclasses.dataclass(frozen=True)
class Finding(Record):
    """One failure mode, found at one place.

    Attributes:
      kind: Which failure mode.
      severity: :class:`Severity` of ``effect``.
      effect: Relative error that it causes (measured) or can cause (a bound).
      layer: The layer, or the output where no layer is concerned.
      irrep: Label of the irrep; empty where it concerns none in particular.
      figure: The number that shows it.
      outputs: The outputs that it concerns.
      sentence: What was found, in plain words.
      remedy: What would help with the least built-in symmetry.

    Example:
      >>> from symjax.diagnose import Figure, Finding, Kind, Severity
      >>> finding = Finding.of(
      ...     Kind.MISSING_IRREP, 1.0, layer="node_heads.dipole.0", irrep="1+",
      ...     figure=Figure("B(1+)", 1e-17, 1e-16), outputs=("dipole",),
      ...     sentence="Nothing of 1+ is left.", remedy="Embed directions of edges")
      >>> finding.severity is Severity.CRITICAL
      True
    """

    kind: Kind
    severity: Annotated[Severity, _ByName()]
    effect: Share
    layer: Text
    irrep: str
    figure: Figure
    outputs: tuple[Text, ...]
    sentence: Text
    remedy: Text

    @classmethod
    def of(cls, kind: Kind, effect: float, **fields: Any) -> "Finding":
        """A finding whose severity follows from its effect.

        Args:
          kind: Which failure mode.
          effect: Relative error that it causes or can cause; cut off at 1.
          **fields: All other attributes.

        Raises:
          ArgumentError: ``effect`` is negative or no number.

        Example:
          >>> from symjax.diagnose import Figure, Finding, Kind
          >>> Finding.of(Kind.LEAKAGE, 0.2, layer="a", irrep="0+", outputs=("e",),
          ...            figure=Figure("B(0+)", 0.1, 0.0), sentence="", remedy="")
          Finding(kind=<Kind.LEAKAGE: 'leakage'>, severity=<Severity.SEVERE: 3>, ...
        """
        effect = min(effect, 1.0)
        return cls(kind, Severity.of(effect), effect, **fields)


@dataclasses.dataclass(frozen=True)
class Check(Record):
    """One failure mode that was looked for.

    Attributes:
      kind: Which failure mode.
      looked_at: How many places could be examined; 0 if it could not be looked for.
      note: What was looked at, or what could not be, and why.

    Example:
      >>> from symjax.diagnose import Check, Kind
      >>> Check(Kind.LEAKAGE, 1, "invariant outputs: energy").looked_at
      1
    """

    kind: Kind
    looked_at: Count
    note: Text


@dataclasses.dataclass(frozen=True)
class Diagnosis(Record):
    """All findings about a model, and what was looked for.

    Attributes:
      model: Name of the model.
      findings: Most severe first.
      checks: One for each failure mode.

    Example:
      >>> from symjax.diagnose import Diagnosis
      >>> Diagnosis("pet-ethanol", (), ()).kinds
      ()
    """

    model: Text
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Failure modes that were found, each once, most severe first."""
        return tuple(dict.fromkeys(finding.kind for finding in self.findings))


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sorts findings: outputs first, then by effect, then as they came.

    What an output is off by is what a user sees; everything else says why.
    """
    return tuple(
        sorted(
            findings,
            key=lambda finding: (finding.kind is not Kind.UNLEARNED, -finding.effect),
        )
    )


def not_looked_at(reasons: Iterable[str]) -> str:
    """Reasons why something was not looked at, each once, as the end of a note.

    Example:
      >>> from symjax.diagnose.findings import not_looked_at
      >>> not_looked_at(["a is not resolved", "b is a derivative", "a is not resolved"])
      '; not looked at: a is not resolved; b is a derivative'
      >>> not_looked_at([])
      ''
    """
    told = "; ".join(dict.fromkeys(reasons))
    return f"; not looked at: {told}" if told else ""
