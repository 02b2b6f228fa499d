"""``symjax stability``: what dynamics, relaxations and normal modes notice."""

from typing import Annotated, Any

import typer

from symjax.cli.application import (
    CompileCache,
    Debug,
    Frames,
    Overwrite,
    options_as_typed,
)
from symjax.cli.choices import (
    SOURCE_OPTIONS,
    Calculator,
    CalculatorOptions,
    Energy,
    Json,
    Model,
    check_source,
)
from symjax.cli.environment import configure_jax
from symjax.cli.inputs import (
    check_new_file,
    find_structures,
    open_model,
    write_json,
)
from symjax.cli.presenting import print_figures
from symjax.errors import ArgumentError


def stability(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="Molecules as 'symjax report' takes structures: a name, a file, a "
            "folder or a pattern.",
        ),
    ],
    model: Model = None,
    calculator: Calculator = None,
    calculator_options: CalculatorOptions = "{}",
    average: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP|DEGREE",
            help="Average every result over a finite group such as O, or a grid of "
            "this degree.",
            show_default=False,
        ),
    ] = None,
    energy: Energy = None,
    steps: Annotated[
        int, typer.Option(help="Steps of 0.5 fs of molecular dynamics; 0 for none.")
    ] = 200,
    temperature: Annotated[
        float, typer.Option(metavar="KELVIN", help="Temperature of the first momenta.")
    ] = 300.0,
    orientations: Annotated[
        int,
        typer.Option(help="Orientations from which to relax the molecule; 0 for none."),
    ] = 6,
    modes: Annotated[
        bool,
        typer.Option(
            "--modes",
            help="Also normal modes of the molecule as it is, which should be relaxed.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of momenta and orientations.")] = 0,
    frames: Frames = None,
    json: Json = None,
    overwrite: Overwrite = False,
    compile_cache: CompileCache = True,
    debug: Debug = False,
) -> None:
    """Simulates molecules, and says what breaks where rotations change the energy.

    Dynamics at constant energy should conserve energy and angular momentum, relaxations
    should end in one structure whatever the orientation, and modes that symmetry makes
    degenerate should stay so. In float64, so that only the model breaks symmetry.
    """
    check_new_file("--json", json, overwrite)
    check_source(model, calculator, calculator_options, False)
    found = find_structures(target, frames).structures
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

    with options_as_typed(SOURCE_OPTIONS):
        loaded = open_model(model, calculator, calculator_options, False)
    checks = LawChecks(loaded, energy, "float64")
    rule: Any = int(average) if average is not None and average.isdigit() else average
    written: dict[str, Figures] = {}
    for label, atoms in found.items():
        atoms.calc = checks.calculator(atoms)
        if atoms.calc is None:
            raise ArgumentError(
                "--model", model, "has no energy in a known unit", "Use another model"
            )
        if rule is not None:
            atoms.calc = AveragedCalculator(atoms.calc, average=rule)
        numbers: dict[str, Any] = {}
        if steps:
            run = run_nve(atoms, steps, temperature=temperature, seed=seed)
            numbers |= run.numbers()
        if orientations:
            turned = Rotation.random(orientations, random_state=seed).as_matrix()
            numbers |= relax_rotated(atoms, turned).numbers()
        if modes:
            numbers |= normal_modes(atoms).numbers()
        written[label] = Figures(**numbers)
        rows = [(*figure, f"{value:.3g}") for figure, value in written[label].known()]
        print_figures(label, rows)
    settings = (average, steps, temperature, orientations, seed)
    write_json(json, StabilityFile(loaded.name, *settings, written))
