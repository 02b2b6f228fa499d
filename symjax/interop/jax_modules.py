"""Networks of Flax Linen, Flax NNX and Equinox as problems, with their layers."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from flax import linen, nnx
from jax.ad_checkpoint import checkpoint_name
from jax.tree_util import keystr, tree_flatten_with_path

from symjax.errors import ArgumentError
from symjax.metrics import Output, Problem
from symjax.models._layers import match_layers
from symjax.so3.representations import FEATURE, VECTOR, Representation

Described = Representation | Output | Mapping[str, Representation | Output]

_MARK = "symjax layer: "
# Primitives that hold one program, which can be evaluated in their place.
_CALLS = (
    *("jit", "pjit", "closed_call", "checkpoint", "remat2"),
    *("custom_jvp_call", "custom_vjp_call"),
)


def linen_problem(
    module: linen.Module,
    variables: Any,
    x: Any,
    *,
    outputs: Described,
    action: Any = VECTOR,
    args: tuple[Any, ...] = (),
    layers: str | Sequence[str] = (),
) -> Problem:
    """Prepares a Flax Linen module for :func:`symjax.metrics.measure`.

    Args:
      module: The module.
      variables: Its variables, as ``module.init`` returns them.
      x: What rotates; the module is called as ``module(x, *args)``.
      outputs: What is known of each output: of a single array one representation or
        :class:`~symjax.metrics.Output`, else one by each name.
      action: How ``x`` rotates.
      args: Further arguments of the module, which do not rotate.
      layers: Names of submodules, separated by dots where they are nested, or regular
        expressions that must match a full name; what their first call returns is
        measured as features. Several arrays have their places or keys after the name:
        ``attention.0``.

    Raises:
      ModelError: There is no such layer; the message lists those that there are.
      ArgumentError: A layer has the name of an output.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from flax import linen
      >>> from symjax.interop import linen_problem
      >>> from symjax.so3 import VECTOR
      >>> x, module = jnp.eye(3), linen.Dense(3)
      >>> variables = module.init(jax.random.key(0), x)
      >>> problem = linen_problem(module, variables, x, outputs=VECTOR)
      >>> list(problem.outputs)
      ['output']
    """

    def call(x: Any, variables: Any, *args: Any) -> tuple[Any, dict[str, Any]]:
        out, state = module.apply(
            variables, x, *args, capture_intermediates=True, mutable=["intermediates"]
        )
        return out, _captured(state.get("intermediates", {}))

    return described_problem(call, x, (variables, *args), outputs, action, layers)


def nnx_problem(
    model: nnx.Module,
    x: Any,
    *,
    outputs: Described,
    action: Any = VECTOR,
    args: tuple[Any, ...] = (),
    layers: str | Sequence[str] = (),
) -> Problem:
    """Prepares a Flax NNX module for :func:`symjax.metrics.measure`.

    Its state is read when the problem is made: after more training, make another.

    Args:
      model: The module; what it sows as ``nnx.Intermediate`` is a layer too.
      x: What rotates; the module is called as ``model(x, *args)``.
      outputs: As in :func:`linen_problem`.
      action: How ``x`` rotates.
      args: Further arguments of the module, which do not rotate.
      layers: As in :func:`linen_problem`.

    Raises:
      ModelError: There is no such layer.
      ArgumentError: A layer has the name of an output.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from symjax.interop import nnx_problem
      >>> from symjax.so3 import VECTOR
      >>> model = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
      >>> list(nnx_problem(model, jnp.eye(3), outputs=VECTOR).outputs)
      ['output']
    """
    graph, state = nnx.split(model)

    def call(x: Any, state: Any, *args: Any) -> tuple[Any, dict[str, Any]]:
        made = nnx.merge(graph, state)
        run = nnx.capture(made, nnx.Intermediate, method_outputs=nnx.Intermediate)
        out, found = run(x, *args)
        return out, _captured(nnx.to_pure_dict(found))

    return described_problem(call, x, (state, *args), outputs, action, layers)


def equinox_problem(
    model: Any,
    x: Any,
    *,
    outputs: Described,
    action: Any = VECTOR,
    args: tuple[Any, ...] = (),
    layers: Mapping[str, Callable[[Any], Any]] | None = None,
) -> Problem:
    """Prepares an Equinox module for :func:`symjax.metrics.measure`.

    Args:
      model: The module.
      x: What rotates; the module is called as ``model(x, *args)``.
      outputs: As in :func:`linen_problem`.
      action: How ``x`` rotates.
      args: Further arguments of the module, which do not rotate.
      layers: For each name a function from the model to a submodule, as
        ``equinox.tree_at`` takes it: ``{"first": lambda model: model.layers[0]}``.
        Submodules that are called under ``jax.vmap`` are read with the mapped axis.

    Raises:
      ModelError: A layer is not called.
      ArgumentError: A layer is called within a loop, or has the name of an output.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import equinox as eqx  # doctest: +SKIP
      >>> from symjax.interop import equinox_problem
      >>> from symjax.so3 import VECTOR
      >>> model = eqx.nn.Linear(3, 3, key=jax.random.key(0))  # doctest: +SKIP
      >>> equinox_problem(model, jnp.ones(3), outputs=VECTOR)  # doctest: +SKIP
    """
    layers = {} if layers is None else layers
    function, arrays = marked_equinox(model, layers)
    return described_problem(
        *(with_marks(function), x, (arrays, *args), outputs, action, list(layers))
    )


def marked_equinox(
    model: Any, layers: Mapping[str, Callable[[Any], Any]]
) -> tuple[Callable[..., Any], Any]:
    """An Equinox module as a function whose layers are marked.

    Args:
      model: The module, which is not changed.
      layers: As in :func:`equinox_problem`.

    Returns:
      Function of ``(x, arrays, *args)`` for :func:`symjax.interop.marked_stages`, and
      the arrays.

    Example:
      >>> import jax
      >>> import equinox as eqx  # doctest: +SKIP
      >>> from symjax.interop import marked_equinox
      >>> model = eqx.nn.MLP(3, "scalar", 8, 1, key=jax.random.key(0))  # doctest: +SKIP
      >>> layers = {"first": lambda model: model.layers[0]}
      >>> function, arrays = marked_equinox(model, layers)  # doctest: +SKIP
    """
    import equinox

    arrays, static = equinox.partition(model, equinox.is_array)

    def function(x: Any, arrays: Any, *args: Any) -> Any:
        made = equinox.combine(arrays, static)
        for name, where in layers.items():
            made = equinox.tree_at(where, made, _Marked(where(made), name))
        return made(x, *args)

    return function, arrays


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["module"], meta_fields=["name"]
)
@dataclasses.dataclass
class _Marked:
    """A submodule whose result carries a name through every transformation."""

    module: Any
    name: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return mark_layer(self.module(*args, **kwargs), self.name)

    def __getattr__(self, name: str) -> Any:
        # Of submodules of a marked one.
        return getattr(vars(self)["module"], name)


def mark_layer(value: Any, name: str) -> Any:
    """Names a value within a function, so that :func:`with_marks` finds it.

    Args:
      value: Array, or pytree of arrays of which the first is named.
      name: Name of the layer.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.interop.jax_modules import mark_layer, with_marks
      >>> f = lambda x: mark_layer(2 * x, "double").sum()
      >>> out, found = with_marks(f)(jnp.ones(2))
      >>> float(out), found["double"].tolist()
      (4.0, [2.0, 2.0])
    """
    leaves, structure = jax.tree.flatten(value)
    leaves[0] = checkpoint_name(leaves[0], _MARK + name)
    return jax.tree.unflatten(structure, leaves)


def with_marks(
    function: Callable[..., Any], shifts: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """A function that also returns the values that were marked within.

    Args:
      function: Pure JAX function.
      shifts: What is added to some of these values, where they are made first.

    Returns:
      Function of the same arguments that returns the output and values by name.
      Values marked under ``jax.vmap`` keep the mapped axis; those within loops cannot
      be read, and raise an ArgumentError.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from symjax.interop.jax_modules import mark_layer, with_marks
      >>> f = jax.vmap(lambda x: mark_layer(x + 1, "next"))
      >>> with_marks(f)(jnp.zeros(3))[1]["next"].shape
      (3,)
    """

    @functools.wraps(function)
    def run(*args: Any) -> tuple[Any, dict[str, Any]]:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        found: dict[str, Any] = {}
        values = jax.tree.leaves(args)
        out = _evaluate(closed.jaxpr, closed.consts, values, found, shifts or {})
        return jax.tree.unflatten(jax.tree.structure(shape), out), found

    return run


def _evaluate(
    jaxpr: Any,
    consts: Any,
    args: Any,
    found: dict[str, Any],
    shifts: Mapping[str, Any],
) -> list[Any]:
    """Evaluates a program, keeps the values that carry a mark, and shifts them."""
    values: dict[Any, Any] = {}
    values.update(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))

    def read(variable: Any) -> Any:
        return variable.val if hasattr(variable, "val") else values[variable]

    for equation in jaxpr.eqns:
        given = [read(variable) for variable in equation.invars]
        name = equation.primitive.name
        if name == "name" and equation.params["name"].startswith(_MARK):
            layer = equation.params["name"].removeprefix(_MARK)
            if layer not in found:
                found[layer] = given[0]
                given = [given[0] + shifts.get(layer, 0)]
        programs = list(_programs(equation))
        inside = set().union(*(_marks(program) for program, _ in programs))
        if inside:
            if name not in _CALLS:
                marks = ", ".join(sorted(inside))
                raise ArgumentError(
                    "layers",
                    marks,
                    f"is called within {name}, whose values cannot be read",
                    "Name a layer outside of loops and conditions",
                )
            ((program, constants),) = programs
            out = _evaluate(program, constants, given, found, shifts)
        else:
            bound = equation.primitive.get_bind_params(equation.params)
            # JAX before 0.10 returns functions beside the parameters.
            rest, parameters = bound if isinstance(bound, tuple) else ((), bound)
            out = equation.primitive.bind(*rest, *given, **parameters)
            out = out if equation.primitive.multiple_results else [out]
        values.update(zip(equation.outvars, out, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _programs(equation: Any) -> Iterator[tuple[Any, Sequence[Any]]]:
    """The programs that an equation holds, with their constants."""
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if hasattr(part, "consts"):
                yield part.jaxpr, part.consts
            elif hasattr(part, "eqns"):
                yield part, ()


def _marks(jaxpr: Any) -> set[str]:
    found = set()
    for equation in jaxpr.eqns:
        name = equation.params.get("name", "")
        if equation.primitive.name == "name" and str(name).startswith(_MARK):
            found.add(str(name).removeprefix(_MARK))
        for program, _ in _programs(equation):
            found |= _marks(program)
    return found


def _captured(tree: Mapping[Any, Any], *path: str) -> dict[str, Any]:
    """Intermediates by the dotted path of their module, and within what it returns."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        words = path if key == "__call__" else (*path, str(key))
        if isinstance(value, Mapping):
            found |= _captured(value, *words)
        elif words:
            # Of several calls the first one counts.
            first = value[0] if isinstance(value, tuple) else value
            for place, array in tree_flatten_with_path(first)[0]:
                within = (keystr((entry,), simple=True) for entry in place)
                found[".".join([*words, *within])] = array
    return found


def described_problem(
    call: Callable[..., tuple[Any, dict[str, Any]]],
    x: Any,
    args: tuple[Any, ...],
    outputs: Described,
    action: Any,
    layers: str | Sequence[str],
) -> Problem:
    """A function of ``(x, *args)`` that returns its output and its layers by name.

    The other arguments are those of :func:`linen_problem`, as are the errors.
    """
    known = tuple(jax.eval_shape(call, x, *args)[1])
    chosen = match_layers(layers, known) if layers else ()

    def function(x: Any, *args: Any) -> dict[str, Any]:
        out, found = call(x, *args)
        return {**named(out), **{name: found[name] for name in chosen}}

    features = {name: Output(FEATURE, kind="layer") for name in chosen}
    described = with_layers(described_outputs(outputs), features)
    return Problem(function, x, described, action=action, args=args)


def described_outputs(outputs: Described) -> dict[str, Output]:
    """What is known of each output, of a single one under the name "output"."""
    if not isinstance(outputs, Mapping):
        outputs = {"output": outputs}
    return {
        str(name): known if isinstance(known, Output) else Output(known)
        for name, known in outputs.items()
    }


def with_layers(
    outputs: Mapping[str, Output], layers: Mapping[str, Output]
) -> dict[str, Output]:
    """Joins the descriptions; a layer must not replace an output of its name."""
    for name in layers:
        if name in outputs:
            raise ArgumentError(
                "layers",
                name,
                "is also the name of an output",
                "Leave this layer out, or name the output or the submodule differently",
            )
    return {**outputs, **layers}


def named(out: Any) -> dict[str, Any]:
    """The arrays of an output by their path, "output" where there is one alone."""
    paths = tree_flatten_with_path(out)[0]
    return {
        keystr(path, simple=True, separator="/") or "output": value
        for path, value in paths
    }
