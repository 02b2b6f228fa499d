"""Models on disk: a folder with ``model.safetensors`` and ``model.json``.

Reading them executes no code. The JSON file holds the version of the format, the
configuration and the model card; the safetensors file holds every parameter by path.
"""

import dataclasses
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from symjax._files import check_readable, replace_atomically
from symjax.errors import ModelError
from symjax.models._paths import flatten, unflatten
from symjax.models.pet import model as pet
from symjax.models.pet.config import PETConfig
from symjax.models.pointmae import model as pointmae
from symjax.models.pointmae.config import PointMAEConfig

Model = pet.PETModel | pointmae.PointMAEModel

FORMAT = "symjax-model/1"
TENSORS_FILE = "model.safetensors"
METADATA_FILE = "model.json"
_LARGEST_METADATA = 2**26

# Model class, configuration class and parameter shapes of each architecture.
_ARCHITECTURES: dict[str, tuple[Any, Any, Any]] = {
    "pet": (pet.PETModel, PETConfig, pet.parameter_shapes),
    "pointmae": (pointmae.PointMAEModel, PointMAEConfig, pointmae.parameter_shapes),
}


def shipped_folder(name: str = "") -> Path:
    """Folder of a shipped model, or without a name the folder of all of them."""
    return Path(str(resources.files("symjax.models") / "shipped")) / name


def shipped_models() -> list[str]:
    """Names of the models that ship with the package, for :func:`load_model`.

    Returns:
      The names, sorted.

    Example:
      >>> from symjax.models import shipped_models
      >>> "pet-ethanol" in shipped_models()
      True
    """
    folder = shipped_folder()
    if not folder.is_dir():
        return []
    return sorted(
        path.name for path in folder.iterdir() if (path / METADATA_FILE).is_file()
    )


def architecture_of(model: Model) -> str:
    """Name of a model's architecture: ``"pet"`` or ``"pointmae"``.

    Raises:
      ModelError: The argument is not a model of symjax.
    """
    for name, (kind, _, _) in _ARCHITECTURES.items():
        if isinstance(model, kind):
            return name
    raise ModelError(
        "model", model, "is not a model of symjax", "Pass what load_model returns"
    )


def fingerprint(model: Model) -> str:
    """SHA-256 digest of a model's configuration and parameters.

    Name and card do not enter: models of the same digest compute the same.

    Args:
      model: The model.

    Returns:
      64 hexadecimal digits.

    Example:
      >>> from symjax.models import fingerprint, load_model
      >>> len(fingerprint(load_model("pet-ethanol")))
      64
    """
    digest = hashlib.sha256(json.dumps(model.config.to_json()).encode())
    flat = flatten(model.parameters)
    for path in sorted(flat):
        array = np.ascontiguousarray(flat[path])
        digest.update(f"{path} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_model(model: Model, folder: str | Path) -> None:
    """Writes a model to a folder.

    Each file is replaced atomically: an interrupted write leaves no partial file.

    Args:
      model: The model.
      folder: The folder, created if it does not exist. A model that is there already
        is replaced.

    Raises:
      ModelError: ``folder`` cannot be written to, a parameter is not finite, or
        ``model`` is not a model of symjax.

    Example:
      >>> import tempfile
      >>> from symjax.models import load_model, save_model
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save_model(load_model("pet-ethanol"), folder)
      ...     load_model(folder).config.cutoff
      4.5
    """
    folder = Path(folder)
    flat = {
        path: np.ascontiguousarray(leaf)
        for path, leaf in flatten(model.parameters).items()
    }
    for path, leaf in flat.items():
        if not np.isfinite(leaf).all():
            raise ModelError(
                "model", path, "has parameters that are not finite", "Train it again"
            )
    metadata = {
        "format": FORMAT,
        "architecture": architecture_of(model),
        "name": model.name,
        "config": model.config.to_json(),
        "card": model.card,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = save_tensors(flat, metadata={"format": FORMAT})
        replace_atomically(
            folder / TENSORS_FILE,
            lambda part: part.write_bytes(tensors),
            lambda: len(tensors),
        )
        text = json.dumps(metadata, indent=2) + "\n"
        replace_atomically(folder / METADATA_FILE, lambda part: part.write_text(text))
    except OSError as error:
        raise ModelError(
            "folder",
            str(folder),
            f"cannot be written: {error.strerror or error}",
            "Choose another folder",
        ) from error


def read_folder(folder: Path) -> Model:
    """Reads a model from a folder that :func:`save_model` wrote.

    Returns:
      The model, with parameters as NumPy arrays.

    Raises:
      ModelError: A file is missing, damaged or of another format, or the two files do
        not belong together.
    """
    file = folder / METADATA_FILE
    metadata = _read_metadata(file)
    architecture = metadata["architecture"]
    model, kind, shapes = _ARCHITECTURES[architecture]
    fields = dict.fromkeys(field.name for field in dataclasses.fields(kind))
    _check_complete(file, metadata["config"], fields)
    config = kind.from_json(metadata["config"], source=str(file))
    _check_complete(file, metadata["config"], config.to_json())
    flat = _read_tensors(folder / TENSORS_FILE)
    wanted = shapes(config)
    tensors = str(folder / TENSORS_FILE)
    remedy = f"Use the {METADATA_FILE} and {TENSORS_FILE} of one model"
    missing, extra = sorted(set(wanted) - set(flat)), sorted(set(flat) - set(wanted))
    if missing or extra:
        problem = (
            f"{len(missing)} parameters of the configuration are missing and "
            f"{len(extra)} are not part of it"
        )
        raise ModelError(tensors, (missing or extra)[0], problem, remedy)
    for path, leaf in flat.items():
        if leaf.shape != wanted[path]:
            problem = f"has shape {leaf.shape}, the configuration wants {wanted[path]}"
            raise ModelError(tensors, path, problem, remedy)
        if leaf.dtype.kind != "f" or not np.isfinite(leaf).all():
            problem = "is not an array of finite floating-point numbers"
            raise ModelError(
                tensors, path, problem, "The file is damaged; get it again"
            )
    parameters = unflatten(flat)
    if architecture == "pet":
        # Targets without an invariant block have no baseline and so no tensor.
        parameters.setdefault("baseline", {})
        for target in config.targets:
            parameters["baseline"].setdefault(target.name, {})
    return model(str(metadata["name"]), config, parameters, metadata["card"])


def _read_metadata(path: Path) -> dict[str, Any]:
    remedy = "Use a folder written by symjax; get the file again if it was cut off"
    try:
        check_readable(path, _LARGEST_METADATA)
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError("model", str(path), "there is no such file", remedy) from error
    except (OSError, ValueError, RecursionError) as error:
        problem = f"cannot be read: {error}"
        raise ModelError("model", str(path), problem, remedy) from error
    found = metadata.get("format") if isinstance(metadata, dict) else None
    if found != FORMAT:
        problem = f"has format {found!r}, not {FORMAT!r}"
        raise ModelError("model", str(path), problem, remedy)
    architecture = metadata.get("architecture")
    if str(architecture) not in _ARCHITECTURES:
        known = ", ".join(map(repr, _ARCHITECTURES))
        problem = f"architecture {architecture!r} is not known"
        remedy = f"This version reads architectures {known}"
        raise ModelError("model", str(path), problem, remedy)
    for key, kind in (("name", str), ("config", dict), ("card", dict)):
        if not isinstance(metadata.get(key), kind):
            raise ModelError("model", str(path), f"has no {key!r}", remedy)
    return metadata


def _check_complete(path: Path, found: Any, whole: Any, name: str = "config") -> None:
    """Raises if a configuration lacks a field, which a default would replace."""
    if isinstance(whole, list | tuple) and len(found) == len(whole):
        for index, (part, entry) in enumerate(zip(found, whole, strict=True)):
            _check_complete(path, part, entry, f"{name}[{index}]")
    if not isinstance(whole, dict):
        return
    for key, entry in whole.items():
        if key not in found:
            raise ModelError(
                "model",
                str(path),
                f"is damaged: it has no '{name}.{key}'",
                "Get the file again, or import or train the model again",
            )
        _check_complete(path, found[key], entry, f"{name}.{key}")


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    remedy = "The file is missing or was cut off; get it again"
    try:
        check_readable(path)
        return load_tensors(path.read_bytes())
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        problem = f"cannot be read: {error}"
        raise ModelError("model", str(path), problem, remedy) from error
