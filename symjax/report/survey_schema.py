"""What ``survey.json`` holds: all figures except those of single structures."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from symjax.metrics.pooling import Interval
from symjax.metrics.problem import Kind
from symjax.metrics.survey import Survey
from symjax.report.schema import ModelInfo, Software
from symjax.report.stored import (
    Count,
    OrInfinite,
    OrUnknown,
    Positive,
    Record,
    Size,
    Stored,
    Text,
)

_StoredInterval = Annotated[
    Interval,
    Stored(
        {
            **dict.fromkeys(("value", "low"), OrUnknown),
            **dict.fromkeys(("high", "error"), OrInfinite),
        }
    ),
]


@dataclasses.dataclass(frozen=True)
class Answers(Record):
    """A figure with an interval for each of two questions.

    Attributes:
      data: Interval for the value over this data set.
      population: Interval for the value over the population it was drawn from.
    """

    data: _StoredInterval
    population: _StoredInterval


@dataclasses.dataclass(frozen=True)
class PartOfSurvey(Record):
    """A of the structures, or of the atoms, that have something in common.

    Attributes:
      name: What they have in common: an element, a number of atoms or a composition.
      structures: Number of structures that have it.
      A: Their equivariance error.
    """

    name: Text
    structures: Count
    A: Answers


@dataclasses.dataclass(frozen=True)
class SectorContent(Record):
    """The content B of a sector."""

    degree: Count
    sigma: Literal[1, -1]
    B: Answers


@dataclasses.dataclass(frozen=True)
class SurveyedOutput(Record):
    """One output or layer over all structures that were visited.

    Attributes:
      name: Its name.
      kind: As in :class:`~symjax.report.Leaf`.
      unit: Unit of A and of the root mean square; empty for features.
      representation: Name of the representation.
      root_mean_square: Root mean square of a component.
      averages: A after the average over a group, for those groups whose elements the
        random rotations were drawn with (:class:`symjax.metrics.Survey`).
      A: The equivariance error.
      relative: A over the root mean square; None for an invariant output, such as an
        energy, whose zero is a convention.
      by_element: A of the atoms of each element.
      by_size: A of structures by number of atoms.
      by_formula: A of the most frequent compositions.
      content: B of every sector.
    """

    name: Text
    kind: Kind
    unit: str
    representation: str
    root_mean_square: Size
    averages: Mapping[str, Answers]
    A: Answers
    relative: Answers | None
    by_element: tuple[PartOfSurvey, ...]
    by_size: tuple[PartOfSurvey, ...]
    by_formula: tuple[PartOfSurvey, ...]
    content: tuple[SectorContent, ...]


class Worst(NamedTuple):
    """A structure with a large A.

    Attributes:
      label: Its name.
      first: A when it was visited; biased upwards, as it is among the largest.
      again: A on new random elements.
      error: Standard error of ``again``; NaN if there are too few elements.
    """

    label: str
    first: float
    again: float
    error: float


@dataclasses.dataclass(frozen=True)
class WorstStructures(Record):
    """The structures with the largest A of one output, on new random elements.

    Attributes:
      output: The output.
      structures: The structures, the largest ``again`` first.
    """

    output: Text
    structures: tuple[
        Annotated[Worst, Stored({"label": Text, "error": OrUnknown})], ...
    ]


@dataclasses.dataclass(frozen=True)
class SurveyFile(Record):
    """What ``survey.json`` holds.

    Attributes:
      schema: Name and version of the format.
      software: What computed it.
      model: The model.
      command: The command line; empty for surveys made from Python.
      survey: How elements and structures were drawn.
      max_degree: Largest projected degree.
      total: Number of structures of the data set, including failed ones.
      visited: Number of structures that were visited.
      rounds: Number of passes over the data set, each with new elements.
      reached: The largest relative half width of the intervals of A; None if no
        accuracy was requested, or if too few structures were visited to know it.
      stopped: Whether the requested accuracy has been reached.
      outputs: The outputs of the model, followed by layers.
      worst: The worst structures.
      failed: Error messages of structures that could not be measured, by label.
    """

    schema: Literal["symjax-survey/1"]
    software: Software
    model: ModelInfo
    command: Text
    survey: Annotated[Survey, Stored()]
    max_degree: Count
    total: Count
    visited: Positive
    rounds: Positive
    reached: Size | None
    stopped: bool
    outputs: tuple[SurveyedOutput, ...]
    worst: WorstStructures
    failed: Mapping[Text, Text]
