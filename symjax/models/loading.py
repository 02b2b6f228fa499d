"""The one place where a name or a path becomes a model.

A model ships with the package, lies in a folder that symjax wrote, in a file of another
package (a checkpoint or an exported model), or is released under a name. Files of other
packages are imported once: what comes out is kept in the user's cache, under the digest
of the file.
"""

import dataclasses
import importlib
import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

import symjax
from symjax._files import file_digest, user_cache
from symjax._text import file_text, model_stem
from symjax.errors import ModelError
from symjax.models.io import (
    FORMAT,
    METADATA_FILE,
    TENSORS_FILE,
    Model,
    read_folder,
    save_model,
    shipped_folder,
    shipped_models,
)
from symjax.models.released import fetch_released, parse_released

_log = logging.getLogger(__name__)

IMPORTER = "symjax.interop.checkpoints"
"""Module that imports files of other packages.

It stands above the models, and needs PyTorch: as an entry point is, it is bound by its
name, and only when a file asks for it.
"""


class Source(NamedTuple):
    """Name of a model in reports, and its folder or the file of another package."""

    name: str
    path: Path


def load_model(name_or_path: str | Path) -> Any:
    """Reads a model, wherever it is: shipped, in a folder, in a file, or released.

    Files of other packages are imported with ``symjax[torch]``, once: the result is
    kept in the user's cache (``$XDG_CACHE_HOME/symjax/models``, otherwise
    ``~/.cache``) under the SHA-256 digest of the file. Released models are fetched
    with ``huggingface_hub``. What happens is logged by ``symjax.models``.

    Args:
      name_or_path: A name from :func:`shipped_models`; a folder that
        :func:`save_model` wrote; a checkpoint ``.ckpt`` or an exported model ``.pt``
        of metatrain's PET, or a checkpoint of PoLAr-MAE, possibly compressed with gzip
        (only from sources that you trust); or the name of a released model with or
        without its version, such as ``pet-mad-s`` or ``pet-mad-s@1.6.0``. What exists
        goes before a released name.

    Returns:
      A ``PETModel`` or a ``PointMAEModel``, its parameters as NumPy arrays.

    Raises:
      ModelError: There is no such model, it cannot be fetched or imported, or its
        files are missing, truncated, of another format, or do not fit together.

    Example:
      >>> from symjax.models import load_model
      >>> load_model("pet-ethanol").config.species
      (1, 6, 8)
    """
    source = locate(name_or_path)
    if source.path.is_dir():
        return read_folder(source.path)
    return _imported_once(source)


def locate(name_or_path: str | Path) -> Source:
    """Finds a model, fetching it if it is released and not in the cache.

    Raises:
      ModelError: There is no such model, or it cannot be fetched.
    """
    name = os.fspath(name_or_path)
    remedy = (
        f"Use {', '.join(shipped_models())}, a folder with {METADATA_FILE} and "
        f"{TENSORS_FILE}, a checkpoint of metatrain's PET or of PoLAr-MAE, or a "
        "released model such as pet-mad-s"
    )
    if not name.strip():
        raise ModelError("model", name, "is an empty name", remedy)
    if name in shipped_models():
        return Source(name, shipped_folder(name))
    path = Path(name)
    if _exists(path):
        return Source(model_stem(path), path)
    released = parse_released(name)
    if released is not None:
        chosen, path = fetch_released(released)
        return Source(str(chosen), path)
    raise ModelError(
        "model",
        name,
        "is neither a model that ships with symjax, nor a folder or a file, nor the "
        "name of a released model",
        remedy,
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a null character
        return False


def _imported_once(source: Source) -> Model:
    """The model of a file of another package, from the cache where it is there."""
    try:
        digest = file_digest(source.path)
    except OSError as error:
        raise ModelError(
            "model",
            str(source.path),
            f"cannot be read: {error}",
            "Pass a checkpoint, an exported model, or a folder that symjax wrote",
        ) from error
    folder = user_cache("models")
    if folder is not None:
        # What another version has imported may lack what this one knows.
        version = f"{symjax.__version__}-{FORMAT.rpartition('/')[2]}"
        folder = folder / f"{digest[:32]}-{version}"
        if (folder / METADATA_FILE).is_file():
            try:
                kept = read_folder(folder)
            except ModelError as error:
                _log.info("The cache is damaged (%s): importing again", error)
            else:
                # Another file of the same contents may have another name.
                card = {**kept.card, "source": file_text(source.path.name)}
                return dataclasses.replace(kept, name=source.name, card=card)
    _log.info("Importing %s; this is done once", source.path)
    importer = importlib.import_module(IMPORTER)
    model: Model = importer.import_checkpoint(source.path, source.name)
    if folder is not None:
        try:
            save_model(model, folder)
            _log.info("Imported %s; kept in %s", source.name, folder)
        except ModelError as error:
            _log.warning("%s is imported each time: %s", source.name, error)
    return model
