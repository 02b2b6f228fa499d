"""The one place where files of the PyTorch stack are read.

A checkpoint is a pickle, which in general can run code of its author. It is read by
torch's restricted unpickler: besides tensors and plain containers it may build three
classes, all that metatrain's PET has ever written, and anything else is refused by
name. An exported model is a TorchScript program, which is read without the compiled
extensions that it may ask for. It does run: read it only from sources that you trust.
"""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from symjax._files import read_bounded, unpacked_limit
from symjax.errors import ModelError

_REMEDY = "Pass a checkpoint or an exported model that metatrain's PET wrote, whole"


class Source(NamedTuple):
    """A PET of the PyTorch stack.

    Attributes:
      model: metatrain's PET: the module itself, or its TorchScript.
      exported: The same as a ``metatomic.torch.AtomisticModel``.
      hypers: Hyperparameters by name; empty where the file does not hold them.
      kind: ``"checkpoint"`` or ``"exported model"``.
    """

    model: Any
    exported: Any
    hypers: dict[str, Any]
    kind: str


def read_archive(path: Path) -> bytes:
    """A file of PyTorch, after a check of what it would unpack to.

    Args:
      path: The file, possibly compressed with gzip.

    Returns:
      Its contents, unpacked.

    Raises:
      OSError: There is no such file, it is no regular file, too large, or damaged, or
        its entries would grow beyond what trained weights can.
    """
    data = read_bounded(path)
    if zipfile.is_zipfile(io.BytesIO(data)):
        try:
            entries = zipfile.ZipFile(io.BytesIO(data)).infolist()
        except zipfile.BadZipFile as error:
            raise OSError(str(error)) from error
        total = sum(entry.file_size for entry in entries)
        most = unpacked_limit(len(data))
        if total > most:
            raise OSError(f"its entries unpack to {total:,} bytes, more than {most:,}")
    return data


def read_pet(path: Path) -> Source:
    """Reads a PET, from whichever kind of file.

    Args:
      path: A checkpoint or an exported model, possibly compressed with gzip.

    Returns:
      The model, on the CPU, in its own precision, and ready to evaluate.

    Raises:
      ModelError: The extra ``[torch]`` is not installed; there is no such file; or it
        is truncated, or holds something else.
    """
    if not path.exists():
        raise ModelError(
            "path",
            str(path),
            "there is no such file",
            "Pass a checkpoint .ckpt or an exported model .pt",
        )
    try:
        import metatomic.torch  # noqa: F401
        import metatrain.pet  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise ModelError(
            "path",
            str(path),
            f"reading a model of metatrain needs {error.name}",
            "Install symjax[torch]; what is imported works without it",
        ) from error
    try:
        data = read_archive(path)
        entries = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(
            "path", str(path), f"cannot be read: {error}", _REMEDY
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if any(entry.endswith("/constants.pkl") for entry in entries):
            return _exported(data, str(path))
        return _checkpoint(data, str(path))


def _unpickle(data: bytes, path: str) -> Any:
    import torch
    from metatrain.utils.data.dataset import DatasetInfo
    from metatrain.utils.data.target_info import TargetInfo

    allowed = [DatasetInfo, TargetInfo, torch.ScriptObject]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises whatever the damage leads to
        try:
            found = torch.serialization.get_unsafe_globals_in_checkpoint(
                io.BytesIO(data)
            )
        except Exception:
            found = []
        known = {f"{kind.__module__}.{kind.__qualname__}" for kind in allowed}
        foreign = sorted(set(found) - known - {"torch.ScriptObject"})
        if foreign:
            raise ModelError(
                "path",
                path,
                f"would call {', '.join(foreign)} when read",
                "No checkpoint of metatrain's PET does: this one is of another "
                "architecture, or not to be trusted",
            ) from error
        raise ModelError(
            "path", path, f"cannot be read as a checkpoint: {error}", _REMEDY
        ) from error


def _checkpoint(data: bytes, path: str) -> Source:
    from metatrain.utils.io import model_from_checkpoint

    checkpoint = _unpickle(data, path)
    if not isinstance(checkpoint, dict) or "architecture_name" not in checkpoint:
        raise ModelError("path", path, "is no checkpoint of metatrain", _REMEDY)
    _check_architecture(str(checkpoint["architecture_name"]), "pet", path)
    # Named before metatrain builds the model, which may need other packages for them.
    weights = checkpoint.get("best_model_state_dict")
    if not isinstance(weights, dict):
        raise ModelError(
            "path",
            path,
            "holds no best weights",
            "Use a checkpoint that was written after the first epoch of a training",
        )
    try:
        hypers = dict(checkpoint["model_data"]["model_hypers"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError("path", path, "holds no hyperparameters", _REMEDY) from error
    long_range = hypers.get("long_range")
    if isinstance(long_range, dict) and long_range.get("enable"):
        try:
            import torchpme  # noqa: F401
        except ImportError as error:
            raise ModelError(
                "path",
                path,
                "has long-range features (long_range.enable), which metatrain "
                f"evaluates with {error.name}",
                "Install torch-pme, which symjax[torch] asks for",
            ) from error
    if any("lora_" in str(key) for key in weights) or _is_lora(weights):
        raise ModelError(
            "path",
            path,
            "has low-rank adapters (LoRA)",
            "symjax's PET has none; add their products to the weights first",
        )
    try:
        model = model_from_checkpoint(checkpoint, context="export").eval()
        exported = model.export()
    except Exception as error:  # metatrain raises whatever the contents lead to
        reason = " ".join(f"{error} {error.__cause__ or ''}".split())
        raise ModelError(
            "path", path, f"metatrain cannot load it: {reason[:500]}", _REMEDY
        ) from error
    return Source(model, exported, dict(model.hypers), "checkpoint")


def _is_lora(weights: dict[str, Any]) -> bool:
    finetune = weights.get("finetune_config")
    return isinstance(finetune, dict) and finetune.get("method") == "lora"


def _exported(data: bytes, path: str) -> Source:
    import metatomic.torch
    import torch
    from metatrain.utils.data.dataset import DatasetInfo
    from torch._jit_internal import createResolutionCallbackForClassMethods

    try:
        loaded = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()
    except Exception as error:  # torch raises what the damage leads to
        raise ModelError(
            "path",
            path,
            f"cannot be read as an exported model: {str(error).strip()[:300]}",
            "Import the checkpoint .ckpt, or export it again with this metatrain",
        ) from error
    if loaded.original_name != "AtomisticModel":
        raise ModelError(
            "path", path, f"is TorchScript of {loaded.original_name!r}", _REMEDY
        )
    model = loaded.module
    _check_architecture(model.original_name, "PET", path)
    try:
        # Makes the class known, as scripting a whole model does, so that the
        # description of the targets can be read back from TorchScript.
        names = createResolutionCallbackForClassMethods(DatasetInfo)
        torch.jit.script(DatasetInfo, _rcb=names)
        _ = model.dataset_info.targets, model.backend.cutoff
    except (AttributeError, RuntimeError) as error:
        raise ModelError(
            "path",
            path,
            "was exported by another version of metatrain, which stored other "
            "attributes",
            "Import the checkpoint .ckpt, or export it again with this metatrain",
        ) from error
    exported = metatomic.torch.AtomisticModel(
        loaded, loaded.metadata(), loaded.capabilities()
    )
    return Source(model, exported, {}, "exported model")


def _check_architecture(found: str, wanted: str, path: str) -> None:
    if found != wanted:
        hint = (
            "Import the checkpoint of the PET that it wraps"
            if found.lower().startswith("llpr")
            else f"Only {wanted!r} can be imported"
        )
        raise ModelError("path", path, f"holds the architecture {found!r}", hint)
