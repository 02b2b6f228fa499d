"""Checks at a few elements before a measurement: actions and host functions.

An action of O(3) must leave x unchanged at the identity, obey g (h x) = (g h) x, and
preserve lengths, as orthogonal representations do. A function on the host must return
the same numbers for the same input, at any position in a batch. Otherwise an error
with the deviation is raised before thousands of evaluations.
"""

import warnings
from typing import Any

import jax
import numpy as np
from scipy.spatial.transform import Rotation

from symjax.errors import ArgumentError
from symjax.metrics import functions, orbit

_SEED = 22
# Deviations above this fraction of the root mean square are not round-off.
_ROUND_OFF = 1e-5
# A function whose noise is above this fraction of its response is refused.
_NOISE = 1e-2


def check_action(action: functions.Action, x: Any) -> None:
    """Raises unless a function is an orthogonal action of O(3), tested at two elements.

    An action that follows from representations is correct by construction.

    Raises:
      ArgumentError: It changes x at the identity, the structure of x or a length, or
        g (h x) differs from (g h) x.
    """
    if isinstance(action, functions.RepresentationAction):
        return
    h, g = Rotation.random(2, random_state=_SEED).as_matrix()
    # -h is improper, which reveals an action that handles proper rotations only.
    elements = np.stack([np.eye(3), -h, -g @ h])
    same, first, at_once = orbit.moved_on_host(action, x, elements)
    found, expected = map(str, map(jax.tree.structure, (same, x)))
    if found != expected:
        raise ArgumentError(
            "action",
            found,
            f"returns a structure other than that of x, {expected}",
            "Return g x with the structure and shapes of x",
        )
    (twice,) = orbit.moved_on_host(action, first, g[None])
    near = jax.tree.map(_nudged, x)
    _, beside, _ = orbit.moved_on_host(action, near, elements)
    _compare(same, x, "moves x at the identity element by")
    problem = "is not an action of O(3): g (h x) differs from (g h) x by"
    _compare(twice, at_once, problem)
    paths = jax.tree_util.tree_flatten_with_path(x)[0]
    four = (paths, *map(jax.tree.leaves, (near, first, beside)))
    for (path, one), other, moved_one, moved_other in zip(*four, strict=True):
        before, after = _distance(one, other), _distance(moved_one, moved_other)
        # In float32, differences of 1 % have five significant digits.
        if before and not abs(after / before - 1) <= 1e-3:
            raise ArgumentError(
                "action",
                f"x{jax.tree_util.keystr(path)}",
                f"is not orthogonal: it multiplies a distance by {after / before:.4g}",
                "Use orthogonal representations, and orthonormal components",
            )


def _nudged(leaf: Any) -> Any:
    """The array plus random noise of 1 % of its root mean square."""
    array = np.asarray(leaf)
    if array.dtype.kind != "f" or not array.any():
        return leaf
    step = np.random.default_rng(_SEED).normal(size=array.shape)
    return (array + 0.01 * np.sqrt(np.mean(array**2)) * step).astype(array.dtype)


def _distance(one: Any, other: Any) -> float:
    difference = np.asarray(one, float) - np.asarray(other, float)
    return float(np.sqrt(np.sum(difference**2)))


def _compare(found: Any, expected: Any, problem: str) -> None:
    for (path, one), other in zip(
        jax.tree_util.tree_flatten_with_path(expected)[0],
        jax.tree.leaves(found),
        strict=True,
    ):
        deviation, tolerance = _deviation(one, other)
        if not deviation <= tolerance:
            raise ArgumentError(
                "action",
                f"x{jax.tree_util.keystr(path)}",
                f"{problem} {deviation:.1e} of its root mean square",
                "Rotate rows of vectors as x @ rotation.T, and everything that rotates "
                "about the same point",
            )


def _deviation(one: Any, other: Any) -> tuple[float, float]:
    """Deviation relative to the root mean square, and the tolerance for round-off."""
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape:
        return float("inf"), 0.0
    epsilon = max(
        (float(np.finfo(a.dtype).eps) for a in (one, other) if a.dtype.kind == "f"),
        default=0.0,
    )
    a, b = one.astype(float), other.astype(float)
    size = np.sqrt(max(np.mean(a**2), np.mean(b**2))) if a.size else 0.0
    difference = np.sqrt(np.mean((a - b) ** 2)) if a.size else 0.0
    return float(difference / size) if size else 0.0, max(_ROUND_OFF, epsilon**0.5)


def check_host(
    function: Any, action: functions.Action, x: Any, args: Any, shapes: Any
) -> None:
    """Raises if a function on the host does not reproduce its outputs.

    Two elements are evaluated, then the first of them twice. Differences above
    round-off but below 1 % cause a warning.

    Raises:
      ArgumentError: Outputs for the same input differ by more than 1 %.
    """
    elements = Rotation.random(2, random_state=_SEED).as_matrix()
    names = [
        jax.tree_util.keystr(path) or "output"
        for path, _ in jax.tree_util.tree_flatten_with_path(shapes)[0]
    ]
    first, second = (
        orbit.respond(
            function,
            action,
            x,
            chosen,
            args=args,
            keep=tuple(range(len(names))),
            batch_size=2,
        )
        for chosen in (elements, elements[[0, 0]])
    )
    for name, one, other in zip(names, first, second, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        if not (np.isfinite(one).all() and np.isfinite(other).all()):
            continue  # refused later, with the element
        deviation, tolerance = _deviation(one[0], other[0])
        if deviation > _NOISE:
            swapped, _ = _deviation(one[1], other[0])
            place = function.batched and swapped <= tolerance
            raise ArgumentError(
                "function",
                name,
                f"differs by {deviation:.1e} of its root mean square between two calls "
                "with the same input"
                + (": outputs are in another order than inputs" if place else ""),
                "Return one output for each input, in their order"
                if place
                else "Fix random numbers (seed, dropout) and state between calls",
            )
        if deviation > tolerance:
            warnings.warn(
                f"{name!r} differs by {deviation:.1e} of its root mean square between "
                "two calls with the same input: A below this is noise",
                stacklevel=4,
            )


def unmoved(action: functions.Action, x: Any, args: tuple[Any, ...] = ()) -> list[str]:
    """Names of inputs that should perhaps rotate but do not, such as a cell.

    These are leaves of ``x`` of shape ``(..., 3)`` that the action does not change, and
    entries of ``args`` that are 3 x 3 matrices.
    """
    element = Rotation.random(random_state=_SEED).as_matrix()
    (moved,) = orbit.moved_on_host(action, x, element[None])
    names = []
    for (path, one), other in zip(
        jax.tree_util.tree_flatten_with_path(x)[0], jax.tree.leaves(moved), strict=True
    ):
        one = np.asarray(one)
        fits = one.dtype.kind == "f" and one.shape[-1:] == (3,) and one.any()
        if fits and (np.asarray(other) == one).all():
            names.append(f"x{jax.tree_util.keystr(path)}")
    for number, argument in enumerate(args):
        if isinstance(argument, np.ndarray | jax.Array) and argument.shape == (3, 3):
            names.append(f"args[{number}]")
    return names
