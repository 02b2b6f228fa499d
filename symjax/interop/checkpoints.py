"""Imports files of other packages as models, whichever package wrote them."""

import zipfile
from pathlib import Path
from typing import Any

from symjax.errors import ModelError
from symjax.interop._reading import read_archive
from symjax.interop.metatrain import load_metatrain
from symjax.interop.polarmae import load_polarmae

_REMEDY = (
    "Pass an undamaged checkpoint or exported model of metatrain's PET, or checkpoint "
    "of PoLAr-MAE"
)
# Strings in the pickle of a Lightning checkpoint.
_LIGHTNING = (b"state_dict", b"pytorch-lightning_version")


def import_checkpoint(path: Path, name: str | None = None) -> Any:
    """Imports a file of PyTorch as a ``PETModel`` or a ``PointMAEModel``.

    Args:
      path: A checkpoint or an exported model of metatrain's PET, or a checkpoint of
        Point-MAE or PoLAr-MAE, possibly compressed with gzip. Import only files whose
        source you trust.
      name: Name of the model for reports; by default that of the file.

    Raises:
      ModelError: The extra ``[torch]`` is not installed; it is no regular file;
        it is truncated or none of these; or it has a part that symjax does not have.
    """
    try:
        archive = read_archive(path, allow_pickle=True)
        # Old checkpoints are no archives: all of the file is searched.
        pickled = archive.read("/data.pkl") if archive.entries else archive.data
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise ModelError(
            "path", str(path), f"cannot be read: {error}", _REMEDY
        ) from error
    lightning = not archive.is_exported and all(key in pickled for key in _LIGHTNING)
    if lightning and b"architecture_name" not in pickled:
        return load_polarmae(path, name)
    return load_metatrain(path, name)
