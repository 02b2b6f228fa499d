"""Networks of Flax Linen and of PyTorch whose layers can be interfered with."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen
from jaxtyping import Array

from symjax.errors import ModelError
from symjax.interop.jax_modules import Described, linen_problem
from symjax.interop.torch_modules import torch_problem
from symjax.metrics import HostFunction, Problem, StagedProblem
from symjax.so3.representations import VECTOR


def linen_stages(
    module: linen.Module,
    variables: Any,
    x: Any,
    *,
    outputs: Described,
    stages: Sequence[str | tuple[str, ...]],
    action: Any = VECTOR,
    args: tuple[Any, ...] = (),
) -> StagedProblem:
    """Prepares a Flax Linen module for :func:`symjax.metrics.trace`.

    What a submodule returns is replaced where it is called; of several arrays the
    first. The module itself is not changed.

    Args:
      module: The module.
      variables: Its variables.
      x: What rotates; the module is called as ``module(x, *args)``.
      outputs: As in :func:`symjax.interop.linen_problem`.
      stages: Submodules in the order of the network, by dotted names: one, or those
        that together are all that a stage hands on.
      action: How ``x`` rotates.
      args: Further arguments of the module, which do not rotate.

    Returns:
      The network with its stages.

    Raises:
      ModelError: There is no such submodule.
      ArgumentError: An output is not described.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from flax import linen
      >>> from symjax.interop import linen_stages
      >>> from symjax.metrics import trace
      >>> from symjax.so3 import SCALAR
      >>> module = linen.Sequential([linen.Dense(4), linen.tanh, lambda h: h.sum()])
      >>> x = jnp.eye(3)
      >>> variables = module.init(jax.random.key(0), x)
      >>> staged = linen_stages(module, variables, x, outputs=SCALAR,
      ...                       stages=["layers_0"])
      >>> found = trace(staged, max_degree=2)
      >>> bool(found.errors["output"][1] < 1e-6 < found.errors["output"][0])
      True
    """
    groups = _groups(stages)
    names = [name for group in groups for name in group]
    problem = linen_problem(
        module, variables, x, outputs=outputs, action=action, args=args
    )
    called: dict[str, None] = {}

    def function(
        x: Any, shifts: Mapping[str, Array], variables: Any, *args: Any
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        seen: dict[str, Array] = {}

        def replace(
            call: Callable[..., Any], args: Any, kwargs: Any, context: Any
        ) -> Any:
            out = call(*args, **kwargs)
            name = ".".join(context.module.path)
            called[name] = None
            if name not in names or context.method_name != "__call__" or name in seen:
                return out
            leaves, structure = jax.tree.flatten(out)
            seen[name] = leaves[0]
            leaves[0] = leaves[0] + shifts.get(name, 0)
            return jax.tree.unflatten(structure, leaves)

        with linen.intercept_methods(replace):
            out = module.apply(variables, x, *args)
        paths = jax.tree_util.tree_flatten_with_path(out)[0]
        return {
            jax.tree_util.keystr(path, simple=True, separator="/") or "output": value
            for path, value in paths
        }, seen

    def as_it_is(x: Any, *args: Any) -> Any:
        return function(x, {}, *args)[0]

    _, found = jax.eval_shape(lambda x: function(x, {}, variables, *args), x)
    for name in names:
        if name not in found:
            raise ModelError(
                "stages",
                name,
                "is no submodule that is called",
                f"Use some of {', '.join(filter(None, called))}",
            )
    whole = Problem(
        as_it_is, problem.x, problem.outputs, problem.action, (variables, *args)
    )
    return StagedProblem(whole, groups, function)


def torch_stages(
    module: Any,
    inputs: Any,
    *,
    outputs: Any,
    stages: Sequence[str | tuple[str, ...]],
    action: Any = VECTOR,
) -> StagedProblem:
    """Prepares a PyTorch module for :func:`symjax.metrics.trace`.

    Forward hooks return the replaced value, and are removed after each call. Forces
    that the module returns are traced as it returns them.

    Args:
      module: The module, as :func:`symjax.interop.torch_problem` takes it.
      inputs: What the module takes, for one orientation.
      outputs: What is known of each output of the module.
      stages: Submodules in the order of the network: one, or those that together are
        all that a stage hands on.
      action: How ``inputs`` rotate.

    Returns:
      The network with its stages.

    Raises:
      ModelError: PyTorch is not installed, or there is no such submodule.
      ArgumentError: An argument has an impossible value.

    Example:
      >>> from symjax.interop import torch_stages
      >>> from symjax.so3 import SCALAR
      >>> torch_stages("model.pt", [[0.0, 0.0, 1.0]], outputs=SCALAR, stages=["0"])
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: module='model.pt': ...
    """
    groups = _groups(stages)
    names = [name for group in groups for name in group]
    problem = torch_problem(
        module, inputs, outputs=outputs, action=action, layers=names, batched=False
    )
    described = {n: o for n, o in problem.outputs.items() if n not in names}
    modules = dict(module.named_modules())
    assert isinstance(problem.function, HostFunction)
    plain = problem.function.function

    def function(
        x: Any, shifts: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        seen: dict[str, np.ndarray] = {}

        def hook_of(name: str) -> Callable[..., Any]:
            def hook(_: Any, __: Any, out: Any) -> Any:
                if name in seen:
                    return None
                first = out[0] if isinstance(out, tuple | list) else out
                seen[name] = first.detach().cpu().numpy()
                if name not in shifts:
                    return None
                moved = first + first.new_tensor(np.asarray(shifts[name]))
                return type(out)([moved, *out[1:]]) if first is not out else moved

            return hook

        hooks = [modules[n].register_forward_hook(hook_of(n)) for n in names]
        try:
            (found,) = plain([x])
        finally:
            for hook in hooks:
                hook.remove()
        return {name: found[name] for name in described}, seen

    def as_it_is(x: Any) -> dict[str, np.ndarray]:
        return function(x, {})[0]

    whole = Problem(HostFunction(as_it_is), problem.x, described, problem.action)
    return StagedProblem(whole, groups, HostFunction(function))


def _groups(stages: Sequence[str | tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    groups = tuple((one,) if isinstance(one, str) else tuple(one) for one in stages)
    names = [name for group in groups for name in group]
    if not names or len(set(names)) < len(names):
        raise ModelError(
            "stages", stages, "names no layer, or one twice", "Name each layer once"
        )
    return groups
