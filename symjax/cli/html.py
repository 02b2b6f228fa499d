"""``symjax html``: the page of an existing report."""

from pathlib import Path
from typing import Annotated

import typer

from symjax.cli.application import options_as_typed
from symjax.cli.inputs import check_new_file
from symjax.cli.options import Overwrite
from symjax.cli.streams import say


def html_page(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT", help="A report.json, or the folder that holds it."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write. Default: report.html beside the report.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Writes an existing report as one web page that needs no network."""
    from symjax.report import read_report
    from symjax.report.files import HTML_FILE
    from symjax.report.html import save_html

    with options_as_typed({"path": "REPORT", "output": "--output"}):
        result = read_report(source)
        folder = source if source.is_dir() else source.parent
        path = folder / HTML_FILE if output is None else output
        check_new_file("--output", path, overwrite)
        save_html(result, path)
    say(f"Wrote {path}", err=True)
