"""Functions that are measured and actions on their input, as cache keys."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from symjax.errors import ArgumentError
from symjax.metrics.identity import pinned
from symjax.so3.action import act_tree
from symjax.so3.representations import Representation

Function = Callable[..., Any]
Action = Callable[[Any, Any], Any]


@dataclasses.dataclass(frozen=True)
class HostFunction:
    """Marks a callable that takes and returns NumPy arrays, such as a PyTorch model.

    Attributes:
      function: Called as ``function(x, *args)`` with NumPy leaves.
      batched: Whether ``function`` takes a list of inputs as ``x`` and returns a list
        with one output for each, which is faster for frameworks that batch.

    Raises:
      ArgumentError: ``function`` is not callable.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import HostFunction, measure
      >>> from symjax.so3 import SCALAR
      >>> norm = HostFunction(lambda x: np.linalg.norm(x, axis=-1))
      >>> result = measure(norm, np.eye(3), representations=SCALAR, max_degree=1)
      >>> result["output"].relative_error < 1e-6
      True
    """

    function: Function
    batched: bool = False

    def __post_init__(self) -> None:
        _check_callable(self.function)

    def __call__(self, x: Any, *args: Any) -> Any:
        """The outputs for one input."""
        if self.batched:
            outputs = self.function([x], *args)
            check_number(outputs, 1)
            return outputs[0]
        return self.function(x, *args)


def check_number(outputs: Any, num: int) -> None:
    """Raises unless a batched function returned as many outputs as it had inputs."""
    if len(outputs) != num:
        raise ArgumentError(
            "function",
            len(outputs),
            f"outputs came back for {num} inputs",
            "Return one output for each input, in their order",
        )


@dataclasses.dataclass(frozen=True)
class RepresentationAction:
    """The action g x that a pytree of representations of the input defines.

    Hashable by value, so that compiled code is reused.

    Attributes:
      leaves: Representations, in the order of the leaves of ``structure``.
      structure: Tree structure of the representations.
    """

    leaves: tuple[Representation, ...]
    structure: Any

    @property
    def representations(self) -> Any:
        """The pytree of representations."""
        return jax.tree.unflatten(self.structure, self.leaves)

    def __call__(self, rotation: Any, x: Any) -> Any:
        """Returns g x for one orthogonal matrix."""
        return act_tree(self.representations, rotation, x)


def as_function(function: Any) -> Any:
    """A function as a cache key of compiled code; see :mod:`symjax.metrics.identity`.

    Raises:
      ArgumentError: It is not callable.
    """
    if isinstance(function, HostFunction):
        return function
    _check_callable(function)
    return pinned(function)


def _check_callable(function: Any) -> None:
    if not callable(function):
        raise ArgumentError(
            "function", function, "is not callable", "Pass a function f(x, *args)"
        )


def as_action(action: Any) -> Action:
    """The action that representations define, or a callable as a cache key.

    Raises:
      ArgumentError: It is neither.
    """
    if isinstance(action, RepresentationAction):
        return action
    if callable(action) and not isinstance(action, Representation):
        return pinned(action)
    leaves, structure = jax.tree.flatten(
        action, is_leaf=lambda node: isinstance(node, Representation)
    )
    if not leaves or not all(isinstance(leaf, Representation) for leaf in leaves):
        raise ArgumentError(
            "action",
            action,
            "is neither a function (rotation, x) -> g x nor representations of x",
            "Pass symjax.so3.VECTOR for positions, a dictionary of representations "
            "for a dictionary of arrays, or a function",
        )
    return RepresentationAction(tuple(leaves), structure)


# Never compiled by itself: the jit caches the trace of a function, which for a deep
# model takes longer than a batch of evaluations, for all programs that call it.
@functools.partial(jax.jit, static_argnums=(0, 1))
def respond_to_one(
    function: Function, action: Action, rotation: Array, x: Any, args: tuple[Any, ...]
) -> Any:
    """The outputs for g x."""
    return function(action(rotation, x), *args)


def output_shapes(
    function: Function | HostFunction, action: Action, x: Any, args: tuple[Any, ...]
) -> Any:
    """Shapes and dtypes of the outputs; only a host function is evaluated for them.

    Raises:
      ArgumentError: The function returns no arrays of numbers.
    """
    if isinstance(function, HostFunction):
        output = function(x, *args)
        _check_returned(function, output)
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype),
            output,
        )
    else:
        function, action = as_function(function), as_action(action)
        rotation = jax.ShapeDtypeStruct((3, 3), jnp.result_type(float))
        shapes = jax.eval_shape(
            functools.partial(respond_to_one, function, action), rotation, x, args
        )
    if not jax.tree.leaves(shapes):
        raise unusable(function, "returns no array", "Return the outputs to measure")
    return shapes


def name_of(function: Any) -> str:
    """The name of a function, or of its class, for error messages."""
    while hasattr(function, "function"):
        function = function.function
    return str(getattr(function, "__name__", type(function).__name__))


def unusable(function: Any, problem: str, remedy: str) -> ArgumentError:
    """The error for a function that cannot be measured."""
    return ArgumentError("function", name_of(function), problem, remedy)


def _check_returned(function: Any, output: Any) -> None:
    for leaf in jax.tree.leaves(output, is_leaf=_is_list_of_numbers):
        if isinstance(leaf, list):
            raise unusable(
                function,
                "returns a list of numbers, each of which would be a separate output",
                "Return numpy.array(list), or a dictionary of arrays",
            )
        dtype = np.asarray(leaf).dtype
        if dtype.kind not in "biufc" or is_long(dtype):
            raise unusable(
                function,
                f"returns an object of {type(leaf).__name__} ({dtype}), not an array "
                "of a numeric dtype of JAX",
                "Return arrays or a dictionary of arrays, at most in float64",
            )


def is_long(dtype: np.dtype) -> bool:
    """Whether a dtype is a real or complex long double, which JAX does not have."""
    return dtype.kind in "fc" and dtype.itemsize > (16 if dtype.kind == "c" else 8)


def _is_list_of_numbers(value: Any) -> bool:
    numbers = bool, int, float, complex
    return isinstance(value, list) and all(
        type(one) in numbers or _is_list_of_numbers(one) for one in value
    )


def activation_bytes(
    function: Function, action: Action, x: Any, args: tuple[Any, ...]
) -> int:
    """Peak size in bytes of the intermediate arrays of one evaluation, from its jaxpr.

    An upper estimate, because XLA fuses operations. Nothing is compiled or evaluated.
    """
    function, action = as_function(function), as_action(action)
    rotation = jax.ShapeDtypeStruct((3, 3), jnp.result_type(float))
    closed = jax.make_jaxpr(respond_to_one, static_argnums=(0, 1))(
        function, action, rotation, x, args
    )
    return _peak_bytes(closed.jaxpr)


def _peak_bytes(jaxpr: Any) -> int:
    """Largest sum of live temporaries over a linear walk through the equations."""
    last_use: dict[Any, int] = {}
    for position, equation in enumerate(jaxpr.eqns):
        for variable in equation.invars:
            if not hasattr(variable, "val"):
                last_use[variable] = position
    for variable in jaxpr.outvars:
        if not hasattr(variable, "val"):
            last_use[variable] = len(jaxpr.eqns)

    live: dict[Any, int] = {}
    peak = 0
    for position, equation in enumerate(jaxpr.eqns):
        inner = 0
        for parameter in equation.params.values():
            body = getattr(parameter, "jaxpr", parameter)
            if hasattr(body, "eqns"):
                inner = max(inner, _peak_bytes(body))
        for variable in equation.outvars:
            shape = getattr(variable.aval, "shape", ())
            itemsize = getattr(getattr(variable.aval, "dtype", None), "itemsize", 8)
            live[variable] = math.prod(shape) * itemsize
        peak = max(peak, sum(live.values()) + inner)
        for variable in [v for v in live if last_use.get(v, -1) <= position]:
            del live[variable]
    return peak
