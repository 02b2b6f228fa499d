"""Results of a survey: figures with intervals, and columns."""

import csv
import dataclasses
import functools
import io
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from symjax._text import spreadsheet_safe, visible
from symjax.metrics import SampledResponse
from symjax.metrics.pooling import QUESTIONS, Pool
from symjax.metrics.problem import Output
from symjax.metrics.survey import Surveyed
from symjax.report.scales import is_invariant
from symjax.report.schema import ModelInfo, Software
from symjax.report.survey_schema import (
    Answers,
    PartOfSurvey,
    SectorContent,
    SurveyedOutput,
    SurveyFile,
    Worst,
    WorstStructures,
)

LISTED = 10
"""Number of worst structures that are listed; twice as many are measured again."""
_SIZES, _FORMULAS = 6, 12
_SIGNS: tuple[Literal[1, -1], ...] = (1, -1)


class Described(NamedTuple):
    """A structure, as it is drawn on pages.

    Attributes:
      formula: Its chemical formula.
      numbers: Atomic numbers.
      positions: In angstrom.
      cell: Cell vectors as rows, in angstrom.
      periodic: Which of them are periodic directions.
    """

    formula: str
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    periodic: np.ndarray


@dataclasses.dataclass(frozen=True)
class SurveyReport:
    """A survey with everything that files, tables and page show.

    Attributes:
      software: What computed it.
      model: The model.
      found: Figures of the structures that were visited.
      outputs: Description of the outputs and layers, by name.
      structures: The visited structures, by label.
      failed: Error messages of structures that could not be measured, by label.
      total: Number of structures of the data set, including failed ones.
      max_degree: Largest projected degree.
      fresh: The worst structures on new random elements, which do not enter ``found``;
        None if they were not measured again.
      command: The command line; empty for surveys made from Python.
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
        """Estimates of A after averages, for the outputs of the model."""
        return {
            name: self.pool.response(name, self.outputs[name].unit) for name in self.own
        }

    @property
    def force_sizes(self) -> np.ndarray | None:
        """Root-mean-square force of every structure; None without forces."""
        if "forces" not in self.pool.names:
            return None
        part = self.pool.columns["forces", 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            sizes: np.ndarray = np.sqrt(np.maximum(part.values[:, 1], 0) / part.count)
        return sizes

    @property
    def own(self) -> list[str]:
        """Names of the outputs of the model, without layers."""
        return [name for name in self.names if self.outputs[name].kind == "output"]

    @functools.cached_property
    def file(self) -> SurveyFile:
        """The contents of ``survey.json``, which tables and page show."""
        found, pool = self.found, self.pool
        ranked = main_output(pool, self.outputs)
        return SurveyFile(
            schema="symjax-survey/1",
            software=self.software,
            model=self.model,
            command=self.command,
            survey=found.over,
            max_degree=self.max_degree,
            total=self.total,
            visited=len(pool.labels),
            rounds=found.rounds,
            reached=None if found.reached in (None, math.inf) else found.reached,
            stopped=found.stopped,
            outputs=tuple(_surveyed(self, name) for name in self.names),
            worst=WorstStructures(ranked, tuple(worst(self))),
            failed=self.failed,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs of the model, followed by layers."""
        return tuple(
            sorted(self.pool.names, key=lambda n: self.outputs[n].kind != "output")
        )


def main_output(pool: Pool, outputs: Mapping[str, Output]) -> str:
    """The output by which structures are ranked: forces, or else the first."""
    own = [name for name in pool.names if outputs[name].kind == "output"]
    return "forces" if "forces" in own else [*own, *pool.names][0]


def candidates(pool: Pool, outputs: Mapping[str, Output]) -> list[str]:
    """Labels of structures that are measured again: twice as many as are listed.

    The largest estimates are partly chance, which new random elements remove.
    """
    values = pool.by_item(main_output(pool, outputs))
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
    return [pool.labels[index] for index in order[: 2 * LISTED]]


def worst(report: SurveyReport) -> list[Worst]:
    """At most :data:`LISTED` structures with the largest A on new random elements."""
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
    """The square root of an estimate of A^2, with the sign of the estimate."""
    return math.copysign(math.sqrt(abs(float(value))), float(value))


def _surveyed(report: SurveyReport, name: str) -> SurveyedOutput:
    """The figures of one output."""
    pool, output = report.pool, report.outputs[name]

    def error(**which: Any) -> Answers:
        return Answers(*(pool.error(name, of=of, **which) for of in QUESTIONS))

    def part(title: str, select: np.ndarray) -> PartOfSurvey:
        return PartOfSurvey(title, int(select.sum()), error(select=select))

    def element(number: int) -> PartOfSurvey:
        num = int((pool.columns[name, number].count > 0).sum())
        return PartOfSurvey(chemical_symbols[number], num, error(group=number))

    def sector(degree: int, sigma: Literal[1, -1]) -> SectorContent:
        found = (pool.content(name, degree, sigma, of=of) for of in QUESTIONS)
        return SectorContent(degree, sigma, Answers(*found))

    irreps = [str(irrep) for irrep in output.representation.irreps]
    compares = output.kind != "output" or not is_invariant(irreps)
    return SurveyedOutput(
        name=name,
        kind=output.kind,
        unit=output.unit,
        representation=output.representation.name,
        root_mean_square=pool.root_mean_square(name),
        averages={group: error(group=group) for group in pool.averages(name)},
        A=error(),
        relative=error(relative=True) if compares else None,
        by_element=tuple(map(element, pool.groups(name))),
        by_size=tuple(part(*found) for found in by_size(pool)),
        by_formula=tuple(part(*found) for found in _by_formula(report)),
        content=tuple(
            sector(degree, sigma)
            for degree in range(report.max_degree + 1)
            for sigma in _SIGNS
        ),
    )


def by_size(pool: Pool) -> Iterator[tuple[str, np.ndarray]]:
    """Structures by number of atoms, in at most six groups of about equal size.

    Yields:
      The numbers of atoms, such as ``"3 to 5"``, and a mask of the structures.
    """
    edges = np.unique(np.quantile(pool.sizes, np.linspace(0, 1, _SIZES + 1)[1:]))
    low = 0.0
    for edge in edges:
        select = (pool.sizes > low) & (pool.sizes <= edge)
        if select.any():
            least, most = pool.sizes[select].min(), pool.sizes[select].max()
            yield f"{least}" if least == most else f"{least} to {most}", select
        low = edge


def _by_formula(report: SurveyReport) -> Iterator[tuple[str, np.ndarray]]:
    """The twelve most frequent compositions that two or more structures have."""
    formulas = np.array(
        [report.structures[label].formula for label in report.pool.labels]
    )
    names, counts = np.unique(formulas, return_counts=True)
    for index in np.argsort(-counts, kind="stable")[:_FORMULAS]:
        if counts[index] > 1:
            yield str(names[index]), formulas == names[index]


def headline(report: SurveyReport) -> str:
    """What was measured and which accuracy was reached, in a sentence or two."""
    found, over = report.found, report.found.over
    visited = len(report.pool.labels)
    rounds = f", in {found.rounds} rounds" if found.rounds > 1 else ""
    text = (
        f"{visited:,} of {report.total:,} structures were visited, with {over.num} "
        f"elements of O(3) each{rounds}."
    )
    if (strata := len(report.pool.strata.totals)) > 1:
        text += f" They were drawn in proportion to the sizes of {strata} strata."
    if report.failed:
        text += f" {len(report.failed):,} could not be measured."
    if over.until is None or found.reached is None:
        return text
    subject = "this data set" if over.of == "data" else "its population"
    if found.stopped:
        return (
            f"{text} A of every output is known to {found.reached:.2%} for {subject}; "
            f"{over.until:.2%} was requested."
        )
    text += f" The data ended before {over.until:.2%} was reached: "
    if math.isinf(found.reached):
        return f"{text}too few structures to say how well A is known for {subject}."
    return f"{text}A of every output is known to {found.reached:.2%} for {subject}."


def survey_csv(report: SurveyReport) -> str:
    """A of every output by structure, as text with comma-separated columns.

    The estimate of A^2 is unbiased and may be negative; A then has a negative sign. The
    standard errors are those of A^2.
    """
    pool, text = report.pool, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = report.own
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
