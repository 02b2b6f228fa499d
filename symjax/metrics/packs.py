"""Structures that are evaluated together, each at its own random elements."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import numpy as np
from jaxtyping import Float

from symjax.errors import ArgumentError
from symjax.metrics.arguments import as_samples
from symjax.metrics.pieces import describe
from symjax.metrics.pooling import Key, Sampled, Sums
from symjax.metrics.problem import Execution, Output, Problem, check_degree, prepare
from symjax.metrics.turn_averages import cosets_of
from symjax.metrics.unbiased import Rows, both_cosets, estimate_rows

# With this many turns, one of them serves as reference.
_SPARED_FROM = 4

T = TypeVar("T")
Result = TypeVar("Result")


class Pack(NamedTuple):
    """Structures that are evaluated together.

    Attributes:
      labels: Their labels.
      sizes: Their numbers of atoms or points.
      respond: Function of elements ``(elements, items, 3, 3)``, one for each structure,
        that returns responses by name, with the elements as first axis.
      outputs: Descriptions of the responses, by name.
      owners: For each response, by name, the index of the structure of every sample.
    """

    labels: tuple[str, ...]
    sizes: tuple[int, ...]
    respond: Callable[[np.ndarray], Mapping[str, Any]]
    outputs: Mapping[str, Output]
    owners: Mapping[str, np.ndarray]


class Elements(Protocol):
    """Source of the group elements of structures, such as a survey."""

    @property
    def turn(self) -> str:
        """The set of rotations that is rotated at random as a whole."""

    def elements(
        self, labels: Sequence[str], number: int = 0
    ) -> Float[np.ndarray, "items turns members 3 3"]:
        """The random rotations of each structure in a round."""


class Pending(NamedTuple):
    """A pack that is being evaluated: its turn, rotations and responses."""

    pack: Pack
    turn: str
    rotations: np.ndarray
    responses: Mapping[str, Any]


def start_pack(pack: Pack, over: Elements, number: int = 0) -> Pending:
    """Starts to evaluate a pack, asynchronously where JAX can."""
    rotations = over.elements(pack.labels, number)
    elements = np.swapaxes(both_cosets(rotations), 0, 1)
    return Pending(pack, over.turn, rotations, pack.respond(elements))


def finish_pack(pending: Pending, max_degree: int) -> list[Sampled]:
    """The estimates for every structure of a pack, in its order.

    Raises:
      ArgumentError: A response is not finite.
    """
    pack, turn, rotations, responses = pending
    cosets = cosets_of(turn)
    sums: list[dict[Key, Sums]] = [{} for _ in pack.labels]
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
        if not len(owner):
            continue
        _check_finite(name, chosen, owner, pack.labels)
        some = dataclasses.replace(compact, shape=chosen.shape[1:])
        # One turn serves as reference for the powers.
        spared = rotations.shape[1] >= _SPARED_FROM
        known = cosets if pack.outputs[name].kind == "output" else ()
        rows, _, averaged = estimate_rows(
            some, chosen, rotations, max_degree, owner, spared, known
        )
        species = as_samples(name, pack.outputs[name].samples, leaf.axes[0])
        kinds_of = np.zeros(len(owner), int)
        if species is not None:
            kinds_of = species.reshape(-1)[real]
        _, components, channels = leaf.axes
        size = components * channels
        numbers = np.bincount(owner, minlength=len(pack.labels))
        # Samples with a species are atoms if there is one per atom.
        by_atom = species is not None and (numbers == pack.sizes).all()
        if pack.outputs[name].kind == "output" and by_atom:
            squares = rows.variance.sum(axis=1).mean(axis=-1) / size
            for index, own in enumerate(samples):
                own[name] = squares[owner == index]
        for one, after in zip(known, averaged, strict=True):
            left = Rows(after, rows.norm, rows.power[:, :, :1])
            every = np.ones(len(owner), bool)
            for index, added in _by_owner(left, owner, every, size).items():
                sums[index][name, one.average] = added
        for group in (0, *np.unique(kinds_of[kinds_of > 0]).tolist()):
            member = kinds_of == group if group else np.ones(len(owner), bool)
            for index, added in _by_owner(rows, owner, member, size).items():
                sums[index][name, group] = added
    return [
        Sampled(*each)
        for each in zip(pack.labels, pack.sizes, sums, samples, strict=True)
    ]


def _by_owner(
    rows: Rows, owner: np.ndarray, member: np.ndarray, size: int
) -> dict[int, Sums]:
    """Sums over some samples of each structure that has any, with their errors.

    ``size`` is the number of components of a sample.
    """
    present, inverse, numbers = np.unique(
        owner[member], return_inverse=True, return_counts=True
    )

    def added(array: np.ndarray) -> np.ndarray:
        # summed over irreps: (structures, quantities, turns)
        flat = array[member].sum(axis=1).reshape(len(inverse), -1, array.shape[-1])
        total = np.zeros((len(present), *flat.shape[1:]))
        np.add.at(total, inverse, flat)
        return total

    sums = Rows(*map(added, rows))
    values = np.concatenate([part.mean(axis=-1) for part in sums], axis=1)
    squares = products = np.full(values.shape, np.nan)
    if rows.turns > 2:
        left = [part - part.mean(axis=-1, keepdims=True) for part in sums.without_one()]
        squares = np.concatenate([_products(part, part) for part in left], axis=1)
        products = np.concatenate([_products(part, left[1]) for part in left], axis=1)
    return {
        int(index): Sums(value, square, product, float(num * size))
        for index, num, value, square, product in zip(
            present, numbers, values, squares, products, strict=True
        )
    }


def _products(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Jackknife covariance of two estimates, over the last turns, which both have."""
    num = min(one.shape[-1], other.shape[-1])
    return (num - 1) / num * (one[..., -num:] * other[..., -num:]).sum(axis=-1)


def _check_finite(
    name: str, values: np.ndarray, owner: np.ndarray, labels: Sequence[str]
) -> None:
    bad = ~np.isfinite(values.reshape(*values.shape[:2], -1)).all(axis=(0, 2))
    if bad.any():
        raise ArgumentError(
            name,
            float("nan"),
            f"is not finite for the structure {labels[owner[bad][0]]}",
            "Leave the structure out, or measure it alone with symjax report",
        )


def pack_of(label: str, problem: Problem) -> Pack:
    """A pack of one structure."""
    prepared = prepare(problem, Execution())
    leaves = prepared.leaves

    def respond(elements: Float[np.ndarray, "g 1 3 3"]) -> Mapping[str, Any]:
        found = prepared.respond(elements[:, 0], leaves.values(), len(elements))
        return dict(zip(leaves, found, strict=True))

    sizes = [len(np.atleast_1d(part)) for part in jax.tree.leaves(problem.x)]
    owners = {name: np.zeros(leaf.axes[0], int) for name, leaf in leaves.items()}
    outputs = {name: problem.outputs[name] for name in leaves}
    return Pack((label,), (max(sizes),), respond, outputs, owners)


def measure_pack(
    pack: Pack, over: Elements, max_degree: int = 6, number: int = 0
) -> list[Sampled]:
    """The estimates for the structures of a pack, see :func:`finish_pack`."""
    return finish_pack(start_pack(pack, over, number), max_degree)


def measure_packs(
    packs: Iterable[Pack],
    over: Elements,
    max_degree: int = 6,
    number: int = 0,
    threads: int = 1,
) -> Iterator[list[Sampled]]:
    """The estimates for the structures of each pack, in the order of the packs.

    Args:
      packs: The packs.
      over: Source of the elements.
      max_degree: Largest degree of the projected sectors.
      number: Number of the round.
      threads: Number of packs that are evaluated at the same time; 1 for functions that
        are not thread-safe.
    """
    max_degree = check_degree(max_degree)
    task = functools.partial(
        measure_pack, over=over, max_degree=max_degree, number=number
    )
    return in_order(task, packs, threads)


def free_threads() -> int:
    """Number of packs to evaluate at the same time: one per CPU core.

    Two on an accelerator, which evaluates one while the host finishes the other.
    """
    if jax.default_backend() != "cpu":
        return 2
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order(
    task: Callable[[T], Result], items: Iterable[T], threads: int
) -> Iterator[Result]:
    """Yields the results of a function for each item, in their order, from threads.

    At most one more item than there are threads is taken in advance; with one thread,
    the caller's is used.

    Example:
      >>> from symjax.metrics.packs import in_order
      >>> list(in_order(abs, [-3, 1, -2], 2))
      [3, 1, 2]
    """
    if threads == 1:
        yield from map(task, items)
        return
    # Contexts of JAX are local to a thread.
    config: Any = jax.config
    settings = (
        (jax.enable_x64, config.jax_enable_x64),
        (jax.default_device, config.jax_default_device),
        (jax.default_matmul_precision, config.jax_default_matmul_precision),
    )

    def call(item: T) -> Result:
        with contextlib.ExitStack() as stack:
            for setting, value in settings:
                stack.enter_context(setting(value))
            return task(item)

    pool = concurrent.futures.ThreadPoolExecutor(threads)
    waiting: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(call, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
