"""What ``survey.json`` holds: all figures but those of single structures."""

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
    """A figure, with the interval that belongs to each question.

    Attributes:
      data: About this data set.
      population: About what it was drawn from.
    """

    data: _StoredInterval
    population: _StoredInterval


@dataclasses.dataclass(frozen=True)
class PartOfSurvey(Record):
    """A of the structures, or of the atoms, that have something in common.

    Attributes:
      name: What it is: an element, a number of atoms or a composition.
      structures: How many structures there are with it.
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
      unit: Of A and of the root mean square; empty for features.
      representation: Name of the representation.
      root_mean_square: Of a component.
      averages: A after an average over a group, as far as the turns tell it.
      A: The equivariance error.
      relative: A over the root mean square; None for an invariant output, above all an
        energy: where its zero lies is a convention.
      by_element: The same as ``A``, of the atoms of each element.
      by_size: Of structures by number of atoms.
      by_formula: Of the most frequent compositions.
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
      first: A when it was visited; among the largest, so likely too large.
      again: A on fresh elements.
      error: Standard error of ``again``; NaN with two turns.
    """

    label: str
    first: float
    again: float
    error: float


@dataclasses.dataclass(frozen=True)
class WorstStructures(Record):
    """The structures with the largest A of one output, on fresh elements."""

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
      command: What was typed; empty for surveys from Python.
      survey: How it was surveyed.
      max_degree: Largest projected degree.
      total: Structures of the data set, failed ones included.
      visited: Structures that were visited.
      rounds: Rounds of elements over the data set.
      reached: The relative half width of the widest interval of A; None where it was
        not asked for, and where so few structures do not tell it.
      stopped: Whether what was asked for has been reached.
      outputs: The outputs of the model first, then layers.
      worst: The worst structures.
      failed: Messages by label of structures that could not be measured.
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
