"""Calculators and functions as sources of problems for runs over many structures.

A source has a name, a digest that identifies it when a run is resumed, and a problem
for every structure. It is pickled for worker processes by its description, without open
files or compiled code.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import ase
from ase.calculators.calculator import Calculator, FileIOCalculator

from symjax._files import file_digest
from symjax._text import file_text
from symjax.data.point_clouds import PointCloud
from symjax.errors import ArgumentError, ModelError, SymjaxError
from symjax.interop.calculators import calculator_problem
from symjax.metrics import Problem

GROUP = "symjax.models"
"""Entry points under which packages register functions that make problems."""


class PlainSource:
    """Common part of sources without layers and padding."""

    note = ""

    def settings(self, options: Any) -> dict[str, Any]:
        """None: outputs cannot be chosen, and layers are part of the problem."""
        if options.energy is not None:
            raise ArgumentError(
                "energy",
                options.energy,
                "there is nothing to choose: forces are those of the model",
                "Leave it out",
            )
        if options.layers != "none":
            raise ArgumentError(
                "layers",
                options.layers,
                f"{getattr(self, 'name', self)} has no layers to choose from",
                "Leave it out; of a PET import the checkpoint, of a PyTorch or JAX "
                "network make a problem with layers",
            )
        return {}

    def sizes(
        self, items: Mapping[str, Any]
    ) -> tuple[dict[str, None], dict[str, SymjaxError]]:
        """No padding, and no errors before items are evaluated."""
        return dict.fromkeys(items), {}

    def prepare(self, label: str, item: Any, size: None) -> tuple[Any, int]:
        """The item as it is, and its number of atoms or points."""
        return item, len(item.mask if isinstance(item, PointCloud) else item)

    def breaking(self, item: Any, options: Any) -> None:
        """None: nothing but the model breaks the symmetry."""


@dataclasses.dataclass(frozen=True)
class CalculatorSource(PlainSource):
    """An ASE calculator, given by the callable that makes it.

    Attributes:
      target: ``"module:callable"``, such as ``"ase.calculators.emt:EMT"``.
      options: Keyword arguments of the callable, as a JSON object.

    Example:
      >>> import ase.build
      >>> from symjax.interop.foreign_sources import CalculatorSource
      >>> source = CalculatorSource("ase.calculators.emt:EMT")
      >>> problem = source.problem(ase.build.molecule("CO"), None, None)
      >>> sorted(problem.outputs)
      ['energies', 'energy', 'forces']
    """

    target: str
    options: str = "{}"

    def __post_init__(self) -> None:
        known = _keywords_of(_resolve(self.target, "calculator"))
        unknown = [name for name in self._keywords() if known and name not in known]
        if unknown:
            raise ArgumentError(
                "options",
                self.options,
                f"{self.target} ignores {', '.join(unknown)} without saying so",
                f"Use {', '.join(sorted(known))}",
            )

    def _keywords(self) -> dict[str, Any]:
        try:
            options = json.loads(self.options)
            problem = "" if isinstance(options, dict) else "is not a JSON object"
        except (ValueError, RecursionError) as error:
            problem = f"is not JSON: {error}"
        if problem:
            remedy = """Pass for instance '{"asap_cutoff": true}'"""
            raise ArgumentError("options", self.options, problem, remedy)
        return options

    @property
    def name(self) -> str:
        """The target, with options where there are any."""
        return self.target if self.options == "{}" else f"{self.target} {self.options}"

    @property
    def digest(self) -> str:
        """SHA-256 of target and options, and of :func:`code_of` the target."""
        parts = [self.target, self._keywords(), code_of(self.target)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def problem(self, item: ase.Atoms, size: Any, options: Any) -> Problem:
        """Results of the calculator on a structure."""
        return calculator_problem(self.calculator(), item)

    def calculator(self) -> Any:
        """The calculator, one instance in each process."""
        return _calculator(self.target, self.options, self.digest)


def _keywords_of(made_by: Callable[..., Any]) -> set[str]:
    """Keywords of an ASE calculator that lists them; empty for others.

    ASE's base class accepts any keyword. Calculators that write input files pass them
    on to a program, which may know more than they list.
    """
    if not (isinstance(made_by, type) and issubclass(made_by, Calculator)):
        return set()
    parameters: Mapping[str, Any] = getattr(made_by, "default_parameters", {})
    if issubclass(made_by, FileIOCalculator) or not parameters:
        return set()
    known = set(parameters)
    for base in made_by.__mro__:
        own = vars(base).get("__init__")
        if inspect.isfunction(own):
            known |= set(inspect.signature(own).parameters)
    return known - {"self", "args", "kwargs"}


@functools.lru_cache(maxsize=4)
def _calculator(target: str, options: str, digest: str) -> Any:
    """One instance per process, as some take long to start; another if code changes."""
    try:
        return _resolve(target, "calculator")(**json.loads(options))
    except SymjaxError:
        raise
    except Exception as error:  # callables raise errors of many types
        raise ModelError(
            "calculator",
            target,
            f"cannot be made with the options {options}: {error}",
            "Check the options of the calculator",
        ) from error


@dataclasses.dataclass(frozen=True)
class FunctionSource(PlainSource):
    r"""A function from a structure to a problem, in a file or a package.

    Attributes:
      target: ``"path/to/file.py:function"``, ``"module:function"``, or the name of an
        entry point of the group ``symjax.models``.

    Example:
      >>> import pathlib, tempfile
      >>> import ase.build
      >>> from symjax.interop.foreign_sources import FunctionSource
      >>> text = (
      ...     "from symjax.interop import calculator_problem\n"
      ...     "from ase.calculators.emt import EMT\n"
      ...     "def problem(atoms):\n"
      ...     "    return calculator_problem(EMT(), atoms)\n")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "mine.py"
      ...     _ = path.write_text(text)
      ...     source = FunctionSource(f"{path}:problem")
      ...     problem = source.problem(ase.build.molecule("CO"), None, None)
      >>> source.name, "forces" in problem.outputs
      ('mine.py:problem', True)
    """

    target: str

    def __post_init__(self) -> None:
        _resolve(self.target, "model")

    @property
    def name(self) -> str:
        """The name of the file, without its folder, and of the function."""
        file, _, function = self.target.rpartition(":")
        return f"{file_text(Path(file).name)}:{function}" if file else self.target

    @property
    def digest(self) -> str:
        """SHA-256 of the target, and of :func:`code_of` it."""
        parts = [self.target, code_of(self.target)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def problem(self, item: ase.Atoms, size: Any, options: Any) -> Problem:
        """What the function returns for a structure."""
        problem = _resolve(self.target, "model")(item)
        if not isinstance(problem, Problem):
            raise ModelError(
                "model",
                self.target,
                f"returned {type(problem).__name__}, not a symjax.metrics.Problem",
                "Return Problem(function, x, outputs)",
            )
        return problem


def code_of(target: str) -> tuple[str, str]:
    """The SHA-256 of a callable's file, and the version of its package.

    Each is empty where there is none. Other files that it imports are not looked at.
    """
    where = _place(target).rpartition(":")[0]
    return (file_digest(Path(where)), "") if where.endswith(".py") else _module(where)


@functools.cache
def _module(name: str) -> tuple[str, str]:
    """:func:`code_of` a module; once, as Python imports it once."""
    spec = importlib.util.find_spec(name)
    origin = Path((spec and spec.origin) or "")
    version = ""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        version = importlib.metadata.version(name.split(".")[0])
    return file_digest(origin) if origin.is_file() else "", version


def is_function(target: str) -> bool:
    """Whether a model is named as a function: by file, module or entry point."""
    file, separator, name = target.rpartition(":")
    if separator and name.isidentifier() and file and not Path(target).exists():
        return file.endswith(".py") or all(
            part.isidentifier() for part in file.split(".")
        )
    return target in _registered_models()


def _registered_models() -> dict[str, str]:
    """Functions of the group ``symjax.models`` in installed packages, by name."""
    points = importlib.metadata.entry_points(group=GROUP)
    return {point.name: point.value for point in points}


def _place(target: str) -> str:
    """``module:name`` of a registered model; reading all packages takes long."""
    return target if ":" in target else _registered_models().get(target, target)


def _resolve(target: str, argument: str) -> Callable[..., Any]:
    """The callable behind ``file.py:name``, ``module:name`` or an entry point."""
    where, _, name = _place(target).rpartition(":")
    if not where or not name:
        raise ModelError(
            argument,
            target,
            "names no function",
            "Write MODULE:NAME, such as ase.calculators.emt:EMT, or FILE.py:NAME",
        )
    try:
        module = _from_file(where) if where.endswith(".py") else _from_module(where)
        found = functools.reduce(getattr, name.split("."), module)
    except ModelError:
        raise
    except AttributeError as error:
        raise ModelError(
            argument, target, f"{where} has no {name}", "Check the name"
        ) from error
    except Exception as error:  # imports raise errors of many types
        raise ModelError(
            argument,
            target,
            f"cannot be imported ({type(error).__name__}: {error})",
            "Install the package, or fix the file; python -c 'import ...' says more",
        ) from error
    if not callable(found):
        raise ModelError(
            argument, target, "is not a function", "Name a function or a class"
        )
    return found


def _from_module(name: str) -> Any:
    module = importlib.import_module(name)
    _module(name)
    return module


def _from_file(path: str) -> Any:
    if not Path(path).is_file():
        raise ModelError("model", path, "there is no such file", "Check the path")
    return _loaded(path, file_digest(Path(path)))


@functools.lru_cache(maxsize=8)
def _loaded(path: str, digest: str) -> Any:
    """The module of a file; once, so that its functions stay the same objects."""
    loader = _Loader(Path(path).stem, path)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the file as it is now.

    Python takes kept bytecode for that of a file which was changed within the same
    second and has the same size.
    """

    def get_code(self, fullname: str) -> CodeType:
        """The code of the file, which never is that of ``__pycache__``."""
        return self.source_to_code(self.get_data(self.path), self.path)
