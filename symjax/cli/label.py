"""``symjax label``: tensor labels of molecules, calculated by public codes."""

import time
from pathlib import Path
from typing import Annotated

import typer

from symjax.cli.application import is_typed, options_as_typed, refuse_typed
from symjax.cli.groups import Group
from symjax.cli.inputs import find_structures
from symjax.cli.options import Frames, Molecules
from symjax.cli.streams import say


class Perturbations(Group, panel="Perturbed structures"):
    """Structures with random displacements."""

    num: Annotated[
        int | None,
        typer.Option(
            help="Number of perturbed structures to draw. Default: label the "
            "structures unchanged.",
            show_default=False,
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="Seed of the perturbations.")] = 0
    amplitude: Annotated[
        float,
        typer.Option(
            metavar="ANGSTROM",
            help="With --num: standard deviation of each displacement component.",
        ),
    ] = 0.05


class Calculated(Group, panel="Labels"):
    """Which labels are calculated."""

    moments: Annotated[
        bool,
        typer.Option(help="Energy, forces, dipole and quadrupole by GFN2-xTB."),
    ] = True
    polarizability: Annotated[
        bool, typer.Option(help="Polarizability by GFN2-xTB; needs the moments.")
    ] = True
    density: Annotated[
        bool, typer.Option(help="Coefficients of the electron density by RHF/def2-SVP.")
    ] = True


def label(
    context: typer.Context,
    target: Molecules,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Extended XYZ file to write."
        ),
    ],
    drawn: Perturbations,
    calculated: Calculated,
    skip_failures: Annotated[
        bool,
        typer.Option(
            "--skip-failures", help="Leave out structures that cannot be labelled."
        ),
    ] = False,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Stop after this time; run the same command again to continue.",
            show_default=False,
        ),
    ] = None,
    frames: Frames = None,
) -> None:
    """Calculates tensor labels of molecules and writes them to one file.

    Needs the extra symjax[data]. An interrupted run continues when the same command
    is run again. The last line is the SHA-256 digest of the file.
    """
    from symjax.labels import LabelSettings, perturbed, write_labels

    start = time.monotonic()

    def report(done: int, total: int) -> bool:
        seconds = time.monotonic() - start
        say(f"{done:6d} of {total} structures, {seconds:.0f} s", err=True)
        return max_seconds is not None and seconds > max_seconds

    found = find_structures(target, frames)
    for label, error in found.unreadable.items():
        if not skip_failures:
            raise error
        say(f"{label}: FAILED: {error}", err=True)
    structures = [*found.structures.values()]
    names = {
        name: f"--{name}"
        for name in ("num", "seed", "amplitude", "moments", "polarizability")
    }
    if drawn.num is None:
        problem = "has no effect without --num"
        refuse_typed(context, ("seed", "amplitude"), problem, "Pass both, or none")
    moments, polarizability = calculated.moments, calculated.polarizability
    if not moments and not is_typed(context, "polarizability"):
        polarizability = False
    with options_as_typed({**names, "path": "--output", "structures": "TARGET"}):
        if drawn.num is not None:
            structures = perturbed(
                structures, drawn.num, drawn.seed, amplitude=drawn.amplitude
            )
        settings = LabelSettings(moments, polarizability, calculated.density)
        digest = write_labels(
            output, structures, settings, skip_failures=skip_failures, report=report
        )
    if digest is None:
        say("Not complete: run the same command again to continue")
    else:
        say(f"sha256 {digest}  {output.name}")
