"""Recommends the least built-in symmetry that repairs the findings of a diagnosis."""

import dataclasses
import itertools
from collections.abc import Mapping

from symjax.data.quantities import DERIVATIVES
from symjax.diagnose.findings import Diagnosis, Kind, Severity
from symjax.diagnose.text import wrapped
from symjax.diagnose.tracing import Traced, added, mean_squares
from symjax.models.biases import Biases
from symjax.report.schema import Report

_SPECTRAL = (
    Kind.MISSING_IRREP,
    Kind.BOTTLENECK,
    Kind.LATE_EMERGENCE,
    Kind.PARITY_BLINDNESS,
)
# Shares of A^2 from which one layer dominates, and below which it cancels others.
_TO_BLAME, _CANCELS = 0.5, -0.1


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """Biases to train with, and the reasons.

    Attributes:
      biases: The biases; the default, no bias, if none is needed.
      reasons: One sentence for each output that needs a bias.
      averaging: One sentence for each output that needs averaged predictions instead.
      first: What to do before adding any bias, for outputs whose symmetry was not
        learned.

    Example:
      >>> from symjax.diagnose import Recommendation
      >>> from symjax.models.biases import Biases
      >>> print(Recommendation(Biases(readout="sum"), ("spin fails.",), ()).to_text())
      Recommended, with the least built-in symmetry
        spin fails.
      <BLANKLINE>
        [model.biases]
        readout = "sum"
      <BLANKLINE>
    """

    biases: Biases
    reasons: tuple[str, ...]
    averaging: tuple[str, ...]
    first: tuple[str, ...] = ()

    def to_text(self, width: int = 80) -> str:
        """The reasons, and the section ``[model.biases]`` of a training run.

        Args:
          width: Largest number of columns.
        """

        def told(reasons: tuple[str, ...]) -> list[str]:
            each = (wrapped(width, "  ", reason, "    ") for reason in reasons)
            return list(itertools.chain.from_iterable(each))

        lines = ["First", *told(self.first)] if self.first else []
        if not self.reasons and not self.averaging:
            lines.append("No bias is needed." if not lines else "")
            return "\n".join(lines).rstrip() + "\n"
        lines += [""] if lines else []
        lines.append("Recommended, with the least built-in symmetry")
        lines += told(self.reasons)
        if self.reasons:
            own = self.biases.to_json().items()
            lines += ["", "  [model.biases]", *(f'  {k} = "{v}"' for k, v in own), ""]
        lines += told(self.averaging)
        return "\n".join(lines) + "\n"


def recommend(
    report: Report,
    diagnosis: Diagnosis,
    traces: Mapping[str, Traced] | None = None,
) -> Recommendation:
    """Recommends the smallest combination of biases that a diagnosis calls for.

    An additional equivariant readout (``readout="sum"``) is recommended for outputs
    that are neither invariant nor derivatives, if a finding says that an irrep is
    missing, lost, late or of an unseen parity, or if the relative equivariance error is
    severe, 0.1 or more. It adds exactly the irreps of the output. In the ablation of
    ``docs/biases.md`` it repairs such targets, and tokens with spherical harmonics or
    pseudotensors, which cost more, are not needed beside it. Leakage and symmetry traps
    are only repaired exactly by averaging predictions.

    Averaging is also recommended for outputs whose symmetry was not learned, with the
    layers at which A enters according to a trace: in ``docs/biases.md``, no change of a
    single layer leaves a smaller A at that cost.

    Args:
      report: The report of the model.
      diagnosis: Its diagnosis, from :func:`~symjax.diagnose.diagnose`.
      traces: Traces by structure, from
        :func:`~symjax.diagnose.tracing.report_traces`.

    Example:
      >>> import numpy as np
      >>> from symjax.diagnose import Diagnosis, recommend
      >>> from symjax.metrics import Totals
      >>> from symjax.report import Leaf, Report, StructureReport, schema
      >>> totals = Totals(np.ones(1), 4 * np.ones(1), np.ones((1, 2, 2)), np.ones(1))
      >>> leaf = Leaf("dipole", "output", "e", "vector", ("1+",), 1, totals, {}, None)
      >>> structure = StructureReport("a", "H2O", 3, "ab", (leaf,))
      >>> settings = schema.Settings(1, "", 5, 168, "all", "float32", 0.05)
      >>> report = Report(schema.Software("0", "0", "cpu"),
      ...                 schema.ModelInfo("m", "ab"), settings, (structure,))
      >>> recommend(report, Diagnosis("m", (), ())).biases.readout
      'sum'
    """
    reasons, averaging = [], []
    leaves = report.aggregate()
    for name, leaf in leaves.items():
        derived = name in DERIVATIVES and bool(report.settings.energy)
        if leaf.kind != "output" or derived:
            continue
        if all(label == "0+" for label in leaf.irreps):
            continue
        found = [
            finding
            for finding in diagnosis.findings
            if finding.kind in _SPECTRAL
            and name in finding.outputs
            and finding.severity > Severity.NOTE
        ]
        ratio = leaf.comparison(report.settings.dtype).ratio or 0.0
        if found:
            kinds = ", ".join(dict.fromkeys(finding.kind.value for finding in found))
            reasons.append(f"{name} ({', '.join(leaf.irreps)}): {kinds}.")
        elif Severity.of(ratio) >= Severity.SEVERE:
            reasons.append(
                f"{name} ({', '.join(leaf.irreps)}): equivariance error {ratio:.2g} of "
                "its response."
            )
    for finding in diagnosis.findings:
        exact = finding.kind in (Kind.LEAKAGE, Kind.SYMMETRY_TRAP)
        if exact and finding.severity >= Severity.MODERATE:
            averaging.append(
                f"{', '.join(finding.outputs) or finding.layer}: {finding.kind.value}; "
                f"{finding.remedy[0].lower()}{finding.remedy[1:]}."
            )
    averaging += [
        _of_trace(name, list((traces or {}).values()))
        for finding in diagnosis.findings
        if finding.kind is Kind.UNLEARNED
        for name in finding.outputs
        if any(name in one.trace.errors for one in (traces or {}).values())
    ]
    # One sentence for the outputs that share a remedy.
    together: dict[str, list[str]] = {}
    for finding in diagnosis.findings:
        if finding.kind is Kind.UNLEARNED:
            together.setdefault(finding.remedy, []).extend(finding.outputs)
    first = [
        f"{', '.join(names)}: {remedy[0].lower()}{remedy[1:]}."
        for remedy, names in together.items()
    ]
    return Recommendation(
        Biases(readout="sum") if reasons else Biases(),
        tuple(reasons),
        tuple(dict.fromkeys(averaging)),
        tuple(first),
    )


def _of_trace(name: str, traces: list[Traced]) -> str:
    """A sentence on where A of an output enters."""
    having = [one for one in traces if name in one.trace.errors]
    squares = mean_squares([one.trace for one in having], name)
    if not squares[0] > 0:
        return f"{name}: A of the traced structures is 0; trace others."
    *shares, behind = (added(squares) / squares[0]).tolist()
    told = ", ".join(f"{100 * share:.0f} %" for share in shares)
    if min([*shares, behind]) < _CANCELS:
        where = (
            f"layers cancel each other ({told} of A^2 enter in GNN layers 1 to "
            f"{len(shares)}), and repairing one alone raises A"
        )
    elif behind >= _TO_BLAME:
        where = (
            f"{100 * behind:.0f} % of A^2 enters after all GNN layers, which their "
            "biases cannot repair"
        )
    elif max(shares) < _TO_BLAME:
        where = (
            f"no single layer dominates ({told} of A^2 enter in GNN layers 1 to "
            f"{len(shares)})"
        )
    else:
        where = (
            f"{100 * max(shares):.0f} % of A^2 enters in GNN layer "
            f"{1 + shares.index(max(shares))}, but averaging its features alone costs "
            "as many evaluations as averaging predictions, and leaves no smaller A"
        )
    return f"{name}: {where}: average predictions."
