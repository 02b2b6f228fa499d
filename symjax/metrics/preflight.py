"""Checks on a few elements before the orbit: is an action one, a function the same?

An action of O(3) leaves x alone at the identity, g (h x) = (g h) x, and it keeps
lengths, as orthogonal representations do. A function on the host returns the same
numbers for the same input, wherever it stands in a batch. What is not so is refused
with the deviation, before thousands of evaluations.
"""

import warnings
from typing import Any

import jax
import numpy as np
from scipy.spatial.transform import Rotation

from symjax.errors import ArgumentError
from symjax.metrics import functions, orbit

_SEED = 22
# Deviations above this share of the root mean square are no round-off.
_ROUND_OFF = 1e-5
# A function whose noise is above this share of its response is not measured.
_NOISE = 1e-2


def check_action(action: functions.Action, x: Any) -> None:
    """Raises unless a function acts as O(3) does, as far as two elements show.

    An action that follows from representations is right by construction.

    Raises:
      ArgumentError: It moves x at the identity, its structure or a length changes, or
        g (h x) differs from (g h) x.
    """
    if isinstance(action, functions.RepresentationAction):
        return
    h, g = Rotation.random(2, random_state=_SEED).as_matrix()
    # h is improper, so that an action of rotations alone shows.
    elements = np.stack([np.eye(3), -h, -g @ h])
    same, first, at_once = orbit.moved_on_host(action, x, elements)
    found, expected = map(str, map(jax.tree.structure, (same, x)))
    if found != expected:
        raise ArgumentError(
            "action",
            found,
            f"returns a structure other than that of x, {expected}",
            "Return g x with the keys and shapes of x",
        )
    (twice,) = orbit.moved_on_host(action, first, g[None])
    near = jax.tree.map(_nudged, x)
    _, beside, _ = orbit.moved_on_host(action, near, elements)
    _compare(same, x, "moves x at the identity element by")
    _compare(twice, at_once, "is no action of O(3): g (h x) differs from (g h) x by")
    paths = jax.tree_util.tree_flatten_with_path(x)[0]
    four = (paths, *map(jax.tree.leaves, (near, first, beside)))
    for (path, one), other, moved_one, moved_other in zip(*four, strict=True):
        before, after = _distance(one, other), _distance(moved_one, moved_other)
        # Of differences of a hundredth, float32 leaves five digits.
        if before and not abs(after / before - 1) <= 1e-3:
            raise ArgumentError(
                "action",
                f"x{jax.tree_util.keystr(path)}",
                f"is not orthogonal: it multiplies a distance by {after / before:.4g}",
                "Use orthogonal representations, and orthonormal components",
            )


def _nudged(leaf: Any) -> Any:
    """The same, a hundredth of its size further."""
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
    """Relative to the root mean square, and what round-off admits."""
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
    """Raises where a function on the host returns other numbers for the same input.

    Two elements are evaluated, then the first of them twice.

    Raises:
      ArgumentError: Outputs differ by more than a hundredth; by less, there is a
        warning with the deviation, below which A is noise.
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
            continue  # refused with its element, when the orbit meets it
        deviation, tolerance = _deviation(one[0], other[0])
        if deviation > _NOISE:
            swapped, _ = _deviation(one[1], other[0])
            place = function.batched and swapped <= tolerance
            raise ArgumentError(
                "function",
                name,
                f"differs by {deviation:.1e} of its root mean square between two calls "
                "with the same input"
                + (": outputs come in another order than inputs" if place else ""),
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
    """What looks as if it should turn, and does not: a cell, most often.

    Names of leaves of ``x`` of shape ``(..., 3)`` that the action does not move, and
    of arguments, where these are looked at too, that are 3 x 3 matrices.
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
