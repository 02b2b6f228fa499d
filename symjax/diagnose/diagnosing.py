"""Runs all checks of a diagnosis on a report."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from symjax.diagnose.findings import (
    Check,
    Diagnosis,
    Finding,
    by_severity,
    not_looked_at,
)
from symjax.diagnose.integration import aliasing, leakage
from symjax.diagnose.parity import parity_blindness
from symjax.diagnose.paths import readouts_of
from symjax.diagnose.spectra import spectra
from symjax.diagnose.spectral import (
    bottlenecks,
    late_emergence,
    missing_irreps,
)
from symjax.diagnose.unlearned import unlearned
from symjax.report.leaves import ReportError
from symjax.report.schema import Report


def diagnose(
    report: Report,
    *,
    targets: Mapping[str, Sequence[str]] | None = None,
    layers_read: Mapping[str, Sequence[str]] | None = None,
    label_errors: Mapping[str, float] | None = None,
    traps: Iterable[tuple[Sequence[Finding], Check]] = (),
) -> Diagnosis:
    """Finds the failure modes of a model, with evidence and remedies.

    ``docs/diagnose.md`` describes the failure modes, and derives their thresholds from
    a noise model; contents B and errors A are those of Domina et al., arXiv:2603.24638.

    Args:
      report: A report. Without layers, as for calculators and exports, only its outputs
        are judged.
      targets: Irreps that a target needs, by name, such as ``{"dipole": ["1+"]}``; by
        default those of the representation of each output. A name that is no output
        asks whether the features could serve such a target.
      layers_read: Layers that an output or target reads, by name; by default its heads,
        or else the last layer of each kind.
      label_errors: Root-mean-square errors on labels by output, in its unit, with which
        its equivariance error is compared.
      traps: Results of :func:`~symjax.diagnose.structure_traps` to include.

    Returns:
      The findings, with unlearned symmetry of outputs first and then by severity, and
      the checks that were made.

    Raises:
      ReportError: No structure was measured, or targets or layers are given for a
        report without layers.
      ArgumentError: A target, layer or output is unknown, a label is no irrep, or an
        error on labels is not positive.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from symjax.diagnose import diagnose
      >>> from symjax.metrics import Grid, Output, Problem, measure
      >>> from symjax.report import Report, StructureReport, schema
      >>> from symjax.report.records import leaves_of
      >>> from symjax.so3 import FEATURE, VECTOR
      >>> def model(x):  # a dipole cannot be made of norms alone
      ...     norms = jnp.linalg.norm(x, axis=-1, keepdims=True)
      ...     return {"layer": norms, "dipole": 0.0 * x[0]}
      >>> outputs = {"layer": Output(FEATURE, kind="node"), "dipole": Output(VECTOR)}
      >>> result = measure(Problem(model, jnp.eye(3), outputs), over=Grid(5),
      ...                  max_degree=2)
      >>> leaves = leaves_of(result, outputs, ())
      >>> structure = StructureReport("a", "X4", 4, "ab", leaves)
      >>> settings = schema.Settings(2, "", 5, 168, "all", "float32", 0.05)
      >>> found = diagnose(Report(schema.Software("0", "0", "cpu"),
      ...                         schema.ModelInfo("norms", "ab"), settings,
      ...                         (structure,)))
      >>> [(finding.kind.value, finding.irrep) for finding in found.findings]
      [('missing irrep', '1+'), ('parity blindness', '')]
    """
    if not report.measured:
        raise ReportError(
            "report",
            report.model.name,
            "has no structure that was measured",
            "Measure at least one structure with {layers}",
            layers="all",
        )
    leaves = report.aggregate()
    readouts, refused = readouts_of(
        report, leaves, targets=targets, layers_read=layers_read
    )
    known = spectra(report)
    results: list[tuple[Sequence[Finding], Check]] = [
        unlearned(
            leaves,
            known,
            readouts,
            dtype=report.settings.dtype,
            energy=report.settings.energy or "",
            label_errors=label_errors,
        ),
        missing_irreps(report, known, readouts),
        bottlenecks(known, readouts, leaves),
        late_emergence(known, readouts),
        parity_blindness(report, known, readouts),
        leakage(known, readouts),
        aliasing(leaves, report.settings.tolerance),
        *traps,
    ]
    checks = [check for _, check in results]
    missing = checks[1]
    checks[1] = dataclasses.replace(missing, note=missing.note + not_looked_at(refused))
    found = [finding for findings, _ in results for finding in findings]
    return Diagnosis(report.model.name, by_severity(found), tuple(checks))
