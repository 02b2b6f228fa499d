"""What is measured: a function, its input, the action on it, and the outputs."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics import arguments, functions, orbit, preflight
from symjax.metrics.pieces import Leaf, check_masks, describe, leaf_name
from symjax.so3._arguments import check_integer
from symjax.so3.action import broadcast_prefix
from symjax.so3.quadratures import LARGEST_DEGREE
from symjax.so3.representations import VECTOR, Representation, no_representation
from symjax.so3.sample_symmetry import SampleSymmetry

Progress = Callable[[int, int], None]

DEFAULT_MEMORY = 4 * 2**30
"""Default budget in bytes for the arrays of a measurement."""


Kind = Literal["output", "node", "edge", "token", "point", "layer"]
"""An output of the model, or a layer with the kind of its samples."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclasses.dataclass(frozen=True)
class Output:
    """Describes one output of a function.

    Attributes:
      representation: How it transforms; ``FEATURE`` for features of layers.
      unit: Its unit; empty if it has none.
      kind: What a report groups by, one of :data:`Kind`: ``"output"`` for an output of
        the model; ``"node"``, ``"edge"``, ``"token"`` or ``"point"`` for a layer with
        such samples; or ``"layer"`` if the samples of a layer are not known.
      mask: Boolean array over the samples, True where a sample is real; None if all
        are. A layer without real samples is left out of the results, like an output
        without entries.
      samples: One integer per sample: the atomic number of its atom, or the class of
        its point; None if neither applies. Broadcast to the samples.
      offset: A constant that the function leaves out of the output, such as composition
        energies: one number or an array of the output's shape, in its unit.
      labels: Reference values of the real samples, less the offset; None if unknown.
      uncertainty: Name of the output that holds the model's own standard deviation of
        this one; empty if there is none.
      reads: Names of the layers from which the output is computed; empty if unknown.
      beside: Whether a layer is a re-embedded input or a side branch of the network:
        information that is missing there is not lost.

    Raises:
      RepresentationError: ``representation`` is not a representation.
      ArgumentError: ``unit``, ``kind`` or ``reads`` has an invalid value.

    Example:
      >>> from symjax.metrics import Output
      >>> from symjax.so3 import VECTOR
      >>> Output(VECTOR, unit="eV/angstrom").kind
      'output'
    """

    representation: Representation
    unit: str = ""
    kind: Kind = "output"
    mask: np.ndarray | None = None
    samples: np.ndarray | None = None
    offset: float | np.ndarray = 0.0
    labels: np.ndarray | None = None
    uncertainty: str = ""
    reads: tuple[str, ...] = ()
    beside: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.representation, Representation):
            raise no_representation("representation", self.representation)
        remedy = "Pass a tuple of names of layers, such as ('layer',)"
        arguments.check_type("reads", self.reads, tuple | list, remedy)
        for name, known in (("unit", None), ("kind", KINDS)):
            value = getattr(self, name)
            if not isinstance(value, str) or (known and value not in known):
                raise ArgumentError(
                    name,
                    value,
                    f"is none of {', '.join(known)}" if known else "is not a string",
                    "Leave it out, or write for instance "
                    + ("kind='layer'" if known else "unit='eV'"),
                )


@dataclasses.dataclass(frozen=True)
class Problem:
    """A function, the input that is rotated, and a description of the outputs.

    Every model has a function that makes its problem, such as
    :func:`symjax.models.pet.orbit_problem`. Measurements, reports and diagnoses only
    see the problem, not the model.

    Attributes:
      function: Pure JAX function ``f(x, *args)`` that returns a pytree of arrays, or a
        :class:`~symjax.metrics.HostFunction`. Compiled code is reused for the same
        function, and traced again if anything that it refers to has changed; see
        :mod:`symjax.metrics.identity`.
      x: The input that rotates, a pytree of arrays.
      outputs: Description of every output that the function returns, by name and in
        the order of reports. A single array is named ``"output"``; other outputs are
        named by the path of their key.
      action: How O(3) acts on ``x``: representations of its leaves (a pytree prefix),
        or a function ``(rotation, x) -> g x`` that also takes improper rotations.
      args: Further arguments, which do not rotate, such as parameters.
      symmetry: Symmetry of ``x``. The function is then evaluated on cosets of the group
        only, after a check that its outputs obey the symmetry.

    Raises:
      ArgumentError: ``args``, ``outputs`` or ``symmetry`` has the wrong type.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Grid, Output, Problem, measure
      >>> from symjax.so3 import VECTOR
      >>> problem = Problem(
      ...     lambda x, charges: {"dipole": charges @ x}, jnp.eye(3),
      ...     {"dipole": Output(VECTOR, unit="e*angstrom")},
      ...     args=(jnp.array([1.0, 1.0, -2.0]),))
      >>> result = measure(problem, over=Grid(5), max_degree=2)
      >>> round(result["dipole"].content_of("1+"), 6)
      1.0
    """

    function: Callable[..., Any]
    x: Any
    outputs: Mapping[str, Output]
    action: Any = VECTOR
    args: tuple[Any, ...] = ()
    symmetry: SampleSymmetry | None = None

    def __post_init__(self) -> None:
        arguments.check_type(
            "args", self.args, tuple | list, "Pass a tuple, such as (parameters,)"
        )
        object.__setattr__(self, "args", tuple(self.args))
        remedy = "Pass {'energy': Output(SCALAR)}, or {'output': ...} for one array"
        arguments.check_type("outputs", self.outputs, Mapping, remedy)
        for name, output in self.outputs.items():
            arguments.check_type(f"outputs[{name!r}]", output, Output, remedy)
        arguments.check_type(
            "symmetry",
            self.symmetry,
            SampleSymmetry | None,
            "Pass a SampleSymmetry; for a PET, orbit_problem(model, atoms, "
            "symmetry='auto') finds it",
        )


@dataclasses.dataclass(frozen=True)
class Execution:
    """Where and how a measurement runs, without effect on the result.

    Attributes:
      memory: Budget in bytes for responses, coefficients and intermediates.
      batch_size: Elements evaluated at once on each device; None for as many as the
        budget allows.
      progress: Called with the number of elements done and their total.
      devices: Devices that share the elements; the sums stay on the first. None for
        JAX's default device.

    Raises:
      ArgumentError: An attribute has an invalid value.

    Example:
      >>> from symjax.metrics import Execution
      >>> Execution(memory=2**30).batch_size is None
      True
    """

    memory: int = DEFAULT_MEMORY
    batch_size: int | None = None
    progress: Progress | None = None
    devices: Sequence[jax.Device] | None = None

    def __post_init__(self) -> None:
        number = isinstance(self.memory, int | float | np.number)
        if not number or not 1 <= self.memory < np.inf or self.memory is True:
            raise ArgumentError(
                "memory",
                self.memory,
                "is not a number of bytes",
                "Pass for instance 4 * 2**30",
            )
        object.__setattr__(self, "memory", int(self.memory))
        if self.batch_size is not None:
            batch_size = check_integer("batch_size", self.batch_size, 1)
            object.__setattr__(self, "batch_size", batch_size)
        if self.progress is not None:
            remedy = "Pass a function of the number of elements done and of their total"
            arguments.check_type("progress", self.progress, Callable, remedy)
        if self.devices is None:
            return
        devices = self.devices
        chosen = tuple(devices) if isinstance(devices, Sequence) else ()
        if not chosen or not all(isinstance(device, jax.Device) for device in chosen):
            raise ArgumentError(
                "devices", devices, "is not a list of devices", "Pass jax.devices()"
            )
        if len(set(chosen)) < len(chosen):
            raise ArgumentError(
                "devices", devices, "names a device twice", "Name each device once"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """A problem with checked arguments and traced outputs.

    Attributes:
      function: As in :class:`Problem`.
      action: Function ``(rotation, x) -> g x``.
      x: As in :class:`Problem`.
      args: As in :class:`Problem`.
      leaves: Every output that has real samples, by name.
      masks: Which samples of each leaf are real.
      outputs: Units of the leaves of kind ``"output"``.
      symmetry: As in :class:`Problem`.
      execution: Where and how to run.
    """

    function: Any
    action: functions.Action
    x: Any
    args: tuple[Any, ...]
    leaves: dict[str, Leaf]
    masks: dict[str, np.ndarray]
    outputs: dict[str, str]
    symmetry: SampleSymmetry | None
    execution: Execution

    @property
    def devices(self) -> tuple[jax.Device, ...]:
        """Devices that share the elements; empty for JAX's default."""
        return tuple(self.execution.devices or ())

    def replicated(self) -> "Prepared":
        """The same problem with copies of the input and arguments on all devices."""
        x, args = orbit.replicate((self.x, self.args), self.devices)
        return dataclasses.replace(self, x=x, args=args)

    def respond(
        self,
        rotations: np.ndarray,
        leaves: Iterable[Leaf],
        batch_size: int,
        *,
        in_batches: bool = False,
        shared: bool = False,
    ) -> Sequence[Any]:
        """Responses of ``leaves`` at ``rotations``, see :mod:`symjax.metrics.orbit`.

        ``in_batches`` uses :func:`~symjax.metrics.orbit.respond_in_batches`; if
        ``shared``, the devices share the elements.
        """
        run = orbit.respond_in_batches if in_batches else orbit.respond
        return run(
            *(self.function, self.action, self.x, rotations),
            args=self.args,
            keep=tuple(leaf.index for leaf in leaves),
            batch_size=batch_size,
            devices=self.devices if shared else (),
        )


@functools.singledispatch
def run(over: Any, prepared: Prepared, max_degree: int) -> Any:
    """Integrates a prepared problem over the group; one method per type of ``over``.

    Raises:
      ArgumentError: No method is registered for this type.
    """
    raise ArgumentError(
        "over",
        over,
        "cannot be integrated over",
        arguments.instead_of(over),
    )


def as_problem(
    problem: Any, x: Any, representations: Any, action: Any, args: tuple[Any, ...]
) -> Problem:
    """The problem that the arguments of :func:`~symjax.metrics.measure` describe.

    Raises:
      ArgumentError: An argument is missing, or is given beside a problem that has it.
    """
    if not isinstance(problem, Problem):
        arguments.check_function(problem)
        if representations is None:
            raise ArgumentError(
                "representations",
                None,
                "is required for a function",
                "Pass VECTOR, SCALAR, FEATURE or one per output, or a Problem",
            )
        return Problem(problem, x, {}, action, args)
    given = {
        "x": x,
        "representations": representations,
        "action": None if action is VECTOR else action,
        "args": None if isinstance(args, tuple) and not args else args,
    }
    for name, value in given.items():
        if value is not None:
            raise ArgumentError(
                name,
                type(value).__name__,
                "is part of the problem",
                f"Leave it out, or use dataclasses.replace(problem, {name}=...)",
            )
    return problem


def check_degree(max_degree: Any) -> int:
    """Returns ``max_degree`` as an int; raises unless a quadrature resolves it."""
    max_degree = check_integer("max_degree", max_degree)
    largest = LARGEST_DEGREE // 2
    if max_degree > largest:
        raise ArgumentError(
            "max_degree",
            max_degree,
            "is above the sectors that any quadrature resolves",
            f"Pass {largest} or less",
        )
    return max_degree


def prepare(
    problem: Problem, execution: Execution, representations: Any = None
) -> Prepared:
    """Checks a problem, and traces its function once to describe the outputs.

    ``representations``, one or a pytree prefix of the output, replace
    ``problem.outputs``.

    Raises:
      ArgumentError: The input is not finite; an output is unknown, missing, without
        real samples, or has the name of another; the action is not one of O(3); or
        devices are given for a function that runs on the host.
      RepresentationError: A representation does not fit its output.
    """
    arguments.check_type("problem", problem, Problem, "Pass Problem(function, x, ...)")
    arguments.check_type("execution", execution, Execution, "Pass Execution(...)")
    on_host = isinstance(problem.function, functions.HostFunction)
    if execution.devices is not None and on_host:
        raise ArgumentError(
            "devices",
            execution.devices,
            "has no effect on a HostFunction",
            "Leave it out, and let the function choose its device",
        )
    arguments.check_x(problem.x)
    with jax.enable_x64(True) if on_host else contextlib.nullcontext():
        arguments.check_held("x", problem.x)
    if not on_host:
        arguments.check_held("args", problem.args)
    plain, args = arguments.bound(problem.function, problem.args)
    function = functions.as_function(plain)
    move = functions.as_action(problem.action)
    _check_finite(problem.x)
    preflight.check_action(move, problem.x)
    with arguments.explained(problem.function):
        shapes = functions.output_shapes(function, move, problem.x, args)
    returned = _names_of(shapes)
    if isinstance(function, functions.HostFunction):
        preflight.check_host(function, move, problem.x, args, shapes)
    if representations is None:
        outputs = problem.outputs
        _check_names(returned, outputs)
    else:
        prefix = broadcast_prefix(representations, shapes, "representations")
        outputs = dict(zip(returned, map(Output, prefix), strict=True))
    leaves = describe(
        shapes, {name: output.representation for name, output in outputs.items()}
    )
    masks = check_masks(
        {
            name: output.mask
            for name, output in outputs.items()
            if output.mask is not None and name in leaves
        },
        leaves,
    )
    for name, leaf in leaves.items():
        arguments.as_samples(name, outputs[name].samples, leaf.axes[0])
    # A layer without real samples is dropped, like an output without entries.
    real = {name: leaf for name, leaf in leaves.items() if masks[name].any()}
    for name in leaves:
        if name not in real and (outputs[name].kind == "output" or not real):
            raise ArgumentError(
                f"masks[{name!r}]",
                masks[name],
                "marks no sample of this output as real",
                "Pass True where a sample is real",
            )
    return Prepared(
        function,
        move,
        problem.x,
        args,
        real,
        {name: masks[name] for name in real},
        {name: outputs[name].unit for name in real if outputs[name].kind == "output"},
        problem.symmetry,
        execution,
    )


def _names_of(shapes: Any) -> list[str]:
    """Names of the outputs; raises if two are the same: one would be dropped."""
    paths = jax.tree_util.tree_flatten_with_path(shapes)[0]
    names = [leaf_name(path) for path, _ in paths]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ArgumentError(
                "function",
                name,
                "two outputs have this name, the path of their keys",
                "Rename one of their keys",
            )
    return names


def _check_names(returned: Sequence[str], outputs: Mapping[str, Output]) -> None:
    for name in outputs:
        if name not in returned:
            raise ArgumentError(
                "outputs",
                name,
                "is not an output of the function",
                f"It returns {', '.join(returned)}",
            )
    for name in returned:
        if name not in outputs:
            raise ArgumentError(
                "outputs",
                list(outputs),
                f"lacks {name!r}, which the function returns",
                f"Add {name!r} with its representation, or do not return it",
            )


def _check_finite(x: Any) -> None:
    for path, leaf in jax.tree_util.tree_flatten_with_path(x)[0]:
        array = np.asarray(leaf)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            where = jax.tree_util.keystr(path)
            raise ArgumentError(
                f"x{where}",
                array[~np.isfinite(array)][0],
                "is not finite",
                "Remove NaN and infinite values before measuring",
            )
