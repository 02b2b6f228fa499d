"""Responses of a function on the orbit of its input: u(g) = f(g x).

The group is the only vectorised axis. `jax.vmap` runs over the element alone, so
whatever does not depend on the orientation (neighbour lists, distances, embeddings)
keeps its shape and is computed once for a batch, not once for an element.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from symjax.errors import ArgumentError
from symjax.metrics.identity import pinned
from symjax.so3.representations import Representation, act_tree

Function = Callable[..., Any]
Action = Callable[[Any, Any], Any]


@dataclasses.dataclass(frozen=True)
class HostFunction:
    """Marks a callable that takes and returns NumPy arrays, such as a PyTorch model.

    Attributes:
      function: Called as ``function(x, *args)`` with NumPy leaves.
      batched: Whether it takes a list of inputs and returns a list of outputs, one
        each, instead of a single pair. Frameworks that batch are faster that way.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import HostFunction, measure
      >>> from symjax.so3 import SCALAR
      >>> norm = HostFunction(lambda x: np.linalg.norm(x, axis=-1))
      >>> result = measure(norm, np.eye(3), representations=SCALAR, max_degree=1)
      >>> result["output"].relative_error < 1e-6
      True
    """

    function: Function
    batched: bool = False

    def __call__(self, x: Any, *args: Any) -> Any:
        """The outputs for one input."""
        if self.batched:
            outputs = self.function([x], *args)
            _check_number(outputs, 1)
            return outputs[0]
        return self.function(x, *args)


def _check_number(outputs: Any, num: int) -> None:
    if len(outputs) != num:
        raise ArgumentError(
            "function",
            len(outputs),
            f"outputs came back for {num} inputs",
            "Return one output for each input, in their order",
        )


@dataclasses.dataclass(frozen=True)
class RepresentationAction:
    """The action g x that a pytree of representations of the input defines.

    Hashable by value, so that functions compiled for it are found again.

    Attributes:
      leaves: Representations, in the order of the leaves of ``structure``.
      structure: Tree structure of the representations.
    """

    leaves: tuple[Representation, ...]
    structure: Any

    def __call__(self, rotation: Any, x: Any) -> Any:
        """Returns g x for one orthogonal matrix."""
        return act_tree(jax.tree.unflatten(self.structure, self.leaves), rotation, x)


def as_function(function: Any) -> Any:
    """A function as a key of compiled code; see :mod:`symjax.metrics.identity`.

    Args:
      function: Pure JAX function, or a :class:`HostFunction`, which passes through.

    Returns:
      The function, pinned to what it refers to now.

    Raises:
      ArgumentError: It is no function.

    Example:
      >>> from symjax.metrics.orbit import as_function
      >>> as_function(abs)(-1)
      1
    """
    if isinstance(function, HostFunction):
        return function
    if not callable(function):
        raise ArgumentError(
            "function", function, "cannot be called", "Pass a function f(x, *args)"
        )
    return pinned(function)


def as_action(action: Any) -> Action:
    """Turns representations of the input into its action; a callable passes through.

    Args:
      action: A function ``(rotation, x) -> g x``, or a pytree of representations
        that is a prefix of the input.

    Returns:
      The function.

    Raises:
      ArgumentError: It is neither.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics.orbit import as_action
      >>> from symjax.so3 import VECTOR
      >>> as_action(VECTOR)(-jnp.eye(3), jnp.ones(3)).tolist()
      [-1.0, -1.0, -1.0]
    """
    if isinstance(action, RepresentationAction):
        return action
    if callable(action) and not isinstance(action, Representation):
        return pinned(action)
    leaves, structure = jax.tree.flatten(
        action, is_leaf=lambda node: isinstance(node, Representation)
    )
    if not leaves or not all(isinstance(leaf, Representation) for leaf in leaves):
        raise ArgumentError(
            "action",
            action,
            "is neither a function (rotation, x) -> g x nor representations of x",
            "Pass symjax.so3.VECTOR for positions, a dictionary of representations "
            "for a dictionary of arrays, or a function",
        )
    return RepresentationAction(tuple(leaves), structure)


def _evaluate(
    function: Function,
    action: Action,
    keep: tuple[int, ...],
    batch_size: int,
    x: Any,
    args: tuple[Any, ...],
    rotations: Float[Array, "group 3 3"],
) -> list[Array]:
    """Kept output leaves at every element; the others are never computed."""

    def respond_to(rotation: Array) -> list[Array]:
        leaves = jax.tree.leaves(function(action(rotation, x), *args))
        return [leaves[index] for index in keep]

    num = len(rotations)
    if num == batch_size:
        return jax.vmap(respond_to)(rotations)
    # Filled up to whole batches, so that no second program serves a remainder.
    missing = -num % batch_size
    filler = jnp.broadcast_to(rotations[-1], (missing, 3, 3))
    rotations = jnp.concatenate([rotations, filler])
    out = jax.lax.map(respond_to, rotations, batch_size=batch_size)
    return [leaf[:num] for leaf in out]


_respond = jax.jit(
    _evaluate, static_argnames=("function", "action", "keep", "batch_size")
)


@functools.partial(
    jax.jit, static_argnames=("function", "action", "keep", "batch_size", "mesh")
)
def _respond_on_mesh(
    function: Function,
    action: Action,
    keep: tuple[int, ...],
    batch_size: int,
    mesh: Mesh,
    x: Any,
    args: tuple[Any, ...],
    rotations: Float[Array, "group 3 3"],
) -> list[Array]:
    """The same with the group axis divided; every device has its own batches."""
    most = min(batch_size, len(rotations) // mesh.size)
    share = jax.shard_map(
        functools.partial(_evaluate, function, action, keep, most),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(), PartitionSpec("group")),
        out_specs=PartitionSpec("group"),
        # Loops of a model start from constants, which the check of what varies over
        # devices refuses.
        check_vma=False,
    )
    return share(x, args, rotations)


def _respond_on_devices(
    function: Function,
    action: Action,
    keep: tuple[int, ...],
    batch_size: int,
    devices: tuple[jax.Device, ...],
    x: Any,
    args: tuple[Any, ...],
    rotations: np.ndarray,
) -> list[Array]:
    """Evaluates on all devices, filled up to equal shares; gathers on the first."""
    missing = -len(rotations) % len(devices)
    filler = np.broadcast_to(rotations[-1], (missing, 3, 3))
    mesh = Mesh(np.array(devices), ("group",))
    out = _respond_on_mesh(
        function,
        action,
        keep,
        batch_size,
        mesh,
        *replicate((x, args), devices),
        jnp.asarray(np.concatenate([rotations, filler])),
    )
    gathered = [jax.device_put(leaf, devices[0]) for leaf in out]
    return [leaf[:-missing] for leaf in gathered] if missing else gathered


def replicate(tree: Any, devices: tuple[jax.Device, ...]) -> Any:
    """Copies every array to every device; copies that are there already are kept.

    Args:
      tree: Pytree of arrays.
      devices: The devices; without any, the tree is returned as it is.

    Returns:
      The same pytree.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from symjax.metrics.orbit import replicate
      >>> replicate({"w": jnp.ones(2)}, tuple(jax.devices()))["w"].tolist()
      [1.0, 1.0]
    """
    if not devices:
        return tree
    mesh = Mesh(np.array(devices), ("group",))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def _respond_on_host(
    function: HostFunction,
    action: Action,
    keep: tuple[int, ...],
    batch_size: int,
    x: Any,
    args: tuple[Any, ...],
    rotations: np.ndarray,
) -> list[np.ndarray]:
    """The same for a NumPy callable; the rotation itself runs in float64."""
    rows: list[list[np.ndarray]] = []
    with jax.enable_x64(True):
        for start in range(0, len(rotations), batch_size):
            chunk = jnp.asarray(rotations[start : start + batch_size])
            moved = jax.device_get(move(action, x, chunk))
            inputs = [
                jax.tree.map(lambda leaf, i=i: leaf[i], moved)
                for i in range(len(chunk))
            ]
            if function.batched:
                outputs = function.function(inputs, *args)
            else:
                outputs = [function.function(item, *args) for item in inputs]
            _check_number(outputs, len(inputs))
            for output in outputs:
                leaves = jax.tree.leaves(output)
                rows.append([np.asarray(leaves[index]) for index in keep])
    return [np.stack(column) for column in zip(*rows, strict=True)]


# Compiled code is never made of it: it keeps the trace of a function, which for a
# deep model takes longer than a batch of evaluations.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _respond_to_one(
    function: Function, action: Action, rotation: Array, x: Any, args: tuple[Any, ...]
) -> Any:
    return function(action(rotation, x), *args)


@functools.partial(jax.jit, static_argnames=("action",))
def move(action: Action, x: Any, rotations: Array | np.ndarray) -> Any:
    """G x for some elements.

    Args:
      action: Function ``(rotation, x) -> g x``.
      x: Input pytree.
      rotations: The elements.

    Returns:
      The moved inputs, along a first axis.
    """
    return jax.vmap(lambda rotation: action(rotation, x))(rotations)


def respond(
    function: Any,
    action: Action,
    x: Any,
    rotations: np.ndarray,
    *,
    args: tuple[Any, ...] = (),
    keep: tuple[int, ...],
    batch_size: int,
    devices: tuple[jax.Device, ...] = (),
) -> Sequence[Array | np.ndarray]:
    """Evaluates the response at a batch of elements.

    Args:
      function: Pure JAX function ``f(x, *args)``, or a :class:`HostFunction`.
      action: Function ``(rotation, x) -> g x``.
      x: Input pytree.
      rotations: Orthogonal matrices, proper or improper, ``(group, 3, 3)``.
      args: Further arguments that do not transform (parameters of a model).
      keep: Indices of the output leaves to return.
      batch_size: Number of elements evaluated at once.
      devices: Devices that share the elements, each with batches of its own; the
        responses come back on the first. Without any, JAX's default.

    Returns:
      For each kept leaf an array with a leading group axis.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics.orbit import as_action, respond
      >>> from symjax.so3 import VECTOR
      >>> out = respond(lambda x: x.sum(0), as_action(VECTOR), np.ones((2, 3)),
      ...               np.stack([np.eye(3), -np.eye(3)]), keep=(0,), batch_size=2)
      >>> out[0].tolist()
      [[2.0, 2.0, 2.0], [-2.0, -2.0, -2.0]]
    """
    if isinstance(function, HostFunction):
        action = as_action(action)
        return _respond_on_host(function, action, keep, batch_size, x, args, rotations)
    function, action = as_function(function), as_action(action)
    if devices:
        return _respond_on_devices(
            function, action, keep, batch_size, devices, x, args, rotations
        )
    return _respond(function, action, keep, batch_size, x, args, rotations)


def respond_in_batches(
    function: Function | HostFunction,
    action: Action,
    x: Any,
    rotations: np.ndarray,
    *,
    args: tuple[Any, ...] = (),
    keep: tuple[int, ...],
    batch_size: int,
    devices: tuple[jax.Device, ...] = (),
) -> Sequence[Array | np.ndarray]:
    """As :func:`respond`, with one compiled program for any number of elements.

    Compiling a deep model takes longer than evaluating it on a small grid; a climb
    through several grids must not compile it for each. The last batch is filled up
    with copies of the last element, which are dropped.

    Args:
      function: Pure JAX function ``f(x, *args)``, or a :class:`HostFunction`.
      action: Function ``(rotation, x) -> g x``.
      x: Input pytree.
      rotations: Orthogonal matrices, proper or improper, ``(group, 3, 3)``.
      args: Further arguments that do not transform.
      keep: Indices of the output leaves to return.
      batch_size: Number of elements evaluated at once; need not divide ``group``.
      devices: Devices that share the elements, each with batches of its own; the
        responses come back on the first. Without any, JAX's default.

    Returns:
      For each kept leaf an array with a leading group axis.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics.orbit import as_action, respond_in_batches
      >>> from symjax.so3 import VECTOR
      >>> five = np.tile(np.eye(3), (5, 1, 1))
      >>> out = respond_in_batches(lambda x: x.sum(0), as_action(VECTOR),
      ...                          np.ones((2, 3)), five, keep=(0,), batch_size=2)
      >>> out[0].shape
      (5, 3)
    """
    num = len(rotations)
    step = batch_size * max(len(devices), 1)
    fill = np.minimum(np.arange(-(-num // step) * step), num - 1)
    parts = [
        respond(
            function,
            action,
            x,
            rotations[fill[start : start + step]],
            args=args,
            keep=keep,
            batch_size=batch_size,
            devices=devices,
        )
        for start in range(0, len(fill), step)
    ]
    # On the host: an array of another length would be another program to compile.
    return [
        np.concatenate([np.asarray(part) for part in column])[:num]
        for column in zip(*parts, strict=True)
    ]


def check_finite(name: str, values: np.ndarray, rotations: np.ndarray) -> None:
    """Raises with the first element at which a response is not finite.

    Args:
      name: Name of the output.
      values: Responses, one for each element.
      rotations: The elements.

    Raises:
      ArgumentError: One of them is NaN or infinite.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics.orbit import check_finite
      >>> check_finite("energy", np.ones((2, 4)), np.stack(2 * [np.eye(3)]))
    """
    bad = ~np.isfinite(np.asarray(values, float)).reshape(len(values), -1)
    if bad.any():
        element = int(bad.any(axis=1).argmax())
        entry = int(bad[element].argmax())
        raise ArgumentError(
            name,
            float(np.asarray(values, float).reshape(len(values), -1)[element, entry]),
            f"entry {entry} of this output is not finite at the element g = "
            f"{np.round(rotations[element], 4).tolist()} of O(3)",
            "Check the function at g x",
        )


def output_shapes(
    function: Function | HostFunction, action: Action, x: Any, args: tuple[Any, ...]
) -> Any:
    """Shapes and dtypes of the outputs, without computing them where JAX can tell.

    Args:
      function: The function to be measured.
      action: Function ``(rotation, x) -> g x``.
      x: Input pytree.
      args: Further arguments.

    Returns:
      The output pytree, with `jax.ShapeDtypeStruct` leaves.

    Raises:
      ArgumentError: The function has no array output.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics.orbit import as_action, output_shapes
      >>> from symjax.so3 import VECTOR
      >>> output_shapes(lambda x: x @ x.T, as_action(VECTOR), np.ones((2, 3)), ()).shape
      (2, 2)
    """
    if isinstance(function, HostFunction):
        output = function(x, *args)
        _check_returned(function, output)
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype),
            output,
        )
    else:
        function, action = as_function(function), as_action(action)
        rotation = jax.ShapeDtypeStruct((3, 3), jnp.result_type(float))
        shapes = jax.eval_shape(
            functools.partial(_respond_to_one, function, action), rotation, x, args
        )
    if not jax.tree.leaves(shapes):
        raise ArgumentError(
            "function",
            name_of(function),
            "returns no array",
            "Return the outputs to measure",
        )
    return shapes


def name_of(function: Any) -> str:
    """A function as a message names it.

    Args:
      function: The function, pinned or marked.

    Returns:
      Its name, or that of its class.

    Example:
      >>> from symjax.metrics.orbit import HostFunction, name_of
      >>> name_of(HostFunction(abs))
      'abs'
    """
    while hasattr(function, "function"):
        function = function.function
    return str(getattr(function, "__name__", type(function).__name__))


def _check_returned(function: Any, output: Any) -> None:
    for leaf in jax.tree.leaves(output):
        if np.asarray(leaf).dtype.kind not in "biufc":
            raise ArgumentError(
                "function",
                name_of(function),
                f"returns an object of {type(leaf).__name__}, no array of numbers",
                "Return arrays or a dictionary of arrays",
            )


def activation_bytes(
    function: Function, action: Action, x: Any, args: tuple[Any, ...]
) -> int:
    """Peak of the live intermediate arrays of one evaluation, from its jaxpr.

    An upper estimate: XLA fuses operations, so the true peak is lower. Evaluated
    without running or compiling anything.

    Args:
      function: Pure JAX function.
      action: Function ``(rotation, x) -> g x``.
      x: Input pytree.
      args: Further arguments.

    Returns:
      Number of bytes.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from symjax.metrics.orbit import activation_bytes, as_action
      >>> from symjax.so3 import VECTOR
      >>> f = lambda x: jnp.sum(jnp.zeros((1000, 1000)) + x.sum())
      >>> activation_bytes(f, as_action(VECTOR), np.ones((2, 3)), ()) >= 4e6
      True
    """
    function, action = as_function(function), as_action(action)
    rotation = jax.ShapeDtypeStruct((3, 3), jnp.result_type(float))
    closed = jax.make_jaxpr(_respond_to_one, static_argnums=(0, 1))(
        function, action, rotation, x, args
    )
    return _peak_bytes(closed.jaxpr)


def _peak_bytes(jaxpr: Any) -> int:
    """Largest sum of live temporaries over a linear walk through the equations."""
    last_use: dict[Any, int] = {}
    for position, equation in enumerate(jaxpr.eqns):
        for variable in equation.invars:
            if not hasattr(variable, "val"):
                last_use[variable] = position
    for variable in jaxpr.outvars:
        if not hasattr(variable, "val"):
            last_use[variable] = len(jaxpr.eqns)

    live: dict[Any, int] = {}
    peak = 0
    for position, equation in enumerate(jaxpr.eqns):
        inner = 0
        for parameter in equation.params.values():
            body = getattr(parameter, "jaxpr", parameter)
            if hasattr(body, "eqns"):
                inner = max(inner, _peak_bytes(body))
        for variable in equation.outvars:
            shape = getattr(variable.aval, "shape", ())
            itemsize = getattr(getattr(variable.aval, "dtype", None), "itemsize", 8)
            live[variable] = math.prod(shape) * itemsize
        peak = max(peak, sum(live.values()) + inner)
        for variable in [v for v in live if last_use.get(v, -1) <= position]:
            del live[variable]
    return peak
