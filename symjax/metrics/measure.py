"""The measurement: orbit responses in, moments and spectra out.

Elements are streamed in batches of whole sphere nodes (all their in-plane angles,
both cosets), so the in-plane transform is complete within a batch. Between batches
only moments (float64) and spectral coefficients (in the response's own precision)
are kept; memory does not grow with the number of elements. Where the coefficients of
all leaves together would exceed the memory budget, leaves are measured in several
passes over the orbit.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import AliasingError, ArgumentError, GridError
from symjax.metrics import characters, convergence, moments, orbit, sampled
from symjax.metrics import symmetry as symmetries
from symjax.metrics.adaptive import Adaptive, climb
from symjax.metrics.characters import DenseProjector, FactorisedProjector
from symjax.metrics.results import LeafMeasurement, Measurement, unflatten_mean
from symjax.metrics.symmetry import LeafSymmetry, SampleSymmetry
from symjax.so3 import representations as reps
from symjax.so3.quadrature import Quadrature, nested, quadrature
from symjax.so3.reduction import ReducedRule, reduce_rule
from symjax.so3.representations import VECTOR, Representation
from symjax.so3.sampling import haar

Progress = Callable[[int, int], None]

_METHODS = ("factorised", "dense")
_ALIASING = ("raise", "report")
# Elements of the check are the same in every run, so that results are reproducible.
_CHECK_SEED = 20
# A batch is a fraction of the grid, so that progress is seen and can be interrupted.
_MIN_BATCHES = 4
# Beyond this many elements at once, matrix products gain nothing on a CPU and
# intermediates fall out of its cache.
_MAX_VECTORISED = {"cpu": 32, "gpu": 4096, "tpu": 4096}


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """Static description of one output leaf; hashable, so it keys compiled code."""

    representation: Representation
    shape: tuple[int, ...]
    dtype: str

    @property
    def axes(self) -> tuple[tuple[int, ...], int, int]:
        return reps.split_axes(self.representation, self.shape)

    @property
    def num_samples(self) -> int:
        return int(np.prod(self.axes[0], dtype=int))

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    @property
    def compute_dtype(self) -> str:
        """Half precisions and integers are measured in float32."""
        return self.dtype if self.dtype in ("float32", "float64") else "float32"

    @property
    def compact(self) -> "_Leaf":
        """The same leaf with its sample axes merged."""
        samples, _, _ = self.axes
        shape = (self.num_samples, *self.shape[len(samples) :])
        return dataclasses.replace(self, shape=shape)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How the elements are streamed: nodes per batch, elements at once."""

    num_nodes: int
    num_checks: int
    in_plane: int
    nodes_per_batch: int
    vectorised: int

    @property
    def num_batches(self) -> int:
        return -(-(self.num_nodes + self.num_checks) // self.nodes_per_batch)


def measure(
    function: Callable[..., Any] | orbit.HostFunction,
    x: Any,
    *,
    representations: Any,
    action: Any = VECTOR,
    args: tuple[Any, ...] = (),
    max_degree: int = 6,
    grid: "int | Quadrature | sampled.HaarSamples | Adaptive | None" = None,
    masks: Mapping[str, np.ndarray] | None = None,
    method: str = "factorised",
    tolerance: float = 0.05,
    on_aliasing: str = "raise",
    memory: int = 2 * 2**30,
    batch_size: int | None = None,
    progress: Progress | None = None,
    symmetry: SampleSymmetry | None = None,
) -> Measurement:
    """Measures how equivariant a function is, and which irreps its outputs carry.

    For every output leaf with representation rho: the mean, the variance V and the
    equivariance error A of the back-rotated response z(g) = rho(g)^-1 f(g x), and
    the content B_{l,sigma} of the direct response u(g) = f(g x) in every sector of
    O(3) through ``max_degree``; definitions in :mod:`symjax.metrics.results`, from
    Domina et al., arXiv:2603.24638.

    Args:
      function: Pure JAX function ``f(x, *args)`` that returns a pytree of arrays, or
        a :class:`~symjax.metrics.HostFunction`. Compiled code is found again if the
        same function object is passed.
      x: Input pytree.
      representations: For every output leaf the representation it carries: one
        representation, or a pytree prefix of the output. ``FEATURE`` for features.
      action: How O(3) acts on ``x``: representations of its leaves (a prefix), or a
        function ``(rotation, x) -> g x`` that also takes improper rotations.
      args: Further arguments that do not transform, such as parameters.
      max_degree: Largest degree L of the projected sectors.
      grid: Degree of the quadrature (default ``2 * max_degree + 1``), a
        :class:`~symjax.so3.Quadrature`, :class:`~symjax.metrics.Adaptive` to climb
        until a requested accuracy is certified, or
        :class:`~symjax.metrics.HaarSamples` for unbiased estimates with standard
        errors.
      masks: For outputs with padding, by name: boolean array over the sample axes,
        True where the sample is real.
      method: ``"factorised"`` (in-plane transform first) or ``"dense"``.
      tolerance: Change of B between nested grids above which a response counts as
        not resolved.
      on_aliasing: ``"raise"``, or ``"report"`` to return the verdict instead.
      memory: Budget in bytes for responses, coefficients and intermediates.
      batch_size: Elements evaluated at once; chosen from the budget by default.
      progress: Called with the number of elements done and their total.
      symmetry: Symmetry of ``x``: the function is evaluated on cosets of its group
        only, after a check that its outputs obey it.

    Returns:
      The measurement, a mapping from output names to leaves. An output that is a
      single array is named ``"output"``; others have the path of their key.

    Raises:
      ArgumentError: An argument has an impossible value.
      RepresentationError: A representation does not fit its output.
      GridError: The grid is too coarse for ``max_degree``.
      AliasingError: The grid does not resolve the response.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import measure
      >>> from symjax.so3 import VECTOR
      >>> x = jnp.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.5]])
      >>> result = measure(lambda x: x.sum(0), x, representations=VECTOR, max_degree=2)
      >>> result["output"].relative_error < 1e-6
      True
      >>> round(result["output"].content_of("1+"), 5)
      1.0
    """
    move = orbit.as_action(action)
    _check_options(max_degree, method, tolerance, on_aliasing, memory, batch_size)
    _check_finite(x)
    shapes = orbit.output_shapes(function, move, x, args)
    leaves = _describe(shapes, representations)
    sample_masks = _check_masks(masks, leaves)

    if isinstance(grid, sampled.HaarSamples):
        return sampled.measure_sampled(
            function,
            move,
            x,
            args,
            leaves={name: leaf.compact for name, leaf in leaves.items()},
            axes={name: leaf.axes[0] for name, leaf in leaves.items()},
            masks=sample_masks,
            samples=grid,
            max_degree=max_degree,
            batch_size=batch_size or _vectorised_default(),
            progress=progress,
        )

    verified = None
    if symmetry is not None and symmetry.order > 1:
        verified = _verify(symmetry, function, move, x, args, leaves, sample_masks)

    def on_rule(
        chosen: int | Quadrature,
        projected: int,
        checks: tuple[int, int],
        **options: Any,
    ) -> Measurement:
        return _on_rule(
            function,
            move,
            x,
            args,
            leaves,
            sample_masks,
            chosen,
            projected,
            verified,
            checks,
            method=method,
            memory=memory,
            batch_size=batch_size,
            progress=progress,
            **options,
        )

    if isinstance(grid, Adaptive):
        return climb(
            grid,
            lambda degree, projected: on_rule(
                degree,
                projected,
                (grid.samples, 1000 * grid.seed + degree),
                tolerance=grid.content_tolerance,
                on_aliasing="report",
            ),
            max_degree,
            on_aliasing,
        )
    rule = _resolve_grid(grid, max_degree)
    return on_rule(
        rule if isinstance(grid, Quadrature) else rule.degree,
        max_degree,
        (1, _CHECK_SEED),
        tolerance=tolerance,
        on_aliasing=on_aliasing,
    )


def _on_rule(
    function: Any,
    action: orbit.Action,
    x: Any,
    args: tuple[Any, ...],
    leaves: dict[str, _Leaf],
    masks: dict[str, np.ndarray],
    chosen: int | Quadrature,
    max_degree: int,
    verified: "_Verified | None",
    checks: tuple[int, int],
    *,
    method: str,
    tolerance: float,
    on_aliasing: str,
    memory: int,
    batch_size: int | None,
    progress: Progress | None,
) -> Measurement:
    """Measures on one rule; ``checks`` are the random elements and their seed."""
    reduced = None
    symmetric = {}
    if verified is not None:
        reduced = reduce_rule(chosen, verified.elements)
        symmetric = verified.on(reduced)
    full = chosen if isinstance(chosen, Quadrature) else quadrature(chosen)
    grid = _Elements(full, reduced, *checks)
    rule = grid.rule
    results: dict[str, LeafMeasurement] = {}
    names = list(leaves)
    passes = _split_passes(leaves, rule, max_degree, memory)
    done = 0
    total = grid.num_elements * len(passes)
    for indices in passes:
        part = {names[index]: leaves[names[index]] for index in indices}
        plan = _plan(function, action, x, args, part, grid, memory, batch_size)
        streamed = _stream(
            function,
            action,
            x,
            args,
            part,
            tuple(indices),
            grid,
            symmetric,
            max_degree,
            method,
            plan,
            progress,
            (done, total),
        )
        done += grid.num_elements
        for name, raw in streamed.items():
            results[name] = _finish(
                name, leaves[name], raw, masks[name], rule, tolerance
            )
    ordered = {name: results[name] for name in names}
    if on_aliasing == "raise":
        for name, leaf in ordered.items():
            if leaf.convergence is not None and not leaf.convergence.resolved:
                raise convergence.refuse(name, rule.degree, leaf.convergence)
    return Measurement(ordered, rule.name, rule.degree, grid.num_elements, max_degree)


@dataclasses.dataclass(frozen=True)
class _Elements:
    """Which elements a function is evaluated at, and how they are weighted."""

    full: Quadrature
    reduced: ReducedRule | None
    least_checks: int
    check_seed: int

    @property
    def check_slots(self) -> int:
        """Slots of random elements, each as large as the in-plane set of a node."""
        return -(-self.least_checks // self.full.in_plane)

    @property
    def rule(self) -> Quadrature:
        return self.full if self.reduced is None else self.reduced.rule

    @property
    def nested(self) -> tuple[int, np.ndarray]:
        if self.reduced is None:
            return nested(self.full)
        return self.reduced.coarse_degree, self.reduced.coarse_weights

    @property
    def evaluated_cosets(self) -> int:
        return 1 if self.reduced and self.reduced.inversion is not None else 2

    @property
    def num_elements(self) -> int:
        return self.evaluated_cosets * self.rule.num_rotations

    def place(self, rotations: np.ndarray) -> np.ndarray:
        return rotations if self.reduced is None else self.reduced.place(rotations)


@dataclasses.dataclass(frozen=True)
class _Verified:
    """A symmetry that the function was seen to obey."""

    elements: np.ndarray
    permutations: dict[str, np.ndarray]
    deviations: dict[str, float]

    def on(self, reduced: ReducedRule) -> dict[str, LeafSymmetry]:
        """What a rule makes use of."""
        used = self.elements[reduced.index]
        return {
            name: LeafSymmetry(
                reduced, used, permutation[reduced.index], self.deviations[name]
            )
            for name, permutation in self.permutations.items()
        }


def _verify(
    symmetry: SampleSymmetry,
    function: Any,
    action: orbit.Action,
    x: Any,
    args: tuple[Any, ...],
    leaves: dict[str, _Leaf],
    masks: dict[str, np.ndarray],
) -> _Verified:
    """Checks u(g h) = u(g)[p] for every leaf; see ``metrics.symmetry``."""
    permutations = {
        name: symmetry.of_leaf(name, leaf.num_samples) for name, leaf in leaves.items()
    }
    epsilon = max(float(np.finfo(leaf.compute_dtype).eps) for leaf in leaves.values())
    elements, chosen = symmetries.probe(symmetry.elements, epsilon)
    responses = orbit.respond(
        function,
        action,
        x,
        elements,
        args=args,
        keep=tuple(range(len(leaves))),
        batch_size=len(elements),
    )
    deviations = {}
    for (name, leaf), values in zip(leaves.items(), responses, strict=True):
        admitted = max(1e-5, 1e3 * float(np.finfo(leaf.compute_dtype).eps))
        deviations[name] = symmetries.check_responses(
            name,
            np.asarray(_values(leaf.compact, jnp.asarray(values))),
            permutations[name],
            chosen,
            masks[name].reshape(-1),
            symmetry.tolerance or admitted,
        )
    return _Verified(symmetry.elements, permutations, deviations)


def _vectorised_default() -> int:
    return _MAX_VECTORISED.get(jax.default_backend(), 32)


def _check_options(
    max_degree: object,
    method: object,
    tolerance: float,
    on_aliasing: object,
    memory: float,
    batch_size: object,
) -> None:
    def is_integer(value: object) -> bool:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)

    if not is_integer(max_degree) or max_degree < 0:  # type: ignore[operator]
        raise ArgumentError(
            "max_degree", max_degree, "is not a degree", "Pass an integer from 0 up"
        )
    if method not in _METHODS:
        raise ArgumentError(
            "method", method, "is unknown", f"Use one of {', '.join(_METHODS)}"
        )
    if on_aliasing not in _ALIASING:
        raise ArgumentError(
            "on_aliasing", on_aliasing, "is unknown", "Use 'raise' or 'report'"
        )
    if not 0 < tolerance < 1:
        raise ArgumentError(
            "tolerance", tolerance, "is not between 0 and 1", "Use for instance 0.05"
        )
    if not memory > 0:
        raise ArgumentError(
            "memory", memory, "is not a number of bytes", "Pass for instance 2 * 2**30"
        )
    if batch_size is not None and (not is_integer(batch_size) or batch_size < 1):  # type: ignore[operator]
        raise ArgumentError(
            "batch_size", batch_size, "is not a positive integer", "Pass 1 or more"
        )


def _check_finite(x: Any) -> None:
    for path, leaf in jax.tree_util.tree_flatten_with_path(x)[0]:
        array = np.asarray(leaf)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            where = jax.tree_util.keystr(path)
            raise ArgumentError(
                f"x{where}",
                array[~np.isfinite(array)][0],
                "the input is not finite",
                "Remove NaN and infinite values before measuring",
            )


def _describe(shapes: Any, representations: Any) -> dict[str, _Leaf]:
    """Names every output leaf and checks that its representation fits."""
    flat = jax.tree_util.tree_flatten_with_path(shapes)[0]
    rep_leaves = reps.broadcast_prefix(representations, shapes, "representations")
    leaves = {}
    for (path, shape), representation in zip(flat, rep_leaves, strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator="/") or "output"
        reps.check_array(representation, shape.shape, name)
        if np.dtype(shape.dtype).kind == "c":
            raise reps.RepresentationError(
                name,
                shape.dtype,
                "complex outputs have no real representation",
                "Return real and imaginary parts as two outputs",
            )
        if np.prod(shape.shape, dtype=int) == 0:
            continue
        leaves[name] = _Leaf(representation, shape.shape, str(shape.dtype))
    if not leaves:
        raise ArgumentError(
            "function", shapes, "all outputs are empty", "Return arrays with entries"
        )
    return leaves


def _check_masks(
    masks: Mapping[str, np.ndarray] | None, leaves: dict[str, _Leaf]
) -> dict[str, np.ndarray]:
    masks = masks or {}
    for name in masks:
        if name not in leaves:
            raise ArgumentError(
                "masks", name, "there is no such output", f"Use one of {list(leaves)}"
            )
    out = {}
    for name, leaf in leaves.items():
        samples = leaf.axes[0]
        mask = np.asarray(masks.get(name, True))
        if mask.dtype != bool or (name in masks and mask.shape != samples):
            raise ArgumentError(
                f"masks[{name!r}]",
                (mask.dtype, mask.shape),
                f"is not a boolean array over the samples {samples}",
                "Pass True where a sample is real",
            )
        out[name] = np.broadcast_to(mask, samples)
    return out


def _resolve_grid(grid: object, max_degree: int) -> Quadrature:
    if grid is None:
        grid = 2 * max_degree + 1
    rule = grid if isinstance(grid, Quadrature) else quadrature(grid)  # type: ignore[arg-type]
    if rule.degree < 2 * max_degree:
        raise GridError(
            "grid",
            rule.degree,
            f"is too coarse to project to max_degree={max_degree}: products of two "
            f"such sectors have degree {2 * max_degree}",
            f"Use grid={2 * max_degree + 1}, or max_degree={rule.degree // 2}",
        )
    return rule


def _split_passes(
    leaves: dict[str, _Leaf], rule: Quadrature, max_degree: int, memory: int
) -> list[list[int]]:
    """Groups leaves so that coefficients and one node's responses fit the budget."""
    rows = sum((2 * degree + 1) ** 2 for degree in range(max_degree + 1))
    # the state, the increment that is added to it, and one node's responses
    per_value = 2 * (2 * rows + 2 * rule.in_plane)
    passes: list[list[int]] = []
    used = 0
    for index, (name, leaf) in enumerate(leaves.items()):
        need = leaf.size * per_value * np.dtype(leaf.compute_dtype).itemsize
        if need > memory:
            raise ArgumentError(
                "memory",
                memory,
                f"{name!r} alone needs {need} bytes at max_degree={max_degree}",
                f"Allow memory={need}, measure fewer samples, or lower max_degree",
            )
        if not passes or used + need > memory:
            passes.append([])
            used = 0
        passes[-1].append(index)
        used += need
    return passes


def _plan(
    function: Any,
    action: orbit.Action,
    x: Any,
    args: tuple[Any, ...],
    leaves: dict[str, _Leaf],
    elements: _Elements,
    memory: int,
    batch_size: int | None,
) -> _Plan:
    """Nodes per batch from the budget; elements at once from the activations."""
    rule = elements.rule
    num_nodes = len(rule.alpha)
    bytes_per_element = sum(
        leaf.size * np.dtype(leaf.compute_dtype).itemsize for leaf in leaves.values()
    )
    per_node = 2 * rule.in_plane * bytes_per_element
    nodes = int(np.clip(memory // 4 // per_node, 1, -(-num_nodes // _MIN_BATCHES)))
    # more slots, for the random elements that check the result
    num_slots = num_nodes + elements.check_slots
    num_batches = -(-num_slots // nodes)
    nodes = -(-num_slots // num_batches)
    group = nodes * elements.evaluated_cosets * rule.in_plane
    limit = batch_size or _vectorised_default()
    if batch_size is None and not isinstance(function, orbit.HostFunction):
        activations = orbit.activation_bytes(function, action, x, args)
        limit = int(np.clip(memory // 4 // max(activations, 1), 1, limit))
    # a divisor, so that no second program is compiled for a remainder
    vectorised = max(d for d in range(1, min(limit, group) + 1) if group % d == 0)
    return _Plan(num_nodes, elements.check_slots, rule.in_plane, nodes, vectorised)


@dataclasses.dataclass
class _Raw:
    """What one leaf has accumulated when the stream ends."""

    reference_direct: Array
    reference_rotated: Array
    moments: moments.MomentState
    coefficients: Array
    coarse_coefficients: Array
    projectors: tuple[Any, Any]
    num_elements: int
    symmetry: LeafSymmetry | None
    misfit: np.ndarray | None = None
    spread_at_checks: np.ndarray | None = None

    def average(self) -> None:
        """Averages over the symmetry; coefficients of one sample an orbit remain."""
        if self.symmetry is None:
            return
        self.coefficients, self.coarse_coefficients = (
            symmetries.average_coefficients(
                projector, self.symmetry.reduced, self.symmetry.permutations, array
            )
            for projector, array in zip(
                self.projectors,
                (self.coefficients, self.coarse_coefficients),
                strict=True,
            )
        )

    def representatives(self, values: Array) -> Array:
        """Entries of the last axis that belong to one sample of each orbit."""
        if self.symmetry is None:
            return values
        samples = values.reshape(*values.shape[:-1], len(self.symmetry.number), -1)
        chosen = samples[..., self.symmetry.first, :]
        return chosen.reshape(*values.shape[:-1], -1)

    def spread(self, values: np.ndarray, axis: int = 0) -> np.ndarray:
        """Values of the representatives, for all samples of their orbits."""
        if self.symmetry is None:
            return values
        return np.take(values, self.symmetry.number, axis=axis)


def _stream(
    function: Any,
    action: orbit.Action,
    x: Any,
    args: tuple[Any, ...],
    leaves: dict[str, _Leaf],
    keep: tuple[int, ...],
    grid: _Elements,
    symmetric: dict[str, LeafSymmetry],
    max_degree: int,
    method: str,
    plan: _Plan,
    progress: Progress | None,
    offset: tuple[int, int],
) -> dict[str, _Raw]:
    """Runs over the whole grid and accumulates every leaf."""
    rule = grid.rule
    coarse_degree, coarse_weights = grid.nested
    comparable = max(min(max_degree, coarse_degree - max_degree), 0)
    # The slots behind the nodes of the rule have no weight. The first of them hold
    # random elements, at which the projected response is checked.
    num_slots = plan.num_batches * plan.nodes_per_batch
    last = plan.num_nodes + plan.num_checks - 1
    nodes = np.minimum(np.arange(num_slots), last)
    real = np.arange(num_slots) < plan.num_nodes
    sphere = np.pad(
        [rule.sphere_weights, coarse_weights], ((0, 0), (0, plan.num_checks))
    )
    with jax.enable_x64(True):
        num_checks = plan.num_checks * plan.in_plane
        check = np.asarray(haar(jax.random.key(grid.check_seed), num_checks))
    matrices = rule.rotations.reshape(plan.num_nodes, plan.in_plane, 3, 3)
    extra = check.reshape(plan.num_checks, plan.in_plane, 3, 3)
    matrices = grid.place(np.concatenate([matrices, extra]))

    on_nodes = sphere[:, : plan.num_nodes]
    with jax.enable_x64(True):
        projectors: tuple[Any, Any]
        tables: list[Any]
        if method == "dense":
            projectors = DenseProjector(max_degree), DenseProjector(comparable)
            tables = [
                characters.dense_tables(
                    projector,
                    rule.rotations,
                    np.repeat(weights / plan.in_plane, plan.in_plane),
                )
                for projector, weights in zip(projectors, on_nodes, strict=True)
            ]
        else:
            projectors = (
                FactorisedProjector(max_degree, plan.in_plane),
                FactorisedProjector(comparable, plan.in_plane),
            )
            tables = [
                characters.factorised_tables(projector, rule, weights)
                for projector, weights in zip(projectors, on_nodes, strict=True)
            ]

    states: dict[str, _Raw] = {}
    held: dict[str, list[Array]] = {name: [] for name in leaves}
    for batch in range(plan.num_batches):
        part = slice(batch * plan.nodes_per_batch, (batch + 1) * plan.nodes_per_batch)
        index, weight = nodes[part], sphere[:, nodes[part]]
        # The in-plane angle varies slowest, then the node, then the coset.
        proper = np.swapaxes(matrices[index], 0, 1)
        rotations = np.stack([proper, -proper], axis=2).reshape(-1, 3, 3)
        responses = orbit.respond(
            function,
            action,
            x,
            rotations if grid.evaluated_cosets == 2 else proper.reshape(-1, 3, 3),
            args=args,
            keep=keep,
            batch_size=plan.vectorised,
        )
        with jax.enable_x64(True):
            batch_tables = [
                _take(table, index, real[part], plan.in_plane) for table in tables
            ]
            share = np.repeat(weight, 2, axis=1) / (2 * plan.in_plane)
            weights = jnp.asarray(np.tile(share, (1, plan.in_plane)))
            for (name, leaf), values in zip(leaves.items(), responses, strict=True):
                compact = leaf.compact
                if name in symmetric:
                    values = symmetric[name].both_cosets(jnp.asarray(values))
                if name not in states:
                    states[name] = _start(
                        compact, values, rotations, projectors, symmetric.get(name)
                    )
                state = states[name]
                (
                    state.moments,
                    state.coefficients,
                    state.coarse_coefficients,
                ) = _accumulate(
                    compact,
                    plan.in_plane,
                    state.moments,
                    state.coefficients,
                    state.coarse_coefficients,
                    values,
                    state.reference_direct,
                    state.reference_rotated,
                    None if leaf.representation.is_trivial else jnp.asarray(rotations),
                    weights,
                    batch_tables[0],
                    batch_tables[1],
                )
                state.num_elements = grid.num_elements
                for slot in range(len(index)):
                    if len(held[name]) == index[slot] - plan.num_nodes:
                        held[name].append(
                            _one_node(compact, plan.in_plane, values, slot)
                        )
        if progress is not None:
            jax.block_until_ready([state.coefficients for state in states.values()])
            finished = min((batch + 1) * plan.nodes_per_batch, plan.num_nodes)
            per_node = grid.evaluated_cosets * plan.in_plane
            progress(offset[0] + per_node * finished, offset[1])
    with jax.enable_x64(True):
        rows = characters.synthesis_rows(projectors[0], check)
        for name, leaf in leaves.items():
            state = states[name]
            state.average()
            at_checks = jnp.concatenate(held.pop(name), axis=1)
            state.spread_at_checks = _spread(leaf, state, at_checks, grid.place(check))
            misfit = _misfit(
                state.representatives(at_checks),
                state.representatives(state.reference_direct.reshape(-1)),
                state.coefficients,
                rows,
                leaf.num_samples
                if state.symmetry is None
                else len(state.symmetry.first),
            )
            state.misfit = state.spread(np.asarray(misfit, np.float64), axis=1)
    return states


def _one_node(
    leaf: _Leaf, in_plane: int, responses: Array | np.ndarray, slot: int
) -> Array:
    """Direct responses of one sphere node, ``(cosets, in_plane, size)``."""
    responses = responses.reshape(in_plane, -1, 2, *responses.shape[1:])
    part = jnp.asarray(responses[:, slot])
    values = _values(leaf, part.reshape(-1, *part.shape[2:]))
    return jnp.swapaxes(values.reshape(in_plane, 2, -1), 0, 1)


def _spread(
    leaf: _Leaf, state: _Raw, responses: Array, rotations: np.ndarray
) -> np.ndarray:
    """||z - mean||^2 at random elements, mean of both cosets, ``(group, samples)``."""
    shape = (-1, *state.reference_rotated.shape)
    direct = responses.reshape(shape)
    mean = np.asarray(state.moments.first[0])
    if leaf.representation.is_trivial:
        centred = direct - state.reference_direct
    else:
        both = jnp.asarray(np.concatenate([rotations, -rotations]))
        centred = _rotate_back(leaf, both, direct) - state.reference_rotated
    if state.symmetry is not None:
        mean = symmetries.average_tensors(
            leaf.representation,
            state.symmetry.elements,
            state.symmetry.permutations,
            mean,
        )
    squares = jnp.square(centred - jnp.asarray(mean, centred.dtype)).sum((2, 3))
    return np.asarray(squares, np.float64).reshape(2, len(rotations), -1).mean(0)


@functools.partial(jax.jit, static_argnames=("num_samples",))
def _misfit(
    responses: Array,
    reference: Array,
    coefficients: Array,
    rows: Array,
    num_samples: int,
) -> Float[Array, "group samples"]:
    """||u - (its projected sectors)||^2 at random elements, mean of both cosets."""
    predicted = jnp.einsum(
        "rg,src->sgc",
        rows.astype(coefficients.dtype),
        coefficients,
        precision="highest",
    )
    squares = jnp.square(responses - reference - predicted)
    return squares.reshape(2, len(rows[0]), num_samples, -1).sum(-1).mean(0)


def _take(tables: Any, index: np.ndarray, real: np.ndarray, in_plane: int) -> Any:
    """Columns of the tables that belong to a batch of nodes, zero for padding."""
    if isinstance(tables, tuple):
        waves, maps = tables
        mask = jnp.asarray(real)[None, :, None]
        index = np.where(real, index, 0)
        return waves, [jnp.where(mask, table[:, index], 0.0) for table in maps]
    columns = tables.reshape(len(tables), -1, in_plane)[:, np.where(real, index, 0)]
    columns = jnp.where(jnp.asarray(real)[None, :, None], columns, 0.0)
    return jnp.swapaxes(columns, 1, 2).reshape(len(tables), -1)


def _values(leaf: _Leaf, responses: Array) -> Float[Array, "g samples i c"]:
    responses = responses.reshape(len(responses), *leaf.shape)
    return reps.to_spherical(leaf.representation, responses.astype(leaf.compute_dtype))


def _start(
    leaf: _Leaf,
    responses: Array | np.ndarray,
    rotations: np.ndarray,
    projectors: tuple[Any, Any],
    symmetry: LeafSymmetry | None,
) -> _Raw:
    """The first response is the reference; every sum starts at zero."""
    direct = _values(leaf, jnp.asarray(responses)[:1])
    rotated = direct
    if not leaf.representation.is_trivial:
        rotated = _rotate_back(leaf, jnp.asarray(rotations[:1]), direct)
    if symmetry is not None:
        # Sums around a reference can be averaged if it has the symmetry itself.
        permutations = symmetry.permutations
        averaged = symmetries.average_tensors(
            leaf.representation, symmetry.elements, permutations, np.asarray(rotated[0])
        )
        rotated = jnp.asarray(averaged[None], rotated.dtype)
        averaged = symmetries.average_scalars(permutations, np.asarray(direct[0]))
        direct = jnp.asarray(averaged[None], direct.dtype)
    num_samples, components, channels = direct.shape[1:]
    state = moments.init(
        2, num_samples, components, channels, len(leaf.representation.irreps)
    )
    size = num_samples * components * channels
    fine, coarse = (
        jnp.zeros((2, len(projector.layout.degrees), size), direct.dtype)
        for projector in projectors
    )
    return _Raw(direct[0], rotated[0], state, fine, coarse, projectors, 0, symmetry)


def _rotate_back(leaf: _Leaf, rotations: Array, values: Array) -> Array:
    """rho(g)^-1 u in float64: its round-off must not look like a variance."""
    matrices = reps.spherical_matrix(leaf.representation, rotations)
    return jnp.einsum(
        "gij,gsic->gsjc", matrices, values.astype(matrices.dtype), precision="highest"
    )


@functools.partial(
    jax.jit,
    static_argnames=("leaf", "in_plane"),
    donate_argnames=("moment_state", "coefficients", "coarse_coefficients"),
)
def _accumulate(
    leaf: _Leaf,
    in_plane: int,
    moment_state: moments.MomentState,
    coefficients: Array,
    coarse_coefficients: Array,
    responses: Array | np.ndarray,
    reference_direct: Array,
    reference_rotated: Array,
    rotations: Array | None,
    weights: Array,
    tables: Any,
    coarse_tables: Any,
) -> tuple[moments.MomentState, Array, Array]:
    """Adds one batch to the moments and to the coefficients of both rules."""
    direct = _values(leaf, jnp.asarray(responses))
    centred = direct - reference_direct
    if rotations is None:
        rotated = centred
    else:
        rotated = _rotate_back(leaf, rotations, direct) - reference_rotated
    moment_state = moments.update(moment_state, leaf.representation, rotated, weights)
    flat = centred.reshape(in_plane, -1, 2, coefficients.shape[-1])
    if isinstance(tables, tuple):
        (waves, maps), (_, coarse_maps) = tables, coarse_tables
        # Both rules have the same in-plane angles, and so the same transform.
        spectrum = characters.in_plane_spectrum(waves, flat)
        update = characters.factorised_coefficients(maps, spectrum)
        coarse = characters.factorised_coefficients(coarse_maps, spectrum)
    else:
        elements = flat.reshape(-1, 2, flat.shape[-1])
        update = characters.dense_coefficients(tables, elements)
        coarse = characters.dense_coefficients(coarse_tables, elements)
    return moment_state, coefficients + update, coarse_coefficients + coarse


def _finish(
    name: str,
    leaf: _Leaf,
    raw: _Raw,
    mask: np.ndarray,
    rule: Quadrature,
    tolerance: float,
) -> LeafMeasurement:
    """Ratios, clamped round-off, and the verdict."""
    representation = leaf.representation
    samples, _, channels = leaf.axes
    epsilon = float(np.finfo(leaf.compute_dtype).eps)
    fine, coarse = (
        moments.finalize(
            raw.moments,
            representation,
            raw.reference_rotated,
            raw.num_elements,
            epsilon,
            rule=index,
            symmetry=raw.symmetry,
        )
        for index in range(2)
    )
    shape = raw.reference_direct.shape
    reference = raw.representatives(raw.reference_direct.reshape(-1))
    if raw.symmetry is not None:
        shape = (len(raw.symmetry.first), *shape[1:])
    power, coarse_power = (
        raw.spread(_irrep_power(representation, projector, array, reference, shape))
        for projector, array in zip(
            raw.projectors, (raw.coefficients, raw.coarse_coefficients), strict=True
        )
    )
    _check_outputs(name, fine.norm, power)
    # Sums over the real samples decide; padding must not.
    real = mask.reshape(-1)
    variance = float(fine.variance[real].sum())
    noise = float(fine.noise[real].sum())
    norm = float(fine.norm[real].sum())
    if norm > 0:
        misfit = raw.misfit[:, real].sum(axis=1)  # type: ignore[index]
        missing = norm - float(power[real].sum())
        verdict = convergence.judge(
            content=power[real].sum(axis=(0, 1)) / norm,
            coarse_content=coarse_power[real].sum(axis=(0, 1)) / norm,
            error=float(np.sqrt(max(variance, 0.0))),
            coarse_error=float(np.sqrt(max(coarse.variance[real].sum(), 0.0))),
            variance=variance,
            noise=noise,
            excess=(float(misfit.mean()) - missing) / norm,
            excess_error=float(misfit.std(ddof=1)) / np.sqrt(len(misfit)) / norm,
            degree=rule.degree,
            tolerance=tolerance,
        )
        spread = raw.spread_at_checks[:, real].sum(axis=1)  # type: ignore[index]
        scale = max(variance, epsilon**2 * norm)
        verdict = dataclasses.replace(
            verdict,
            spread=float(spread.mean()) / scale - 1.0,
            spread_error=float(spread.std(ddof=1)) / np.sqrt(len(spread)) / scale,
            misfit=float(misfit.mean()) / norm,
            misfit_error=float(misfit.std(ddof=1)) / np.sqrt(len(misfit)) / norm,
            round_off=epsilon,
        )
    else:
        verdict = convergence.Convergence(True, 0.0, 0.0, 0.0, rule.degree)
    # Otherwise JAX would round the mean to float32.
    with jax.enable_x64(True):
        mean = unflatten_mean(representation, fine.mean, samples)
    return LeafMeasurement(
        name,
        representation,
        mean,
        np.maximum(fine.variance, 0.0).reshape(*samples, -1),
        fine.norm.reshape(*samples, -1),
        power.reshape(*samples, *power.shape[1:]),
        mask,
        channels,
        verdict,
    )


def _irrep_power(
    representation: Representation,
    projector: Any,
    coefficients: Array,
    reference: Array,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Sector powers for each sample and irrep, in slices that bound the memory."""
    num_samples, components, channels = shape
    per_sample = components * channels
    step = max(1, 2**16 // per_sample)
    starts = moments.irrep_starts(representation)
    flat = reference.reshape(-1)
    out = []
    for start in range(0, num_samples, step):
        part = slice(start * per_sample, (start + step) * per_sample)
        with jax.enable_x64(True):
            power = characters.sector_power(
                projector, coefficients[..., part], flat[part]
            )
        power = np.asarray(power, np.float64)
        power = power.reshape(*power.shape[:2], -1, components, channels).sum(-1)
        power = np.add.reduceat(power, starts, axis=-1)
        out.append(np.moveaxis(power, (0, 1), (2, 3)))
    return np.concatenate(out)


def _check_outputs(name: str, norm: np.ndarray, power: np.ndarray) -> None:
    if not (np.isfinite(norm).all() and np.isfinite(power).all()):
        raise ArgumentError(
            name,
            float("nan"),
            "the function returned values that are not finite for some orientation",
            "Check the model on rotated copies of this input",
        )


__all__ = ["AliasingError", "measure"]
