"""Which elements are evaluated, how many at once, and how many times, within memory."""

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
from symjax.so3.quadratures import Quadrature, nested_rules
from symjax.so3.reduction import ReducedRule

CHUNK_OF_A_CALL = 2**20
"""Responses of a call, of all its elements, that are centred and transformed at once: 4
MiB in float32. All of them would be two more arrays of their size."""
CHECKED_BYTES = 2**24
"""Responses of an output at random elements of a climb, all together."""
# A pass is some calls, so that progress is seen and can be interrupted.
_LEAST_CALLS = 4
# Calls that are added to the coefficients together, where all of a pass do not fit. The
# coefficients are read and written each time: of PET's layers to l = 12, three calls at
# once take three times as long in all as sixteen. But room for more calls can mean more
# passes: the choice is the one with the least traffic to memory.
BUFFERED_CALLS = (1, 2, 4, 8, 16)
# An evaluation takes as long as reading its intermediates so many times (PET, CPU).
_TRAFFIC = 8
# Elements evaluated at once. Where their intermediates fall out of a CPU's cache, each
# takes up to twice as long; below that, more of them make larger matrix products.
_VECTORISED = {"cpu": 32, "gpu": 4096, "tpu": 4096}
_CACHED_BYTES = 2**24
_MOST_VECTORISED = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Checks:
    """Random elements that all rules of a climb are checked at, evaluated once.

    Attributes:
      rotations: The proper ones; their negatives come with them.
      responses: What is known of each output there, both cosets of each rotation;
        filled by the first rule.
      turned: The same at the first of them, turned by a few eps.
    """

    rotations: Float[np.ndarray, "checks 3 3"]
    responses: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    turned: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    NUM_TURNED: ClassVar[int] = 8
    """Elements at which the round-off of the function is looked at."""
    NUM_OF_LAYERS: ClassVar[int] = 32
    """Elements at which every output is looked at, however large it is."""

    def num_of(self, whole: Leaf) -> int:
        """At how many rotations the responses of an output are kept.

        All of a small output; of a large one at least :attr:`NUM_OF_LAYERS`.
        """
        fit = CHECKED_BYTES // (2 * whole.size * whole.itemsize)
        return min(len(self.rotations), max(fit, self.NUM_OF_LAYERS))


@dataclasses.dataclass(frozen=True)
class Elements:
    """Which elements a function is evaluated at, and how they are weighted.

    Attributes:
      full: The product rule.
      reduced: The rule that a symmetry of the input leaves of it.
      checks: Random elements shared with other rules; without any, as many as the
        in-plane set of a node are evaluated behind the nodes.
    """

    full: Quadrature
    reduced: ReducedRule | None
    checks: Checks | None = None

    @property
    def climbing(self) -> bool:
        """Whether this is one of several rules, which share compiled programs."""
        return self.checks is not None

    @property
    def check_slots(self) -> int:
        """Slots of random elements behind the nodes."""
        return 0 if self.climbing else 1

    @property
    def rule(self) -> Quadrature:
        """The nodes that are evaluated."""
        return self.full if self.reduced is None else self.reduced.rule

    @property
    def nested(self) -> tuple[tuple[int, np.ndarray], ...]:
        """Degrees and sphere weights of the nested rules that are looked at.

        The first is that of the verdict; of a climb, whose rules show the convergence
        themselves, it is the only one.
        """
        reduced = self.reduced
        rules = nested_rules(self.full) if reduced is None else reduced.nested
        return rules[:1] if self.climbing else rules

    def num_nested_elements(self, weights: np.ndarray) -> int:
        """Number of evaluations that a nested rule of these weights makes use of."""
        nodes = int(np.count_nonzero(weights))
        return self.evaluated_cosets * self.rule.in_plane * nodes

    @property
    def evaluated_cosets(self) -> int:
        """1 where the improper coset follows from the proper one, else 2."""
        return 1 if self.reduced and self.reduced.inversion is not None else 2

    @property
    def num_elements(self) -> int:
        """Number of evaluations in one pass, without the checks."""
        return self.evaluated_cosets * self.rule.num_rotations

    def place(
        self, rotations: Float[np.ndarray, "... 3 3"]
    ) -> Float[np.ndarray, "... 3 3"]:
        """The elements that rotations of the rule stand for."""
        return rotations if self.reduced is None else self.reduced.place(rotations)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the elements are streamed in one pass.

    Attributes:
      num_nodes: Sphere nodes of the rule.
      num_checks: Slots of random elements behind them.
      in_plane: In-plane angles of a node.
      nodes_per_call: Nodes evaluated by one call.
      calls_per_buffer: Calls whose spectra are collected before they are added to
        the coefficients.
      vectorised: Elements evaluated at once, on each device.
      max_degree: Largest projected degree.
      comparable_degree: Largest degree compared with the first nested rule.
      nested: Degrees of the nested rules.
      method: ``"factorised"`` or ``"dense"``.
      devices: Devices that share the elements of a call; none for JAX's default.
      runs_ahead: Whether there is room for the responses of two calls.
      num_bytes: Size of the arrays that are alive at once, on the first device.
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
    method: str
    devices: tuple[jax.Device, ...]
    runs_ahead: bool
    num_bytes: int

    @property
    def num_calls(self) -> int:
        """Calls of the function in one pass."""
        return -(-(self.num_nodes + self.num_checks) // self.nodes_per_call)

    @property
    def nodes_per_buffer(self) -> int:
        """Nodes that are collected before they are added to the coefficients."""
        return self.calls_per_buffer * self.nodes_per_call

    @property
    def num_buffers(self) -> int:
        """How many times a buffer is filled."""
        return -(-self.num_calls // self.calls_per_buffer)

    def projected(self, leaf: Leaf) -> tuple[int, ...]:
        """Largest projected degree under the rule and each nested one, finest first."""
        coarser = _projected(leaf, self.max_degree, self.comparable_degree, self.nested)
        return (self.max_degree, *coarser)

    @property
    def parts(self) -> tuple[int, ...]:
        """In-plane parts that are kept of each node, by frequency."""
        return _parts(self.method, self.max_degree, self.in_plane)


def plan_passes(
    prepared: Prepared,
    elements: Elements,
    max_degree: int,
    *,
    method: str,
    divisible: bool = True,
) -> list[tuple[list[Piece], Plan]]:
    """Distributes leaves over passes so that each fits the memory.

    For every pass its pieces and its plan. Large leaves come in several pieces, each in
    a pass of its own, unless they are not ``divisible`` into samples.

    Raises:
      ArgumentError: The memory is too small.
    """
    leaves, devices = prepared.leaves, prepared.devices
    memory = prepared.execution.memory
    nested = tuple(degree for degree, _ in elements.nested)
    comparable = max(min(max_degree, nested[0] - max_degree), 0)
    in_plane = elements.rule.in_plane
    num_slots = len(elements.rule.alpha) + elements.check_slots
    tables = table_bytes(leaves.values(), elements, max_degree, method)
    if tables >= memory:
        raise ArgumentError(
            "memory",
            memory,
            f"the tables of the projection to degree {max_degree} on "
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
        # One size for all rules, so that the function is compiled once; and few
        # elements that only fill a batch up.
        vectorised = min(limit, default_batch_size())
        nodes = _nodes_of_batches(
            num_slots, per_node, vectorised * num_devices, at_least=nodes
        )
    else:
        vectorised = _batch_size(-(-nodes * per_node // num_devices), limit)
    waves = sum(_parts(method, max_degree, in_plane))
    rows = _num_rows(method, max_degree)
    # The state of both cosets; a block of it that is turned into powers, the whole of
    # it in the dense path; responses; one call in the buffer.
    block = rows if method == "dense" else 2 * (max_degree + 1) ** 2
    group = 2 * nodes * in_plane
    # Those of a climb are joined on the host; improper ones may follow from the others.
    held = (3 if elements.climbing else 1) * group
    held += group // 2 if elements.evaluated_cosets == 1 else 0
    per_call = 2 * nodes * waves
    per_value = 2 * (rows + block) + held + per_call
    num_calls = -(-num_slots // nodes)

    def need(leaf: Leaf, calls: int = 1) -> int:
        coarser = _projected(leaf, max_degree, comparable, nested)
        further = 2 * sum(_num_rows(method, degree) for degree in coarser)
        further += (calls - 1) * per_call
        centred = 2 * min(leaf.size * group, CHUNK_OF_A_CALL)
        return leaf.itemsize * (leaf.size * (per_value + further) + centred)

    def packed(calls: int) -> list[list[Piece]]:
        """Passes with room for so many calls between additions to coefficients."""
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
                    f"{name!r} alone needs {least} bytes at degree {max_degree}",
                    "Allow {memory}, measure fewer samples, or lower max_degree",
                    memory=least,
                )
            size = -(-compact.num_samples // num_pieces)
            for number in range(num_pieces):
                # The last piece overlaps the one before, so that all have one length.
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
        """Bytes; where those of an evaluation are unknown, passes come first."""
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
            method=method,
            devices=devices,
            runs_ahead=ahead > 0,
            num_bytes=tables + needed + buffered + ahead + activations * vectorised,
        )
        out.append((pieces, plan))
    return out


def table_bytes(
    leaves: Iterable[Leaf], elements: Elements, max_degree: int, method: str
) -> int:
    """Bytes of the tables of the projection and of the rotation matrices of its rule.

    For the factorised path 8 sum_{n, l >= n} 2 (2l + 1) p_n bytes a sphere node and
    rule, with p_n = 1 or 2 parts of a frequency n; for the dense path
    8 sum_l (2l + 1)^2 bytes an element. Twice that: what the tables are made from has
    half their size, and those of a buffer are copied.
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
    rule = elements.rule
    nodes = len(rule.alpha)
    columns = nodes * (rule.in_plane if method == "dense" else 1)
    entries = 0
    for _, through in degrees:
        if method == "dense":
            entries += _num_rows(method, through)
        else:
            # Two parts of every frequency but the first.
            entries += 2 * _num_rows(method, through) - 2 * (through + 1) ** 2
    matrices = 2 * 9 * (nodes + elements.check_slots) * rule.in_plane
    return 8 * (2 * entries * columns + matrices)


def _nodes_of_batches(
    num_slots: int, per_node: int, batch_size: int, at_least: int
) -> int:
    """Nodes in a call such that the fewest batches serve all, of eight or less."""
    most = int(np.clip(8 * batch_size // per_node, at_least, num_slots))

    def batches(nodes: int) -> int:
        return -(-num_slots // nodes) * -(-nodes * per_node // batch_size)

    return min(range(min(at_least, most), most + 1), key=batches)


def default_batch_size() -> int:
    """Elements evaluated at once on this backend, for functions that are not small."""
    return _VECTORISED.get(jax.default_backend(), 32)


def _limit(activations: int, memory: int) -> int:
    """Elements evaluated at once, from the intermediates of one."""
    limit = default_batch_size()
    if not activations:
        return limit
    if jax.default_backend() == "cpu":
        limit = _MOST_VECTORISED
        memory = min(memory, 4 * _CACHED_BYTES)
    return int(np.clip(memory // 4 // activations, 1, limit))


def _batch_size(group: int, limit: int) -> int:
    """Size of equal batches that leaves the least of the last one to be filled up."""
    if group <= limit:
        return group
    sizes = range(limit, limit // 2, -1)
    return min(sizes, key=lambda size: -group % size)


def _num_rows(method: str, max_degree: int) -> int:
    """Coefficients of one value and coset through a degree.

    The factorised path keeps real and imaginary parts of frequencies from 0.
    """
    sizes = (2 * degree + 1 for degree in range(max_degree + 1))
    if method == "dense":
        return sum(size**2 for size in sizes)
    return sum(size * (size + 1) for size in sizes)


def _projected(
    leaf: Leaf, max_degree: int, comparable: int, nested: tuple[int, ...]
) -> tuple[int, ...]:
    """Largest projected degree under each nested rule.

    Outputs are small: as many as a rule of that degree resolves. Layers are not, and
    keep what the verdict needs, and l = 0, from which their variance follows.
    """
    least = (comparable, *(0 for _ in nested[1:]))
    if leaf.representation.is_trivial and leaf.representation.has_channels:
        return least
    return tuple(
        max(smallest, min(max_degree, degree // 2))
        for smallest, degree in zip(least, nested, strict=True)
    )


def _parts(method: str, max_degree: int, in_plane: int) -> tuple[int, ...]:
    """1 for the mean, cosine and sine for the rest; all angles in the dense path."""
    return (1, *(2,) * max_degree) if method == "factorised" else (in_plane,)
