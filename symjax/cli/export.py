"""``symjax export``: a model for where simulations run."""

from pathlib import Path
from typing import Annotated

import typer

from symjax.cli.application import Debug, Overwrite, options_as_typed
from symjax.errors import ArgumentError


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Folder of a model, or whatever else 'symjax report' takes as "
            "--model.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="File to write."),
    ],
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Writes a PET as a checkpoint of metatrain, for 'mtt export' and engines.

    Needs the extra symjax[torch]. The file is imported again, and every output of a
    small crystal compared with metatrain's, before it takes its name. What metatrain
    cannot hold, such as biases, is refused by name.
    """
    from symjax.interop.metatrain_export import save_metatrain
    from symjax.models import load_model

    if output.exists() and not overwrite:
        raise ArgumentError(
            "--output",
            str(output),
            "exists already",
            "Choose another file, or pass --overwrite",
        )
    with options_as_typed({"model": "MODEL"}):
        loaded = load_model(model)
    with options_as_typed({"model": "MODEL", "path": "--output"}):
        save_metatrain(loaded, output)
    typer.echo(f"Wrote {loaded.name} to {output}; 'mtt export {output}' goes on")
