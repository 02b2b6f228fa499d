"""``symjax report --survey``: averages over many structures, of few elements each."""

import contextlib
import enum
import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from symjax.cli.application import (
    ABOVE_LIMIT,
    FAILED,
    command_line,
    is_typed,
    options_as_typed,
)
from symjax.cli.averages import choose_average
from symjax.cli.streams import say
from symjax.errors import ArgumentError

if TYPE_CHECKING:
    import ase

    from symjax.data.limits import Limit
    from symjax.metrics import Groups, Survey
    from symjax.runs.survey_run import SurveyProgress

# Seconds between two lines of progress in a log.
_PACE = 10.0
_OF_GRIDS = {
    "grid": "--grid",
    "samples": "--samples",
    "symmetry": "--symmetry",
    "tolerance": "--tolerance",
    "memory": "--memory",
    "figure_format": "--figure-format",
    "figures": "--figures",
    "page": "--html",
    "estimate": "--estimate",
    "jobs": "--jobs",
    "devices": "--devices",
    "scheduler": "--scheduler",
    "fail_above": "--fail-above",
    "laws": "--laws",
}
_OF_SURVEYS = {"until": "--until", "of": "--of", "turn": "--turn"}
_OF_SURVEYS |= {"chemiscope": "--chemiscope", "strata": "--strata"}


class Question(enum.StrEnum):
    """What an interval is about."""

    DATA = "data"
    POPULATION = "population"


class Kind(enum.StrEnum):
    """What structures of a stratum have in common."""

    FORMULA = "formula"
    SIZE = "size"

    def groups(self, structures: "Mapping[str, ase.Atoms]") -> "Groups":
        """The stratum of every structure."""
        from symjax.metrics import Groups

        def of(atoms: "ase.Atoms") -> object:
            return len(atoms) if self is Kind.SIZE else atoms.get_chemical_formula()

        return Groups({label: of(atoms) for label, atoms in structures.items()})


def check_survey(context: typer.Context) -> "Survey | None":
    """How to survey, or None if that is not asked for; refuses options of no use."""
    given = context.params
    wrong = _OF_GRIDS if given["survey"] is not None else _OF_SURVEYS
    for name, option in wrong.items():
        if not is_typed(context, name):
            continue
        sampled = given["samples"] or (given["calculator"] and given["grid"] is None)
        if name == "turn" and sampled:
            continue
        remedy = (
            f"Leave out {option}, or --survey"
            if given["survey"] is not None
            else "Pass --survey 16, for instance"
        )
        raise ArgumentError(
            option,
            value.value if isinstance(value := given[name], enum.Enum) else value,
            "is for structures that are resolved one by one"
            if given["survey"] is not None
            else "is of no use without --survey"
            + (" or --samples" if name == "turn" else ""),
            remedy,
        )
    if given["survey"] is None:
        return None
    from symjax.metrics import Survey

    until = None if given["until"] is None else _fraction(given["until"])
    names = {"num": "--survey", "turn": "--turn", "until": "--until", "name": "--turn"}
    with options_as_typed(names):
        return Survey(given["survey"], given["turn"], until=until, of=str(given["of"]))


def _fraction(text: str) -> float:
    """1 % of ``1%`` and ``0.01``."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if rest or not 0 < value < 1:
        raise ArgumentError(
            "--until", text, "is not between 0 and 100 %", "Pass 1%, for instance"
        )
    return value


def run_survey(
    context: typer.Context,
    model: Any,
    found: Any,
    over: "Survey",
    options: Any,
    aims: "list[Limit]",
) -> None:
    """Surveys, prints the tables, and exits with 1 where structures failed."""
    from symjax.report.survey_tables import survey_tables
    from symjax.report.tables import print_text
    from symjax.runs import Destination, survey_structures

    output: Path = context.params["output"]
    existing = context.params["resume"], context.params["overwrite"]
    into = Destination(output, *existing, command_line(context))
    names = {"output": "--output", "structures": "TARGET", "model": "--model"}
    names |= {"layers": "--layers", "energy": "--energy", "until": "--until"}
    names |= {"chemiscope": "--chemiscope"}
    strata: Kind | None = context.params["strata"]
    try:
        with options_as_typed(names), _progress() as watch:
            report = survey_structures(
                *(model, found.structures, over, into),
                options=options,
                unreadable=found.unreadable,
                groups=None if strata is None else strata.groups(found.structures),
                chemiscope=context.params["chemiscope"],
                watch=watch,
            )
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"Interrupted. What was measured is kept in {output}; to continue, run the "
            "same command with --resume."
        ) from error
    print_text(functools.partial(survey_tables, report), sys.stdout)
    say(
        f"Wrote survey.json, survey.csv, survey.txt and survey.html in {output}",
        err=True,
    )
    enough = True
    if aims:
        text, chosen = choose_average(report.responses, aims)
        enough = chosen is not None
        say(text)
    if report.failed:
        raise typer.Exit(FAILED)
    if not enough:
        raise typer.Exit(ABOVE_LIMIT)


@contextlib.contextmanager
def _progress() -> "Iterator[Callable[[SurveyProgress], None]]":
    """A line every few seconds, and at the end of a round."""
    start = last = time.monotonic()

    def watch(step: "SurveyProgress") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _PACE and step.visited < step.total:
            return
        last = now
        text = f"{step.visited:,}/{step.total:,} structures, {now - start:.0f} s"
        say(text if not step.number else f"{text} (new elements)", err=True)

    yield watch
