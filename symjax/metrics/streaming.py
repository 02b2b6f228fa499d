"""The stream: responses on the orbit in, moments and spectral coefficients out.

One call evaluates some whole sphere nodes: all their in-plane angles, both cosets.
Its responses are centred, added to the moments, transformed along the in-plane angle
and laid down in a buffer of nodes. When the buffer is full, one matrix product for
each in-plane frequency adds it to the coefficients, so that the large arrays of
coefficients are read and written once a buffer, not once a call. Nothing has the
size of the group.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial.transform import Rotation

from symjax.metrics import characters, moments, orbit
from symjax.metrics import symmetry as symmetries
from symjax.metrics.characters import DenseProjector, FactorisedProjector
from symjax.metrics.leaves import Leaf, Piece, rotate_back, spherical_values
from symjax.metrics.planning import Elements, Plan
from symjax.metrics.symmetry import LeafSymmetry
from symjax.so3.quadrature import Quadrature

Projector = DenseProjector | FactorisedProjector

# Elements of the check are the same in every run, so that results are reproducible.
CHECK_SEED = 20
"""Seed of the random elements at which results on a fixed grid are checked."""
# Values whose coefficients are added to at once: products of so many stay in the cache.
# Those of all values would be another array of the size of the coefficients.
_CHUNK = 4096


class _Reference(NamedTuple):
    """The response around which sums are accumulated."""

    direct: Float[Array, "samples components channels"]
    rotated: Float[Array, "samples components channels"]


class _State(NamedTuple):
    """Accumulated sums of one piece; coefficients under each rule, the finest first."""

    moments: moments.MomentState
    coefficients: list[list[Float[Array, "rows cosets c"]]] | None


class Coarser(NamedTuple):
    """What one piece has accumulated under a nested rule, per sample.

    Attributes:
      variance: ||z - mean||^2 averaged, for each irrep.
      norm: E||z||^2 for each irrep.
      power: ||P_{l,sigma} u||^2, through fewer degrees than under the rule.
    """

    variance: Float[np.ndarray, "samples irreps"]
    norm: Float[np.ndarray, "samples irreps"]
    power: Float[np.ndarray, "samples irreps degrees 2"]


@dataclasses.dataclass
class Streamed:
    """What one piece has accumulated when the stream ends, per sample.

    Attributes:
      fine: Moments under the rule.
      power: ||P_{l,sigma} u||^2 for each sample, irrep, degree and sigma.
      coarser: The same under each nested rule, the finest first.
      misfit: ||u - û||^2 at random elements, û the projected sectors of u.
      overlap: <û, u - û> at the same elements.
      spread: ||z - mean||^2 at the same elements.
    """

    fine: moments.Moments
    power: Float[np.ndarray, "samples irreps degrees 2"]
    coarser: tuple["Coarser", ...]
    misfit: Float[np.ndarray, "group samples"]
    overlap: Float[np.ndarray, "group samples"]
    spread: Float[np.ndarray, "group samples"]


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

    Returns:
      What each piece has accumulated.
    """
    slots = _Slots(elements, plan)
    with jax.enable_x64(True):
        degrees = [plan.projected(piece.leaf) for piece in pieces]
        weights = slots.weights[:, : plan.num_nodes]
        tables = _tables(plan, elements.rule, weights, degrees)
    static = tuple(piece.leaf for piece in pieces)
    whole = tuple(None if piece.is_whole else piece.whole for piece in pieces)
    references: list[_Reference] = []
    states: list[_State] = []
    buffers: list[list[Array]] = []
    at_checks: list[Array] = []
    starts = [np.int32(piece.start) for piece in pieces]
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
        with jax.enable_x64(True):
            if not states:
                for piece, values, start, through in zip(
                    pieces, responses, starts, degrees, strict=True
                ):
                    reference = _reference(
                        piece, values, start, rotations, symmetric.get(piece.name)
                    )
                    references.append(reference)
                    states.append(_empty(piece.leaf, tables.projectors(through), plan))
                    buffers.append(_empty_buffer(piece.leaf, plan))
            position = call % plan.calls_per_buffer * plan.nodes_per_call
            sums, buffers = _accumulate(
                static,
                whole,
                plan.method,
                [state.moments for state in states],
                buffers,
                responses,
                starts,
                references,
                rotations,
                slots.element_weights(index),
                tables.waves,
                np.int32(position),
            )
            states = [
                state._replace(moments=moment)
                for state, moment in zip(states, sums, strict=True)
            ]
            if plan.num_checks and plan.num_nodes in index:
                slot = plan.num_nodes - int(index[0])
                at_checks = [
                    _one_node(leaf, rest, plan.in_plane, values, start, slot)
                    for leaf, rest, values, start in zip(
                        static, whole, responses, starts, strict=True
                    )
                ]
            del responses
            last = call == plan.num_calls - 1
            if last or (call + 1) % plan.calls_per_buffer == 0:
                columns = slots.of_buffer(call // plan.calls_per_buffer)
                maps = tables.columns(columns, columns < plan.num_nodes)
                for number, state in enumerate(states):
                    update = [maps[key] for key in enumerate(degrees[number])]
                    sums_of = _contract(
                        plan.method, state.coefficients, buffers[number], update
                    )
                    states[number] = state._replace(coefficients=sums_of)
        if progress is not None:
            jax.block_until_ready(buffers)
            finished = min((call + 1) * plan.nodes_per_call, plan.num_nodes)
            progress(elements.evaluated_cosets * plan.in_plane * finished)
    buffers.clear()
    out = []
    checks = slots.checks
    placed = elements.place(checks)
    if elements.checks is not None:
        placed = elements.checks.rotations
        checks = placed if elements.reduced is None else elements.reduced.locate(placed)
    both = np.stack([placed, -placed], axis=1).reshape(-1, 3, 3)
    if elements.checks is not None:
        known = elements.checks.responses
        if not all(piece.name in known for piece in pieces):
            names = (piece.name for piece in pieces)
            known.update(zip(names, map(np.asarray, evaluate(both)), strict=True))
        with jax.enable_x64(True):
            at_checks = [
                _one_node(leaf, rest, len(placed), known[piece.name], start, 0)
                for leaf, rest, piece, start in zip(
                    static, whole, pieces, starts, strict=True
                )
            ]
    with jax.enable_x64(True):
        finest = tables.projectors((plan.max_degree,))[0]
        rows = characters.synthesis_rows(finest, checks)
        for piece, reference, through in zip(pieces, references, degrees, strict=True):
            out.append(
                _finish(
                    piece.leaf,
                    reference,
                    states.pop(0),
                    at_checks.pop(0),
                    elements,
                    symmetric.get(piece.name),
                    tables.projectors(through),
                    rows,
                    both,
                )
            )
    return out


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
        num_checks = plan.num_checks * plan.in_plane
        self.checks = Rotation.random(num_checks, random_state=CHECK_SEED).as_matrix()
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
        size = self._plan.calls_per_buffer * self._plan.nodes_per_call
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

    def columns(
        self, slots: np.ndarray, real: np.ndarray
    ) -> dict[tuple[int, int], list[np.ndarray]]:
        """The columns of some slots, zero for those behind the nodes."""
        index = np.where(real, slots, 0)
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


def _empty(leaf: Leaf, projectors: tuple[Projector, ...], plan: Plan) -> _State:
    samples, components, channels = spherical_shape(leaf)
    # The first moment of a trivial representation is a row of the coefficients.
    kept = 0 if leaf.representation.is_trivial else components
    irreps = len(leaf.representation.irreps)
    sums = moments.init(len(projectors), samples, kept, channels, irreps)
    if plan.num_buffers == 1:
        # The only buffer makes the coefficients: no zeros are written to add it to.
        return _State(sums, None)
    size = samples * components * channels
    coefficients = [
        _zeros(
            tuple((len(layout.degrees), 2, size) for layout in projector.blocks),
            leaf.compute_dtype,
        )
        for projector in projectors
    ]
    return _State(sums, coefficients)


def _empty_buffer(leaf: Leaf, plan: Plan) -> list[Array]:
    """Parts of the spectrum at the nodes of a buffer, one array a frequency."""
    nodes = plan.calls_per_buffer * plan.nodes_per_call
    shapes = tuple((parts, nodes, 2, leaf.size) for parts in plan.parts)
    return _zeros(shapes, leaf.compute_dtype)


@functools.partial(jax.jit, static_argnames=("shapes", "dtype"))
def _zeros(shapes: tuple[tuple[int, ...], ...], dtype: str) -> list[Array]:
    # One program for all of them: outside a compiled function each shape has its own.
    return [jnp.zeros(shape, dtype) for shape in shapes]


def spherical_shape(leaf: Leaf) -> tuple[int, int, int]:
    """Samples, components and channels of a response in spherical components.

    Args:
      leaf: The leaf.

    Returns:
      The three sizes.
    """
    _, components, channels = leaf.axes
    return leaf.num_samples, components, channels


def _piece_of(whole: Leaf | None, leaf: Leaf, values: Array, start: Array) -> Array:
    """Spherical components of the samples of a piece."""
    if whole is None:
        return spherical_values(leaf, values)
    values = values.reshape(len(values), *whole.shape)
    values = jax.lax.dynamic_slice_in_dim(values, start, leaf.shape[0], axis=1)
    return spherical_values(leaf, values)


@functools.partial(jax.jit, static_argnames=("leaf", "whole"))
def _first(
    leaf: Leaf, whole: Leaf | None, values: Array, start: Array, rotations: Array
) -> _Reference:
    direct = _piece_of(whole, leaf, values[:1], start)
    if leaf.representation.is_trivial:
        return _Reference(direct[0], direct[0])
    return _Reference(direct[0], rotate_back(leaf, rotations[:1], direct)[0])


def _reference(
    piece: Piece,
    values: Array,
    start: np.integer,
    rotations: np.ndarray,
    symmetry: LeafSymmetry | None,
) -> _Reference:
    """The first response, with the symmetry of the input where it has one."""
    leaf = piece.leaf
    whole = None if piece.is_whole else piece.whole
    reference = _first(leaf, whole, values, start, rotations)
    if symmetry is None:
        return reference
    # Sums around a reference can be averaged if it has the symmetry itself.
    rotated = symmetries.average_tensors(
        leaf.representation,
        symmetry.elements,
        symmetry.permutations,
        np.asarray(reference.rotated),
    )
    direct = symmetries.average_scalars(
        symmetry.permutations, np.asarray(reference.direct)
    )
    return _Reference(
        jax.device_put(direct.astype(reference.direct.dtype)),
        jax.device_put(rotated.astype(reference.rotated.dtype)),
    )


@functools.partial(
    jax.jit,
    static_argnames=("leaves", "wholes", "method"),
    donate_argnames=("sums", "buffers"),
)
def _accumulate(
    leaves: tuple[Leaf, ...],
    wholes: tuple[Leaf | None, ...],
    method: str,
    sums: list[moments.MomentState],
    buffers: list[list[Array]],
    responses: list[Array],
    starts: list[Array],
    references: list[_Reference],
    rotations: Array,
    weights: Array,
    waves: Array,
    position: Array,
) -> tuple[list[moments.MomentState], list[list[Array]]]:
    """Adds one call to the moments and lays its in-plane spectrum down."""
    in_plane = waves.shape[1]
    new_sums, new_buffers = [], []
    for leaf, whole, state, buffer, values, start, reference in zip(
        leaves, wholes, sums, buffers, responses, starts, references, strict=True
    ):
        direct = _piece_of(whole, leaf, values, start)
        centred = direct - reference.direct
        if leaf.representation.is_trivial:
            rotated = centred
        else:
            rotated = rotate_back(leaf, rotations, direct) - reference.rotated
        new_sums.append(moments.update(state, leaf.representation, rotated, weights))
        flat = centred.reshape(in_plane, -1, 2, leaf.size)
        parts = [flat]
        if method == "factorised":
            parts = characters.in_plane_spectrum(waves, flat)
        new_buffers.append(
            [
                jax.lax.dynamic_update_slice_in_dim(old, part, position, axis=1)
                for old, part in zip(buffer, parts, strict=True)
            ]
        )
    return new_sums, new_buffers


@functools.partial(
    jax.jit, static_argnames=("method", "chunk"), donate_argnames=("states",)
)
def _contract(
    method: str,
    states: list[list[Array]] | None,
    buffer: list[Array],
    tables: list[list[Array]],
    chunk: int = _CHUNK,
) -> list[list[Array]]:
    """Adds a buffer to the coefficients of each rule, if there are any yet."""
    if states is None:
        return _products(method, buffer, tables)

    def add(
        start: Array | int, width: int, states: list[list[Array]]
    ) -> list[list[Array]]:
        def some(array: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(array, start, width, axis=-1)

        new = _products(method, [some(part) for part in buffer], tables)
        return jax.tree.map(
            lambda old, update: jax.lax.dynamic_update_slice_in_dim(
                old, some(old) + update, start, axis=-1
            ),
            states,
            new,
        )

    size = buffer[0].shape[-1]
    whole = size // chunk
    if whole:
        states = jax.lax.fori_loop(
            0, whole, lambda i, states: add(i * chunk, chunk, states), states
        )
    if size % chunk:
        states = add(whole * chunk, size % chunk, states)
    return states


def _products(
    method: str, buffer: list[Array], tables: list[list[Array]]
) -> list[list[Array]]:
    """What a buffer adds to the coefficients of each rule."""
    out = []
    for maps in tables:
        if method == "factorised":
            out.append(characters.factorised_coefficients(maps, buffer))
        else:
            table = maps[0].reshape(len(maps[0]), -1)
            elements = buffer[0].reshape(table.shape[1], *buffer[0].shape[2:])
            out.append([characters.dense_coefficients(table, elements)])
    return out


@functools.partial(jax.jit, static_argnames=("leaf", "whole", "in_plane", "slot"))
def _one_node(
    leaf: Leaf,
    whole: Leaf | None,
    in_plane: int,
    values: Array,
    start: Array,
    slot: int,
) -> Array:
    """Direct responses at the elements of one slot, ``(in_plane, cosets, size)``."""
    values = values.reshape(in_plane, -1, 2, *values.shape[1:])[:, slot]
    part = _piece_of(whole, leaf, values.reshape(-1, *values.shape[2:]), start)
    return part.reshape(in_plane, 2, -1)


def _finish(
    leaf: Leaf,
    reference: _Reference,
    state: _State,
    at_checks: Float[Array, "group cosets c"],
    elements: Elements,
    symmetry: LeafSymmetry | None,
    projectors: tuple[Projector, ...],
    rows: Float[np.ndarray, "rows group"],
    both: np.ndarray,
) -> Streamed:
    """Moments, sector powers and the checks, from the sums."""
    representation = leaf.representation
    shape = spherical_shape(leaf)
    sums = state.moments
    assert state.coefficients is not None
    blocks = state.coefficients
    if representation.is_trivial:
        sums = sums._replace(first=_first_moments(blocks, shape))
    epsilon = float(np.finfo(leaf.compute_dtype).eps)

    def moments_under(rule: int) -> moments.Moments:
        return moments.finalize(
            sums,
            representation,
            reference.rotated,
            elements.num_elements,
            epsilon,
            rule=rule,
            symmetry=symmetry,
        )

    fine = moments_under(0)
    spread = _spread(leaf, at_checks, reference, both, fine.mean)
    direct = reference.direct
    if symmetry is not None:
        # One sample of each orbit is enough.
        blocks = [
            _averaged(projector, symmetry, part)
            for projector, part in zip(projectors, blocks, strict=True)
        ]
        at_checks, direct = (
            _samples(array, shape[0], symmetry.first)
            for array in (at_checks, direct.reshape(-1))
        )
        shape = (len(symmetry.first), *shape[1:])
    power = _irrep_power(leaf, projectors, blocks, direct, shape)
    misfit = np.asarray(
        _misfit(at_checks, direct, blocks[0], rows, shape[0]), np.float64
    )
    if symmetry is not None:
        power = [np.take(part, symmetry.number, axis=0) for part in power]
        misfit = np.take(misfit, symmetry.number, axis=2)
    coarser = []
    for rule in range(1, len(projectors)):
        under = moments_under(rule)
        coarser.append(Coarser(under.variance, under.norm, power[rule]))
    return Streamed(
        fine,
        power[0],
        tuple(coarser),
        misfit[0],
        misfit[1],
        np.asarray(spread, np.float64),
    )


@functools.partial(jax.jit, static_argnames=("shape",))
def _first_moments(
    blocks: list[list[Array]], shape: tuple[int, int, int]
) -> Float[Array, "rules samples components channels"]:
    """Mean of a centred response under each rule, from its coefficients of l = 0."""
    first = jnp.stack([one[0][0].mean(axis=0) for one in blocks])
    return first.reshape(len(first), *shape)


def _averaged(
    projector: Projector, symmetry: LeafSymmetry, blocks: list[Array]
) -> list[Array]:
    """Coefficients of one sample of each orbit, averaged over the symmetry."""
    joined = symmetries.average_coefficients(
        projector,
        symmetry.reduced,
        symmetry.permutations,
        characters.join_blocks(blocks),
    )
    ends = np.cumsum([len(layout.degrees) for layout in projector.blocks])
    return _split(joined, tuple(ends[:-1].tolist()))


@functools.partial(jax.jit, static_argnames=("ends",))
def _split(joined: Array, ends: tuple[int, ...]) -> list[Array]:
    return jnp.split(jnp.swapaxes(joined, 0, 1), ends)


@functools.partial(jax.jit, static_argnames=("num_samples",))
def _samples(values: Array, num_samples: int, chosen: Array) -> Array:
    """Entries of the last axis that belong to some samples."""
    by_sample = values.reshape(*values.shape[:-1], num_samples, -1)
    return by_sample[..., chosen, :].reshape(*values.shape[:-1], -1)


@functools.partial(jax.jit, static_argnames=("leaf",))
def _spread(
    leaf: Leaf, responses: Array, reference: _Reference, both: Array, mean: Array
) -> Float[Array, "group samples"]:
    """||z - mean||^2 at random elements, mean of both cosets."""
    direct = responses.reshape(-1, *spherical_shape(leaf))
    if leaf.representation.is_trivial:
        centred = direct - reference.direct
    else:
        centred = rotate_back(leaf, both, direct) - reference.rotated
    shift = mean - reference.rotated.astype(mean.dtype)
    squares = jnp.square(centred - shift.astype(centred.dtype)).sum((2, 3))
    return squares.reshape(-1, 2, squares.shape[-1]).mean(1)


@functools.partial(jax.jit, static_argnames=("num_samples",))
def _misfit(
    responses: Float[Array, "group cosets c"],
    reference: Array,
    blocks: list[Array],
    rows: Float[Array, "rows group"],
    num_samples: int,
) -> Float[Array, "two group samples"]:
    """||u - û||^2 and <û, u - û> at random elements, û the projected sectors of u."""
    predicted = jnp.zeros_like(responses)
    start = 0
    for block in blocks:
        part = rows[start : start + len(block)].astype(block.dtype)
        predicted += jnp.einsum("rg,rsc->gsc", part, block, precision="highest")
        start += len(block)
    reference = reference.reshape(-1)
    missed = responses - reference - predicted
    both = jnp.stack([jnp.square(missed), (reference + predicted) * missed])
    return both.reshape(2, len(missed), 2, num_samples, -1).sum(-1).mean(2)


def _irrep_power(
    leaf: Leaf,
    projectors: tuple[Projector, ...],
    blocks: list[list[Array]],
    reference: Array,
    shape: tuple[int, int, int],
) -> list[Float[np.ndarray, "samples irreps degrees 2"]]:
    """Sector powers of each irrep, under some of the rules."""
    starts = moments.irrep_starts(leaf.representation)
    powers = _powers(projectors, blocks, reference, shape)
    return [
        np.moveaxis(
            np.add.reduceat(np.asarray(power, np.float64), starts, axis=-1),
            (0, 1),
            (2, 3),
        )
        for power in powers
    ]


@functools.partial(jax.jit, static_argnames=("projectors", "shape"))
def _powers(
    projectors: tuple[Projector, ...],
    blocks: list[list[Array]],
    reference: Array,
    shape: tuple[int, int, int],
) -> list[Array]:
    # One program for all rules: it is compiled for every shape of a leaf.
    return [
        characters.sector_power(projector, part, reference.reshape(-1), shape)
        for projector, part in zip(projectors, blocks, strict=True)
    ]
