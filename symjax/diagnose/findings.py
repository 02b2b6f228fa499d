"""Results of a diagnosis: findings with their evidence, and the checks made."""

import dataclasses
import enum
import math
from collections.abc import Iterable
from typing import Annotated, Any

from symjax.errors import ArgumentError
from symjax.report.stored import Count, Marker, Record, Share, Text


class Kind(enum.StrEnum):
    """Failure modes, with their names in text and JSON.

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
    """Severity of a failure; ordered.

    It follows from :attr:`Finding.effect`, the relative error that the failure causes
    or can cause:

    - ``CRITICAL``: at least 1 / sqrt(2), half of the square is wrong;
    - ``SEVERE``: at least 0.1, the first digit is wrong;
    - ``MODERATE``: at least 0.01, the second digit is wrong;
    - ``MINOR``: at least 3.5e-4, the square root of the epsilon of float32;
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
          ArgumentError: ``effect`` is negative or NaN.

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
    """Marks a severity that is stored by its name in lower case."""

    def _read(self, value: Any) -> Severity:
        return Severity[str(value).upper()]

    def _write(self, value: Severity) -> str:
        return value.name.lower()


@dataclasses.dataclass(frozen=True)
class Figure(Record):
    """A number with its uncertainty, as evidence of a finding.

    Attributes:
      name: Name of the quantity, such as ``"B(2+)"``.
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
    """A failure mode that was found in a layer or an output.

    Attributes:
      kind: The failure mode.
      severity: :class:`Severity` of ``effect``.
      effect: Relative error that it causes (measured) or can cause (a bound).
      layer: The layer, or the output if it concerns no layer.
      irrep: Label of the irrep; empty if it concerns none in particular.
      figure: The number that shows it.
      outputs: The outputs that it concerns.
      sentence: Description of the failure.
      remedy: The remedy with the least built-in symmetry.

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
          kind: The failure mode.
          effect: Relative error that it causes or can cause; cut off at 1.
          **fields: All other attributes.

        Raises:
          ArgumentError: ``effect`` is negative or NaN.

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
    """A check for one failure mode.

    Attributes:
      kind: The failure mode.
      looked_at: Number of places that were examined; 0 if the check was not possible.
      note: What was examined, and what could not be and why.

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
    """All findings about a model, and the checks that were made.

    Attributes:
      model: Name of the model.
      findings: The findings, unlearned symmetry first and then by decreasing effect.
      checks: The checks that were made.

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
        """Failure modes that were found, each once, in the order of the findings."""
        return tuple(dict.fromkeys(finding.kind for finding in self.findings))


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sorts findings: unlearned symmetry first, then by decreasing effect.

    Errors of outputs are what a user sees; the other findings explain them.
    """
    return tuple(
        sorted(
            findings,
            key=lambda finding: (finding.kind is not Kind.UNLEARNED, -finding.effect),
        )
    )


def not_looked_at(reasons: Iterable[str]) -> str:
    """The end of a note that lists, without repetition, what was not examined and why.

    Example:
      >>> from symjax.diagnose.findings import not_looked_at
      >>> not_looked_at(["a is not resolved", "b is a derivative", "a is not resolved"])
      '; not looked at: a is not resolved; b is a derivative'
      >>> not_looked_at([])
      ''
    """
    told = "; ".join(dict.fromkeys(reasons))
    return f"; not looked at: {told}" if told else ""
