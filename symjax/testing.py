"""Equivariance as an assertion, for the test suites of models."""

from collections.abc import Mapping
from typing import Any

import ase
import jax
import numpy as np

from symjax.errors import ArgumentError
from symjax.interop import calculator_problem, torch_problem
from symjax.metrics import (
    Grid,
    HaarSamples,
    HostFunction,
    LeafMeasurement,
    Output,
    Problem,
    measure,
)
from symjax.so3.irreps import all_irreps
from symjax.so3.representations import VECTOR

# Contents below this are round-off, and not named.
_NAMED = 1e-6
_SHOWN = 4


def assert_equivariant(
    function: Any,
    x: Any = None,
    *,
    representations: Any = None,
    action: Any = VECTOR,
    tolerance: float = 1e-5,
    absolute: Mapping[str, float] | None = None,
    max_degree: int = 4,
    samples: int = 12,
) -> None:
    """Raises an AssertionError unless a function is equivariant under O(3).

    Each output is evaluated at random rotations and their products with the inversion.
    It passes if A / RMS <= ``tolerance``, where A is the equivariance error and RMS the
    root mean square of a component (:mod:`symjax.metrics.results`), or if A is at most
    its ``absolute`` tolerance. If an output fails, the irreps that break the symmetry
    are measured on a grid and named in the message.

    Args:
      function: A JAX or NumPy function, a ``torch.nn.Module`` with a leading batch
        axis, an ASE calculator (or a function that makes one), or a
        :class:`~symjax.metrics.Problem`.
      x: Input of a function or module; an ``ase.Atoms`` for a calculator.
      representations: The representation that each output should carry, as in
        :func:`symjax.metrics.measure`; not needed for a calculator or a problem.
      action: How ``x`` rotates.
      tolerance: Largest relative error; 1e-5 suits float32, 1e-10 float64.
      absolute: Largest allowed A by output, in its unit.
      max_degree: Largest degree of the irreps that the message can name.
      samples: Number of random rotations; each is paired with its product with the
        inversion.

    Raises:
      AssertionError: An output is not equivariant.
      SymjaxError: An argument is invalid.

    Example:
      >>> import numpy as np
      >>> from symjax.so3 import VECTOR
      >>> from symjax.testing import assert_equivariant
      >>> x = np.random.default_rng(0).normal(size=(4, 3))
      >>> assert_equivariant(lambda x: x.sum(0), x, representations=VECTOR)
      >>> assert_equivariant(lambda x: x[0] + 0.1, x, representations=VECTOR)
      Traceback (most recent call last):
      ...
      AssertionError: output is not equivariant: ... Content in 0+ ...
    """
    problem, prefix = _problem(function, x, representations, action)
    options: dict[str, Any] = {"representations": prefix}
    if prefix is not None:
        options |= {"x": problem.x, "action": problem.action}
    target = problem if prefix is None else problem.function
    found = measure(target, over=HaarSamples(samples), max_degree=0, **options)
    failed = [
        name
        for name, leaf in found.items()
        if not _passes(leaf, tolerance, (absolute or {}).get(name))
    ]
    for name in absolute or {}:
        if name not in found:
            raise ArgumentError(
                "absolute",
                name,
                "the function returns no such output",
                f"It returns {', '.join(found)}",
            )
    if not failed:
        return
    grid = Grid(2 * max_degree + 1, on_aliasing="report")
    measured = measure(target, over=grid, max_degree=max_degree, **options)
    units = {name: output.unit for name, output in problem.outputs.items()}
    raise AssertionError(
        "\n".join(
            _message(name, measured[name], units.get(name, ""), tolerance)
            for name in failed
        )
    )


def _passes(leaf: LeafMeasurement, tolerance: float, absolute: float | None) -> bool:
    if not np.isfinite(leaf.equivariance_error):
        return False
    if absolute is not None and leaf.equivariance_error <= absolute:
        return True
    return leaf.relative_error <= tolerance


def _message(name: str, leaf: LeafMeasurement, unit: str, tolerance: float) -> str:
    """What breaks, by how much, and in which sectors."""
    allowed = {str(irrep) for irrep in leaf.representation.irreps}
    wrong = [
        (leaf.content_of(str(irrep)), str(irrep))
        for irrep in all_irreps(leaf.content.shape[0] - 1)
        if str(irrep) not in allowed
    ]
    wrong = sorted((pair for pair in wrong if pair[0] > _NAMED), reverse=True)
    shown = ", ".join(f"{irrep} ({share:.2g})" for share, irrep in wrong[:_SHOWN])
    if leaf.remainder > _NAMED:
        above = f"above degree {leaf.content.shape[0] - 1} ({leaf.remainder:.2g})"
        shown = f"{shown}, {above}" if shown else above
    where = (
        f"Content in {shown}, where {' and '.join(sorted(allowed))} should have it all."
        if shown
        else "All content lies in the right sectors: is it in another basis or order "
        "of components, or does its sign differ?"
    )
    size = f"{leaf.equivariance_error:.3g} {unit}".strip()
    return (
        f"{name} is not equivariant: A = {size}, {leaf.relative_error:.3g} of its root "
        f"mean square (tolerance {tolerance:g}). {where}"
    )


def _problem(
    function: Any, x: Any, representations: Any, action: Any
) -> tuple[Problem, Any]:
    """The problem, and representations if outputs do not have names yet."""
    if isinstance(function, Problem):
        return function, None
    if isinstance(x, ase.Atoms):
        return calculator_problem(function, x), None
    if representations is None:
        raise ArgumentError(
            "representations",
            None,
            "is missing: what the outputs should be is not known",
            "Pass for instance SCALAR or VECTOR of symjax.so3",
        )
    if type(function).__module__.startswith("torch") or hasattr(
        function, "named_modules"
    ):
        known = representations
        if isinstance(known, Mapping):
            known = {name: Output(kind) for name, kind in known.items()}
        return torch_problem(function, x, outputs=known, action=action), None
    if not isinstance(function, HostFunction) and not _is_traceable(function, x):
        function = HostFunction(function)
    return Problem(function, x, {}, action), representations


def _is_traceable(function: Any, x: Any) -> bool:
    """Whether JAX can trace a function; NumPy functions reject tracers."""
    try:
        jax.eval_shape(function, x)
    except (
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerBoolConversionError,
        jax.errors.ConcretizationTypeError,
    ):
        return False
    return True
