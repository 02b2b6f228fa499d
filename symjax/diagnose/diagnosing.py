"""All failure modes of a report, most severe first."""

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
    """Names the failure modes of a model, with their evidence.

    What is looked for and how the thresholds follow from a noise model is derived in
    ``docs/diagnose.md``; contents and errors are those of Domina et al.,
    arXiv:2603.24638.

    Args:
      report: A report; without layers, as of calculators and exports, its outputs
        are judged and nothing is located.
      targets: Irreps that a target needs, by name, such as ``{"dipole": ["1+"]}``; by
        default those of the representation of each output. Names that are no output
        ask whether the features would serve such a target.
      layers_read: The layers that an output or target reads, by name; by default its
        heads, else the last layers.
      label_errors: Root-mean-square error on labels of an output, by name, in its
        unit, which its equivariance error is compared with.
      traps: Results of :func:`~symjax.diagnose.structure_traps`, to be listed with the
        rest.

    Returns:
      Findings, those of outputs first, most severe first, and what was looked for.

    Raises:
      ReportError: Nothing was measured, or targets or layers are asked for of a report
        without layers.
      ArgumentError: A target, layer or output is unknown, an irrep is none, or an
        error on labels is not positive.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from symjax.diagnose import diagnose
      >>> from symjax.metrics import Grid, Output, Problem, measure
      >>> from symjax.report import Report, StructureReport, schema
      >>> from symjax.report.records import leaves_of
      >>> from symjax.so3 import FEATURE, VECTOR
      >>> def model(x):  # norms alone cannot make a dipole
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
            "holds no structure that was measured",
            "Measure one structure or more with {layers}",
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
            energy=report.settings.energy,
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
