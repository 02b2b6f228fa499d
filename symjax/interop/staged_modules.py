"""Networks of other packages whose layers can be interfered with."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen, nnx
from jaxtyping import Array

from symjax.errors import ModelError
from symjax.interop.jax_modules import (
    Described,
    described_problem,
    mark_layer,
    named,
    with_marks,
)
from symjax.interop.torch_modules import torch_problem
from symjax.metrics import HostFunction, Problem, StagedProblem
from symjax.so3.representations import VECTOR


def marked_stages(
    function: Callable[..., Any],
    x: Any,
    *,
    outputs: Described,
    stages: Sequence[str | tuple[str, ...]],
    action: Any = VECTOR,
    args: tuple[Any, ...] = (),
) -> StagedProblem:
    """Prepares a JAX function whose values are marked for :func:`symjax.metrics.trace`.

    Args:
      function: Pure function of ``(x, *args)``, in which
        :func:`symjax.interop.jax_modules.mark_layer` names values; of modules
        :func:`marked_linen`, :func:`marked_nnx` and
        :func:`symjax.interop.marked_equinox` make one.
      x: What rotates.
      outputs: As in :func:`symjax.interop.linen_problem`.
      stages: Marks in the order of the network: one, or those that together are all
        that a stage hands on.
      action: How ``x`` rotates.
      args: Further arguments, which do not rotate.

    Raises:
      ModelError: There is no such mark.
      ArgumentError: A mark is within a loop.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.interop import marked_stages
      >>> from symjax.interop.jax_modules import mark_layer
      >>> from symjax.metrics import trace
      >>> from symjax.so3 import SCALAR
      >>> f = lambda x: mark_layer(x[0] ** 2 + 0.1 * x[0], "h").sum()
      >>> staged = marked_stages(f, jnp.eye(3), outputs=SCALAR, stages=["h"])
      >>> trace(staged, max_degree=2).errors["output"].round(4).tolist()
      [0.1, 0.0]
    """
    groups = _groups(stages)
    problem = described_problem(with_marks(function), x, args, outputs, action, ())
    known = jax.eval_shape(with_marks(function), x, *args)[1]
    for name in (name for group in groups for name in group):
        if name not in known:
            raise ModelError(
                "stages",
                name,
                "is not a layer that is called",
                f"Use some of {', '.join(known)}" if known else "Name others",
            )

    def shifted(
        x: Any, shifts: Mapping[str, Array], *args: Any
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        out, seen = with_marks(function, shifts)(x, *args)
        return named(out), seen

    return StagedProblem(problem, groups, shifted)


def marked_linen(
    module: linen.Module, variables: Any
) -> tuple[Callable[..., Any], Any]:
    """A Flax Linen module as a function whose layers are marked.

    Of every submodule what it returns, of several arrays the first, by its dotted name.
    The module itself is not changed.

    Args:
      module: The module.
      variables: Its variables.

    Returns:
      Function of ``(x, variables, *args)`` for :func:`marked_stages`, and the
      variables, which come first among its ``args``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from flax import linen
      >>> from symjax.interop import marked_linen, marked_stages
      >>> from symjax.metrics import trace
      >>> from symjax.so3 import SCALAR
      >>> module = linen.Sequential([linen.Dense(4), linen.tanh, lambda h: h.sum()])
      >>> x = jnp.eye(3)
      >>> function, variables = marked_linen(module, module.init(jax.random.key(0), x))
      >>> staged = marked_stages(
      ...     function, x, outputs=SCALAR, stages=["layers_0"], args=(variables,))
      >>> found = trace(staged, max_degree=2)
      >>> bool(found.errors["output"][1] < 1e-6 < found.errors["output"][0])
      True
    """

    def marking(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        name = ".".join(context.module.path)
        marked = name and context.method_name == "__call__"
        out = call(*args, **kwargs)
        return mark_layer(out, name) if marked else out

    def function(x: Any, variables: Any, *args: Any) -> Any:
        with linen.intercept_methods(marking):
            return module.apply(variables, x, *args)

    return function, variables


def marked_nnx(
    model: nnx.Module, layers: Sequence[str]
) -> tuple[Callable[..., Any], Any]:
    """A Flax NNX module as a function whose layers are marked.

    Its state is read now: after more training, mark it again. The model itself is not
    changed.

    Args:
      model: The module.
      layers: Dotted names of submodules; of what they return, of several arrays the
        first, is marked.

    Returns:
      Function of ``(x, state, *args)`` for :func:`marked_stages`, and the state. It
      raises a ModelError where there is no such submodule.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from symjax.interop import marked_nnx, marked_stages
      >>> from symjax.metrics import trace
      >>> from symjax.so3 import SCALAR
      >>> model = nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), jnp.sum)
      >>> function, state = marked_nnx(model, ["layers.0"])
      >>> staged = marked_stages(function, jnp.eye(3), outputs=SCALAR,
      ...                        stages=["layers.0"], args=(state,))
      >>> found = trace(staged, max_degree=2)
      >>> bool(found.errors["output"][1] < 1e-6 < found.errors["output"][0])
      True
    """
    graph, state = nnx.split(model)

    def function(x: Any, state: Any, *args: Any) -> Any:
        made = nnx.merge(graph, state)
        for name in layers:
            _mark_nnx(made, name)
        return made(x, *args)

    return function, state


def _mark_nnx(model: nnx.Module, name: str) -> None:
    """Lets a submodule mark what it returns, by a class of its own."""
    part: Any = model
    try:
        for word in name.split("."):
            part = part[int(word)] if word.isdigit() else getattr(part, word)
    except (AttributeError, IndexError, KeyError, TypeError):
        part = None
    if not callable(part) or not isinstance(part, nnx.Module):
        parts = (".".join(map(str, path)) for path, _ in nnx.iter_modules(model))
        raise ModelError(
            "layers",
            name,
            "is not a submodule that can be called",
            f"Use some of {', '.join(filter(None, parts))}",
        )
    kind = type(part)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return mark_layer(kind.__call__(self, *args, **kwargs), name)

    object.__setattr__(
        part, "__class__", type(kind.__name__, (kind,), {"__call__": call})
    )


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
            "stages", stages, "is empty or has a layer twice", "Name each layer once"
        )
    return groups
