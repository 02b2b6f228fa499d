"""Estimates of the cost of a run."""

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from symjax.errors import SymjaxError
from symjax.metrics import Estimate, estimate
from symjax.runs.options import Options
from symjax.runs.sources import as_source

# Number of items that are read, evenly spread, where sizes are unknown before; and of
# evaluations for the sources of symmetry breaking: three, at the 48 elements of O_h and
# at as many random ones.
_LOOKED_AT = 32
_BREAKING_EVALUATIONS = 3 * 96


class Cost(NamedTuple):
    """Estimated cost of the items of one size.

    Attributes:
      number: Number of items.
      cost: Total cost of these items.
    """

    number: int
    cost: Estimate


def estimate_items(
    model: Any, items: Mapping[str, Any], options: Options
) -> Iterator[tuple[str, Cost | SymjaxError]]:
    """Estimates the cost of :func:`measure_items` by timing one program for each size.

    Items of one size share a program. If sizes are only known after reading an item, as
    for events, the estimate is based on at most 32 items, evenly spread.

    Args:
      model: A model of ``symjax.models``, or any :class:`~symjax.runs.Source`.
      items: Structures, or events, by label.
      options: Options of the run. The point groups of structures are not taken into
        account, which would reduce the number of evaluations.

    Yields:
      For each size the label of its first item and the cost of all items; for an item
      that cannot be measured, its label and the error.

    Raises:
      SymjaxError: An option is impossible, the grid is ``"auto"``, or the model cannot
        be used.

    Example:
      >>> import ase.build
      >>> from symjax.interop.foreign_sources import CalculatorSource
      >>> from symjax.runs import Options, estimate_items
      >>> waters = {"a": ase.build.molecule("H2O"), "b": ase.build.molecule("H2O")}
      >>> source, options = CalculatorSource("ase.calculators.emt:EMT"), Options(1)
      >>> (label, found), = estimate_items(source, waters, options)
      >>> label, found.number, found.cost.num_elements
      ('a', 2, 96)
    """
    options.settings()
    options.check_fixed("an estimate")
    source = as_source(model)
    source.settings(options)
    sizes, errors = source.sizes(items)
    labels = [label for label in items if label not in errors]
    looked_at = labels
    if None in sizes.values() and len(labels) > _LOOKED_AT:
        looked_at = [
            labels[part * len(labels) // _LOOKED_AT] for part in range(_LOOKED_AT)
        ]
    found: dict[Any, list[str]] = collections.defaultdict(list)
    first: dict[Any, Any] = {}
    failed = dict(errors)
    for label in looked_at:
        try:
            item, size = source.prepare(label, items[label], sizes[label])
        except SymjaxError as error:
            failed[label] = error
        else:
            found[size].append(label)
            first.setdefault(size, item)
    yield from failed.items()
    for size, members in found.items():
        try:
            one = estimate(
                source.problem(first[size], size, options),
                over=options.over,  # type: ignore[arg-type]
                max_degree=options.max_degree,
                memory=options.memory,
            )
            breaking = 0
            if source.breaking(first[size], options) is not None:
                breaking = _BREAKING_EVALUATIONS
        except SymjaxError as error:
            yield members[0], error
            continue
        number = round(len(members) * len(labels) / len(looked_at))
        yield (
            members[0],
            Cost(
                number,
                dataclasses.replace(
                    one,
                    num_elements=number * (one.num_elements + breaking),
                    seconds=number * one.seconds * (1 + breaking / one.num_elements),
                ),
            ),
        )
