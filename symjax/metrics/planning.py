"""Plans the evaluations of a measurement: batches and passes that fit the memory."""

import dataclasses
from collections.abc import Iterable
from typing import ClassVar

import jax
import numpy as np
from jaxtyping import Float

from symjax.errors import ArgumentError
from symjax.metrics import functions
from symjax.metrics.pieces import Leaf, Piece
from symjax.metrics.problem import Prepared
from symjax.so3.quadratures import Quadrature, nested, nested_rules
from symjax.so3.reduction import ReducedRule

CHUNK_OF_A_CALL = 2**20
"""Number of responses of a call that are centred and transformed at once, 4 MiB in
float32. Processing all at once would take two more arrays of their size."""
CHECKED_BYTES = 2**24
"""Memory for the responses of an output at the random elements of an adaptive rule."""
# A pass has several calls, so that progress is reported and it can be interrupted.
_LEAST_CALLS = 4
# Calls that are added to the coefficients together, if those of a pass do not all fit.
# Each addition reads and writes the coefficients: for PET's layers to l = 12, adding
# three calls at a time takes three times as long as adding sixteen. Room for more calls
# can mean more passes, so the choice with the least memory traffic is taken.
BUFFERED_CALLS = (1, 2, 4, 8, 16)
# An evaluation takes as long as reading its intermediates this many times (PET, CPU).
_TRAFFIC = 8
# Elements evaluated at once. If their intermediates exceed a CPU's cache, each takes up
# to twice as long; within the cache, more elements give larger matrix products.
_VECTORISED = {"cpu": 32, "gpu": 4096, "tpu": 4096}
_CACHED_BYTES = 2**24
_MOST_VECTORISED = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Checks:
    """Random elements at which all rules of an adaptive measurement are checked.

    Attributes:
      rotations: Proper rotations R; -R is evaluated with each.
      responses: Responses of each output at R and -R, filled by the first rule.
      turned: Responses at the first of the elements, rotated further by a few eps.
    """

    rotations: Float[np.ndarray, "checks 3 3"]
    responses: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    turned: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    NUM_TURNED: ClassVar[int] = 8
    """Number of elements at which the round-off of the function is measured."""
    NUM_OF_LAYERS: ClassVar[int] = 32
    """Smallest number of elements at which an output is checked, whatever its size."""

    def num_of(self, whole: Leaf) -> int:
        """Number of rotations at which the responses of an output are kept.

        All for a small output; for a large one fewer, at least :attr:`NUM_OF_LAYERS`.
        """
        fit = CHECKED_BYTES // (2 * whole.size * whole.itemsize)
        return min(len(self.rotations), max(fit, self.NUM_OF_LAYERS))


@dataclasses.dataclass(frozen=True)
class Elements:
    """The elements at which a function is evaluated, and their weights.

    Attributes:
      full: The product rule.
      reduced: The rule reduced by a symmetry of the input, if there is one.
      checks: Random elements shared with other rules. If None, one set of random
        elements, as many as in-plane angles, is evaluated after the nodes.
    """

    full: Quadrature
    reduced: ReducedRule | None
    checks: Checks | None = None

    @property
    def climbing(self) -> bool:
        """Whether this is one of several rules of an adaptive measurement."""
        return self.checks is not None

    @property
    def check_slots(self) -> int:
        """Number of slots of random elements after the nodes."""
        return 0 if self.climbing else 1

    @property
    def rule(self) -> Quadrature:
        """The rule that is evaluated: the reduced one if there is one."""
        return self.full if self.reduced is None else self.reduced.rule

    @property
    def nested(self) -> tuple[tuple[int, np.ndarray], ...]:
        """Degrees and sphere weights of the nested rules that are compared.

        The first is used for the verdict. In an adaptive measurement it is the only
        one, because successive rules show the convergence.
        """
        if self.reduced is not None:
            return self.reduced.nested[:1] if self.climbing else self.reduced.nested
        return (nested(self.full),) if self.climbing else nested_rules(self.full)

    def num_nested_elements(self, weights: np.ndarray) -> int:
        """Number of evaluations that a nested rule of these weights uses."""
        nodes = int(np.count_nonzero(weights))
        return self.evaluated_cosets * self.rule.in_plane * nodes

    @property
    def evaluated_cosets(self) -> int:
        """1 if the improper coset follows from the proper one, else 2."""
        return 1 if self.reduced and self.reduced.inversion is not None else 2

    @property
    def num_elements(self) -> int:
        """Number of evaluations in one pass, without the checks."""
        return self.evaluated_cosets * self.rule.num_rotations

    def place(
        self, rotations: Float[np.ndarray, "... 3 3"]
    ) -> Float[np.ndarray, "... 3 3"]:
        """The elements of O(3) at the rotations of the rule."""
        return rotations if self.reduced is None else self.reduced.place(rotations)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the elements are streamed in one pass.

    Attributes:
      num_nodes: Number of sphere nodes of the rule.
      num_checks: Number of slots of random elements after them.
      in_plane: Number of in-plane angles of a node.
      nodes_per_call: Nodes evaluated by one call.
      calls_per_buffer: Calls whose spectra are collected before they are added to
        the coefficients.
      vectorised: Elements evaluated at once, on each device.
      max_degree: Largest projected degree.
      comparable_degree: Largest degree compared with the first nested rule.
      nested: Degrees of the nested rules.
      devices: Devices that share the elements of a call; empty for JAX's default.
      runs_ahead: Whether there is room for the responses of two calls.
      num_bytes: Total size of the arrays that exist at the same time on the first
        device.
    """

    num_nodes: int
    num_checks: int
    in_plane: int
    nodes_per_call: int
    calls_per_buffer: int
    vectorised: int
    max_degree: int
    comparable_degree: int
    nested: tuple[int, ...]
    devices: tuple[jax.Device, ...]
    runs_ahead: bool
    num_bytes: int

    @property
    def num_calls(self) -> int:
        """Number of calls of the function in one pass."""
        return -(-(self.num_nodes + self.num_checks) // self.nodes_per_call)

    @property
    def nodes_per_buffer(self) -> int:
        """Number of nodes that are added to the coefficients together."""
        return self.calls_per_buffer * self.nodes_per_call

    @property
    def num_buffers(self) -> int:
        """Number of times that the buffer is filled."""
        return -(-self.num_calls // self.calls_per_buffer)

    def projected(self, leaf: Leaf) -> tuple[int, ...]:
        """Largest projected degree under the rule and each nested one, finest first."""
        coarser = _projected(leaf, self.max_degree, self.comparable_degree, self.nested)
        return (self.max_degree, *coarser)

    @property
    def parts(self) -> tuple[int, ...]:
        """Number of in-plane parts of each node, by frequency: cosine and sine."""
        return (1, *(2,) * self.max_degree)


def plan_passes(
    prepared: Prepared,
    elements: Elements,
    max_degree: int,
    divisible: bool = True,
) -> list[tuple[list[Piece], Plan]]:
    """Distributes leaves over passes, so that each pass fits the memory.

    Large leaves are split into pieces, each in a separate pass, if they are
    ``divisible`` into samples.

    Returns:
      The pieces and the plan of every pass.

    Raises:
      ArgumentError: The memory is too small.
    """
    leaves, devices = prepared.leaves, prepared.devices
    memory = prepared.execution.memory
    nested = tuple(degree for degree, _ in elements.nested)
    comparable = max(min(max_degree, nested[0] - max_degree), 0)
    in_plane = elements.rule.in_plane
    num_slots = len(elements.rule.alpha) + elements.check_slots
    tables = table_bytes(leaves.values(), elements, max_degree)
    if tables >= memory:
        raise ArgumentError(
            "memory",
            memory,
            f"is too small: the tables of the projection to degree {max_degree} on "
            f"{elements.rule.num_rotations} rotations alone need {tables} bytes",
            "Allow {memory}, or lower max_degree or the degree of the grid",
            memory=2 * tables,
        )
    budget, memory = memory, memory - tables
    per_node = elements.evaluated_cosets * in_plane
    activations = 0
    if not isinstance(prepared.function, functions.HostFunction):
        activations = functions.activation_bytes(
            prepared.function, prepared.action, prepared.x, prepared.args
        )
    limit = prepared.execution.batch_size or _limit(activations, memory)
    num_devices = max(len(devices), 1)
    share = -(-num_slots // _LEAST_CALLS)
    nodes = int(np.clip(limit * num_devices // per_node, 1, share))
    if elements.climbing:
        # One size for all rules, so that the function is compiled once, with little
        # padding of the last batch.
        vectorised = min(limit, default_batch_size())
        nodes = _nodes_of_batches(
            num_slots, per_node, vectorised * num_devices, at_least=nodes
        )
    else:
        vectorised = _batch_size(-(-nodes * per_node // num_devices), limit)
    waves = 2 * max_degree + 1
    rows = _num_rows(max_degree)
    # The state of both cosets; the block of it that is squared; responses; one call in
    # the buffer.
    block = 2 * (max_degree + 1) ** 2
    group = 2 * nodes * in_plane
    # In an adaptive measurement batches are joined on the host; with an inversion, the
    # improper responses follow from the others.
    held = (3 if elements.climbing else 1) * group
    held += group // 2 if elements.evaluated_cosets == 1 else 0
    per_call = 2 * nodes * waves
    per_value = 2 * (rows + block) + held + per_call
    num_calls = -(-num_slots // nodes)

    def need(leaf: Leaf, calls: int = 1) -> int:
        coarser = _projected(leaf, max_degree, comparable, nested)
        further = 2 * sum(_num_rows(degree) for degree in coarser)
        further += (calls - 1) * per_call
        centred = 2 * min(leaf.size * group, CHUNK_OF_A_CALL)
        return leaf.itemsize * (leaf.size * (per_value + further) + centred)

    def packed(calls: int) -> list[list[Piece]]:
        """Passes with room for ``calls`` calls in the buffer."""
        passes: list[list[Piece]] = []
        used = 0
        for name, leaf in leaves.items():
            compact = leaf.compact
            most = leaf.num_samples if divisible else 1
            num_pieces = min(-(-need(leaf, calls) // memory), most)
            if need(leaf) > num_pieces * memory:
                least = tables + -(-need(leaf) // most)
                raise ArgumentError(
                    "memory",
                    budget,
                    f"is too small: {name!r} alone needs {least} bytes at degree "
                    f"{max_degree}",
                    "Allow {memory}, measure fewer samples, or lower max_degree",
                    memory=least,
                )
            size = -(-compact.num_samples // num_pieces)
            for number in range(num_pieces):
                # The last piece overlaps the previous one, so that all have one length.
                start = min(number * size, compact.num_samples - size)
                piece = Piece(name, compact, size, start)
                needed = need(piece.leaf, calls)
                if num_pieces > 1 or not passes or used + needed > memory:
                    passes.append([])
                    used = 0
                passes[-1].append(piece)
                used += needed
        return passes

    values = sum(leaf.size * leaf.itemsize for leaf in leaves.values())

    def traffic(calls: int) -> tuple[float, float]:
        """Memory traffic in bytes; if that of evaluations is unknown, passes first."""
        num_passes = len(packings[calls])
        additions = 2 * values * 2 * rows * num_calls / calls
        if not activations:
            return num_passes, additions
        evaluations = num_passes * elements.num_elements
        return 0, evaluations * _TRAFFIC * activations + additions

    packings = {
        calls: packed(calls)
        for calls in {min(calls, num_calls) for calls in BUFFERED_CALLS}
    }
    passes = packings[min(packings, key=traffic)]
    out = []
    for pieces in passes:
        sizes = sum(piece.leaf.size * piece.leaf.itemsize for piece in pieces)
        needed = sum(need(piece.leaf) for piece in pieces)
        spare = memory - needed
        calls = 1 + max(spare, 0) // (sizes * per_call)
        num_buffers = -(-num_calls // min(calls, num_calls))
        calls_per_buffer = -(-num_calls // num_buffers)
        buffered = sizes * (calls_per_buffer - 1) * per_call
        ahead = sizes * held if spare >= buffered + sizes * held else 0
        plan = Plan(
            num_nodes=len(elements.rule.alpha),
            num_checks=elements.check_slots,
            in_plane=in_plane,
            nodes_per_call=nodes,
            calls_per_buffer=calls_per_buffer,
            vectorised=vectorised,
            max_degree=max_degree,
            comparable_degree=comparable,
            nested=nested,
            devices=devices,
            runs_ahead=ahead > 0,
            num_bytes=tables + needed + buffered + ahead + activations * vectorised,
        )
        out.append((pieces, plan))
    return out


def table_bytes(leaves: Iterable[Leaf], elements: Elements, max_degree: int) -> int:
    """Bytes of the tables of the projection and of the rotation matrices of its rule.

    They take 8 sum_{n, l >= n} 2 (2l + 1) p_n bytes per sphere node and rule, with
    p_n = 1 or 2 parts of a frequency n. The result is twice that, for temporary arrays
    and the copies of a buffer.
    """
    nested = tuple(degree for degree, _ in elements.nested)
    comparable = max(min(max_degree, nested[0] - max_degree), 0)
    degrees = {
        key
        for leaf in leaves
        for key in enumerate(
            (max_degree, *_projected(leaf, max_degree, comparable, nested))
        )
    }
    nodes = len(elements.rule.alpha)
    # Two parts for every frequency except the first.
    entries = sum(2 * _num_rows(to) - 2 * (to + 1) ** 2 for _, to in degrees)
    matrices = 2 * 9 * (nodes + elements.check_slots) * elements.rule.in_plane
    return 8 * (2 * entries * nodes + matrices)


def _nodes_of_batches(
    num_slots: int, per_node: int, batch_size: int, at_least: int
) -> int:
    """Nodes per call that minimise the number of batches, at most eight per call."""
    most = int(np.clip(8 * batch_size // per_node, at_least, num_slots))

    def batches(nodes: int) -> int:
        return -(-num_slots // nodes) * -(-nodes * per_node // batch_size)

    return min(range(min(at_least, most), most + 1), key=batches)


def default_batch_size() -> int:
    """Number of elements evaluated at once on this backend by default."""
    return _VECTORISED.get(jax.default_backend(), 32)


def _limit(activations: int, memory: int) -> int:
    """Number of elements evaluated at once, from the memory for intermediates."""
    limit = default_batch_size()
    if not activations:
        return limit
    if jax.default_backend() == "cpu":
        limit = _MOST_VECTORISED
        memory = min(memory, 4 * _CACHED_BYTES)
    return int(np.clip(memory // 4 // activations, 1, limit))


def _batch_size(group: int, limit: int) -> int:
    """Batch size that needs the least padding of the last batch."""
    if group <= limit:
        return group
    sizes = range(limit, limit // 2, -1)
    return min(sizes, key=lambda size: -group % size)


def _num_rows(max_degree: int) -> int:
    """Number of coefficients of one value on one coset through a degree.

    Real and imaginary parts are kept, for frequencies n >= 0.
    """
    return sum((2 * l + 1) * (2 * l + 2) for l in range(max_degree + 1))  # noqa: E741


def _projected(
    leaf: Leaf, max_degree: int, comparable: int, nested: tuple[int, ...]
) -> tuple[int, ...]:
    """Largest projected degree under each nested rule.

    For outputs, which are small, as many degrees as the rule resolves. For layers only
    those that the verdict needs, and l = 0, from which their variance follows.
    """
    least = (comparable, *(0 for _ in nested[1:]))
    if leaf.representation.is_trivial and leaf.representation.has_channels:
        return least
    return tuple(
        max(smallest, min(max_degree, degree // 2))
        for smallest, degree in zip(least, nested, strict=True)
    )
