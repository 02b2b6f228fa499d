"""Responses of a function on the orbit of its input: u(g) = f(g x).

``jax.vmap`` runs over group elements only, so that whatever does not depend on the
orientation (neighbor lists, distances, embeddings) is computed once per batch, not once
per element.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from symjax.errors import ArgumentError
from symjax.metrics.functions import (
    Action,
    Function,
    HostFunction,
    RepresentationAction,
    as_action,
    as_function,
    check_number,
    respond_to_one,
)
from symjax.so3.action import act_on_host

_LARGEST_EXACT = 2**53


def _evaluate(
    function: Function,
    action: Action,
    keep: tuple[int, ...],
    batch_size: int,
    x: Any,
    args: tuple[Any, ...],
    rotations: Float[Array, "group 3 3"],
) -> list[Array]:
    """The output leaves ``keep`` at every element; the others are not computed."""

    def respond_to(rotation: Array) -> list[Array]:
        leaves = jax.tree.leaves(respond_to_one(function, action, rotation, x, args))
        return [leaves[index] for index in keep]

    num = len(rotations)
    if num == batch_size:
        return jax.vmap(respond_to)(rotations)
    # Padded to whole batches, so that no second program is compiled for a remainder.
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
    """As :func:`_evaluate`, with the group axis divided over devices."""
    most = min(batch_size, len(rotations) // mesh.size)
    share = jax.shard_map(
        functools.partial(_evaluate, function, action, keep, most),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(), PartitionSpec("group")),
        out_specs=PartitionSpec("group"),
        # Loops of a model may start from constants, which this check refuses.
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
    """Evaluates equal shares on all devices, and gathers them on the first."""
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
        jax.device_put(np.concatenate([rotations, filler])),
    )
    gathered = [jax.device_put(leaf, devices[0]) for leaf in out]
    return [leaf[:-missing] for leaf in gathered] if missing else gathered


def replicate(tree: Any, devices: tuple[jax.Device, ...]) -> Any:
    """Copies every array to every device; existing copies are kept."""
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
    """As :func:`_evaluate` for a host function; inputs are rotated in float64."""
    rows: list[list[np.ndarray]] = []
    with jax.enable_x64(True):
        for start in range(0, len(rotations), batch_size):
            inputs = moved_on_host(action, x, rotations[start : start + batch_size])
            if function.batched:
                outputs = function.function(inputs, *args)
            else:
                outputs = [function.function(item, *args) for item in inputs]
            check_number(outputs, len(inputs))
            for output in outputs:
                leaves = jax.tree.leaves(output)
                rows.append([np.asarray(leaves[index]) for index in keep])
    return [np.stack(column) for column in zip(*rows, strict=True)]


@functools.partial(jax.jit, static_argnames=("action",))
def move(action: Action, x: Any, rotations: Array | np.ndarray) -> Any:
    """Moves x by several elements, along a new first axis."""
    return jax.vmap(lambda rotation: action(rotation, x))(rotations)


def moved_on_host(
    action: Action, x: Any, rotations: Float[np.ndarray, "group 3 3"]
) -> list[Any]:
    """A list of x moved by each of several elements, in NumPy float64."""
    if isinstance(action, RepresentationAction):
        return act_on_host(action.representations, rotations, x)
    with jax.enable_x64(True):
        moved = jax.device_get(move(action, x, rotations))
    return [
        jax.tree.map(lambda leaf, i=i: leaf[i], moved) for i in range(len(rotations))
    ]


def with_negatives(
    proper: Float[np.ndarray, "group 3 3"],
) -> Float[np.ndarray, "both 3 3"]:
    """Each rotation, followed by its negative."""
    return np.stack([proper, -proper], axis=1).reshape(-1, 3, 3)


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
    """Responses at some elements of O(3), with the group as first axis.

    One array for each index of an output leaf in ``keep``. Devices that share the
    elements gather the responses on the first; if empty, JAX's default device is used.

    Raises:
      ArgumentError: An integer response is too large for float64.
    """
    function, action = as_function(function), as_action(action)
    arguments: Any = (keep, batch_size, x, args, rotations)
    if isinstance(function, HostFunction):
        found: Any = _respond_on_host(function, action, *arguments)
    elif devices:
        arguments = (keep, batch_size, devices, x, args, rotations)
        found = _respond_on_devices(function, action, *arguments)
    else:
        found = _respond(function, action, *arguments)
    _check_exact(found)
    return found


def _check_exact(responses: Sequence[Array | np.ndarray]) -> None:
    """Raises if float64, in which sums are accumulated, would round an integer."""
    for values in responses:
        if values.dtype.name not in ("int64", "uint64") or not values.size:
            continue
        for value in (int(values.max()), int(values.min())):
            if abs(value) > _LARGEST_EXACT:
                raise ArgumentError(
                    "function",
                    value,
                    "returns an integer that float64 cannot represent",
                    "Subtract a constant, or return floats",
                )


def respond_in_batches(
    function: Function | HostFunction,
    action: Action,
    x: Any,
    rotations: np.ndarray,
    *,
    batch_size: int,
    devices: tuple[jax.Device, ...] = (),
    **keywords: Any,
) -> Sequence[Array | np.ndarray]:
    """As :func:`respond`, with one compiled program for any number of elements.

    For grids of several sizes, because compiling a deep model takes longer than
    evaluating it on a small grid. The last batch is padded with copies of the last
    element, whose responses are dropped.
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
            batch_size=batch_size,
            devices=devices,
            **keywords,
        )
        for start in range(0, len(fill), step)
    ]
    # On the host: JAX would compile a program for every length.
    return [
        np.concatenate([np.asarray(part) for part in column])[:num]
        for column in zip(*parts, strict=True)
    ]


def check_finite(name: str, values: np.ndarray, rotations: np.ndarray) -> None:
    """Raises if a response is not finite, and names the first such element."""
    bad = ~np.isfinite(np.asarray(values, float)).reshape(len(values), -1)
    if bad.any():
        element = int(bad.any(axis=1).argmax())
        entry = int(bad[element].argmax())
        raise ArgumentError(
            name,
            float(np.asarray(values, float).reshape(len(values), -1)[element, entry]),
            "is not finite at the element g = "
            f"{np.round(rotations[element], 4).tolist()} of O(3), in entry {entry}",
            "Check the function at g x",
        )
