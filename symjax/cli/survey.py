"""``symjax report --survey``: averages over structures from few elements each."""

import functools
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from symjax._signals import interruptions
from symjax.cli.application import (
    ABOVE_LIMIT,
    FAILED,
    option_names,
    options_as_typed,
    refuse_typed,
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
_OF_SURVEYS = ("until", "of", "chemiscope", "strata")


def check_survey(context: typer.Context) -> "Survey | None":
    """Settings of the survey, or None without one; refuses options without effect."""
    given, names = context.params, option_names(context)
    if given["survey"] is None:
        problem, remedy = "has no effect without --survey", "Pass --survey 16"
        refuse_typed(context, _OF_SURVEYS, problem, f"{remedy}, for instance")
        if not given["samples"] and (not given["calculator"] or given["grid"]):
            problem += " or --samples"
            refuse_typed(context, ["turn"], problem, f"{remedy}, for instance")
        return None
    problem = "only applies if structures are resolved one by one"
    refuse_typed(context, _OF_GRIDS, problem, "Leave out this option, or --survey")
    from symjax.metrics import Survey

    until = None if given["until"] is None else _fraction(given["until"])
    with options_as_typed(names | {"num": "--survey", "name": "--turn"}):
        return Survey(given["survey"], given["turn"], until=until, of=given["of"])


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
    try:
        with options_as_typed(names), interruptions():
            report = survey_structures(
                *(model, found.structures, over, into),
                options=options,
                unreadable=found.unreadable,
                groups=chosen.groups(found.structures),
                watch=_progress(),
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


def _progress() -> "Callable[[SurveyProgress], None]":
    """Writes a line every few seconds, and at the end of a round."""
    start = last = time.monotonic()

    def watch(step: "SurveyProgress") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _PACE and step.visited < step.total:
            return
        last = now
        text = f"{step.visited:,}/{step.total:,} structures, {now - start:.0f} s"
        say(text if not step.number else f"{text} (new elements)", err=True)

    return watch
