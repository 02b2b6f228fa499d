"""The stream: responses on the orbit in, moments and spectral coefficients out.

One call evaluates some whole sphere nodes: all their in-plane angles, both cosets.
Its responses are centred, added to the moments, transformed along the in-plane angle
and laid down in a buffer of nodes. When the buffer is full, one matrix product for
each in-plane frequency adds it to the coefficients, so that the large arrays of
coefficients are read and written once a buffer, not once a call. Nothing has the
size of the group.
"""

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial.transform import Rotation

from symjax.metrics import characters, moments, orbit
from symjax.metrics import symmetry as symmetries
from symjax.metrics.accumulation import (
    CHUNK_OF_A_BUFFER,
    Reference,
    Selection,
    State,
    accumulate,
    add_buffer,
    contract,
    empty,
    first_responses,
    responses_of_slot,
    scales_of,
)
from symjax.metrics.characters import DenseProjector, FactorisedProjector, Projector
from symjax.metrics.finishing import Streamed, finish
from symjax.metrics.leaves import Leaf, Piece, spherical_matrices
from symjax.metrics.planning import Checks, Elements, Plan
from symjax.metrics.response_spectrum import ResponseSums
from symjax.metrics.symmetry import LeafSymmetry
from symjax.so3.quadrature import Quadrature
from symjax.so3.representations import FEATURE

# Elements of the check are the same in every run, so that results are reproducible.
CHECK_SEED = 20
"""Seed of the random elements at which results on a fixed grid are checked."""
# Coefficients of so many bytes tell how long additions take: more than a cache holds.
_TIMED_BYTES = 2**28


def stream(
    function: Any,
    action: orbit.Action,
    x: Any,
    args: tuple[Any, ...],
    pieces: Sequence[Piece],
    keep: tuple[int, ...],
    elements: Elements,
    symmetric: Mapping[str, LeafSymmetry],
    plan: Plan,
    progress: Callable[[int], None] | None,
    sums: Mapping[str, ResponseSums],
) -> list[Streamed]:
    """Runs over the whole grid and accumulates every piece.

    Args:
      function: The function to be measured.
      action: Function ``(rotation, x) -> g x``.
      x: Input pytree.
      args: Further arguments of the function.
      pieces: Pieces of different leaves.
      keep: Index of the output leaf of each piece.
      elements: Where the function is evaluated.
      symmetric: Verified symmetries by leaf; only of whole leaves.
      plan: How the elements are streamed.
      progress: Called with the number of elements done.
      sums: Those of rotated-back responses, by leaf; each is added to.

    Returns:
      What each piece has accumulated.
    """
    this = _Pass.of(pieces, elements, plan)
    slots, tables = this.slots, this.tables
    references: list[Reference] = []
    states: list[State] = []
    buffers: list[list[Array]] = []
    at_checks: list[Array] = []
    turns: list[Array | None] = []
    respond = orbit.respond_in_batches if elements.climbing else orbit.respond
    x, args = orbit.replicate((x, args), plan.devices)

    def evaluate(rotations: np.ndarray) -> list[Array]:
        """Responses at proper elements, each followed by the inverted one."""
        evaluated = respond(
            function,
            action,
            x,
            rotations if elements.evaluated_cosets == 2 else rotations[::2],
            args=args,
            keep=keep,
            batch_size=plan.vectorised,
            devices=plan.devices,
        )
        with jax.enable_x64(True):
            return [
                symmetric[piece.name].both_cosets(jax.device_put(values))
                if piece.name in symmetric
                else jax.device_put(values)
                for piece, values in zip(pieces, evaluated, strict=True)
            ]

    for call in range(plan.num_calls):
        index = slots.of_call(call)
        rotations = slots.rotations(index)
        responses = evaluate(rotations)
        matrices = spherical_matrices(this.leaves, rotations)
        shares = slots.element_weights(index)[0]
        for piece, values, turn in zip(pieces, responses, matrices, strict=True):
            if piece.name in sums:
                sums[piece.name].add(rotations[::2], values, turn, 2 * shares[::2])
        with jax.enable_x64(True):
            if not states:
                this = this.scaled([piece.name for piece in pieces], responses)
                references = [
                    _symmetrised(piece, reference, symmetric.get(piece.name))
                    for piece, reference in zip(
                        pieces, this.references(responses, matrices), strict=True
                    )
                ]
                states, buffers = this.empty(several=plan.num_buffers > 1)
            moved = [state.moments for state in states]
            moved, buffers = this.accumulate(
                call, moved, buffers, responses, references, matrices
            )
            states = [
                state._replace(moments=moment)
                for state, moment in zip(states, moved, strict=True)
            ]
            if plan.num_checks and plan.num_nodes in index:
                slot = plan.num_nodes - int(index[0])
                at_checks = this.at_slot(responses, plan.in_plane, slot)
                turns = [_of_slot(one, plan.in_plane, slot) for one in matrices]
            del responses
            last = call == plan.num_calls - 1
            if last or (call + 1) % plan.calls_per_buffer == 0:
                maps = tables.of_buffer(slots, call // plan.calls_per_buffer)
                for number, (state, buffer) in enumerate(
                    zip(states, buffers, strict=True)
                ):
                    update = [maps[key] for key in enumerate(this.degrees[number])]
                    sums_of = add_buffer(
                        plan.method, state.coefficients, buffer, update
                    )
                    states[number] = state._replace(coefficients=sums_of)
        # Calls that run ahead would hold responses of their own.
        jax.block_until_ready(buffers)
        if progress is not None:
            finished = min((call + 1) * plan.nodes_per_call, plan.num_nodes)
            progress(elements.evaluated_cosets * plan.in_plane * finished)
    buffers.clear()
    checks = slots.checks
    num_checks = [len(checks)] * len(pieces)
    round_off = [np.zeros(())] * len(pieces)
    if elements.checks is not None:
        shared = elements.checks
        num_checks = [shared.num_of(piece.whole) for piece in pieces]
        if not all(piece.name in shared.responses for piece in pieces):
            _evaluate_checks(shared, pieces, num_checks, evaluate, plan)
        checks = shared.rotations
        if elements.reduced is not None:
            checks = elements.reduced.locate(shared.rotations)
        at_checks, turns, round_off = [], [], []
        for number, (piece, num) in enumerate(zip(pieces, num_checks, strict=True)):
            alone = this.only(number)
            both = _both(shared.rotations[:num])
            turns += spherical_matrices(alone.leaves, both)
            held = [shared.responses[piece.name], shared.turned[piece.name]]
            with jax.enable_x64(True):
                responses = [jax.device_put(values) for values in held]
                at_checks += alone.at_slot(responses[:1], num, 0)
                (turned,) = alone.at_slot(responses[1:], len(held[1]) // 2, 0)
            some = np.asarray(at_checks[-1])[: len(turned)]
            moved = np.square(np.asarray(turned, float) - some).mean(axis=(0, 1))
            round_off.append(moved.reshape(piece.num_samples, -1).sum(axis=1))
    out = []
    with jax.enable_x64(True):
        finest = tables.projectors((plan.max_degree,))[0]
        rows = characters.synthesis_rows(finest, checks)
        for piece, reference, through, turn, selection, num, noise in zip(
            *(pieces, references, this.degrees, turns, this.selections),
            *(num_checks, round_off),
            strict=True,
        ):
            summed = finish(
                piece.leaf,
                reference,
                states.pop(0),
                at_checks.pop(0),
                elements,
                symmetric.get(piece.name),
                tables.projectors(through),
                rows[:, :num],
                turn,
            )
            summed.round_off = np.broadcast_to(noise, summed.round_off.shape)
            out.append(summed.divided(float(selection.scale)))
    return out


def _both(proper: Float[np.ndarray, "group 3 3"]) -> Float[np.ndarray, "both 3 3"]:
    """Each rotation, followed by the inverted one."""
    return np.stack([proper, -proper], axis=1).reshape(-1, 3, 3)


def _evaluate_checks(
    checks: Checks,
    pieces: Sequence[Piece],
    numbers: Sequence[int],
    evaluate: Callable[[np.ndarray], list[Array]],
    plan: Plan,
) -> None:
    """Fills in responses at the random elements, of each output as many as fit.

    Also at a few of them turned by some eps: what changes there is the round-off of
    the function itself.
    """
    epsilon = max(float(np.finfo(piece.leaf.compute_dtype).eps) for piece in pieces)
    turn = Rotation.from_rotvec(4 * epsilon * np.ones(3) / np.sqrt(3)).as_matrix()
    few = checks.rotations[: min(checks.NUM_TURNED, min(numbers))]
    batch = plan.vectorised * max(len(plan.devices), 1)
    held: list[list[np.ndarray]] = [[] for _ in pieces]
    for start in range(0, max(numbers), batch):
        chunk = checks.rotations[start : min(start + batch, max(numbers))]
        for rows, values, num in zip(
            held, evaluate(_both(chunk)), numbers, strict=True
        ):
            if start < num:
                rows.append(np.asarray(values)[: 2 * (num - start)])
    turned = evaluate(_both(few @ turn))
    for piece, rows, again in zip(pieces, held, turned, strict=True):
        checks.responses[piece.name] = np.concatenate(rows)
        checks.turned[piece.name] = np.asarray(again)


def seconds_of_pass(
    function: Any,
    action: orbit.Action,
    x: Any,
    args: tuple[Any, ...],
    pieces: Sequence[Piece],
    keep: tuple[int, ...],
    elements: Elements,
    plan: Plan,
) -> float:
    """How long a pass will take, from one call and some of the additions.

    Args:
      function: The function to be measured.
      action: Function ``(rotation, x) -> g x``.
      x: Input pytree.
      args: Further arguments of the function.
      pieces: Pieces of different leaves.
      keep: Index of the output leaf of each piece.
      elements: Where the function is evaluated.
      plan: How the elements are streamed.

    Returns:
      Seconds, without compilation and without what is done once at the end.
    """
    this = _Pass.of(pieces, elements, plan)
    rotations = this.slots.rotations(this.slots.of_call(0))
    respond = functools.partial(
        orbit.respond,
        function,
        action,
        x,
        rotations,
        args=args,
        keep=keep,
        batch_size=plan.vectorised,
    )
    jax.block_until_ready(respond())
    responses, seconds = _timed(respond)
    matrices = spherical_matrices(this.leaves, rotations)
    with jax.enable_x64(True):
        responses = [jax.device_put(values) for values in responses]
        references = this.references(responses, matrices)
        states, buffers = this.empty(several=False)
        sums = [state.moments for state in states]
        add = functools.partial(
            this.accumulate, 0, responses=responses, references=references
        )
        sums, buffers = jax.block_until_ready(add(sums, buffers, matrices=matrices))
        _, more = _timed(lambda: add(sums, buffers, matrices=matrices))
    del add, responses, buffers
    seconds = (seconds + more) * plan.num_calls
    if plan.num_buffers > 1:
        seconds += plan.num_buffers * _seconds_of_contraction(this)
    return seconds


def _seconds_of_contraction(this: "_Pass") -> float:
    """Time to add a buffer, from that of some values of each kind of leaf."""
    plan, tables = this.plan, this.tables
    maps = tables.of_buffer(this.slots, 0)
    sizes: collections.Counter[tuple[tuple[int, ...], str]] = collections.Counter()
    for leaf, through in zip(this.leaves, this.degrees, strict=True):
        sizes[through, leaf.compute_dtype] += leaf.size
    seconds = 0.0
    for (through, dtype), size in sizes.items():
        update = [maps[key] for key in enumerate(through)]
        rows = sum(len(part) for part in jax.tree.leaves(update))
        most = _TIMED_BYTES // (2 * rows * np.dtype(dtype).itemsize)
        part = Leaf(FEATURE, (1, min(size, max(most, CHUNK_OF_A_BUFFER))), dtype)
        with jax.enable_x64(True):
            ((_, sums),), (buffer,) = empty(
                (part,),
                (tables.projectors(through),),
                plan.parts,
                plan.nodes_per_buffer,
                several=True,
            )
            sums = jax.block_until_ready(contract(plan.method, sums, buffer, update))
            _, each = _timed(
                functools.partial(contract, plan.method, sums, buffer, update)
            )
        seconds += each * size / part.size
    return seconds


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """What a function returns, and how long it takes."""
    start = time.perf_counter()
    out = jax.block_until_ready(run())
    return out, time.perf_counter() - start


@dataclasses.dataclass(frozen=True)
class _Pass:
    """What the steps of a pass need beside their sums.

    Attributes:
      plan: How the elements are streamed.
      slots: Which node is evaluated when.
      tables: Maps to the coefficients.
      degrees: Projected degrees of each piece, under the rule and the nested ones.
      leaves: The pieces as leaves.
      wholes: The leaves that they are pieces of.
      selections: Their first samples, and the units that they are summed in.
    """

    plan: Plan
    slots: "_Slots"
    tables: "_Tables"
    degrees: list[tuple[int, ...]]
    leaves: tuple[Leaf, ...]
    wholes: tuple[Leaf, ...]
    selections: list[Selection]

    @classmethod
    def of(cls, pieces: Sequence[Piece], elements: Elements, plan: Plan) -> "_Pass":
        """The pass that some pieces are measured in."""
        slots = _Slots(elements, plan)
        degrees = [plan.projected(piece.leaf) for piece in pieces]
        with jax.enable_x64(True):
            weights = slots.weights[:, : plan.num_nodes]
            tables = _tables(plan, elements.rule, weights, degrees)
        return cls(
            plan,
            slots,
            tables,
            degrees,
            tuple(piece.leaf for piece in pieces),
            tuple(piece.whole for piece in pieces),
            [
                Selection(np.int32(piece.start), np.dtype(leaf.compute_dtype).type(1))
                for piece, leaf in ((piece, piece.leaf) for piece in pieces)
            ],
        )

    def scaled(self, names: Sequence[str], responses: list[Array]) -> "_Pass":
        """The same, with the scale of each piece from the responses of a call."""
        scales = scales_of(self.leaves, names, responses)
        return dataclasses.replace(
            self,
            selections=[
                one._replace(scale=scale)
                for one, scale in zip(self.selections, scales, strict=True)
            ],
        )

    def empty(self, several: bool) -> tuple[list[State], list[list[Array]]]:
        """Sums of nothing, with coefficients if there are several buffers."""
        projectors = tuple(map(self.tables.projectors, self.degrees))
        parts, nodes = self.plan.parts, self.plan.nodes_per_buffer
        return empty(self.leaves, projectors, parts, nodes, several)

    def references(
        self, responses: list[Array], matrices: list[Array | None]
    ) -> list[Reference]:
        """The first response of each piece."""
        return first_responses(
            self.leaves, self.wholes, responses, self.selections, matrices
        )

    def accumulate(
        self,
        call: int,
        sums: list[moments.MomentState],
        buffers: list[list[Array]],
        responses: list[Array],
        references: list[Reference],
        matrices: list[Array | None],
    ) -> tuple[list[moments.MomentState], list[list[Array]]]:
        """Adds a call; sums and buffers are given up."""
        index = self.slots.of_call(call)
        position = call % self.plan.calls_per_buffer * self.plan.nodes_per_call
        return accumulate(
            self.leaves,
            self.wholes,
            self.plan.method,
            sums,
            buffers,
            responses,
            self.selections,
            references,
            matrices,
            self.slots.element_weights(index),
            self.tables.waves,
            np.int64(position),
        )

    def only(self, number: int) -> "_Pass":
        """The same for one of the pieces."""
        one = slice(number, number + 1)
        return dataclasses.replace(
            self,
            degrees=self.degrees[one],
            leaves=self.leaves[one],
            wholes=self.wholes[one],
            selections=self.selections[one],
        )

    def at_slot(self, responses: list[Array], in_plane: int, slot: int) -> list[Array]:
        """Responses at the elements of one slot of a call."""
        return responses_of_slot(
            self.leaves, self.wholes, in_plane, responses, self.selections, slot
        )


def _check_nodes(elements: Elements) -> Float[np.ndarray, "group 3 3"]:
    """Random rotations in the slots behind the nodes, before they are placed."""
    num = elements.check_slots * elements.rule.in_plane
    return Rotation.random(num, random_state=CHECK_SEED).as_matrix()


def check_rotations(elements: Elements) -> Float[np.ndarray, "group 3 3"]:
    """Random proper elements at which results on a fixed grid are checked.

    Args:
      elements: Where a function is evaluated.

    Returns:
      As many as the rule has in-plane angles.
    """
    return elements.place(_check_nodes(elements))


class _Slots:
    """Which node is evaluated when, and with which weights.

    The slots behind the nodes of the rule have no weight. The first of them hold
    random elements, at which the projected response is checked; the rest, which fill
    up the last call, repeat the last of these.
    """

    def __init__(self, elements: Elements, plan: Plan):
        rule = elements.rule
        self._plan = plan
        self.num_used = plan.num_nodes + plan.num_checks
        self.checks = _check_nodes(elements)
        coarser = [weights for _, weights in elements.nested]
        self.weights = np.pad(
            [rule.sphere_weights, *coarser], ((0, 0), (0, plan.num_checks))
        )
        matrices = rule.rotations.reshape(plan.num_nodes, plan.in_plane, 3, 3)
        extra = self.checks.reshape(plan.num_checks, plan.in_plane, 3, 3)
        self._matrices = elements.place(np.concatenate([matrices, extra]))

    def of_call(self, call: int) -> np.ndarray:
        """Slots of one call."""
        first = call * self._plan.nodes_per_call
        return np.arange(first, first + self._plan.nodes_per_call)

    def of_buffer(self, number: int) -> np.ndarray:
        """Slots of one buffer."""
        size = self._plan.nodes_per_buffer
        return np.arange(number * size, (number + 1) * size)

    def rotations(self, index: np.ndarray) -> Float[np.ndarray, "group 3 3"]:
        """Elements: in-plane angles vary slowest, then nodes, then cosets."""
        node = np.minimum(index, self.num_used - 1)
        proper = np.swapaxes(self._matrices[node], 0, 1)
        return np.stack([proper, -proper], axis=2).reshape(-1, 3, 3)

    def element_weights(self, index: np.ndarray) -> Float[np.ndarray, "rules group"]:
        """Weights of these elements under each rule."""
        node = np.minimum(index, self.num_used - 1)
        weight = np.where(index < self._plan.num_nodes, self.weights[:, node], 0.0)
        share = np.repeat(weight, 2, axis=1) / (2 * self._plan.in_plane)
        return np.tile(share, (1, self._plan.in_plane))


@dataclasses.dataclass(frozen=True)
class _Tables:
    """Maps from nodes or elements to the rows of the coefficients.

    Attributes:
      plan: Names method and in-plane angles.
      waves: The in-plane transform.
      maps: Maps by number of the rule and largest projected degree.
    """

    plan: Plan
    waves: np.ndarray
    maps: dict[tuple[int, int], list[np.ndarray]]

    def projectors(self, degrees: tuple[int, ...]) -> tuple[Projector, ...]:
        """One projector for each rule."""
        return tuple(_projector(self.plan, degree) for degree in degrees)

    def of_buffer(
        self, slots: _Slots, number: int
    ) -> dict[tuple[int, int], list[np.ndarray]]:
        """The columns of the slots of a buffer, zero for those behind the nodes."""
        columns = slots.of_buffer(number)
        real = columns < self.plan.num_nodes
        index = np.where(real, columns, 0)
        return {
            key: [np.where(real, table[..., index], 0.0) for table in maps]
            for key, maps in self.maps.items()
        }


def _projector(plan: Plan, degree: int) -> Projector:
    if plan.method == "dense":
        return DenseProjector(degree)
    return FactorisedProjector(degree, plan.in_plane)


def _tables(
    plan: Plan, rule: Quadrature, sphere: np.ndarray, degrees: list[tuple[int, ...]]
) -> _Tables:
    maps: dict[tuple[int, int], list[np.ndarray]] = {}
    waves = np.eye(plan.in_plane)
    for number, degree in sorted({key for one in degrees for key in enumerate(one)}):
        projector, weights = _projector(plan, degree), sphere[number]
        if isinstance(projector, DenseProjector):
            each = np.repeat(weights / plan.in_plane, plan.in_plane)
            table = np.asarray(characters.dense_tables(projector, rule.rotations, each))
            # the in-plane angle in front of the node, as in the buffer
            table = table.reshape(len(table), plan.num_nodes, plan.in_plane)
            maps[number, degree] = [np.swapaxes(table, 1, 2)]
        else:
            found, table_maps = characters.factorised_tables(projector, rule, weights)
            maps[number, degree] = table_maps
            if number == 0:
                waves = found
    return _Tables(plan, waves, maps)


def _of_slot(
    matrices: Array | None, in_plane: int, slot: int
) -> Float[Array, "elements components components"] | None:
    """The matrices of the elements of one slot of a call."""
    if matrices is None:
        return None
    # On the host: a slice of a JAX array is a program for each shape.
    nodes = np.asarray(matrices).reshape(in_plane, -1, 2, *matrices.shape[1:])
    return jax.device_put(nodes[:, slot].reshape(-1, *matrices.shape[1:]))


def _symmetrised(
    piece: Piece, reference: Reference, symmetry: LeafSymmetry | None
) -> Reference:
    """A reference with the symmetry of the input, where it has one."""
    if symmetry is None:
        return reference
    # Sums around a reference can be averaged if it has the symmetry itself.
    rotated = symmetries.average_tensors(
        piece.leaf.representation,
        symmetry.elements,
        symmetry.permutations,
        np.asarray(reference.rotated),
    )
    direct = symmetries.average_scalars(
        symmetry.permutations, np.asarray(reference.direct)
    )
    return Reference(
        jax.device_put(direct.astype(reference.direct.dtype)),
        jax.device_put(rotated.astype(reference.rotated.dtype)),
    )
