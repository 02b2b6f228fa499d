"""``symjax models`` and ``symjax import``: shipped models, and models of PyTorch."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from symjax.cli.application import options_as_typed
from symjax.cli.options import Overwrite
from symjax.cli.streams import say
from symjax.errors import ArgumentError


def models() -> None:
    """Lists the models that ship with symjax, with their model cards."""
    from symjax.models import load_model
    from symjax.models.io import shipped_models

    names = shipped_models()
    if not names:
        say("No model ships with this installation.")
        return
    lines = {name: dict(_model_lines(load_model(name))) for name in names}
    _print_table(
        "Models that ship with symjax",
        ["model", "knows", "outputs", "parameters"],
        [
            [
                name,
                pairs.pop("elements", "") or pairs.pop("detector", ""),
                pairs.pop("outputs", "") or pairs.pop("classes", ""),
                pairs.pop("parameters"),
            ]
            for name, pairs in lines.items()
        ],
    )
    for name, pairs in lines.items():
        say("")
        _print_table(f"Card of {name}", ["entry", "value"], pairs.items())


def import_model(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Checkpoint .ckpt or exported model .pt of metatrain's PET, or "
            "checkpoint of PoLAr-MAE, possibly compressed with gzip; or the name of a "
            "released model such as pet-mad-s or pet-mad-s@1.6.0. Import only files "
            "whose source you trust: an exported model is a program, which runs.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Folder to write the model into."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Name for reports. Default: that of the file."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Converts a PyTorch model to a folder that can be read without torch.

    Before writing, compares every output of a PET on a small crystal with metatrain's.
    Needs the extra symjax[torch]. Other commands take the same files as --model and
    import them automatically.
    """
    from symjax.interop.checkpoints import import_checkpoint
    from symjax.models.io import METADATA_FILE, fingerprint, save_model
    from symjax.models.loading import locate

    if (output / METADATA_FILE).exists() and not overwrite:
        raise ArgumentError(
            "--output",
            str(output),
            "holds a model already",
            "Choose another folder, or pass --overwrite",
        )
    names = dict.fromkeys(("path", "model"), "CHECKPOINT")
    with options_as_typed({**names, "folder": "--output"}):
        source = locate(checkpoint)
        if source.path.is_dir():
            raise ArgumentError(
                "CHECKPOINT",
                checkpoint,
                "is a folder; models in folders need no import",
                "Pass it to --model directly",
            )
        model = import_checkpoint(source.path, name or source.name)
        save_model(model, output)
    lines = [*_model_lines(model), ("fingerprint", fingerprint(model)[:16])]
    _print_table(f"Wrote {model.name} to {output}", ["entry", "value"], lines)


def _print_table(title: str, columns: list[str], rows: Any) -> None:
    """Prints a table of text that fits the terminal."""
    from symjax.report.layout import Table
    from symjax.report.table_cells import Row
    from symjax.report.tables import print_text

    print_text(
        Table(title, columns, list(map(Row, rows)), columns[1:]).text, sys.stdout
    )


def _model_lines(model: Any) -> list[tuple[str, str]]:
    """Properties of a model as names and texts."""
    import jax
    from ase.data import chemical_symbols

    from symjax.models.pointmae import PointMAEModel
    from symjax.models.pointmae.orbits import class_names

    config = model.config
    size = sum(leaf.size for leaf in jax.tree.leaves(model.parameters))
    if isinstance(model, PointMAEModel):
        lines = [
            ("detector", f"{config.detector_size} voxels a side"),
            ("classes", ", ".join(class_names(config)) or "none"),
            ("tokens", f"at most {config.context_length}"),
            ("parameters", f"{size:,}"),
        ]
        return lines + _card_lines(model.card)
    targets = [
        f"{target.name} [{target.unit}]" if target.unit else target.name
        for target in config.targets
    ]
    lines = [
        ("elements", " ".join(chemical_symbols[number] for number in config.species)),
        ("cutoff", f"{config.cutoff:g} angstrom"),
        ("outputs", ", ".join(targets)),
        ("parameters", f"{size:,}"),
    ]
    return lines + _card_lines(model.card)


def _card_lines(card: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Numbers and short texts of a model card, with dotted names."""
    lines = []
    for key, value in card.items():
        if isinstance(value, dict):
            lines += _card_lines(value, f"{prefix}{key}.")
        elif isinstance(value, float):
            lines.append((f"{prefix}{key}", f"{value:.4g}"))
        elif isinstance(value, int) or (isinstance(value, str) and len(value) < 20):
            lines.append((f"{prefix}{key}", str(value)))
    return lines
