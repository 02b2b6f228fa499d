"""Loads a model by its name or path.

A model ships with symjax, is in a folder that symjax wrote or in a file of another
package (a checkpoint or an exported model), or is published under a name. A file of
another package is imported once: the result is cached under the digest of the file.
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

It depends on this package and needs PyTorch, so it is imported by name, when needed.
"""


class Source(NamedTuple):
    """Where a model is.

    Attributes:
      name: Name of the model in reports.
      path: Its folder, or the file of another package.
    """

    name: str
    path: Path


def load_model(name_or_path: str | Path) -> Any:
    """Loads a model by its name or path.

    Importing a file of another package needs ``symjax[torch]``. It happens once: the
    result is cached in ``$XDG_CACHE_HOME/symjax/models`` (by default on Linux
    ``~/.cache/symjax/models``) under the SHA-256 digest of the file. Published models
    are downloaded with ``huggingface_hub``. The logger ``symjax.models`` reports
    imports and downloads.

    Args:
      name_or_path: One of, in this order of precedence: a name from
        :func:`shipped_models`; the path of a folder that :func:`save_model` wrote, of
        a checkpoint ``.ckpt`` or exported model ``.pt`` of metatrain's PET, or of a
        checkpoint of PoLAr-MAE, possibly compressed with gzip; or the name of a
        published model with or without its version, such as ``pet-mad-s`` or
        ``pet-mad-s@1.6.0``. Only load checkpoints from sources that you trust.

    Returns:
      A ``PETModel`` or a ``PointMAEModel``, with parameters as NumPy arrays.

    Raises:
      ModelError: There is no such model, it cannot be downloaded or imported, or its
        files are missing, damaged, of another format, or do not belong together.

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
    """Finds a model, and downloads it if it is a published one that is not cached.

    Raises:
      ModelError: There is no such model, or it cannot be downloaded.
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
    """The model in a file of another package, from the cache if possible."""
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
        # Another version may have imported less of the file.
        version = f"{symjax.__version__}-{FORMAT.rpartition('/')[2]}"
        folder = folder / f"{digest[:32]}-{version}"
        if (folder / METADATA_FILE).is_file():
            try:
                kept = read_folder(folder)
            except ModelError as error:
                _log.info("The cache is damaged (%s): importing again", error)
            else:
                # The cached name may be that of another file with the same contents.
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
