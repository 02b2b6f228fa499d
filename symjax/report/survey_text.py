"""What a survey says of many structures: figures with intervals, and columns."""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from symjax._text import spreadsheet_safe, visible
from symjax.metrics import SampledResponse
from symjax.metrics.pooling import QUESTIONS, Interval, Pool
from symjax.metrics.problem import Output
from symjax.metrics.survey import Surveyed
from symjax.report.formats import format_value
from symjax.report.scales import is_invariant
from symjax.report.schema import ModelInfo, Software

SURVEY_SCHEMA = "symjax-survey/1"
"""Name and version of the format of ``survey.json``."""
LISTED = 10
"""The worst structures that are listed; twice as many are measured again."""
_SIZES, _FORMULAS = 6, 12


class Described(NamedTuple):
    """A structure, as pages show it.

    Attributes:
      formula: Its chemical formula.
      numbers: Atomic numbers.
      positions: In angstrom.
      cell: Cell vectors as rows, in angstrom.
      periodic: Along which of them it is periodic.
    """

    formula: str
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    periodic: np.ndarray


@dataclasses.dataclass(frozen=True)
class SurveyReport:
    """A survey with all that is shown of it.

    Attributes:
      software: What computed it.
      model: The model.
      found: Figures of the structures that were visited.
      outputs: What is known about the outputs and layers.
      structures: The visited structures by label.
      failed: Messages by label of those that could not be measured.
      total: Structures of the data set, failed ones included.
      max_degree: Largest projected degree.
      fresh: The worst structures on elements of their own, which never enter ``found``.
      command: What was typed.
    """

    software: Software
    model: ModelInfo
    found: Surveyed
    outputs: Mapping[str, Output]
    structures: Mapping[str, Described]
    failed: Mapping[str, str]
    total: int
    max_degree: int
    fresh: Pool | None = None
    command: str = ""

    @property
    def pool(self) -> Pool:
        """The sums of all visited structures."""
        return self.found.pool

    @property
    def responses(self) -> dict[str, SampledResponse]:
        """What averages leave of the outputs of the model."""
        return {
            name: self.pool.response(name, self.outputs[name].unit)
            for name in self.names
            if self.outputs[name].kind == "output"
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Outputs of the model first, then layers."""
        return tuple(
            sorted(self.pool.names, key=lambda n: self.outputs[n].kind != "output")
        )


def main_output(pool: Pool, outputs: Mapping[str, Output]) -> str:
    """The output by which structures are ranked: forces, or the first there is."""
    own = [name for name in pool.names if outputs[name].kind == "output"]
    return "forces" if "forces" in own else [*own, *pool.names][0]


def candidates(pool: Pool, outputs: Mapping[str, Output]) -> list[str]:
    """Labels of structures that are measured again: twice as many as are listed.

    Those that look worst were partly unlucky in their elements. On fresh ones the
    luck is gone, and their order is one of merit.
    """
    values = pool.by_item(main_output(pool, outputs))
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
    return [pool.labels[index] for index in order[: 2 * LISTED]]


class Worst(NamedTuple):
    """A structure with a large A.

    Attributes:
      label: Its name.
      first: A when it was visited; among the largest, so likely too large.
      again: A on fresh elements.
      error: Standard error of ``again``; NaN with two turns.
    """

    label: str
    first: float
    again: float
    error: float


def worst(report: SurveyReport) -> list[Worst]:
    """At most :data:`LISTED` structures with the largest A on fresh elements."""
    if report.fresh is None:
        return []
    name = main_output(report.pool, report.outputs)
    if name not in report.fresh.names:
        return []
    before = dict(zip(report.pool.labels, report.pool.by_item(name), strict=True))
    errors = report.fresh.by_item_errors(name)
    found = []
    for label, value, error in zip(
        report.fresh.labels, report.fresh.by_item(name), errors, strict=True
    ):
        again = signed_root(value)
        slope = error / (2 * abs(again)) if again else math.nan
        found.append(Worst(label, signed_root(before[label]), again, float(slope)))
    return sorted(found, key=lambda each: -each.again)[:LISTED]


def signed_root(value: float) -> float:
    """The root of an estimate of A^2; that of a negative one is negative."""
    return math.copysign(math.sqrt(abs(float(value))), float(value))


class Part(NamedTuple):
    """Structures of one size or composition.

    Attributes:
      name: What they have in common.
      select: Which ones.
    """

    name: str
    select: np.ndarray


def by_size(pool: Pool) -> list[Part]:
    """Structures by number of atoms, in at most six parts of about equal number."""
    edges = np.unique(np.quantile(pool.sizes, np.linspace(0, 1, _SIZES + 1)[1:]))
    parts, low = [], 0.0
    for edge in edges:
        select = (pool.sizes > low) & (pool.sizes <= edge)
        if select.any():
            least, most = pool.sizes[select].min(), pool.sizes[select].max()
            name = f"{least}" if least == most else f"{least} to {most}"
            parts.append(Part(name, select))
        low = edge
    return parts


def by_formula(report: SurveyReport) -> list[Part]:
    """Compositions of two structures or more, the twelve most frequent first."""
    formulas = np.array(
        [report.structures[label].formula for label in report.pool.labels]
    )
    names, counts = np.unique(formulas, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_FORMULAS]
    return [
        Part(str(names[index]), formulas == names[index])
        for index in order
        if counts[index] > 1
    ]


def headline(report: SurveyReport) -> str:
    """What was done and reached, in a sentence or two."""
    found, over = report.found, report.found.over
    visited = len(report.pool.labels)
    rounds = f", in {found.rounds} rounds" if found.rounds > 1 else ""
    text = (
        f"{visited:,} of {report.total:,} structures were visited, with {over.num} "
        f"elements of O(3) each{rounds}."
    )
    if (strata := len(report.pool.strata.totals)) > 1:
        text += f" They were drawn in proportion to {strata} strata."
    if report.failed:
        text += f" {len(report.failed):,} could not be measured."
    if over.until is None or found.reached is None:
        return text
    what = "this data set" if over.of == "data" else "its population"
    if found.stopped:
        return (
            f"{text} A of every output is known to {found.reached:.2%} for {what}; "
            f"{over.until:.2%} were asked for."
        )
    return (
        f"{text} The data ended before {over.until:.2%} were reached: A of every "
        f"output is known to {found.reached:.2%} for {what}."
    )


def show_interval(interval: Interval) -> str:
    """An interval in three significant digits: ``value [low, high]``."""
    low, high = format_value(interval.low), format_value(interval.high)
    return f"{format_value(interval.value)} [{low}, {high}]"


def size_ratio(report: SurveyReport, name: str) -> Interval | None:
    """A over the root mean square, where the zero of a response has a meaning.

    None for invariant outputs, energies above all.
    """
    output = report.outputs[name]
    irreps = [str(irrep) for irrep in output.representation.irreps]
    if output.kind == "output" and is_invariant(irreps):
        return None
    return report.pool.error(name, relative=True)


def survey_csv(report: SurveyReport) -> str:
    """A of every output by structure, as columns.

    The square of A is unbiased and may be negative: its root has its sign then.
    """
    pool, text = report.pool, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [name for name in report.names if report.outputs[name].kind == "output"]
    writer.writerow(
        ["structure", "formula", "atoms"]
        + [visible(f"A of {name} ({report.outputs[name].unit})") for name in names]
        + [visible(f"A^2 of {name}, standard error") for name in names]
    )
    values = [pool.by_item(name) for name in names]
    errors = [pool.by_item_errors(name) for name in names]
    for index, label in enumerate(pool.labels):
        writer.writerow(
            [
                spreadsheet_safe(label),
                report.structures[label].formula,
                int(pool.sizes[index]),
                *(repr(signed_root(column[index])) for column in values),
                *(repr(float(column[index])) for column in errors),
            ]
        )
    return text.getvalue()


def survey_json(report: SurveyReport) -> dict[str, Any]:
    """All figures of a survey but those of single structures; None is not finite."""
    found, pool = report.found, report.pool
    return {
        "schema": SURVEY_SCHEMA,
        "software": dataclasses.asdict(report.software),
        "model": dataclasses.asdict(report.model),
        "command": report.command,
        "survey": dataclasses.asdict(found.over),
        "max_degree": report.max_degree,
        "total": report.total,
        "visited": len(pool.labels),
        "rounds": found.rounds,
        "reached": found.reached,
        "stopped": found.stopped,
        "outputs": [_output_json(report, name) for name in report.names],
        "worst": {
            "output": main_output(pool, report.outputs),
            "structures": [
                {key: _number(value) for key, value in each._asdict().items()}
                for each in worst(report)
            ],
        },
        "failed": dict(report.failed),
    }


def _output_json(report: SurveyReport, name: str) -> dict[str, Any]:
    pool, output = report.pool, report.outputs[name]
    content = []
    for degree in range(report.max_degree + 1):
        for sigma in (1, -1):
            intervals = {
                of: _interval(pool.content(name, degree, sigma, of=of))
                for of in QUESTIONS
            }
            content.append({"degree": degree, "sigma": sigma, **intervals})

    def errors(**which: Any) -> dict[str, Any]:
        return {of: _interval(pool.error(name, of=of, **which)) for of in QUESTIONS}

    return {
        "name": name,
        "kind": output.kind,
        "unit": output.unit,
        "representation": output.representation.name,
        "root_mean_square": pool.root_mean_square(name),
        "averages": {average: errors(group=average) for average in pool.averages(name)},
        "A": errors(),
        "relative": errors(relative=True),
        "by_element": {
            chemical_symbols[group]: errors(group=group) for group in pool.groups(name)
        },
        "by_size": [
            {"atoms": part.name, **errors(select=part.select)} for part in by_size(pool)
        ],
        "by_formula": [
            {"formula": part.name, **errors(select=part.select)}
            for part in by_formula(report)
        ],
        "content": content,
    }


def _interval(interval: Interval) -> dict[str, Any]:
    return {key: _number(value) for key, value in interval._asdict().items()}


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


__all__ = ["Described", "SurveyReport", "survey_csv", "survey_json"]
