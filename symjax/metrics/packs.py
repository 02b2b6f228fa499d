"""Structures that are evaluated together, each on random elements of its own."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jaxtyping import Float

from symjax.errors import ArgumentError
from symjax.metrics import orbit
from symjax.metrics.leaves import describe
from symjax.metrics.pooling import Sampled, Sums
from symjax.metrics.problem import Execution, Output, Problem, check_degree, prepare
from symjax.metrics.unbiased import Rows, both_cosets, estimate_rows


class Pack(NamedTuple):
    """Structures that are evaluated together.

    Attributes:
      labels: Their names.
      sizes: Their numbers of atoms, or of points.
      respond: From elements, ``(elements, items, 3, 3)``, one for each structure, to
        the responses by name, with the elements as first axis.
      outputs: What is known about every response.
      owners: For each response the structure of every sample.

    Example:
      >>> from symjax.metrics.packs import Pack
      >>> Pack((), (), dict, {}, {}).labels
      ()
    """

    labels: tuple[str, ...]
    sizes: tuple[int, ...]
    respond: Callable[[np.ndarray], Mapping[str, Any]]
    outputs: Mapping[str, Output]
    owners: Mapping[str, np.ndarray]


class Elements(Protocol):
    """Where the group elements of structures come from; a survey."""

    def elements(
        self, labels: Sequence[str], number: int = 0
    ) -> Float[np.ndarray, "items turns members 3 3"]:
        """Random turns of each structure in a round."""


class Pending(NamedTuple):
    """A pack that is being evaluated.

    Attributes:
      pack: The pack.
      rotations: The turns of each structure.
      responses: By name, with the elements as first axis.
    """

    pack: Pack
    rotations: np.ndarray
    responses: Mapping[str, Any]


def start_pack(pack: Pack, over: Elements, number: int = 0) -> Pending:
    """Starts the evaluation of a pack; JAX goes on with it while others are finished.

    Args:
      pack: The structures.
      over: How many elements.
      number: Number of the round.

    Returns:
      What :func:`finish_pack` needs.
    """
    rotations = over.elements(pack.labels, number)
    elements = np.swapaxes(both_cosets(rotations), 0, 1)
    return Pending(pack, rotations, pack.respond(elements))


def finish_pack(pending: Pending, max_degree: int) -> list[Sampled]:
    """Estimates of every structure of a pack.

    Args:
      pending: From :func:`start_pack`.
      max_degree: Largest degree of the projected sectors.

    Returns:
      The structures, in the order of the pack.

    Raises:
      ArgumentError: A response is not finite.
    """
    pack, rotations, responses = pending
    sums: list[dict[tuple[str, int], Sums]] = [{} for _ in pack.labels]
    samples: list[dict[str, np.ndarray]] = [{} for _ in pack.labels]
    shapes = {
        name: jax.ShapeDtypeStruct(values.shape[1:], values.dtype)
        for name, values in responses.items()
    }
    kinds = {name: pack.outputs[name].representation for name in shapes}
    for name, leaf in describe(shapes, kinds).items():
        values = np.asarray(responses[name])
        owner = np.asarray(pack.owners[name]).reshape(-1)
        mask = pack.outputs[name].mask
        mask = np.ones(leaf.axes[0], bool) if mask is None else np.asarray(mask)
        real = mask.reshape(-1)
        compact = leaf.compact
        chosen = values.reshape(len(values), *compact.shape)[:, real]
        owner = owner[real]
        _check_finite(name, chosen, owner, pack.labels)
        some = dataclasses.replace(compact, shape=chosen.shape[1:])
        if not len(owner):
            continue
        rows, _ = estimate_rows(some, chosen, rotations, max_degree, owner)
        table = _table(rows)
        species = pack.outputs[name].samples
        kinds_of = np.zeros(len(owner), int)
        if species is not None:
            kinds_of = np.broadcast_to(species, leaf.axes[0]).reshape(-1)[real]
        _, components, channels = leaf.axes
        size = components * channels
        numbers = np.bincount(owner, minlength=len(pack.labels))
        if pack.outputs[name].kind == "output" and (numbers == pack.sizes).all():
            squares = table[:, 0].mean(axis=-1) / size
            for index, own in enumerate(samples):
                own[name] = squares[owner == index]
        for group in (0, *np.unique(kinds_of[kinds_of > 0]).tolist()):
            member = kinds_of == group if group else np.ones(len(owner), bool)
            for index, added in _by_owner(
                table[member], owner[member], rows.turns, size
            ).items():
                sums[index][name, group] = added
    return [
        Sampled(*each)
        for each in zip(pack.labels, pack.sizes, sums, samples, strict=True)
    ]


def _table(rows: Rows) -> np.ndarray:
    """All quantities side by side, summed over irreps: ``(samples, quantities, n)``."""
    power = rows.power.sum(axis=1)
    return np.concatenate(
        [
            rows.variance.sum(axis=1)[:, None],
            rows.norm.sum(axis=1)[:, None],
            power.reshape(len(power), -1, rows.turns),
        ],
        axis=1,
    )


def _by_owner(
    table: np.ndarray, owner: np.ndarray, turns: int, size: int
) -> dict[int, Sums]:
    """Sums of each structure that has samples, with errors within it."""
    present, inverse, numbers = np.unique(
        owner, return_inverse=True, return_counts=True
    )
    added = np.zeros((len(present), *table.shape[1:]))
    np.add.at(added, inverse, table)
    values = added.mean(axis=-1)
    squares = products = np.full(values.shape, np.nan)
    if turns > 2:
        rows = Rows(added[:, :1], added[:, 1:2], added[:, 2:])
        left = np.concatenate(rows.without_one(), axis=1)
        left -= left.mean(axis=-1, keepdims=True)
        scale = (turns - 1) / turns
        squares = scale * np.square(left).sum(-1)
        products = scale * (left * left[:, 1:2]).sum(-1)
    return {
        int(index): Sums(value, square, product, float(num * size))
        for index, num, value, square, product in zip(
            present, numbers, values, squares, products, strict=True
        )
    }


def _check_finite(
    name: str, values: np.ndarray, owner: np.ndarray, labels: Sequence[str]
) -> None:
    bad = ~np.isfinite(values.reshape(*values.shape[:2], -1)).all(axis=(0, 2))
    if bad.any():
        raise ArgumentError(
            name,
            float("nan"),
            f"the response of {labels[owner[bad][0]]} is not finite",
            "Leave the structure out, or look at it alone with symjax report",
        )


def pack_of(label: str, problem: Problem) -> Pack:
    """Any problem as a pack of one.

    Args:
      label: Its name.
      problem: The problem.

    Returns:
      The pack.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import Output, Problem
      >>> from symjax.metrics.packs import pack_of
      >>> from symjax.so3 import VECTOR
      >>> problem = Problem(lambda x: x, np.eye(3), {"output": Output(VECTOR)})
      >>> pack_of("unit", problem).outputs["output"].representation.name
      'vector'
    """
    prepared = prepare(problem, Execution())
    leaves = prepared.leaves

    def respond(elements: Float[np.ndarray, "g 1 3 3"]) -> Mapping[str, Any]:
        found = orbit.respond(
            prepared.function,
            prepared.action,
            prepared.x,
            elements[:, 0],
            args=prepared.args,
            keep=tuple(leaf.index for leaf in leaves.values()),
            batch_size=len(elements),
        )
        return dict(zip(leaves, found, strict=True))

    sizes = [len(np.atleast_1d(part)) for part in jax.tree.leaves(problem.x)]
    owners = {name: np.zeros(leaf.axes[0], int) for name, leaf in leaves.items()}
    outputs = {name: problem.outputs[name] for name in leaves}
    return Pack((label,), (max(sizes),), respond, outputs, owners)


def measure_packs(
    packs: Iterable[Pack], over: Elements, max_degree: int = 6, number: int = 0
) -> Iterator[list[Sampled]]:
    """Estimates of the structures of some packs, the next one under way meanwhile.

    Args:
      packs: The packs.
      over: How many elements.
      max_degree: Largest degree of the projected sectors.
      number: Number of the round.

    Yields:
      The structures of each pack.
    """
    check_degree(max_degree)
    waiting: Pending | None = None
    for pack in packs:
        started = start_pack(pack, over, number)
        if waiting is not None:
            yield finish_pack(waiting, max_degree)
        waiting = started
    if waiting is not None:
        yield finish_pack(waiting, max_degree)
