"""What users hand over that JAX would refuse in its own words: it works, or we say why.

Everything here runs before a measurement; nothing costs an evaluation.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics.functions import HostFunction, name_of

_HOST = "wrap it in symjax.metrics.HostFunction"
# What PyTorch, or JAX for it, says of a value that JAX traces.
_IN_TORCH = re.compile(
    r"must be Tensor, not \w*Tracer|Tracer has no attribute __dlpack"
)
# Arguments of measure that there are none of, and what is meant.
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
    """Raises where a model of another library was given, and there is a way for it.

    Args:
      function: What was given in place of a function.

    Raises:
      ArgumentError: It is an ASE calculator, a module of PyTorch, or one of Linen
        without its variables.

    Example:
      >>> from ase.calculators.emt import EMT
      >>> from symjax.metrics.arguments import check_function
      >>> check_function(EMT())
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: function='EMT': is an ASE calculator. Pass symjax...
    """
    families = {base.__module__.split(".")[0] for base in type(function).__mro__}
    what = None
    if hasattr(function, "get_property") and hasattr(function, "reset"):
        what = "an ASE calculator", "calculator_problem(calculator, atoms)"
    elif hasattr(function, "named_modules") and "torch" in families:
        what = "a module of PyTorch", "torch_problem(module, x, outputs=...)"
    elif "flax" in families and getattr(function, "scope", function) is None:
        what = (
            "a module of Linen without its variables",
            "linen_problem(module, variables, x, outputs=...)",
        )
    if what is not None:
        raise ArgumentError(
            "function",
            type(function).__name__,
            f"is {what[0]}",
            f"Pass symjax.interop.{what[1]}",
        )


def check_x(x: Any) -> None:
    """Raises unless what rotates is a pytree of arrays of numbers.

    Args:
      x: What was given.

    Raises:
      ArgumentError: It holds an object of another kind.

    Example:
      >>> import ase.build
      >>> from symjax.metrics.arguments import check_x
      >>> check_x(ase.build.molecule("H2O"))
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: x='Atoms': is an ase.Atoms... Pass atoms.positions...
    """
    flat = jax.tree_util.tree_flatten_with_path(x)[0]
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
                "is an ase.Atoms, and what rotates are arrays",
                "Pass atoms.positions (with the cell, if there is one), or use "
                "symjax.interop.calculator_problem or orbit_problem(model, atoms)",
            )
        if kind.__module__.split(".")[0] == "torch":
            raise ArgumentError(
                where,
                kind.__name__,
                "is a tensor of PyTorch",
                "Pass tensor.numpy(), or use symjax.interop.torch_problem",
            )
        if not _is_numeric(leaf):
            raise ArgumentError(
                where,
                kind.__name__,
                "is no array of numbers",
                "Pass arrays as x, and what does not rotate as args",
            )


def _is_numeric(leaf: Any) -> bool:
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return True
    if not isinstance(leaf, np.ndarray | np.generic | bool | int | float | complex):
        return False
    dtype = np.asarray(leaf).dtype
    return dtype.kind in "biufc" or dtype.name == "bfloat16"


def bound(function: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """A function whose arguments are arrays: what else they hold is bound to it.

    Modules of Equinox, for instance, are pytrees that hold functions.

    Args:
      function: The function ``f(x, *args)``.
      args: Its arguments.

    Returns:
      The same function and arguments if all leaves are arrays or numbers, or the
      function runs on the host; else a function of the arrays.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics.arguments import bound
      >>> f, args = bound(lambda x, act, scale: scale * act(x), (jnp.abs, 2.0))
      >>> float(f(-1.0, *args)), args
      (2.0, (2.0,))
    """
    leaves, structure = jax.tree.flatten(args)
    dynamic = [_is_numeric(leaf) for leaf in leaves]
    if all(dynamic) or isinstance(function, HostFunction):
        return function, args

    def call(x: Any, *arrays: Any) -> Any:
        given = iter(arrays)
        filled = [
            next(given) if moves else leaf
            for leaf, moves in zip(leaves, dynamic, strict=True)
        ]
        return function(x, *jax.tree.unflatten(structure, filled))

    arrays = (leaf for leaf, moves in zip(leaves, dynamic, strict=True) if moves)
    return call, tuple(arrays)


@contextlib.contextmanager
def explained(function: Any) -> Iterator[None]:
    """Turns what JAX says of a function that it cannot trace into one line.

    Args:
      function: The function, for its name.

    Raises:
      ArgumentError: It computes with NumPy, decides by values, or returns something
        else than arrays.
    """
    try:
        yield
    except jax.errors.TracerArrayConversionError as error:
        raise ArgumentError(
            "function",
            name_of(function),
            "computes with NumPy, which cannot read the values that JAX traces",
            f"Write jax.numpy for numpy, or {_HOST}",
        ) from error
    except jax.errors.ConcretizationTypeError as error:
        raise ArgumentError(
            "function",
            name_of(function),
            "decides by a value (if, float(), int(), a shape) that JAX traces",
            f"Write jax.numpy.where or jax.lax.cond, or {_HOST}",
        ) from error
    except (TypeError, AttributeError) as error:
        found = re.search(r"returned a value of type <class '([^']+)'>", str(error))
        if found is None and _IN_TORCH.search(str(error)):
            raise ArgumentError(
                "function",
                name_of(function),
                "computes with PyTorch, which cannot read the values that JAX traces",
                f"Use symjax.interop.torch_problem, or {_HOST}",
            ) from error
        if found is None or "valid JAX type" not in str(error):
            raise
        raise ArgumentError(
            "function",
            name_of(function),
            f"returns an object of {found[1].rpartition('.')[2]}, no array for JAX",
            "Return arrays or a dictionary of arrays, or register the class with "
            "jax.tree_util.register_dataclass",
        ) from error


def check_known(unknown: Mapping[str, Any]) -> None:
    """Raises if :func:`~symjax.metrics.measure` was given an argument of another name.

    Args:
      unknown: Such arguments.

    Raises:
      ArgumentError: There is one; the message says what is meant.

    Example:
      >>> from symjax.metrics.arguments import check_known
      >>> check_known({"grid": "auto"})
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: grid='auto': is no argument of measure. Write...
    """
    if unknown:
        name, value = next(iter(unknown.items()))
        meant = _MEANT.get(name)
        raise ArgumentError(
            name,
            value,
            "is no argument of measure",
            f"Write {meant}" if meant else "See help(symjax.metrics.measure)",
        )


def instead_of(over: Any) -> str:
    """What to write in place of something that is nothing to integrate over.

    Args:
      over: What was given.

    Returns:
      A remedy.

    Example:
      >>> from symjax.metrics.arguments import instead_of
      >>> instead_of("auto")
      'Write over=Adaptive()'
    """
    if isinstance(over, int | np.integer) and not isinstance(over, bool):
        return f"Write over=Grid({over})"
    if over == "auto":
        return "Write over=Adaptive()"
    if isinstance(over, str):
        return f"Write over=finite_group({over!r}), if this is a group"
    return "Use Grid(13), Adaptive(), HaarSamples(64) or finite_group('Oh')"
