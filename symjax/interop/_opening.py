"""Opens files of PyTorch as metatomic models, of any architecture."""

import functools
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from symjax._text import model_stem
from symjax.data.quantities import QuantityName
from symjax.errors import ModelError, needs_extra
from symjax.interop._engine import libraries, load_exported
from symjax.interop._reading import (
    no_best_weights,
    not_loaded,
    read_archive,
    unpickle,
)

# Former names, which metatomic announces beside the current ones.
_RENAMED = {
    "features": "feature",
    "non_conservative_forces": "non_conservative_force",
    "positions": "position",
    "momenta": "momentum",
    "masses": "mass",
    "velocities": "velocity",
    "charges": "charge",
}


class UnknownFileError(ModelError):
    """A file that is neither an exported model nor a checkpoint of metatrain."""


class Opened(NamedTuple):
    """A model that is measured in place.

    Attributes:
      name: The name of its file, or of its class.
      kind: Its architecture, as metatrain or the class names it.
      model: The ``metatomic.torch.AtomisticModel``.
      module: The Python module, whose submodules can be read; None for an export.
      captures: Whether it is metatrain's PET, which captures its layers itself.
      outputs: Its announced outputs, without repetitions under former names.
      sample_kinds: ``"system"`` or ``"atom"`` for each target of a module.
    """

    name: str
    kind: str
    model: Any
    module: Any
    captures: bool
    outputs: dict[str, Any]
    sample_kinds: dict[str, str]


def open_model(model: Any) -> Opened:
    """Opens an exported model or a checkpoint of metatrain; unchanged files are cached.

    Args:
      model: A ``metatomic.torch.AtomisticModel``, or the path of a file, possibly
        compressed with gzip.
    """
    if not isinstance(model, str | Path):
        libraries(model)
        return _described(model, type(model.module).__name__)
    path = Path(model)
    if not path.is_file():
        raise ModelError(
            "model",
            str(path),
            "there is no such file",
            "Pass an exported model .pt, or a checkpoint .ckpt of metatrain",
        )
    stamp = path.stat()
    return _opened(str(path), stamp.st_mtime_ns, stamp.st_size)


@functools.lru_cache(maxsize=2)
def _opened(path: str, changed: int, size: int) -> Opened:
    try:
        archive = read_archive(Path(path))
    except OSError as error:
        raise UnknownFileError(
            "model",
            path,
            f"cannot be read: {error}",
            "Pass an undamaged exported model .pt or checkpoint .ckpt of metatrain",
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if archive.is_exported:
            model = load_exported(Path(path))
        else:
            model = _from_checkpoint(archive.data, path)
    return _described(model, model_stem(Path(path)))


def _described(model: Any, name: str) -> Opened:
    inner = model.module
    kind = str(getattr(inner, "original_name", type(inner).__name__))
    if kind == "AtomisticModel":  # a model from a file wraps the program
        inner = inner.module
        kind = str(getattr(inner, "original_name", type(inner).__name__))
    scripted = hasattr(inner, "original_name")
    wrapped = getattr(inner, "model", None)
    captures = not scripted and "PET" in (kind, type(wrapped).__name__)
    # metatrain's modules know whether a target belongs to structures or to atoms.
    targets = None if scripted else getattr(inner, "dataset_info", None)
    kinds = {
        target: str(info.sample_kind)
        for target, info in getattr(targets, "targets", {}).items()
    }
    announced = model.capabilities().outputs
    once = {
        output: known
        for output, known in announced.items()
        if _current(output) == output or _current(output) not in announced
    }
    return Opened(name, kind, model, None if scripted else inner, captures, once, kinds)


def _current(output: str) -> str:
    """The current name of an output in metatomic."""
    name = QuantityName.parse(output)
    return str(name._replace(quantity=_RENAMED.get(name.quantity, name.quantity)))


def _from_checkpoint(data: bytes, path: str) -> Any:
    with needs_extra("torch", "model", path):
        from metatrain.utils.io import model_from_checkpoint
    checkpoint = unpickle(data, path)
    if not isinstance(checkpoint, dict) or "architecture_name" not in checkpoint:
        raise UnknownFileError(
            "model",
            path,
            "is neither an exported model nor a checkpoint of metatrain",
            "Export it with metatomic, or write a function that returns a Problem",
        )
    architecture = str(checkpoint["architecture_name"])
    if checkpoint.get("best_model_state_dict", 0) is None:
        raise no_best_weights("model", path)
    try:
        return model_from_checkpoint(checkpoint, context="export").eval().export()
    except ImportError as error:
        extra = architecture.rpartition(".")[2].replace("_", "-")
        raise ModelError(
            "model",
            path,
            f"is of metatrain's {architecture!r}, which needs {error.name or error}",
            f"Install it: pip install 'metatrain[{extra}]'",
        ) from error
    except Exception as error:  # metatrain raises errors of many types
        raise not_loaded("model", path, error) from error
