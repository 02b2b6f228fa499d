"""Where the numbers of a report come from, line by line."""

from collections.abc import Iterable
from typing import NamedTuple

from symjax.metrics import Convergence
from symjax.report.schema import Report, Settings


def provenance(report: Report) -> dict[str, str]:
    """What was measured, how, and with which software: lines by heading."""
    settings, software, model = report.settings, report.software, report.model
    measured = [s for s in report.overview if s.failure is None]
    atoms = sum(structure.num_atoms for structure in measured)
    timings = [structure.timing for structure in measured if structure.timing]
    compiling = sum(timing.compile_seconds for timing in timings)
    evaluating = sum(timing.evaluation_seconds for timing in timings)
    what, parts = ("events", "points") if report.of_events else ("structures", "atoms")
    labels = _listed([structure.label for structure in measured], 3)
    lines = {
        what: f"{len(measured)} with {atoms} {parts}: {labels}"
        if measured
        else "none measured",
        "grid": _grid_line(settings),
    }
    if settings.adaptive is not None:
        lines["rules"] = _listed(sorted({s.grid for s in measured}), 3) or "none"
    lines["accuracy"] = _tolerance_line(settings)
    if settings.symmetry:
        used = {
            f"{s.point_group or 'none'} ({s.num_elements} elements)" for s in measured
        }
        lines["symmetry"] = f"point groups used: {_listed(sorted(used), 4)}"
    if settings.labels:
        lines["labels"] = settings.labels
    if settings.points:
        lines["read"] = settings.points
    # That forces come from the energy is what everyone expects.
    if settings.energy != "energy" and _forces_line(settings):
        lines["forces"] = _forces_line(settings)
    return lines | {
        "content": f"through degree {settings.max_degree}; evaluated in "
        f"{precision_line(settings)}",
        "layers": settings.layers,
        "time": f"{compiling:.1f} s compiling, {evaluating:.1f} s evaluating",
        "seed": _seed_line(settings),
        **({"model": model.note} if model.note else {}),
        "SHA-256": model.digest,
        "software": f"symjax {software.symjax}, JAX {software.jax} on "
        f"{software.platform}",
        "command": report.command or "not recorded (written from Python)",
    }


def _listed(names: list[str], most: int) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def precision_line(settings: Settings) -> str:
    """The precision in which the model was evaluated."""
    if settings.matmul_precision == "highest":
        return settings.dtype
    return f"{settings.dtype}, matrix products in {settings.matmul_precision}"


def _grid_line(settings: Settings) -> str:
    """Which elements of O(3) were evaluated."""
    climb = settings.adaptive
    if settings.degree == 0:
        return (
            f"{settings.grid} for each structure: unbiased estimates from "
            f"{settings.num_elements} elements of O(3)"
        )
    if climb is None:
        return (
            f"{settings.grid}, exact through degree {settings.degree}: "
            f"{settings.num_elements} elements of O(3)"
        )
    return (
        f"chosen for each structure, at most degree {climb.limit} and "
        f"{settings.num_elements} elements"
    )


def _seed_line(settings: Settings) -> str:
    """Where random numbers enter, and their seed."""
    if settings.degree == 0:
        return f"{settings.seed}, of the random elements"
    text = f"{settings.seed}, of the random elements of the check off the grid"
    return text if settings.adaptive is None else text + "s"


def _tolerance_line(settings: Settings) -> str:
    """When a response counts as resolved."""
    climb = settings.adaptive
    if settings.degree == 0:
        return (
            f"two standard errors are at most {settings.tolerance:g} for each B, and "
            "half of A for A"
        )
    if climb is None:
        return f"B changes by at most {settings.tolerance:g} between nested grids"
    return (
        f"each B certified to {climb.content_tolerance:g}, A to "
        f"{climb.error_tolerance:.0%}"
    )


class Verdict(NamedTuple):
    """Whether the numbers of a report can be trusted.

    Attributes:
      good: Whether something was measured, and all of it is resolved.
      lines: The verdict in sentences, with what to do if it is not good.
    """

    good: bool
    lines: list[str]


def verdict_on(report: Report) -> Verdict:
    """The verdict on all responses of a report."""
    leaves, settings = report.aggregate(), report.settings
    if not leaves:
        return Verdict(False, ["Nothing was measured."])
    unresolved = [leaf for leaf in leaves.values() if not leaf.resolved]
    if not unresolved:
        kind = "estimates of integrals" if settings.degree == 0 else "integrals"
        how = (
            f"{_resolution_line(settings, len(leaves))}: these numbers are {kind} over "
            "O(3). This is no verdict on the model."
        )
        verdicts = (leaf.convergence for leaf in leaves.values())
        return Verdict(True, ["Resolved.", how, _missed_line(verdicts)])
    lines = []
    outputs = [leaf.name for leaf in unresolved if leaf.kind == "output"]
    if outputs:
        lines.append(f"NOT RESOLVED, outputs: {', '.join(outputs)}.")
    if hidden := len(unresolved) - len(outputs):
        count = len([leaf for leaf in leaves.values() if leaf.kind != "output"])
        lines.append(f"NOT RESOLVED, layers: {hidden} of {count}.")
    why = "Their numbers are not integrals over O(3), and must not be quoted."
    if settings.degree == 0:
        why = "Their numbers are not known well enough to be quoted."
    known = filter(None, (leaf.convergence for leaf in unresolved))
    worst = max(known, key=lambda verdict: verdict.degree_to_try)
    again = f"with a grid of degree {worst.degree_to_try}"
    if settings.degree == 0:
        again = f"with {worst.degree_to_try} random rotations (samples), or a grid"
    return Verdict(False, [*lines, why, f"Reason: {worst.reason}.", f"Repeat {again}."])


def _resolution_line(settings: Settings, count: int) -> str:
    """How all responses were resolved, without a full stop."""
    them = "the only response" if count == 1 else f"all {count} responses"
    if settings.degree == 0:
        return (
            f"{settings.num_elements} random elements determine {them} "
            "to the requested accuracy"
        )
    if settings.adaptive:
        return f"The accuracy of {them} is certified"
    return f"The grid resolves {them}"


def _missed_line(verdicts: Iterable[Convergence | None]) -> str:
    """The part of an orbit that may have been missed."""
    missed = max((verdict.excluded for verdict in verdicts if verdict), default=1.0)
    return (
        f"What happens in less than {missed:.1%} of an orbit, such as a jump, may have "
        "been missed (95 % confidence)."
    )


def _forces_line(settings: Settings) -> str:
    """Which output forces and stress are derivatives of."""
    if settings.energy is None:
        return ""
    if settings.energy:
        return f"derivatives of {settings.energy}"
    return "none: no target is named energy, and no other scalar was chosen"
