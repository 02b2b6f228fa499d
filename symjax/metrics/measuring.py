"""The one entrance: a problem in, moments, spectra and verdicts out.

Arguments are checked and described; what to integrate over knows how to run (for a grid
see :mod:`symjax.metrics.grid`).
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax

from symjax.errors import AliasingError
from symjax.metrics import arguments, functions, preflight
from symjax.metrics.grid import Grid
from symjax.metrics.problem import (
    DEFAULT_MEMORY,
    Execution,
    Prepared,
    Problem,
    Progress,
    as_problem,
    check_degree,
    prepare,
    run,
)
from symjax.metrics.results import Measurement
from symjax.so3.representations import VECTOR

# Relative errors of which it is asked whether something does not turn that should.
_LARGE_ERROR = 1e-2


def measure(
    problem: Problem | Callable[..., Any] | functions.HostFunction,
    x: Any = None,
    *,
    representations: Any = None,
    action: Any = VECTOR,
    args: tuple[Any, ...] = (),
    over: Any = None,
    max_degree: int = 6,
    memory: int = DEFAULT_MEMORY,
    batch_size: int | None = None,
    progress: Progress | None = None,
    devices: Sequence[jax.Device] | None = None,
    **unknown: Any,
) -> Any:
    """Measures how equivariant a function is, and which irreps its outputs carry.

    For every output leaf with representation rho: the mean, the variance V and the
    equivariance error A of the back-rotated response z(g) = rho(g)^-1 f(g x), and
    the content B_{l,sigma} of the direct response u(g) = f(g x) in every sector of
    O(3) through ``max_degree``; definitions in :mod:`symjax.metrics.results`, from
    Domina et al., arXiv:2603.24638.

    Args:
      problem: A :class:`~symjax.metrics.Problem`. Or, for short, a function ``f(x,
        *args)`` with its ``x`` and ``representations``; see there.
      x: Input pytree of a function.
      representations: For every output leaf of a function the representation it
        carries: one representation, or a pytree prefix of the output. ``FEATURE`` for
        features.
      action: How O(3) acts on the ``x`` of a function.
      args: Further arguments of a function that do not transform.
      over: What to integrate over: :class:`~symjax.metrics.Grid`, of degree ``2 *
        max_degree + 1`` by default; :class:`~symjax.metrics.Adaptive` to climb until a
        requested accuracy is certified; :class:`~symjax.metrics.HaarSamples` for
        unbiased estimates with standard errors; or a finite group of
        :func:`symjax.so3.finite_group`.
      max_degree: Largest degree L of the projected sectors; not used by a finite group,
        which has irreps of its own.
      memory: Budget in bytes for responses, coefficients and intermediates.
      batch_size: Elements evaluated at once on each device; chosen from the budget
        by default.
      progress: Called with the number of elements done and their total.
      devices: Devices that share the elements, for instance ``jax.devices()``; the
        sums stay on the first. JAX's default device if not given.
      **unknown: None; the error says what is meant.

    Returns:
      The measurement, a mapping from output names to leaves: a
      :class:`~symjax.metrics.Measurement`, over a finite group a
      :class:`~symjax.metrics.FiniteMeasurement`. An output that is a single array is
      named ``"output"``; others have the path of their key.

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
    arguments.check_known(unknown)
    max_degree = check_degree(max_degree)
    execution = Execution(memory, batch_size, progress, devices)
    given = as_problem(problem, x, representations, action, args)
    prepared = prepare(given, execution, representations)
    try:
        measured = run(Grid() if over is None else over, prepared, max_degree)
    except AliasingError as error:
        hint = _hint_of_cell(prepared, prepared.args)
        if not hint:
            raise
        remedy = f"{hint} If it does: {error.remedy}"
        raise AliasingError(
            error.argument, error.value, error.problem, remedy
        ) from error
    for leaf in measured.values() if isinstance(measured, Measurement) else ():
        hint = leaf.hint
        if not hint and leaf.relative_error > _LARGE_ERROR:
            refused = leaf.convergence and not leaf.convergence.resolved
            hint = _hint_of_cell(prepared, prepared.args if refused else ())
        if hint:
            warnings.warn(f"{leaf.name}: {hint}", stacklevel=2)
    return measured


def _hint_of_cell(prepared: Prepared, args: tuple[Any, ...]) -> str:
    """A question, where a response is not equivariant and something does not turn."""
    names = preflight.unmoved(prepared.action, prepared.x, args)
    if not names:
        return ""
    return f"Does the cell turn too? {', '.join(names)} is not moved by the action."
