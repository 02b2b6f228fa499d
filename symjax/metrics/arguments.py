"""Checks of arguments, with clearer messages than those that JAX would give.

They run before a measurement and evaluate nothing.
"""

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from symjax.errors import ArgumentError
from symjax.metrics.functions import HostFunction, is_long, unusable
from symjax.so3._arguments import check_integer

ALIASING = ("raise", "report")
"""What to do if a rule does not resolve a response."""
_HOST = "wrap it in symjax.metrics.HostFunction"
# Messages of PyTorch, or of JAX about it, when it meets a traced value.
_IN_TORCH = re.compile(
    r"must be Tensor, not \w*Tracer|Tracer has no attribute __dlpack"
)
# Arguments that measure does not have, and what to write instead.
_MEANT = {
    "grid": "over=Grid(13), over=Adaptive() to let the grid be chosen",
    "degree": "over=Grid(13)",
    "samples": "over=HaarSamples(64)",
    "group": "over=finite_group('Oh')",
    "symmetry": "orbit_problem(model, atoms, symmetry='auto') of a PET, or "
    "Problem(..., symmetry=SampleSymmetry(...))",
    "outputs": "Problem(function, x, outputs), or representations=",
    "layers": "the problem that a model makes, such as orbit_problem(model, atoms, "
    "layers='all')",
}


def check_function(function: Any) -> None:
    """Raises if the function is a model of a library for which symjax has an adapter.

    Raises:
      ArgumentError: It is an ASE calculator, a PyTorch module, or a Linen module
        without its variables.
    """
    families = {base.__module__.split(".")[0] for base in type(function).__mro__}
    found = None
    if hasattr(function, "get_property") and hasattr(function, "reset"):
        found = "an ASE calculator", "calculator_problem(calculator, atoms)"
    elif hasattr(function, "named_modules") and "torch" in families:
        found = "a PyTorch module", "torch_problem(module, x, outputs=...)"
    elif "flax" in families and getattr(function, "scope", function) is None:
        found = (
            "a Linen module without its variables",
            "linen_problem(module, variables, x, outputs=...)",
        )
    if found is not None:
        kind, adapter = found
        raise ArgumentError(
            "function",
            type(function).__name__,
            f"is {kind}",
            f"Pass symjax.interop.{adapter}",
        )


def check_x(x: Any) -> None:
    """Raises unless the input ``x`` is a pytree of numeric arrays.

    Raises:
      ArgumentError: It is empty, or holds an object of another kind.
    """
    flat = jax.tree_util.tree_flatten_with_path(x)[0]
    if not any(np.size(leaf) for _, leaf in flat):
        raise ArgumentError("x", x, "holds no numbers", "Pass the input that rotates")
    plain = bool(flat) and all(isinstance(leaf, int | float) for _, leaf in flat)
    if plain and isinstance(x, list | tuple):
        raise ArgumentError(
            "x", x, "is a list of numbers, which has no axes", "Pass numpy.asarray(x)"
        )
    for path, leaf in flat:
        where = f"x{jax.tree_util.keystr(path)}"
        kind = type(leaf)
        if kind.__module__.startswith("ase."):
            raise ArgumentError(
                where,
                kind.__name__,
                "is an ase.Atoms, not an array",
                "Pass atoms.positions (with the cell, if there is one), or use "
                "symjax.interop.calculator_problem or orbit_problem(model, atoms)",
            )
        if kind.__module__.split(".")[0] == "torch":
            raise ArgumentError(
                where,
                kind.__name__,
                "is a PyTorch tensor",
                "Pass tensor.numpy(), or use symjax.interop.torch_problem",
            )
        if not _is_numeric(leaf):
            raise ArgumentError(
                where,
                kind.__name__,
                "is not a numeric array",
                "Pass arrays as x, and whatever does not rotate as args",
            )


def check_held(argument: str, tree: Any) -> None:
    """Raises if JAX would change the values of an argument when it converts them.

    JAX has no long doubles and, without x64, neither float64 nor 64-bit integers: large
    values would overflow or wrap around silently.

    Raises:
      ArgumentError: A value does not fit the dtype that JAX gives its array.
    """
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        known = isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)
        if known or not _is_numeric(leaf):
            continue
        array = np.asarray(leaf)
        where = f"{argument}{jax.tree_util.keystr(path)}"
        if is_long(array.dtype):
            raise ArgumentError(
                where, array.dtype, "is a dtype that JAX does not have", "Pass float64"
            )
        held = jax.dtypes.canonicalize_dtype(array.dtype)
        if held == array.dtype or not array.size:
            continue
        finite = array[np.isfinite(array)]
        with np.errstate(over="ignore"):
            converted = finite.astype(held)
        if array.dtype.kind in "iu":
            same = converted == finite
        else:
            same = np.isfinite(converted)
        if not same.all():
            raise ArgumentError(
                where,
                finite[~same][0],
                f"does not fit {held}, in which JAX computes",
                'Call jax.config.update("jax_enable_x64", True) first',
            )


def _is_numeric(leaf: Any) -> bool:
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return True
    if not isinstance(leaf, np.ndarray | np.generic | bool | int | float | complex):
        return False
    dtype = np.asarray(leaf).dtype
    return dtype.kind in "biufc" or dtype.name == "bfloat16"


def bound(function: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Binds leaves of the arguments that are not numeric to the function.

    Equinox modules, for instance, are pytrees that hold functions. Returns both
    unchanged if all leaves are arrays or numbers, or the function runs on the host.
    """
    leaves, structure = jax.tree.flatten(args)
    numeric = [_is_numeric(leaf) for leaf in leaves]
    if all(numeric) or isinstance(function, HostFunction):
        return function, args

    def call(x: Any, *arrays: Any) -> Any:
        given = iter(arrays)
        filled = [
            next(given) if is_array else leaf
            for leaf, is_array in zip(leaves, numeric, strict=True)
        ]
        return function(x, *jax.tree.unflatten(structure, filled))

    arrays = (leaf for leaf, is_array in zip(leaves, numeric, strict=True) if is_array)
    return call, tuple(arrays)


@contextlib.contextmanager
def explained(function: Any) -> Iterator[None]:
    """Replaces JAX's errors about a function that it cannot trace by one line.

    Raises:
      ArgumentError: The function computes with NumPy or PyTorch, branches on values, or
        does not return arrays.
    """
    try:
        yield
    except jax.errors.TracerArrayConversionError as error:
        raise unusable(
            function,
            "computes with NumPy, which cannot read the values that JAX traces",
            f"Write jax.numpy for numpy, or {_HOST}",
        ) from error
    except jax.errors.ConcretizationTypeError as error:
        raise unusable(
            function,
            "depends on the value of a traced array (in if, float(), int(), a shape)",
            f"Write jax.numpy.where or jax.lax.cond, or {_HOST}",
        ) from error
    except (TypeError, AttributeError) as error:
        found = re.search(r"returned a value of type <class '([^']+)'>", str(error))
        if found is None and _IN_TORCH.search(str(error)):
            raise unusable(
                function,
                "computes with PyTorch, which cannot read the values that JAX traces",
                f"Use symjax.interop.torch_problem, or {_HOST}",
            ) from error
        if found is None or "valid JAX type" not in str(error):
            raise
        raise unusable(
            function,
            f"returns an object of {found[1].rpartition('.')[2]}, not an array for JAX",
            "Return arrays or a dictionary of arrays, or register the class with "
            "jax.tree_util.register_dataclass",
        ) from error


def check_known(unknown: Mapping[str, Any]) -> None:
    """Raises if :func:`~symjax.metrics.measure` was given unknown arguments."""
    if unknown:
        name, value = next(iter(unknown.items()))
        meant = _MEANT.get(name)
        raise ArgumentError(
            name,
            value,
            "is not an argument of measure",
            f"Write {meant}" if meant else "See help(symjax.metrics.measure)",
        )


def instead_of(over: Any) -> str:
    """The remedy for an ``over`` that cannot be integrated over."""
    if is_integer(over):
        return f"Write over=Grid({over})"
    if over == "auto":
        return "Write over=Adaptive()"
    if isinstance(over, str):
        return f"Write over=finite_group({over!r}), if it is a group"
    return "Use Grid(13), Adaptive(), HaarSamples(64) or finite_group('Oh')"


def check_type(argument: str, value: Any, kind: Any, remedy: str) -> None:
    """Raises unless a value is an instance of a class, or of one of several."""
    if not isinstance(value, kind):
        raise ArgumentError(
            argument, value, f"is an object of {type(value).__name__}", remedy
        )


def as_mask(
    argument: str, mask: Any, shape: tuple[int, ...]
) -> Bool[np.ndarray, "samples"]:
    """A boolean mask broadcast to a shape; refuses indices, which look similar."""
    mask = np.asarray(mask)
    if mask.dtype == bool:
        with contextlib.suppress(ValueError):
            return np.broadcast_to(mask, shape)
    raise ArgumentError(
        argument,
        (mask.dtype, mask.shape),
        f"is not a boolean array that fits {shape}",
        "Pass one boolean per entry, such as numpy.isin(numpy.arange(n), indices)",
    )


def as_samples(
    name: str, samples: Any, shape: tuple[int, ...]
) -> Int[np.ndarray, "samples"] | None:
    """Species or classes of the samples of an output, broadcast; None if not given.

    Raises:
      ArgumentError: They are not integers, or do not fit the samples.
    """
    if samples is None:
        return None
    kinds = np.asarray(samples)
    if kinds.dtype.kind in "iu":
        with contextlib.suppress(ValueError):
            return np.broadcast_to(kinds, shape)
    raise ArgumentError(
        f"outputs[{name!r}].samples",
        (kinds.dtype, kinds.shape),
        f"are not integers that fit the samples {shape} of the output",
        "Pass one atomic number or class per sample",
    )


def as_labels(
    argument: str, labels: Any, shape: tuple[int, ...]
) -> Float[np.ndarray, "..."]:
    """Labels in float64, reshaped to ``shape``; axes of length 1 may differ.

    Raises:
      ArgumentError: They are not real numbers of this shape, or one is infinite.
    """
    values = np.asarray(labels)
    if values.dtype.kind not in "iuf":
        raise ArgumentError(
            argument, values.dtype, "are not real numbers", "Pass an array of numbers"
        )
    if [n for n in values.shape if n != 1] != [n for n in shape if n != 1]:
        raise ArgumentError(
            argument,
            values.shape,
            f"do not match the {math.prod(shape)} values of the output, of shape "
            f"{shape}",
            "Pass one label per real sample, components on the last axes",
        )
    if np.isinf(values).any():
        raise ArgumentError(
            argument, np.inf, "is not a label", "Pass NaN where there is none"
        )
    return values.astype(np.float64).reshape(shape)


def is_integer(value: object) -> bool:
    """Whether a value is an integer other than a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_integers(settings: Any, **least: int) -> None:
    """Stores fields as ints; raises unless each is at least its given minimum."""
    for field, minimum in least.items():
        number = check_integer(field, getattr(settings, field), minimum)
        object.__setattr__(settings, field, number)


def check_fraction(argument: str, value: Any) -> None:
    """Raises unless 0 < value < 1."""
    if not (isinstance(value, int | float | np.number) and 0 < value < 1):
        raise ArgumentError(
            argument, value, "is not between 0 and 1", "Use for instance 0.01"
        )


def check_fractions(settings: Any, *fields: str) -> None:
    """Raises unless these fields are between 0 and 1."""
    for field in fields:
        check_fraction(field, getattr(settings, field))


def check_choice(argument: str, value: Any, choices: Sequence[str]) -> None:
    """Raises unless a value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ArgumentError(
            argument, value, "is unknown", f"Use one of {', '.join(map(repr, choices))}"
        )
