"""``symjax report --survey``: averages over structures from few elements each."""

import contextlib
import enum
import functools
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from symjax.cli.application import (
    ABOVE_LIMIT,
    FAILED,
    is_typed,
    option_names,
    options_as_typed,
)
from symjax.cli.averages import choose_average
from symjax.cli.report_options import SurveyOptions
from symjax.cli.streams import say
from symjax.errors import ArgumentError

if TYPE_CHECKING:
    from symjax.data.limits import Limit
    from symjax.metrics import Survey
    from symjax.runs import Destination
    from symjax.runs.survey_run import SurveyProgress

# Seconds between two lines of progress in a log.
_PACE = 10.0
# Options that do not apply to surveys, and those that only surveys have.
_OF_GRIDS = (
    *("grid", "samples", "symmetry", "tolerance", "memory", "laws", "fail_above"),
    *("figures", "figure_format", "page", "estimate", "jobs", "devices", "scheduler"),
)
_OF_SURVEYS = ("until", "of", "turn", "chemiscope", "strata")


def check_survey(context: typer.Context) -> "Survey | None":
    """Settings of the survey, or None without one; refuses options without effect."""
    given, names = context.params, option_names(context)
    sampled = given["samples"] or (given["calculator"] and given["grid"] is None)
    for name in _OF_GRIDS if given["survey"] is not None else _OF_SURVEYS:
        if not is_typed(context, name) or (name == "turn" and sampled):
            continue
        value = given[name]
        problem = "only applies if structures are resolved one by one"
        remedy = f"Leave out {names[name]}, or --survey"
        if given["survey"] is None:
            or_samples = " or --samples" if name == "turn" else ""
            problem = f"has no effect without --survey{or_samples}"
            remedy = "Pass --survey 16, for instance"
        raise ArgumentError(
            names[name],
            value.value if isinstance(value, enum.Enum) else value,
            problem,
            remedy,
        )
    if given["survey"] is None:
        return None
    from symjax.metrics import Survey

    until = None if given["until"] is None else _fraction(given["until"])
    with options_as_typed(names | {"num": "--survey", "name": "--turn"}):
        return Survey(given["survey"], given["turn"], until=until, of=str(given["of"]))


def _fraction(text: str) -> float:
    """Reads a fraction such as ``1%`` or ``0.01``."""
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
    model: Any,
    found: Any,
    over: "Survey",
    chosen: SurveyOptions,
    into: "Destination",
    options: Any,
    aims: "list[Limit]",
) -> None:
    """Surveys, prints the tables, and exits with a code if something is wrong."""
    from symjax.report.chemiscope import find_chemiscope, write_chemiscope
    from symjax.report.files import SURVEY_CHEMISCOPE
    from symjax.report.survey_tables import survey_tables
    from symjax.report.tables import print_text
    from symjax.runs import survey_structures

    names = {"output": "--output", "structures": "TARGET", "model": "--model"}
    names |= {"layers": "--layers", "energy": "--energy", "until": "--until"}
    names |= {"chemiscope": "--chemiscope"}
    if chosen.chemiscope:
        # Before hours of evaluations: it may not be installed.
        with options_as_typed(names):
            find_chemiscope()
    strata = chosen.strata
    try:
        with options_as_typed(names), _progress() as watch:
            report = survey_structures(
                *(model, found.structures, over, into),
                options=options,
                unreadable=found.unreadable,
                groups=None if strata is None else strata.groups(found.structures),
                watch=watch,
            )
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"Interrupted. What was measured is kept in {into.path}; to continue, run "
            "the same command with --resume."
        ) from error
    if chosen.chemiscope:
        write_chemiscope(report, into.path / SURVEY_CHEMISCOPE)
    print_text(functools.partial(survey_tables, report), sys.stdout)
    say(
        f"Wrote survey.json, survey.csv, survey.txt and survey.html in {into.path}",
        err=True,
    )
    enough = True
    if aims:
        text, average = choose_average(report.responses, aims)
        enough = average is not None
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
