"""Functions as cache keys of compiled code: their code and everything they refer to.

JAX caches compiled code by the function object. What a function closes over (an
attribute, a global, a cell of its closure) may have changed since it was traced, and
cached code would then return stale numbers. Functions are therefore compared by
everything that their trace can depend on, as far as Python shows it:

- their bytecode, defaults, attributes, closure cells, and the globals that they name,
  including attributes of the user's modules; functions and classes found there are
  compared in the same way;
- numbers, strings, containers and NumPy arrays by value, so that changes in place are
  noticed; JAX arrays, which are immutable, by identity;
- instances of the user's classes, dataclasses and Linen modules by their attributes.

Code of installed packages is assumed constant. A function that refers to anything else,
such as a mutable object of a package (a random number generator), is traced again for
every measurement.
"""

import dataclasses
import enum
import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

_PLAIN = (int, str, bytes, bool, complex, type(None), type(...), range, np.dtype)
# Immutable objects of packages.
_CONSTANT = (
    types.ModuleType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.GenericAlias,
    np.ufunc,
    jax.Array,
    jax.Device,
    jax.tree_util.PyTreeDef,
    jax.ShapeDtypeStruct,
    enum.Enum,
)
# Attributes of a class that do not affect what its methods compute.
_NOT_OF_A_CLASS = {
    "__dict__",
    "__weakref__",
    "__doc__",
    "__module__",
    "__qualname__",
    "__annotations__",
    "__abstractmethods__",
    "__static_attributes__",
    "__firstlineno__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__parameters__",
    "__orig_bases__",
    "__init__",
    "__repr__",
    "__eq__",
    "__hash__",
    "__post_init__",
    "__setattr__",
    "__delattr__",
    "__match_args__",
    "__init_subclass__",
    "_abc_impl",
}


class _OpaqueError(Exception):
    """An object whose state cannot be read."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Same:
    """An object that is compared by identity; the reference keeps it alive."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


@dataclasses.dataclass(frozen=True, eq=False)
class Pinned:
    """A function with the state in which it was traced.

    Attributes:
      function: The function.
      state: The state that :func:`pinned` read, hashable.

    Example:
      >>> from symjax.metrics.identity import pinned
      >>> box = [1.0]
      >>> f = (lambda box: lambda x: box[0] * x)(box)
      >>> before = pinned(f)
      >>> before == pinned(f)
      True
      >>> box[0] = 2.0
      >>> before == pinned(f)
      False
    """

    function: Callable[..., Any]
    state: Any
    _hash: int

    def __call__(self, *args: Any) -> Any:
        """Calls the function."""
        return self.function(*args)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pinned) and (
            self is other or (self._hash == other._hash and self.state == other.state)
        )

    def __hash__(self) -> int:
        return self._hash


def pinned(function: Callable[..., Any]) -> Pinned:
    """A function as a cache key of compiled code, with its present state.

    Two keys are equal only if the traces of the functions cannot differ. A key whose
    state cannot be read is only equal to itself.
    """
    if isinstance(function, Pinned):
        return function
    try:
        state = _Reader().of(function)
        return Pinned(function, state, hash(state))
    except (_OpaqueError, RecursionError):
        state = _Same(object())
        return Pinned(function, state, hash(state))


@functools.lru_cache(maxsize=4096)
def _is_installed(module: str | None) -> bool:
    """Whether a module belongs to Python, to symjax or to an installed package."""
    if module is None:
        return True
    root = module.partition(".")[0]
    if root in sys.builtin_module_names or root == __name__.partition(".")[0]:
        return True
    if root == "__main__":
        return False
    found = sys.modules.get(module, sys.modules.get(root))
    file = getattr(found, "__file__", None)
    if file is None:
        return found is not None and not hasattr(found, "__path__")
    places = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    parts = Path(file).parts
    inside = any(Path(file).is_relative_to(place) for place in places if place)
    return inside or "site-packages" in parts or "dist-packages" in parts


def _names(code: types.CodeType) -> set[str]:
    """Names of globals and attributes in a function and its nested functions."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


class _Reader:
    """Reads the state of objects; each object is read only once."""

    def __init__(self) -> None:
        self._met: dict[int, int] = {}
        self._alive: list[Any] = []

    def of(self, value: Any) -> Any:
        """A hashable value that changes whenever the object does."""
        if isinstance(value, float):
            # Distinguishes 0.0 from -0.0, and makes NaN equal to itself.
            return type(value), value.hex()
        if isinstance(value, _PLAIN) and type(value).__hash__ is not None:
            return type(value), value
        if isinstance(value, _CONSTANT):
            return _Same(value)
        if id(value) in self._met:
            return "met", self._met[id(value)]
        self._met[id(value)] = len(self._met)
        self._alive.append(value)
        return self._read(value)

    def _read(self, value: Any) -> Any:
        kind = type(value)
        if isinstance(value, np.ndarray | np.generic):
            return self._array(np.asarray(value))
        if isinstance(value, list | tuple):
            return kind, tuple(self.of(item) for item in value)
        if isinstance(value, dict):
            return kind, tuple((self.of(k), self.of(v)) for k, v in value.items())
        if isinstance(value, set | frozenset):
            return kind, frozenset(self.of(item) for item in value)
        if isinstance(value, functools.partial):
            return kind, *map(self.of, (value.func, value.args, value.keywords))
        if isinstance(value, types.MethodType):
            return kind, self.of(value.__func__), self.of(value.__self__)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, staticmethod | classmethod):
            return kind, self.of(value.__func__)
        if isinstance(value, property):
            return kind, self.of(value.fget)
        if isinstance(value, functools.cached_property):
            return kind, self.of(value.func)
        if isinstance(value, type):
            return self._class(value)
        return self._instance(value)

    def _array(self, array: np.ndarray) -> Any:
        if array.dtype.hasobject:
            return "array", array.shape, tuple(self.of(item) for item in array.flat)
        digest = hashlib.blake2b(np.ascontiguousarray(array).data.cast("B")).digest()
        return "array", array.dtype.str, array.shape, digest

    def _function(self, function: types.FunctionType) -> Any:
        cells = tuple(self._cell(cell) for cell in function.__closure__ or ())
        own = (
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
            cells,
        )
        known = function.__globals__
        # Not __module__: decorators copy that of the user to their own wrappers.
        if _is_installed(known.get("__name__")):
            return _Same(function), own
        names = sorted(_names(function.__code__))
        globals_ = []
        for name in names:
            if name in known:
                found = known[name]
                globals_.append((name, self.of(found)))
                if isinstance(found, types.ModuleType):
                    globals_.append((name, self._module(found, names, set())))
        return function.__code__, own, tuple(globals_), self.of(vars(function))

    def _module(self, module: types.ModuleType, names: list[str], met: set[int]) -> Any:
        """The attributes of a user's module that have one of the names."""
        if _is_installed(module.__name__) or id(module) in met:
            return None
        met.add(id(module))
        known = vars(module)
        return tuple(
            (name, self._module(known[name], names, met))
            if isinstance(known[name], types.ModuleType)
            else (name, self.of(known[name]))
            for name in names
            if name in known
        )

    def _cell(self, cell: types.CellType) -> Any:
        try:
            return self.of(cell.cell_contents)
        except ValueError:  # not filled yet
            return "empty"

    def _class(self, kind: type) -> Any:
        if _is_installed(kind.__module__):
            return _Same(kind)
        own = tuple(
            (name, self.of(value))
            for name, value in vars(kind).items()
            if name not in _NOT_OF_A_CLASS
        )
        return _Same(kind), tuple(self.of(base) for base in kind.__bases__), own

    def _instance(self, value: Any) -> Any:
        kind = type(value)
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is not None and _is_installed(kind.__module__):
            # jax.jit, functools.lru_cache and the like, of a function.
            return _Same(value), self.of(wrapped)
        if kind is object:
            return _Same(value)
        if _is_installed(kind.__module__) and hasattr(kind, "__get__"):
            return _Same(value)  # a descriptor of a package
        if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            if isinstance(value, nn.Module):
                names.remove("parent")
            fields = [(name, self.of(getattr(value, name, None))) for name in names]
            attributes = getattr(value, "__dict__", {})
            if isinstance(value, nn.Module) or _is_installed(kind.__module__):
                attributes = {}
            return self.of(kind), tuple(fields), self.of(dict(attributes))
        bases = [base for base in kind.__mro__ if base is not object]
        if any(
            _is_installed(base.__module__) or "__slots__" in vars(base)
            for base in bases
        ):
            raise _OpaqueError(kind)
        return self.of(kind), self.of(vars(value))
