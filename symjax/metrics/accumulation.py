"""Compiled steps of the stream: from calls to sums, from buffers to coefficients."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ArgumentError
from symjax.metrics import characters, moments
from symjax.metrics.characters import Projector
from symjax.metrics.pieces import Leaf, rotate_back, spherical_values
from symjax.metrics.planning import CHUNK_OF_A_CALL

CHUNK_OF_A_BUFFER = 4096
"""Number of values whose coefficients are added at once, so that their products stay in
the cache and no second array of the size of all coefficients is needed."""
HOST_BYTES = 2**22
"""Arrays of at most this many bytes are processed by NumPy, with the same functions, as
compiling a program for every shape of an output takes longer than that."""


def is_small(arrays: Any) -> bool:
    """Whether arrays are so small that they are better processed on the host."""
    return sum(array.nbytes for array in jax.tree.leaves(arrays)) <= HOST_BYTES


def placed(responses: Sequence[Any], on_host: bool) -> list[Any]:
    """Responses where they are processed: on the host, if buffers are and they fit."""
    if on_host and is_small(responses):
        return [np.asarray(values) for values in responses]
    with jax.enable_x64(True):
        return [jax.device_put(values) for values in responses]


class Reference(NamedTuple):
    """The response around which sums are accumulated."""

    direct: Float[Array | np.ndarray, "samples components channels"]
    rotated: Float[Array | np.ndarray, "samples components channels"]


class Selection(NamedTuple):
    """The samples of a leaf that belong to a piece, and their scale.

    Attributes:
      start: The first sample.
      scale: A power of two by which responses are multiplied: squares of numbers such
        as 1e-29 (SI units) would underflow in float32.
    """

    start: Array | np.int32
    scale: Array | np.floating


class State(NamedTuple):
    """Accumulated sums of one piece; coefficients under each rule, the finest first."""

    moments: moments.MomentState
    coefficients: list[list[Float[Array, "rows cosets c"]]] | None


def empty(
    leaves: tuple[Leaf, ...],
    projectors: tuple[tuple[Projector, ...], ...],
    parts: tuple[int, ...],
    nodes: int,
    several: bool,
) -> tuple[list[State], list[list[Array]]]:
    """The empty state of each leaf, and its empty buffer: one array per frequency.

    Unless there will be ``several`` buffers, no coefficients are allocated: the only
    buffer becomes the coefficients.
    """
    described = (leaves, projectors, parts, nodes, several)
    shapes = _zeros.eval_shape(*described)
    size = sum(one.size * one.dtype.itemsize for one in jax.tree.leaves(shapes))
    if size > HOST_BYTES:
        return _zeros(*described)
    # Compiles nothing.
    return jax.tree.map(lambda one: np.zeros(one.shape, one.dtype), shapes)


@functools.partial(
    jax.jit, static_argnames=("leaves", "projectors", "parts", "nodes", "several")
)
def _zeros(
    leaves: tuple[Leaf, ...],
    projectors: tuple[tuple[Projector, ...], ...],
    parts: tuple[int, ...],
    nodes: int,
    several: bool,
) -> tuple[list[State], list[list[Array]]]:
    states, buffers = [], []
    for leaf, each in zip(leaves, projectors, strict=True):
        samples, components, channels = leaf.spherical_shape
        # The first moment of a trivial representation follows from the coefficients.
        kept = 0 if leaf.representation.is_trivial else components
        irreps = len(leaf.representation.irreps)
        zeros = functools.partial(jnp.zeros, dtype=leaf.compute_dtype)
        coefficients = [
            [zeros((len(layout.degrees), 2, leaf.size)) for layout in one.blocks]
            for one in each
        ]
        sums = moments.init(len(each), samples, kept, channels, irreps)
        states.append(State(sums, coefficients if several else None))
        buffers.append([zeros((number, nodes, 2, leaf.size)) for number in parts])
    return states, buffers


@jax.jit
def _largest(responses: list[Array]) -> list[Array]:
    return [jnp.max(jnp.abs(values)) for values in responses]


def scales_of(
    leaves: Sequence[Leaf], names: Sequence[str], responses: list[Array]
) -> list[np.floating]:
    """Powers of two that bring the largest of some responses between 1 and 2.

    One for each leaf, in its dtype; 1 if all responses vanish or one is not finite.

    Raises:
      ArgumentError: Responses are so small that digits are lost, or so large that their
        squares overflow.
    """
    if is_small(responses):
        largest = [np.abs(np.asarray(values)).max() for values in responses]
    else:
        largest = _largest(responses)
    scales = []
    for leaf, name, found in zip(leaves, names, largest, strict=True):
        dtype = np.dtype(leaf.compute_dtype).type
        most = float(found)
        if most == 0 or not np.isfinite(most):
            scales.append(dtype(1))
            continue
        # Smaller numbers have lost digits; squares are taken in float64.
        least = max(float(np.finfo(dtype).tiny / np.finfo(dtype).eps), 1e-140)
        if not least <= most <= 1e140:
            raise ArgumentError(
                name,
                most,
                f"is the largest response of this output, too "
                f"{'small' if most < 1 else 'large'} to be measured in {leaf.dtype}",
                "Return it in another unit, or subtract a constant",
            )
        scales.append(dtype(2.0 ** -np.floor(np.log2(most))))
    return scales


def _cut(array: Any, start: Any, width: int, axis: int = -1) -> Any:
    """Consecutive entries along one axis; a view of an array of NumPy."""
    if isinstance(array, np.ndarray):
        return np.moveaxis(np.moveaxis(array, axis, 0)[start : start + width], 0, axis)
    return jax.lax.dynamic_slice_in_dim(array, start, width, axis)


def _put(array: Any, part: Any, start: tuple[Any, ...]) -> Any:
    """Replaces entries from ``start`` on; in place in an array of NumPy."""
    start += (array.ndim - len(start)) * (0,)
    if not isinstance(array, np.ndarray):
        return jax.lax.dynamic_update_slice(array, part, start)
    array[tuple(map(slice, start, np.add(start, part.shape)))] = part
    return array


def _samples_of(whole: Leaf, leaf: Leaf, values: Any, selection: Selection) -> Any:
    """Scaled spherical components of the selected samples."""
    values = values.reshape(len(values), *whole.shape)
    values = _cut(values, selection.start, leaf.num_samples, axis=1)
    return spherical_values(leaf, values.astype(leaf.compute_dtype) * selection.scale)


@functools.partial(jax.jit, static_argnames=("leaves", "wholes"))
def first_responses(
    leaves: tuple[Leaf, ...],
    wholes: tuple[Leaf, ...],
    responses: list[Array],
    selections: list[Selection],
    matrices: list[np.ndarray | None],
) -> list[Reference]:
    """References: the first response of a call, for each piece."""
    out = []
    for leaf, whole, values, selection, matrix in zip(
        leaves, wholes, responses, selections, matrices, strict=True
    ):
        direct = _samples_of(whole, leaf, values[:1], selection)
        rotated = rotate_back(None if matrix is None else matrix[:1], direct)
        out.append(Reference(direct[0], rotated[0]))
    return out


class Given(NamedTuple):
    """The data of one piece in a call.

    Attributes:
      values: Responses of the whole leaf.
      selection: The samples of the piece.
      reference: The response around which sums are taken.
      matrices: rho(g); None for a trivial representation.
    """

    values: Array
    selection: Selection
    reference: Reference
    matrices: np.ndarray | None


class Call(NamedTuple):
    """The data that all pieces of a call share.

    Attributes:
      weights: Weights of the elements under each rule, ``(rules, group)``.
      waves: The in-plane transform, ``(waves, in_plane)``.
      position: First node of the call in the buffer.
    """

    weights: Any
    waves: Any
    position: Array | np.integer


@functools.partial(
    jax.jit,
    static_argnames=("kinds", "chunk"),
    donate_argnames=("sums", "buffers"),
)
def accumulate(
    kinds: tuple[tuple[Leaf, Leaf], ...],
    call: Call,
    sums: list[moments.MomentState],
    buffers: list[list[Array]],
    given: list[Given],
    chunk: int = CHUNK_OF_A_CALL,
) -> tuple[list[moments.MomentState], list[list[Array]]]:
    """Adds one call to the moments, and stores its in-plane spectrum in the buffer."""
    new = [
        _accumulate_leaf(kind, call, old, buffer, own, chunk)
        for kind, old, buffer, own in zip(kinds, sums, buffers, given, strict=True)
    ]
    return [sums for sums, _ in new], [buffer for _, buffer in new]


def _accumulate_leaf(
    kind: tuple[Leaf, Leaf],
    call: Call,
    sums: moments.MomentState,
    buffer: list[Array],
    given: Given,
    chunk: int,
) -> tuple[moments.MomentState, list[Array]]:
    """As :func:`accumulate` for one piece, in chunks of samples."""
    leaf, whole = kind
    values, selection, reference, matrices = given
    weights, waves, position = call
    # Samples run along these axes of the moments, entries along the last of a buffer.
    axes = (1, 1, 0)

    def add(
        first: Array | int, width: int, state: tuple[moments.MomentState, list[Array]]
    ) -> tuple[moments.MomentState, list[Array]]:
        sums, buffer = state
        some = dataclasses.replace(leaf, shape=(width, *whole.shape[1:]))
        centre = Reference(*(_cut(part, first, width, 0) for part in reference))
        chosen = selection._replace(start=selection.start + first)
        direct = _samples_of(whole, some, values, chosen)
        centred = direct - centre.direct
        rotated = centred
        if matrices is not None:
            rotated = rotate_back(matrices, direct) - centre.rotated
        old = [
            _cut(part, first, width, axis)
            for part, axis in zip(sums, axes, strict=True)
        ]
        new = moments.update(
            moments.MomentState(*old), leaf.representation, rotated, weights
        )
        replaced = [
            _put(part, update, (*axis * (0,), first))
            for part, update, axis in zip(sums, new, axes, strict=True)
        ]
        nodes = centred.reshape(waves.shape[1], -1, 2, some.size)
        parts = characters.in_plane_spectrum(waves, nodes)
        entry = first * (leaf.size // leaf.num_samples)
        buffer = [
            _put(old, part, (0, position, 0, entry))
            for old, part in zip(buffer, parts, strict=True)
        ]
        return moments.MomentState(*replaced), buffer

    width = chunk * leaf.num_samples // (len(values) * leaf.size)
    if isinstance(values, np.ndarray):
        width = leaf.num_samples
    return _in_chunks(add, leaf.num_samples, width, (sums, buffer))


def _in_chunks(
    add: Callable[[Array | int, int, Any], Any], size: int, width: int, state: Any
) -> Any:
    """Calls ``add(first, number, state)`` for chunks of ``width``, then the rest."""
    width = min(max(width, 1), size)
    chunks, rest = divmod(size, width)
    if chunks == 1:
        state = add(0, width, state)
    else:
        state = jax.lax.fori_loop(
            0, chunks, lambda i, state: add(i * width, width, state), state
        )
    return add(chunks * width, rest, state) if rest else state


def add_buffer(
    states: list[list[Array]] | None,
    buffer: list[Array],
    tables: list[list[np.ndarray]],
) -> list[list[Array]]:
    """Adds a buffer to the coefficients of each rule, which are donated.

    A small buffer that is the only one is processed on the host.
    """
    if states is None and is_small(buffer):
        return _products(jax.device_get(buffer), tables)
    return contract(states, buffer, tables)


@functools.partial(jax.jit, static_argnames=("chunk",), donate_argnames=("states",))
def contract(
    states: list[list[Array]] | None,
    buffer: list[Array],
    tables: Sequence[Sequence[Array | np.ndarray]],
    chunk: int = CHUNK_OF_A_BUFFER,
) -> list[list[Array]]:
    """As :func:`add_buffer`, compiled."""
    if states is None:
        return _products(buffer, tables)

    def add(
        start: Array | int, width: int, states: list[list[Array]]
    ) -> list[list[Array]]:
        def some(array: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(array, start, width, axis=-1)

        new = _products([some(part) for part in buffer], tables)
        return jax.tree.map(
            lambda old, update: jax.lax.dynamic_update_slice_in_dim(
                old, some(old) + update, start, axis=-1
            ),
            states,
            new,
        )

    return _in_chunks(add, buffer[0].shape[-1], chunk, states)


def _products(
    buffer: list[Array], tables: Sequence[Sequence[Array | np.ndarray]]
) -> list[list[Array]]:
    """The contribution of a buffer to the coefficients of each rule."""
    return [characters.factorised_coefficients(maps, buffer) for maps in tables]


@functools.partial(jax.jit, static_argnames=("leaves", "wholes", "in_plane", "slot"))
def responses_of_slot(
    leaves: tuple[Leaf, ...],
    wholes: tuple[Leaf, ...],
    in_plane: int,
    responses: list[Array],
    selections: list[Selection],
    slot: int,
) -> list[Array]:
    """Direct responses at the elements of one slot, ``(in_plane, cosets, size)``."""
    out = []
    for leaf, whole, values, selection in zip(
        leaves, wholes, responses, selections, strict=True
    ):
        nodes = values.reshape(in_plane, -1, 2, *values.shape[1:])
        chosen = nodes[:, slot].reshape(-1, *values.shape[1:])
        part = _samples_of(whole, leaf, chosen, selection)
        out.append(part.reshape(in_plane, 2, -1))
    return out
