"""Whether averaging over rotations is worth it, in sentences and as data."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from symjax.metrics import AveragedError, LabelErrors, SampledResponse, frontier
from symjax.metrics.errors_on_labels import OPPOSITE
from symjax.metrics.response_spectrum import ResponseSpectrum
from symjax.report.leaves import Leaf
from symjax.report.schema import Report
from symjax.report.stored import Count, Record, Text

# Shares of the squared error below and above which averaging is judged.
_NOT_WORTH, _WORTH = 0.05, 0.2
Response = ResponseSpectrum | SampledResponse
"""Second moments of a response, from which A after averages follows."""
# A over what it is compared with from which symmetry has not been learnt.
_FAR_OFF = 0.1
# Averages in a line; tables and files have all.
_MOST_SHOWN = 6


def in_words(value: float, unit: str) -> str:
    """A quantity in the usual unit for its size: meV below 0.1 eV."""
    factor, shown = _usual_unit(value, unit)
    return f"{factor * value:.2g} {shown}".rstrip()


def _usual_unit(value: float, unit: str) -> tuple[float, str]:
    """The usual unit for a size, and the factor to it."""
    energy, slash, rest = unit.partition("/")
    if energy == "eV" and abs(value) < 0.1:
        return 1e3, f"meV{slash}{rest}"
    return 1.0, unit


def is_bound(left: AveragedError) -> bool:
    """Whether only an upper bound of A is known: error + uncertainty."""
    return left.error <= left.uncertainty


def known_frontier(response: Response) -> tuple[AveragedError, ...]:
    """Averages known to leave less than A; A alone if only a bound of it is known."""
    found = frontier(response)
    return found[:1] if is_bound(found[0]) else found


def _frontier_line(response: Response) -> str:
    """A without and with averages, in one line."""
    first, *others = known_frontier(response)
    unit = response.unit
    text = f"{response.name}: A {in_words(first.error, unit)}"
    if not others and is_bound(first):
        noise = first.error**2 <= response.noise / response.count
        return text + (", round-off" if noise else ", not distinguishable from 0")
    if not others:
        return text
    factor, shown = _usual_unit(first.error, unit)
    parts = [
        f"{one.average} ({one.num_elements}{'' if number else ' elements'}): "
        f"{'at most ' if is_bound(one) else ''}"
        f"{factor * (one.largest if is_bound(one) else one.error):.2g}"
        for number, one in enumerate(others[:_MOST_SHOWN])
    ]
    return f"{text}; averaged over {', '.join(parts)} {shown}".rstrip()


def in_short(leaves: Iterable[Any]) -> list[str]:
    """For each output a line on A after averages, and one on its error on labels."""
    lines = []
    for leaf in leaves:
        if leaf.response is not None:
            lines.append(_frontier_line(leaf.response))
        if leaf.labels is not None:
            lines.append(
                worth_sentence(leaf.name, leaf.unit, leaf.labels, leaf.channels)
            )
    return lines


def next_step(report: Report) -> str:
    """The recommended next step, in a sentence; empty if nothing was measured."""
    outputs = [one for one in report.aggregate().values() if one.kind == "output"]
    if not outputs:
        return ""
    if not all(one.resolved for one in outputs):
        return "Next: repeat with more elements; these numbers are not resolved."
    shares = {
        one.name: one.labels
        for one in outputs
        if one.labels is not None and one.labels.usable
    }
    if not shares:
        return _without_labels(report, outputs)
    name = max(shares, key=lambda name: shares[name].share)
    share = shares[name].share
    _, high = shares[name].interval() or (share, share)
    if high < _NOT_WORTH:
        return (
            "Next: look for other causes of the error on labels; broken symmetry "
            "hardly contributes to it."
        )
    response = next(one.response for one in outputs if one.name == name)
    first, *others = known_frontier(response) if response else (None,)
    for one in others:
        if first is not None and one.largest < first.error / 3:
            return (
                f"Next: average predictions over {one.average}, {one.num_elements} "
                f"elements, which leave less than a third of A of {name}."
            )
    return (
        f"Next: run symjax diagnose on a report with layers, to see what {name} lacks."
    )


def _without_labels(report: Report, outputs: list[Leaf]) -> str:
    against = {one.name: one.comparison(report.settings.dtype) for one in outputs}
    ratios = {name: one.ratio or 0.0 for name, one in against.items()}
    if all(one.scale in ("round-off", "zero") for one in against.values()):
        return "Next: nothing to do; only round-off breaks the symmetry."
    far = {n: r for n, r in ratios.items() if against[n].scale != "kT"}
    name = max(far, key=far.__getitem__, default="")
    if far.get(name, 0.0) >= _FAR_OFF:
        return (
            f"Next: train longer, with random rotations and reflections; A of {name} "
            f"is {100 * far[name]:.2g} % of what it is compared with."
        )
    if report.of_events:
        return (
            "Next: run symjax diagnose on a report with layers, to see what is missing."
        )
    return "Next: measure structures that have labels, to see whether this matters."


def worth_sentence(name: str, unit: str, labels: LabelErrors, channels: int = 1) -> str:
    """Error on labels, and whether averaging would reduce it, in a sentence or two.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import LabelErrors
      >>> from symjax.report.worth import worth_sentence
      >>> sums = np.tile([9.98, 0.02, 10.0, 1.0, 0, 0, 0, 0, 0, np.nan], (4, 1))
      >>> print(worth_sentence("forces", "eV/angstrom", LabelErrors(sums, {})))
      forces: error on labels 1 eV/angstrom (RMSE). Averaging over O(3) would remove ...
    """
    if labels.other_unit:
        alike = "with" if labels.other_unit == OPPOSITE else "in"
        return (
            f"{name}: labels look like predictions {alike} {labels.other_unit}; not "
            "compared. Name their unit or another field."
        )
    per_atom = labels.divided
    shown = f"{unit}/atom" if per_atom else unit
    zero = labels.zero
    if zero.unknown:
        return (
            f"{name}: labels lie {in_words(zero.apart, shown)} from predictions, on "
            "another energy zero, and structures are too few to fit it; not compared."
        )
    error = in_words(labels.error_of(per_atom=per_atom), shown)
    text = f"{name}: error on labels {error} (RMSE"
    if channels > 1:
        text += f" of a class; Brier score {channels * labels.error**2:.2g}"
    if zero.constants:
        text += (
            f", after {zero.constants} fitted "
            f"constant{'s' if zero.constants > 1 else ''} of elements: labels lie "
            f"{in_words(zero.apart, shown)} from predictions, on another zero"
        )
    text += ")"
    if labels.uncertainty is not None:
        text += f", the model's own uncertainty {in_words(labels.uncertainty, unit)}"
    share, interval = labels.share, labels.interval()
    low, high = (share, share) if interval is None else interval
    between = "" if interval is None else f" [{100 * low:.2g}, {100 * high:.2g}]"
    text += (
        f". Averaging over O(3) would remove {100 * share:.2g} %{between} of the "
        f"{'Brier score' if channels > 1 else 'squared error'}: {verdict(low, high)}."
    )
    return text


def verdict(low: float, high: float) -> str:
    """Whether averaging is worth it, by both ends of the share of the squared error."""
    if high < _NOT_WORTH:
        return "not worth it"
    return "worth it" if low > _WORTH else "of some use"


@dataclasses.dataclass(frozen=True)
class AverageShare(Record):
    """The fraction of the squared error on labels that an average removes, at least."""

    average: Text
    share: float


@dataclasses.dataclass(frozen=True)
class OutputLabels(Record):
    """Entry of an output in ``labels`` of ``report.json``; derived, not read back.

    ``docs/report_schema.md`` lists the fields. Numbers are None if labels are not
    compared.
    """

    structures: Count
    rmse: float | None
    rmse_of_mean: float | None
    rmse_per_atom: float | None
    equivariance_error: float
    share: float | None
    interval: tuple[float, float] | None
    averages: tuple[AverageShare, ...]
    uncertainty: float | None
    fitted_constants: Count
    zero_apart: float
    other_unit: str
    sentence: Text


def labels_of_output(
    name: str, unit: str, labels: LabelErrors, channels: int = 1
) -> OutputLabels:
    """Errors of an output on labels, and what averages would remove of them."""
    used = labels.usable
    response = labels.response if used else None
    after = known_frontier(response)[1:] if response else ()
    return OutputLabels(
        structures=len(labels.sums),
        rmse=labels.error if used else None,
        rmse_of_mean=labels.error_of(mean=True) if used else None,
        rmse_per_atom=(
            labels.error_of(per_atom=True) if used and labels.divided else None
        ),
        equivariance_error=labels.equivariance_error(),
        share=labels.share if used else None,
        interval=labels.interval() if used else None,
        averages=tuple(
            AverageShare(one.average, labels.share_of_error(one.largest))
            for one in after
        ),
        uncertainty=labels.uncertainty,
        fitted_constants=labels.zero.constants,
        zero_apart=labels.zero.apart,
        other_unit=labels.other_unit,
        sentence=worth_sentence(name, unit, labels, channels),
    )
