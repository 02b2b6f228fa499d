"""The entry point :func:`measure`: a problem in, moments, spectra and verdicts out.

It checks the arguments; the object ``over`` then runs the measurement (for a grid see
:mod:`symjax.metrics.grid`).
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

# Above this relative error, users are asked whether an input should rotate too.
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
    """Measures how equivariant a function is, and which irreps its outputs contain.

    For every output with representation rho, this computes the mean, the variance V and
    the equivariance error A of the back-rotated response z(g) = rho(g)^-1 f(g x), and
    the content B_{l,sigma} of the direct response u(g) = f(g x) in every sector of
    O(3) through ``max_degree``. Definitions are in :mod:`symjax.metrics.results`, after
    Domina et al., arXiv:2603.24638.

    Args:
      problem: A :class:`~symjax.metrics.Problem`; or, as a short form, a function
        ``f(x, *args)``, whose problem the next four arguments describe.
      x: Input pytree of the function.
      representations: Representations of the outputs of the function: one for all, or a
        pytree prefix of the output. Use ``FEATURE`` for features.
      action: How O(3) acts on ``x``, see :class:`~symjax.metrics.Problem`.
      args: Further arguments of the function, which do not rotate.
      over: What to integrate over: :class:`~symjax.metrics.Grid` (the default, of
        degree ``2 * max_degree + 1``); :class:`~symjax.metrics.Adaptive`, which refines
        until a requested accuracy is certified; :class:`~symjax.metrics.HaarSamples`
        for unbiased estimates with standard errors; or a finite group from
        :func:`symjax.so3.finite_group`.
      max_degree: Largest degree L of the projected sectors; ignored for a finite group,
        which has its own irreps.
      memory: Budget in bytes for responses, coefficients and intermediates.
      batch_size: Elements evaluated at once on each device; chosen from the budget
        by default.
      progress: Called with the number of elements done and their total.
      devices: Devices that share the elements, for instance ``jax.devices()``; the
        sums stay on the first. JAX's default device if None.
      **unknown: Not accepted; the error suggests the right argument.

    Returns:
      The measurement, a mapping by name of the output:
      :class:`~symjax.metrics.Measurement`, or
      :class:`~symjax.metrics.FiniteMeasurement` for a finite group. A single array is
      named ``"output"``; other outputs are named by the path of their key.

    Raises:
      ArgumentError: An argument has an invalid value, or a response is not finite.
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
    """Asks whether an input that does not rotate should."""
    names = preflight.unmoved(prepared.action, prepared.x, args)
    if not names:
        return ""
    return f"Does the cell rotate too? {', '.join(names)} is not moved by the action."
