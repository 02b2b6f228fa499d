"""``symjax averages``: the error after averages over rotations, and their cost."""

import dataclasses
import functools
import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symjax._text import visible
from symjax.cli.application import (
    ABOVE_LIMIT,
    FAILED,
    option_names,
    options_as_typed,
)
from symjax.cli.environment import configure_jax
from symjax.cli.inputs import find_events, find_structures, is_events
from symjax.cli.options import (
    CompileCache,
    Frames,
    JsonFile,
    ModelOptions,
    Reach,
    degree_of,
    limits_of,
)
from symjax.cli.streams import say
from symjax.errors import ArgumentError, SymjaxError

if TYPE_CHECKING:
    from symjax.data.limits import Limit
    from symjax.metrics import ResponseSpectrum, SampledResponse
    from symjax.runs import Source
    from symjax.so3.averages import Rotations


def averages(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="Structures or events as 'symjax report' takes them: a molecule, a "
            "file, a folder or a pattern.",
        ),
    ],
    source: ModelOptions,
    written: JsonFile,
    reach: Reach = None,
    max_degree: Annotated[
        int, typer.Option(metavar="L", help="Largest degree of the spectrum.")
    ] = 6,
    frames: Frames = None,
    compile_cache: CompileCache = True,
) -> None:
    """Predicts the equivariance error that remains after averages over rotations.

    Measures the spectrum of the outputs once. The error after the average over any
    finite group or grid follows without further evaluations.
    """
    limits = limits_of("--reach", reach)
    written.check()
    events = is_events(target)
    source.check(events)
    find: Any = find_events if events else find_structures
    found = find(target, frames)
    double = source.calculator is not None
    configure_jax(double, compile_cache)

    from symjax.interop.in_place import MetatomicSource
    from symjax.metrics import add_spectra
    from symjax.report.average_tables import (
        AveragesFile,
        ChosenAverage,
        OutputAverages,
        averages_text,
    )
    from symjax.report.tables import print_text
    from symjax.report.worth import known_frontier
    from symjax.runs import Options, as_source

    options = Options(
        max_degree=degree_of(context, source, max_degree),
        dtype="float64" if double else "float32",
        energy=source.energy,
    )
    with options_as_typed(option_names(context)):
        options.settings()
        model = as_source(source.open(events))
        if isinstance(model, MetatomicSource):
            # In the type in which it was saved: in float32 its positions would be
            # rounded, which looks like an error of the model.
            configure_jax(model.dtype == "float64", compile_cache)
            options = dataclasses.replace(options, dtype=model.dtype)
        model.settings(options)
        items = found.events if events else found.structures
        measured, failed = _measured(model, items, options)
    failed = {**found.unreadable, **failed}
    if not measured:
        raise next(iter(failed.values()))
    spectra = {name: add_spectra(parts) for name, parts in measured.items()}
    num = max(map(len, measured.values()))
    noun = "event" if events else "structure"
    title = f"{model.name}, {num} {noun}{'s' if num > 1 else ''}"
    print_text(functools.partial(averages_text, title, spectra), sys.stdout)
    chosen = None
    if limits:
        text, chosen = choose_average(spectra, limits, measured)
        say(text)
    outputs = {
        name: OutputAverages(one.unit, len(one.gram) - 1, known_frontier(one))
        for name, one in spectra.items()
    }
    enough = None if chosen is None else ChosenAverage(*chosen)
    written.write(AveragesFile(model.name, model.digest, num, outputs, enough))
    for label, error in failed.items():
        say(f"{label}: FAILED: {error}", err=True)
    if failed:
        raise typer.Exit(FAILED)
    if limits and chosen is None:
        raise typer.Exit(ABOVE_LIMIT)


def _measured(
    source: "Source", items: Mapping[str, Any], options: Any
) -> "tuple[dict[str, list[ResponseSpectrum]], dict[str, SymjaxError]]":
    """Spectra by output, and the errors of items that could not be measured."""
    from symjax.metrics import response_spectra

    sizes, refused = source.sizes(items)
    failed = dict(refused)
    measured: dict[str, list[ResponseSpectrum]] = {}
    for number, (label, size) in enumerate(sizes.items(), 1):
        try:
            item, size = source.prepare(label, items[label], size)
            problem = source.problem(item, size, options)
            for name, one in response_spectra(problem, options.max_degree).items():
                measured.setdefault(name, []).append(one)
            say(f"{number}/{len(sizes)} {label}", err=True)
        except SymjaxError as error:
            failed[label] = error
    return measured, failed


def choose_average(
    spectra: "Mapping[str, ResponseSpectrum | SampledResponse]",
    limits: "list[Limit]",
    by_structure: "Mapping[str, list[Any]] | None" = None,
) -> "tuple[str, Rotations | None]":
    """The cheapest average that reaches some limits.

    Args:
      spectra: Spectra of the outputs over all structures, by name.
      limits: Limits on the errors of some outputs.
      by_structure: Spectra of each structure, from grids: sets of elements are then
        optimised on some structures and tested on the others.

    Returns:
      A sentence, and the average; None if no average reaches the limits.

    Raises:
      ArgumentError: An output was not measured, or a limit does not have its unit.
    """
    from symjax.metrics import cheapest, held_out

    with options_as_typed({"limits": "--reach"}):
        for limit in limits:
            if limit.name not in spectra:
                raise ArgumentError(
                    "limits",
                    limit.name,
                    "is not a measured output",
                    f"Use {', '.join(spectra)}",
                )
        values = {
            limit.name: limit.within(spectra[limit.name].unit) for limit in limits
        }
    asked = visible(
        " and ".join(f"{one.name} = {one.value:g} {one.unit}" for one in limits)
    )
    average, why = None, ""
    try:
        average = cheapest(spectra, values)
    except ArgumentError as error:
        why = error.problem
    elements = math.inf if average is None else len(average.weights)
    if elements == 1:
        return f"For {asked}: no average is needed.", average
    smaller = held_out(by_structure, values, elements) if by_structure else None
    if smaller is not None:
        return (
            f"For {asked}: {len(smaller.weights)} optimised elements, within the limit "
            "on structures held out"
            + (
                "."
                if average is None
                else f"; of groups and grids {average.name}, {elements} elements."
            ),
            smaller,
        )
    if average is None:
        return f"For {asked}: {why}.", None
    return f"For {asked}: {average.name}, {elements} elements.", average
