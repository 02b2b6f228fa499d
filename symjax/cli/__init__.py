"""The command line: one module for each command, and what they share.

A command is a function with typed options; ``guarded`` turns its exceptions into
messages and exit codes. Slow imports are inside commands, so that ``symjax --help``
answers at once.
"""

from symjax.cli import (
    averages,
    diagnose,
    export,
    html,
    label,
    models,
    report,
    stability,
    train,
)
from symjax.cli.application import (
    BAD_INPUT,
    EXIT_CODES,
    FAILED,
    INTERNAL,
    INTERRUPTED,
    OK,
    UNRESOLVED,
    app,
    guarded,
)
from symjax.cli.environment import interrupted
from symjax.cli.groups import Command, flat
from symjax.cli.streams import prepare_process

__all__ = [
    "BAD_INPUT",
    "FAILED",
    "INTERNAL",
    "INTERRUPTED",
    "OK",
    "UNRESOLVED",
    "app",
    "main",
]


for _name, _command in (
    ("report", report.report),
    ("html", html.html_page),
    ("averages", averages.averages),
    ("diagnose", diagnose.diagnose),
    ("models", models.models),
    ("import", models.import_model),
    ("export", export.export),
    ("train", train.train),
    ("label", label.label),
    ("stability", stability.stability),
):
    app.command(_name, cls=Command, epilog=EXIT_CODES)(guarded(flat(_command)))


def main() -> None:
    """Runs the command line; the entry point of the console script."""
    prepare_process()
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            interrupted.set()
        raise
