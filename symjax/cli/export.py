"""``symjax export``: a model for simulation codes."""

from pathlib import Path
from typing import Annotated

import typer

from symjax.cli.application import options_as_typed, refuse_typed
from symjax.cli.environment import configure_jax
from symjax.cli.groups import Group
from symjax.cli.inputs import check_new_file
from symjax.cli.options import Dtype, Overwrite
from symjax.cli.streams import say


class Compiled(Group, panel="Compiled function"):
    """A compiled function instead of a checkpoint."""

    stablehlo: Annotated[
        bool,
        typer.Option(
            "--stablehlo",
            help="Write a compiled function, which only needs JAX to run, instead of a "
            "checkpoint of metatrain.",
        ),
    ] = False
    average: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP|'haar DEGREE'|'frames NUMBER'",
            help="With --stablehlo: average over a finite group such as O or Oh, a "
            "grid, or frames of the structure.",
            show_default=False,
        ),
    ] = None
    dtype: Annotated[
        Dtype,
        typer.Option(help="With --stablehlo: floating-point type of the function."),
    ] = "float32"
    energy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --stablehlo: target whose derivatives are forces and stress, "
            "such as energy/pbe. Default: energy, or its only variant.",
            show_default=False,
        ),
    ] = None


def export(
    context: typer.Context,
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
    compiled: Compiled,
    overwrite: Overwrite = False,
) -> None:
    """Writes a PET for simulations: a checkpoint of metatrain, or a compiled function.

    The checkpoint is for 'mtt export' and 'mtt train', and needs the extra
    symjax[torch]. Before the file gets its name, it is imported again, and every output
    on a small crystal is compared with metatrain's. Parts of a model that metatrain
    does not have, such as biases, are refused by name.

    With --stablehlo, writes the serialised function of jax.export: outputs, forces and
    stress from any number of atoms and neighbors, with all parameters. Needs
    symjax[export].
    """
    stablehlo, dtype = compiled.stablehlo, compiled.dtype
    options = ("average", "dtype", "energy")
    if not stablehlo:
        problem = "has no effect without --stablehlo"
        refuse_typed(context, options, problem, "Pass both, or none")
    check_new_file("--output", output, overwrite)
    configure_jax(dtype == "float64", compile_cache=False)

    from symjax.interop.metatrain_export import save_metatrain
    from symjax.interop.stablehlo import save_stablehlo
    from symjax.models import load_model

    with options_as_typed({"model": "MODEL", "path": "MODEL"}):
        loaded = load_model(model)
    names = {"model": "MODEL", "path": "--output"}
    names |= {name: f"--{name}" for name in options}
    with options_as_typed(names):
        if stablehlo:
            save_stablehlo(
                *(loaded, output),
                average=compiled.average,
                dtype=dtype,
                energy=compiled.energy,
            )
        else:
            save_metatrain(loaded, output)
    if stablehlo:
        config = loaded.config
        say(
            f"Wrote {loaded.name} to {output}: give it all pairs within "
            f"{config.cutoff:g} angstrom, in {dtype}"
        )
    else:
        say(f"Wrote {loaded.name} to {output}; continue with 'mtt export {output}'")
