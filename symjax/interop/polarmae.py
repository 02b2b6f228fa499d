"""Import of released checkpoints of Point-MAE and PoLAr-MAE (PyTorch Lightning).

They are read with ``torch.load(weights_only=True)``, which refuses to run code. A
checkpoint that cannot be read that way is refused unless ``unsafe=True`` is passed:
full unpickling runs whatever code its author put there, so it trusts the source of
the file. Only here is torch imported (the extra ``symjax[torch]``).

Source: Young, Jwa, Terao, arXiv:2502.02558; parameter names of
github.com/DeepLearnPhysics/PoLAr-MAE.
"""

import io
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from symjax._text import file_text, model_stem
from symjax.data.point_clouds.clouds import LOW_ENERGY
from symjax.errors import ModelError, needs_extra
from symjax.interop._polarmae_settings import (
    IGNORED,
    NO_SEG_DECODER,
    REMEDY,
    data_fields,
    model_fields,
)
from symjax.interop._reading import read_archive
from symjax.models.pointmae.config import ARCHITECTURES, PointMAEConfig
from symjax.models.pointmae.model import PointMAEModel, parameter_shapes

# Weights of the training loss, and states of its metrics: no part of the network. The
# original makes a table of relative positions, and never passes it to the attention.
_IGNORED = re.compile(r"(loss_func|(train|val)_\w+|encoder\.relative_position_bias)\.")
_FIRST = "encoder.tokenizer.embedding.first_conv"
_NEEDED = (
    "encoder.transformer.blocks.0.norm1.gamma",
    f"{_FIRST}.0.weight",
    f"{_FIRST}.3.weight",
    "encoder.tokenizer.embedding.second_conv.0.weight",
)
_LEAVES = {"kernel": "weight", "scale": "weight"}
_REMEDY = "Pass a checkpoint .ckpt of PoLAr-MAE, whole"


def load_polarmae(
    path: str | Path,
    name: str | None = None,
    *,
    unsafe: bool = False,
    **changes: Any,
) -> PointMAEModel:
    """Reads a checkpoint of Point-MAE or PoLAr-MAE, pretraining or segmentation.

    Sizes follow from the shapes of the weights, the rest from the hyperparameters of
    model and data that the checkpoint holds, as the original reads them; where it holds
    none, from the published configuration of its size. The model card says which, and
    which hyperparameters are ignored since they belong to the training.

    Args:
      path: A checkpoint ``.ckpt``, possibly compressed with gzip.
      name: Name of the model for reports; by default that of the file.
      unsafe: Whether to unpickle it fully, which can run code that it contains. Only
        for files whose source you trust.
      **changes: Fields of :class:`~symjax.models.pointmae.PointMAEConfig` that neither
        shapes nor hyperparameters tell, such as ``num_heads``.

    Returns:
      The model, in the checkpoint's precision, for :func:`symjax.models.save_model`.

    Raises:
      ModelError: The extra ``[torch]`` is not installed; there is no such file; it is
        truncated or no checkpoint of PoLAr-MAE; a hyperparameter is unknown, or one
        that symjax does not have; or names and shapes do not match, of which the
        message lists all.

    Example:
      >>> from symjax.interop.polarmae import load_polarmae
      >>> load_polarmae("missing.ckpt")
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: path='missing.ckpt': there is no such file...
    """
    path = Path(path)
    checkpoint = _read(path, unsafe)
    state = {
        key: value.detach().cpu().numpy()
        for key, value in checkpoint["state_dict"].items()
    }
    hypers = checkpoint.get("hyper_parameters") or {}
    data = checkpoint.get("datamodule_hyper_parameters") or {}
    config = infer_config(state, hypers, data, **changes)
    parameters = convert_state(state, config, str(path))
    card = {
        "description": "PoLAr-MAE trained with PyTorch",
        "source": file_text(path.name),
        "settings": "of the checkpoint" if hypers else "published, of this size",
        "settings_of_data": "of the checkpoint" if data else "published",
        "ignored": sorted(IGNORED & set(hypers)),
    }
    return PointMAEModel(name or model_stem(path), config, parameters, card)


def _read(path: Path, unsafe: bool) -> dict[str, Any]:
    if not path.exists():
        raise ModelError("path", str(path), "there is no such file", _REMEDY)
    try:
        data = read_archive(path, allow_pickle=True).data
    except OSError as error:
        raise ModelError(
            "path", str(path), f"cannot be read: {error}", _REMEDY
        ) from error
    with needs_extra("torch", "path", str(path)):
        import torch
    try:
        checkpoint = torch.load(
            io.BytesIO(data), map_location="cpu", weights_only=not unsafe
        )
    except Exception as error:  # unpickling raises whatever the damage leads to
        first = (str(error).splitlines() or [type(error).__name__])[0]
        hint = "" if unsafe else "; if it is, and you trust its source, pass unsafe"
        raise ModelError(
            "path", str(path), f"cannot be read: {first}", _REMEDY + hint
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(
        checkpoint.get("state_dict"), dict
    ):
        raise ModelError("path", str(path), "has no 'state_dict'", _REMEDY)
    return checkpoint


def infer_config(
    state: Mapping[str, np.ndarray],
    hyperparameters: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    **changes: Any,
) -> PointMAEConfig:
    """The configuration that a state dict belongs to.

    Without hyperparameters, of the model or of the data, those of the published model
    of this size count: points above 0.13 MeV, without the first cluster unless that is
    a class.

    Args:
      state: Arrays by PyTorch's names.
      hyperparameters: What Lightning has stored beside them of the model.
      data: What it has stored of the data.
      **changes: Fields of the configuration that are known better.

    Raises:
      ModelError: As :func:`load_polarmae`.
    """
    missing = [key for key in _NEEDED if key not in state]
    if missing:
        raise ModelError(
            "state_dict",
            sorted(state)[:8],
            "has no weights of the encoder, " + ", ".join(missing),
            _REMEDY,
        )
    shapes = _fields_of_shapes(state)
    width, depth = shapes["embed_dim"], shapes["depth"]
    names = {size: name for name, (size, _, _) in ARCHITECTURES.items()}
    # Of the original for twelve blocks, in proportion for other depths.
    thirds = sorted({max(math.ceil(depth * n / 3) - 1, 0) for n in (1, 2, 3)})
    published = PointMAEConfig.named(names.get(width, "vit_small")).to_json()
    fields: dict[str, Any] = {**published, "fetch_layers": tuple(thirds)}
    if hyperparameters:
        given = model_fields(hyperparameters)
        for name in sorted(given.keys() & shapes.keys() - changes.keys()):
            if given[name] != shapes[name]:
                raise ModelError(
                    name,
                    given[name],
                    f"is what the hyperparameters say, but the weights {shapes[name]}",
                    "Use a checkpoint that is as it was written",
                )
        fields |= given
    if data:
        fields |= data_fields(data)
    elif shapes["num_classes"] > LOW_ENERGY:
        fields["low_energy"] = "keep"
    return PointMAEConfig.from_json({**fields, **shapes, **changes})


def _fields_of_shapes(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What names and shapes of the weights determine."""

    def depth(prefix: str) -> int:
        pattern = re.compile(rf"{prefix}\.transformer\.blocks\.(\d+)\.")
        found = [int(m[1]) for key in state if (m := pattern.match(key))]
        return max(found, default=-1) + 1

    if depth("seg_decoder"):
        raise ModelError("seg_decoder", depth("seg_decoder"), NO_SEG_DECODER, REMEDY)
    width = int(state[_NEEDED[0]].size)
    fields: dict[str, Any] = {
        "embed_dim": width,
        "depth": depth("encoder"),
        "decoder_depth": depth("decoder"),
        "energy_infilling": "energy_decoder.weight" in state,
        "pointnet_widths": tuple(int(state[key].shape[0]) for key in _NEEDED[1:]),
        "encoder_norm": "encoder.transformer.norm.gamma" in state,
        "num_classes": 0,
    }
    if fields["decoder_depth"]:
        fields["decoder_norm"] = "decoder.transformer.norm.gamma" in state
    points = None
    if "energy_decoder.bias" in state:
        points = int(state["energy_decoder.bias"].size)
    if "increase_dim.bias" in state:
        size = int(state["increase_dim.bias"].size)
        points = size // 4 if points is None else points
        fields["reconstruct_energy"] = size == 4 * points
    if points is not None:
        fields["group_points"] = points
    if "seg_head.conv3.bias" in state:
        fields["num_classes"] = int(state["seg_head.conv3.bias"].size)
        hidden, inputs = state["seg_head.conv1.weight"].shape[:2]
        fields["seg_head_dim"] = int(hidden)
        fields["global_features"] = inputs == 3 * width
    return fields


def convert_state(
    state: Mapping[str, np.ndarray], config: PointMAEConfig, source: str = "state_dict"
) -> dict[str, Any]:
    """``{"params": ..., "batch_stats": ...}``, by PyTorch's names and by shapes.

    Raises:
      ModelError: An array is missing, left over or of another shape; the message lists
        all of them.
    """
    flat: dict[str, np.ndarray] = {}
    used, missing, wrong = set(), [], []
    for path, shape in parameter_shapes(config).items():
        key = torch_name(path)
        used.add(key)
        if key not in state:
            missing.append(key)
            continue
        array = np.asarray(state[key])
        # A convolution of width 1 is a linear layer.
        if array.ndim == 3 and array.shape[-1] == 1 and len(shape) == 2:
            array = array[..., 0]
        if array.shape[:2] == (1, 1) and len(shape) == 1:
            array = array.reshape(-1)
        if len(shape) == 2:
            array = array.T
        if array.shape != shape:
            wrong.append(f"{key} {np.shape(state[key])} for {shape}")
            continue
        flat[path] = np.ascontiguousarray(array)
    extra = [key for key in state if key not in used and not _IGNORED.match(key)]
    if missing or extra or wrong:
        parts = [
            f"{label} {', '.join(keys)}"
            for label, keys in (
                ("missing", missing),
                ("left over", sorted(extra)),
                ("of another shape", wrong),
            )
            if keys
        ]
        raise ModelError(
            source,
            len(state),
            "names and shapes do not match: " + "; ".join(parts),
            "Pass fields of the configuration that differ, or another checkpoint",
        )
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def torch_name(path: str) -> str:
    """PyTorch's name of a parameter of the Flax tree, whose path has ``/``."""
    collection, *modules, leaf = path.split("/")
    if collection == "batch_stats":
        leaf = {"mean": "running_mean", "var": "running_var"}[leaf]
    elif leaf in ("second_conv_0", "conv1"):
        # The layer is a bare kernel there, as its product is split in two.
        modules, leaf = [*modules, leaf], "weight"
    else:
        leaf = _LEAVES.get(leaf, leaf)
    parts = []
    for module in modules:
        module = module.replace("encoder_time_embed", "encoder.time_embed")
        parts.append(re.sub(r"_(\d+)$", r".\1", module))
    return ".".join([*parts, leaf])
