"""Forces of staged networks, by differentiating through the interventions."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from symjax.errors import ArgumentError
from symjax.metrics import functions
from symjax.metrics.problem import Output, Problem
from symjax.metrics.stages import PRIME, StagedProblem
from symjax.so3.representations import VECTOR


def with_forces(
    staged: StagedProblem,
    energy: str,
    displacements: Any,
    *,
    unit: str = "",
    labels: np.ndarray | None = None,
) -> StagedProblem:
    """Adds forces to a staged network: minus the derivatives of one of its outputs.

    Each feature gets derivatives along displacements that rotate with the input, by
    forward differentiation. Interventions on features apply to their derivatives too.

    Args:
      staged: The network: a JAX function whose action is linear in the input.
      energy: Name of the output that is differentiated; its values are summed.
      displacements: Derivatives of the input by the coordinates of the atoms: a pytree
        like the input with an additional first axis over x, y, z of the first atom,
        then of the second, and so on.
      unit: Unit of the forces.
      labels: Reference forces, ``(atoms, 3)``.

    Returns:
      The staged problem with an additional output ``"forces"`` of shape
      ``(atoms, 3)``.

    Raises:
      ArgumentError: There is no such output, there already are forces, the function
        runs on the host, or ``displacements`` are not three per atom, each like the
        input.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, StagedProblem, trace, with_forces
      >>> from symjax.so3 import SCALAR
      >>> def function(x, shifts):
      ...     h = x**2 + 0.1 * x
      ...     return {"e": (h + shifts.get("h", 0)).sum()}, {"h": h}
      >>> problem = Problem(lambda x: function(x, {})[0], jnp.eye(3),
      ...                   {"e": Output(SCALAR)})
      >>> staged = StagedProblem(problem, (("h",),), function)
      >>> moves = jnp.eye(9).reshape(9, 3, 3)
      >>> found = trace(with_forces(staged, "e", moves), max_degree=2)
      >>> found.errors["forces"].round(4).tolist()
      [0.1, 0.0]
    """
    problem = staged.problem
    if energy not in problem.outputs or "forces" in problem.outputs:
        raise ArgumentError(
            "energy",
            energy,
            "is not an output, or there already are forces",
            f"Use one of {', '.join(problem.outputs)}",
        )
    if isinstance(staged.function, functions.HostFunction):
        raise ArgumentError(
            "staged",
            functions.name_of(staged.function),
            "is a HostFunction, which JAX cannot differentiate",
            "Trace the energy only",
        )
    moves, places = map(jax.tree.leaves, (displacements, problem.x))
    num = np.shape(moves[0])[0] if moves and np.ndim(moves[0]) else 0
    wanted = jax.tree.map(lambda place: (num, *np.shape(place)), problem.x)
    if jax.tree.map(np.shape, displacements) != wanted or num % 3 or not num:
        raise ArgumentError(
            "displacements",
            list(map(np.shape, moves)),
            f"are not three per atom of arrays like x, {[*map(np.shape, places)]}",
            "Pass numpy.eye(3 * n).reshape(3 * n, n, 3) for positions of n atoms",
        )
    plain = staged.function
    act = functions.as_action(problem.action)

    def action(rotation: Array, x: Any) -> Any:
        return {
            "x": act(rotation, x["x"]),
            "moves": jax.vmap(lambda one: act(rotation, one))(x["moves"]),
            "axes": x["axes"] @ rotation.T,
        }

    def function(x: Any, shifts: Mapping[str, Array], *args: Any) -> Any:
        values = {n: v for n, v in shifts.items() if not n.endswith(PRIME)}
        slopes = {n: shifts[n + PRIME] for n in values}

        def network(inner: Any, shift: Any) -> Any:
            return plain(inner, shift, *args)

        def along(move: Any, slope: Any) -> Any:
            return jax.jvp(network, (x["x"], values), (move, slope))

        (outputs, features), (output_rates, feature_rates) = jax.vmap(
            along, out_axes=(None, 0)
        )(x["moves"], slopes)
        rate = output_rates[energy].reshape(num, -1).sum(axis=1)
        forces = -rate.reshape(-1, 3) @ x["axes"]
        derivatives = {name + PRIME: v for name, v in feature_rates.items()}
        return {**outputs, "forces": forces}, {**features, **derivatives}

    def as_it_is(x: Any, *args: Any) -> Any:
        return function(x, {}, *args)[0]

    dtype = jnp.result_type(*moves)
    made = Problem(
        as_it_is,
        {"x": problem.x, "moves": displacements, "axes": np.eye(3, dtype=dtype)},
        {**problem.outputs, "forces": Output(VECTOR, unit, labels=labels)},
        action=action,
        args=problem.args,
    )
    return StagedProblem(made, staged.stages, function)
