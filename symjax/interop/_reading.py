"""Reads files of the PyTorch stack.

A checkpoint is a pickle, which in general can run code of its author. It is read by
torch's restricted unpickler, which builds tensors, plain containers and the three other
classes that metatrain writes; anything else raises an error that names it. An exported
model is a TorchScript program, which is read without the compiled extensions that it
may need. It is executed: read it only from sources that you trust.
"""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from symjax._files import read_bounded, unpacked_limit
from symjax.errors import ModelError, needs_extra

_REMEDY = "Pass an undamaged checkpoint or exported model of metatrain's PET"

# Hyperparameters that metatrain's network, and its TorchScript, have as attributes.
ATTRIBUTES = (
    "cutoff",
    "cutoff_function",
    "cutoff_width",
    "num_neighbors_adaptive",
    "adaptive_cutoff_method",
    "d_pet",
    "d_node",
    "d_head",
    "d_feedforward",
    "num_heads",
    "num_attention_layers",
    "num_gnn_layers",
    "normalization",
    "activation",
    "attention_temperature",
    "transformer_type",
    "featurizer_type",
)
_OTHER_HYPERS = (
    "cutoff_width_adaptive",
    "long_range",
    "max_charge",
    "max_spin_multiplicity",
    "system_conditioning",
    "zbl",
)


class Source(NamedTuple):
    """A PET of the PyTorch stack.

    Attributes:
      model: metatrain's PET: the module itself, or its TorchScript.
      exported: The same as a ``metatomic.torch.AtomisticModel``.
      hypers: Hyperparameters by name; empty if the file does not store them.
      wrapper: metatrain's uncertainty model around it, or its TorchScript; None if
        there is none.
    """

    model: Any
    exported: Any
    hypers: dict[str, Any]
    wrapper: Any = None


class Archive(NamedTuple):
    """A file of PyTorch.

    Attributes:
      data: Its contents, not compressed with gzip.
      entries: Names of its entries; empty for old checkpoints, which are a bare pickle.
    """

    data: bytes
    entries: tuple[str, ...]

    @property
    def is_exported(self) -> bool:
        """Whether it is a TorchScript program rather than a checkpoint."""
        return any(entry.endswith("/constants.pkl") for entry in self.entries)

    def read(self, ending: str) -> bytes:
        """The first entry with an ending; empty if there is none."""
        found = [entry for entry in self.entries if entry.endswith(ending)]
        if not found:
            return b""
        with zipfile.ZipFile(io.BytesIO(self.data)) as archive:
            return archive.read(found[0])


def read_archive(path: Path, *, allow_pickle: bool = False) -> Archive:
    """Reads a file of PyTorch, possibly compressed with gzip.

    Args:
      path: The file.
      allow_pickle: Whether to accept old checkpoints, which are a bare pickle.

    Raises:
      OSError: It cannot be read, or it or its entries unpack to more than trained
        weights can.
    """
    data = read_bounded(path)
    if not zipfile.is_zipfile(io.BytesIO(data)):
        if not allow_pickle:
            raise OSError("it is not a zip file")
        return Archive(data, ())
    try:
        entries = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except zipfile.BadZipFile as error:
        raise OSError(str(error)) from error
    total = sum(entry.file_size for entry in entries)
    most = unpacked_limit(len(data))
    if total > most:
        raise OSError(f"its entries unpack to {total:,} bytes, more than {most:,}")
    return Archive(data, tuple(entry.filename for entry in entries))


def read_pet(path: Path) -> Source:
    """Reads a PET from a checkpoint or an exported model, possibly gzipped.

    The model is on the CPU, in its own precision, and in evaluation mode.
    """
    if not path.exists():
        raise ModelError(
            "path",
            str(path),
            "there is no such file",
            "Pass a checkpoint .ckpt or an exported model .pt",
        )
    with needs_extra("torch", "path", str(path)):
        import metatomic.torch  # noqa: F401
        import metatrain.pet  # noqa: F401
        import torch  # noqa: F401
    try:
        archive = read_archive(path)
    except OSError as error:
        raise ModelError(
            "path", str(path), f"cannot be read: {error}", _REMEDY
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if archive.is_exported:
            return _exported(archive.data, str(path))
        return _checkpoint(archive.data, str(path))


def unpickle(data: bytes, path: str) -> Any:
    """Reads a checkpoint of metatrain, of any architecture, without running code.

    Raises:
      ModelError: The file is damaged, or would call a function that is not allowed.
    """
    import torch
    from metatrain.utils.data.dataset import DatasetInfo
    from metatrain.utils.data.target_info import TargetInfo

    allowed = [DatasetInfo, TargetInfo, torch.ScriptObject]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises errors of many types
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
                "Checkpoints only store tensors and descriptions of targets: do not "
                "trust this one, or have it exported by someone who does",
            ) from error
        raise ModelError(
            "path", path, f"cannot be read as a checkpoint: {error}", _REMEDY
        ) from error


def _checkpoint(data: bytes, path: str) -> Source:
    from metatrain.utils.io import model_from_checkpoint

    checkpoint = unpickle(data, path)
    if not isinstance(checkpoint, dict) or "architecture_name" not in checkpoint:
        raise ModelError("path", path, "is not a checkpoint of metatrain", _REMEDY)
    wraps = _check_architecture(checkpoint["architecture_name"], "pet", "llpr", path)
    inner = checkpoint.get("wrapped_model_checkpoint") if wraps else checkpoint
    if not isinstance(inner, dict) or "architecture_name" not in inner:
        raise ModelError("path", path, "lacks the model that it wraps", _REMEDY)
    _check_architecture(inner["architecture_name"], "pet", None, path)
    newest = [_check_version(part, path) for part in (checkpoint, inner)][-1]
    # Checked before metatrain builds the model, which may need other packages.
    weights = inner.get("best_model_state_dict")
    if not isinstance(weights, dict):
        raise no_best_weights("path", path)
    try:
        hypers = dict(inner["model_data"]["model_hypers"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError("path", path, "has no hyperparameters", _REMEDY) from error
    if newest:
        check_hypers(hypers, path)
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
    try:
        _complete_adapters(inner)
        _complete_factors(checkpoint)
        loaded = model_from_checkpoint(checkpoint, context="export").eval()
        exported = loaded.export()
    except Exception as error:  # metatrain raises errors of many types
        raise not_loaded("path", path, error) from error
    model = loaded.model if wraps else loaded
    return Source(model, exported, dict(model.hypers), loaded if wraps else None)


def no_best_weights(argument: str, path: str) -> ModelError:
    """The error for a checkpoint without best weights."""
    return ModelError(
        argument,
        path,
        "has no best weights",
        "Use a checkpoint that was written after the first epoch of a training",
    )


def not_loaded(argument: str, path: str, error: Exception) -> ModelError:
    """The error for a file that metatrain cannot load, with its reason in one line."""
    reason = " ".join(f"{error} {error.__cause__ or ''}".split())
    return ModelError(
        argument,
        path,
        f"metatrain cannot load it: {reason[:500]}",
        "Read it with the version of metatrain that wrote it; if that cannot load it "
        "either, the file is damaged",
    )


def _check_version(checkpoint: dict[str, Any], path: str) -> bool:
    """Raises if the installed metatrain is too old; whether the versions are equal."""
    import metatrain
    from metatrain.llpr import LLPRUncertaintyModel
    from metatrain.pet import PET

    name = str(checkpoint["architecture_name"])
    kinds = {"pet": PET, "llpr": LLPRUncertaintyModel}
    known = kinds[name].__checkpoint_version__
    # The first checkpoints have no version.
    found = checkpoint.get("model_ckpt_version") or 1
    if not isinstance(found, int):
        raise ModelError("path", path, f"is of version {found!r}", _REMEDY)
    if found > known:
        raise ModelError(
            "path",
            path,
            f"is of version {found} of metatrain's {name!r}, but the installed "
            f"metatrain {metatrain.__version__} reads versions up to {known}",
            "Upgrade it with: pip install --upgrade metatrain",
        )
    return bool(found == known)


def _complete_adapters(checkpoint: dict[str, Any]) -> None:
    """Adds the strength of low-rank adapters, which only other weights store."""
    weights = checkpoint["best_model_state_dict"]
    others = checkpoint.get("model_state_dict")
    adapted = any("lora_" in str(key) for key in weights)
    if adapted and "finetune_config" not in weights and isinstance(others, dict):
        weights["finetune_config"] = others["finetune_config"]


def _complete_factors(checkpoint: dict[str, Any]) -> None:
    """Adds Cholesky factors of the best weights, which metatrain's upgrade omits."""
    best = checkpoint.get("best_model_state_dict")
    old = any(str(key).startswith("inv_covariance_") for key in best or {})
    if checkpoint["architecture_name"] == "llpr" and old:
        from metatrain.llpr.checkpoints import model_update_v3_v4

        part = {"model_state_dict": best}
        model_update_v3_v4(part)
        checkpoint["best_model_state_dict"] = part["model_state_dict"]


def _exported(data: bytes, path: str) -> Source:
    import metatomic.torch
    import torch
    from metatrain.utils.data.dataset import DatasetInfo
    from torch._jit_internal import createResolutionCallbackForClassMethods

    try:
        loaded = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()
    except Exception as error:  # torch raises errors of many types
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
    model, wrapper = loaded.module, None
    if _check_architecture(model.original_name, "PET", "LLPRUncertaintyModel", path):
        model, wrapper = model.model, model
        _check_architecture(model.original_name, "PET", None, path)
    try:
        # Registers the class, as scripting a whole model does, so that the description
        # of the targets can be read back from TorchScript.
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
    return Source(model, exported, {}, wrapper)


def _check_architecture(found: Any, pet: str, wrapper: str | None, path: str) -> bool:
    """Whether it is an uncertainty model around a PET; raises if it is neither."""
    if str(found) not in (pet, wrapper):
        raise ModelError(
            "path",
            path,
            f"has the architecture {str(found)!r}",
            f"Only {pet!r}, alone or in an uncertainty model, can be imported",
        )
    return str(found) == wrapper


def check_hypers(hypers: dict[str, Any], path: str) -> None:
    """Raises for hyperparameters that symjax does not know, unless they are off.

    Later versions of metatrain may add some that are off by default.
    """
    for name, value in hypers.items():
        if name not in (*ATTRIBUTES, *_OTHER_HYPERS) and value not in (None, False):
            raise ModelError(
                "path",
                path,
                f"has the hyperparameter {name}={value!r}, which symjax does not know",
                "Use a newer symjax, or train without it",
            )
