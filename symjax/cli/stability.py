"""``symjax stability``: effects on dynamics, relaxations and normal modes."""

from typing import Annotated, Any

import typer

from symjax.cli.environment import configure_jax
from symjax.cli.groups import Group
from symjax.cli.inputs import structures_of
from symjax.cli.options import (
    CompileCache,
    Frames,
    JsonFile,
    ModelOptions,
    Molecules,
)
from symjax.cli.presenting import print_figures
from symjax.errors import ArgumentError


class Simulations(Group, panel="Simulations"):
    """Which simulations are run."""

    steps: Annotated[
        int,
        typer.Option(help="Number of molecular dynamics steps of 0.5 fs; 0 for none."),
    ] = 200
    temperature: Annotated[
        float,
        typer.Option(metavar="KELVIN", help="Temperature of the initial momenta."),
    ] = 300.0
    orientations: Annotated[
        int,
        typer.Option(
            help="Number of random orientations to relax the molecule from; 0 for none."
        ),
    ] = 6
    modes: Annotated[
        bool,
        typer.Option(
            "--modes",
            help="Also calculate normal modes; the molecule should be relaxed.",
        ),
    ] = False
    seed: Annotated[int, typer.Option(help="Seed of momenta and orientations.")] = 0


def stability(
    target: Molecules,
    source: ModelOptions,
    simulations: Simulations,
    written: JsonFile,
    average: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP|DEGREE",
            help="Average every evaluation over a finite group such as O, or over a "
            "grid of this degree.",
            show_default=False,
        ),
    ] = None,
    frames: Frames = None,
    compile_cache: CompileCache = True,
) -> None:
    """Simulates molecules and measures the effects of broken rotational symmetry.

    Dynamics should conserve energy and angular momentum, relaxations should end in the
    same structure from every orientation, and modes that symmetry makes degenerate
    should have equal frequencies. Runs in float64, so that only the model breaks
    symmetry.
    """
    written.check()
    source.check()
    structures = structures_of(target, frames)
    configure_jax(True, compile_cache)

    from scipy.spatial.transform import Rotation

    from symjax.interop import AveragedCalculator
    from symjax.interop.law_checks import LawChecks
    from symjax.stability import (
        StabilityFile,
        normal_modes,
        relax_rotated,
        run_nve,
    )
    from symjax.stability.stability_file import Figures

    loaded, asked = source.open(), simulations
    checks = LawChecks(loaded, source.energy, "float64")
    rule: Any = int(average) if average is not None and average.isdigit() else average
    figures: dict[str, Figures] = {}
    for label, atoms in structures.items():
        atoms.calc = checks.calculator(atoms)
        if atoms.calc is None:
            problem = "has no energy in a known unit"
            raise ArgumentError("--model", source.model, problem, "Use another model")
        if rule is not None:
            atoms.calc = AveragedCalculator(atoms.calc, average=rule)
        numbers: dict[str, Any] = {}
        if asked.steps:
            numbers |= run_nve(
                atoms, asked.steps, temperature=asked.temperature, seed=asked.seed
            ).numbers()
        if asked.orientations:
            orientations = Rotation.random(asked.orientations, random_state=asked.seed)
            numbers |= relax_rotated(atoms, orientations.as_matrix()).numbers()
        if asked.modes:
            numbers |= normal_modes(atoms).numbers()
        figures[label] = Figures(**numbers)
        rows = [(*figure, f"{value:.3g}") for figure, value in figures[label].known()]
        print_figures(label, rows)
    settings = (asked.steps, asked.temperature, asked.orientations, asked.seed)
    written.write(StabilityFile(loaded.name, average, *settings, figures))
