"""Streams responses on the orbit into moments and spectral coefficients.

One call evaluates several sphere nodes with all their in-plane angles, on both cosets.
The responses are centred, added to the moments, transformed along the in-plane angle,
and stored in a buffer of nodes. When the buffer is full, one matrix product for each
in-plane frequency adds it to the coefficients, so that the large arrays of coefficients
are read and written once per buffer, not once per call. No array has the size of the
group.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial.transform import Rotation

from symjax._arrays import fitting
from symjax.metrics import characters, moments, orbit, stabilizer
from symjax.metrics.accumulation import (
    Call,
    Given,
    Reference,
    Selection,
    State,
    accumulate,
    add_buffer,
    empty,
    first_responses,
    placed,
    responses_of_slot,
    scales_of,
)
from symjax.metrics.finishing import AtChecks, Streamed, finish
from symjax.metrics.pieces import Leaf, Piece, spherical_matrices
from symjax.metrics.planning import Checks, Elements, Plan
from symjax.metrics.problem import Prepared
from symjax.metrics.response_spectrum import ResponseSums
from symjax.metrics.slots import Slots, Tables, make_tables
from symjax.metrics.stabilizer import LeafSymmetry


def stream(
    prepared: Prepared,
    pieces: Sequence[Piece],
    elements: Elements,
    symmetric: Mapping[str, LeafSymmetry],
    plan: Plan,
    progress: Callable[[int], None] | None,
    sums: Mapping[str, ResponseSums],
) -> list[Streamed]:
    """Runs over the whole grid, and returns the sums of each piece.

    Responses of outputs are also added to ``sums``, their second moments by name.
    """
    steps = Steps.of(pieces, elements, plan)
    slots, tables = steps.slots, steps.tables
    references: list[Reference] = []
    at_checks: list[Array] = []
    check_matrices: list[np.ndarray | None] = []
    prepared = prepared.replicated()
    with jax.enable_x64(True):
        states, buffers = steps.empty(several=plan.num_buffers > 1)
    on_host = isinstance(buffers[0][0], np.ndarray)

    def evaluate(rotations: np.ndarray) -> list[Array]:
        """Responses at proper elements, each followed by its negative."""
        evaluated = prepared.respond(
            rotations if elements.evaluated_cosets == 2 else rotations[::2],
            steps.wholes,
            plan.vectorised,
            in_batches=elements.climbing,
            shared=True,
        )
        return [
            symmetric[piece.name].both_cosets(values)
            if piece.name in symmetric
            else values
            for piece, values in zip(pieces, placed(evaluated, on_host), strict=True)
        ]

    # Responses of the previous call, which the host adds while the next is evaluated.
    behind: list[tuple[ResponseSums, tuple[Any, ...]]] = []

    for call in range(plan.num_calls):
        index = slots.of_call(call)
        rotations = slots.rotations(index)
        responses = evaluate(rotations)
        # A further call that runs ahead would hold its responses too.
        jax.block_until_ready(buffers)
        for added, given in behind:
            added.add(*given)
        matrices = spherical_matrices(steps.leaves, rotations)
        weights = slots.element_weights(index)[0]
        behind = [
            (sums[piece.name], (rotations[::2], values, matrix, 2 * weights[::2]))
            for piece, values, matrix in zip(pieces, responses, matrices, strict=True)
            if piece.name in sums
        ]
        with jax.enable_x64(True):
            if not references:
                steps = steps.scaled([piece.name for piece in pieces], responses)
                references = [
                    _symmetrised(piece, reference, symmetric.get(piece.name))
                    for piece, reference in zip(
                        pieces, steps.references(responses, matrices), strict=True
                    )
                ]
            moved = [state.moments for state in states]
            moved, buffers = steps.accumulate(
                call, moved, buffers, responses, references, matrices
            )
            states = [
                state._replace(moments=moment)
                for state, moment in zip(states, moved, strict=True)
            ]
            if plan.num_checks and plan.num_nodes in index:
                slot = plan.num_nodes - int(index[0])
                at_checks = steps.at_slot(responses, plan.in_plane, slot)
                check_matrices = [
                    _of_slot(one, plan.in_plane, slot) for one in matrices
                ]
            del responses
            last = call == plan.num_calls - 1
            if last or (call + 1) % plan.calls_per_buffer == 0:
                maps = tables.of_buffer(slots, call // plan.calls_per_buffer)
                for number, (state, buffer) in enumerate(
                    zip(states, buffers, strict=True)
                ):
                    update = [maps[key] for key in enumerate(steps.degrees[number])]
                    sums_of = add_buffer(state.coefficients, buffer, update)
                    states[number] = state._replace(coefficients=sums_of)
        if not plan.runs_ahead:
            jax.block_until_ready(buffers)
        if progress is not None:
            finished = min((call + 1) * plan.nodes_per_call, plan.num_nodes)
            progress(elements.evaluated_cosets * plan.in_plane * finished)
    for added, given in behind:
        added.add(*given)
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
        at_checks, check_matrices, round_off = [], [], []
        for number, (piece, num) in enumerate(zip(pieces, num_checks, strict=True)):
            alone = steps.only(number)
            both = orbit.with_negatives(shared.rotations[:num])
            check_matrices += spherical_matrices(alone.leaves, both)
            held = [shared.responses[piece.name], shared.turned[piece.name]]
            with jax.enable_x64(True):
                responses = placed(held, on_host)
                at_checks += alone.at_slot(responses[:1], num, 0)
                (turned,) = alone.at_slot(responses[1:], len(held[1]) // 2, 0)
            unturned = np.asarray(at_checks[-1])[: len(turned)]
            moved = np.square(np.asarray(turned, float) - unturned).mean(axis=(0, 1))
            round_off.append(moved.reshape(piece.num_samples, -1).sum(axis=1))
    out = []
    with jax.enable_x64(True):
        finest = tables.projectors((plan.max_degree,))[0]
        rows = characters.synthesis_rows(finest, checks)
        for piece, reference, through, matrix, selection, num, noise in zip(
            *(pieces, references, steps.degrees, check_matrices, steps.selections),
            *(num_checks, round_off),
            strict=True,
        ):
            summed = finish(
                piece.leaf,
                reference,
                states.pop(0),
                AtChecks(at_checks.pop(0), rows[:, :num], matrix),
                elements,
                symmetric.get(piece.name),
                tables.projectors(through),
            )
            noise = np.broadcast_to(noise, summed.round_off.shape)
            summed = summed._replace(round_off=noise)
            out.append(summed.divided(float(selection.scale)))
    return out


def _evaluate_checks(
    checks: Checks,
    pieces: Sequence[Piece],
    numbers: Sequence[int],
    evaluate: Callable[[np.ndarray], list[Array]],
    plan: Plan,
) -> None:
    """Evaluates the random elements, for each output as many as fit.

    A few of them are also evaluated after a rotation by a few eps; the change shows the
    round-off of the function itself.
    """
    epsilon = max(piece.leaf.epsilon for piece in pieces)
    small = Rotation.from_rotvec(4 * epsilon * np.ones(3) / np.sqrt(3)).as_matrix()
    unturned = checks.rotations[: min(checks.NUM_TURNED, min(numbers))]
    batch = plan.vectorised * max(len(plan.devices), 1)
    held: list[list[np.ndarray]] = [[] for _ in pieces]
    for start in range(0, max(numbers), batch):
        chunk = checks.rotations[start : min(start + batch, max(numbers))]
        for rows, values, num in zip(
            held, evaluate(orbit.with_negatives(chunk)), numbers, strict=True
        ):
            if start < num:
                rows.append(np.asarray(values)[: 2 * (num - start)])
    turned = evaluate(orbit.with_negatives(unturned @ small))
    for piece, rows, again in zip(pieces, held, turned, strict=True):
        checks.responses[piece.name] = np.concatenate(rows)
        checks.turned[piece.name] = np.asarray(again)


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps of a pass, with everything that they need beside the sums.

    Attributes:
      plan: How the elements are streamed.
      slots: The order and weights of the nodes.
      tables: Maps to the coefficients.
      degrees: Projected degrees of each piece, under the rule and the nested ones.
      leaves: The pieces as leaves.
      wholes: The leaves that they are pieces of.
      selections: First sample and scale of each piece.
    """

    plan: Plan
    slots: Slots
    tables: Tables
    degrees: list[tuple[int, ...]]
    leaves: tuple[Leaf, ...]
    wholes: tuple[Leaf, ...]
    selections: list[Selection]

    @classmethod
    def of(cls, pieces: Sequence[Piece], elements: Elements, plan: Plan) -> "Steps":
        """The steps of a pass over some pieces."""
        slots = Slots(elements, plan)
        degrees = [plan.projected(piece.leaf) for piece in pieces]
        with jax.enable_x64(True):
            weights = slots.weights[:, : plan.num_nodes]
            tables = make_tables(plan, elements.rule, weights, degrees)
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

    def scaled(self, names: Sequence[str], responses: list[Array]) -> "Steps":
        """The same steps, with scales from the responses of a call."""
        scales = scales_of(self.leaves, names, responses)
        return dataclasses.replace(
            self,
            selections=[
                one._replace(scale=scale)
                for one, scale in zip(self.selections, scales, strict=True)
            ],
        )

    def empty(self, several: bool) -> tuple[list[State], list[list[Array]]]:
        """Empty sums and buffers; with coefficients if there are several buffers."""
        projectors = tuple(map(self.tables.projectors, self.degrees))
        parts, nodes = self.plan.parts, self.plan.nodes_per_buffer
        return empty(self.leaves, projectors, parts, nodes, several)

    def references(
        self, responses: list[Array], matrices: list[np.ndarray | None]
    ) -> list[Reference]:
        """The first response of each piece, as its reference."""
        return fitting(first_responses, responses)(
            self.leaves, self.wholes, responses, self.selections, matrices
        )

    def accumulate(
        self,
        call: int,
        sums: list[moments.MomentState],
        buffers: list[list[Array]],
        responses: list[Array],
        references: list[Reference],
        matrices: list[np.ndarray | None],
    ) -> tuple[list[moments.MomentState], list[list[Array]]]:
        """Adds a call to sums and buffers, which are donated."""
        index = self.slots.of_call(call)
        position = call % self.plan.calls_per_buffer * self.plan.nodes_per_call
        given = zip(responses, self.selections, references, matrices, strict=True)
        return fitting(accumulate, responses)(
            tuple(zip(self.leaves, self.wholes, strict=True)),
            Call(
                self.slots.element_weights(index),
                self.tables.waves,
                np.int64(position),
            ),
            sums,
            buffers,
            [Given(*each) for each in given],
        )

    def only(self, number: int) -> "Steps":
        """The same steps for one of the pieces."""
        one = slice(number, number + 1)
        return dataclasses.replace(
            self,
            degrees=self.degrees[one],
            leaves=self.leaves[one],
            wholes=self.wholes[one],
            selections=self.selections[one],
        )

    def at_slot(self, responses: list[Array], in_plane: int, slot: int) -> list[Array]:
        """Responses at the elements of one slot of a call, for each piece."""
        return fitting(responses_of_slot, responses)(
            self.leaves, self.wholes, in_plane, responses, self.selections, slot
        )


def _of_slot(
    matrices: np.ndarray | None, in_plane: int, slot: int
) -> Float[np.ndarray, "elements components components"] | None:
    """The matrices of the elements of one slot of a call."""
    if matrices is None:
        return None
    nodes = matrices.reshape(in_plane, -1, 2, *matrices.shape[1:])
    return nodes[:, slot].reshape(-1, *matrices.shape[1:])


def _symmetrised(
    piece: Piece, reference: Reference, symmetry: LeafSymmetry | None
) -> Reference:
    """The reference averaged over the symmetry of the input, if it has one."""
    if symmetry is None:
        return reference
    # Sums can only be averaged over the symmetry if the reference has it.
    rotated = stabilizer.average_tensors(
        piece.leaf.representation,
        symmetry.elements,
        symmetry.permutations,
        np.asarray(reference.rotated),
    )
    direct = stabilizer.average_scalars(
        symmetry.permutations, np.asarray(reference.direct)
    )
    return Reference(
        direct.astype(reference.direct.dtype), rotated.astype(reference.rotated.dtype)
    )
