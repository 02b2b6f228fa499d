"""What the hyperparameters of a checkpoint of PoLAr-MAE say, read as the original does.

Every name that its classes take is read here, refused, or listed as one of training. A
name that is absent has the default of the original's code, not that of its published
configurations. Source: constructors of github.com/DeepLearnPhysics/PoLAr-MAE.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from symjax.data.point_clouds import voxel_length
from symjax.errors import ModelError
from symjax.models.pointmae.config import ARCHITECTURES, PointMAEConfig

IGNORED = frozenset(
    {
        # Lightning
        "_instantiator",
        "_class_path",
        # losses
        "loss_func",
        "loss_weights",
        "mae_prediction",  # the shape of increase_dim tells
        # optimisation
        "learning_rate",
        "optimizer_adamw_weight_decay",
        "lr_scheduler_linear_warmup_epochs",
        "lr_scheduler_linear_warmup_start_lr",
        "lr_scheduler_cosine_eta_min",
        "lr_scheduler_stepping",
        "freeze_last_layer_iters",
        "fix_estimated_stepping_batches",
        "encoder_freeze",
        "pretrained_ckpt_path",
        # transformations in training
        "train_transformations",
        "transformation_rotate_dims",
        "transformation_rotate_degs",
        "transformation_scale_min",
        "transformation_scale_max",
        "transformation_translate",
        "transformation_height_normalize_dim",
        # a classifier beside the training
        "svm_validation",
        "svm_validation_C",
        "svm_validation_max_tokens",
        # accepted by the original, and without effect there
        "use_pos_enc_for_upsampling",
        "apply_local_attention",
    }
)
"""Hyperparameters that do not change what a trained model computes."""

NO_SEG_DECODER = "a decoder before the segmentation head is not supported"
REMEDY = "Use a checkpoint without it, as the released ones are"

_HEADS = ("encoder", "decoder", "seg_decoder", "num_classes", "seg_head_fetch_layers")
_MODEL = frozenset(
    {
        *_HEADS,
        "seg_head_dim",
        "seg_head_dropout",
        "condition_global_features",
        "val_transformations",
        "transformation_center",
        "transformation_scale_factor",
    }
)
_ENCODER: dict[str, Any] = {
    "num_channels": 4,
    "arch": "vit_small",
    "masking_ratio": 0.6,
    "masking_type": "rand",
    "voxel_size": 5,
    "tokenizer_kwargs": {},
    "transformer_kwargs": {},
    # The bias is a parameter, but the original never passes it on to the attention.
    "apply_relative_position_bias": False,
}
_DECODER: dict[str, Any] = {
    "arch": "vit_small",
    "transformer_kwargs": {},
    "header": None,
}
_TRANSFORMER: dict[str, Any] = {
    "embed_dim": None,
    "depth": None,
    "num_heads": None,
    "mlp_ratio": 4,
    "qkv_bias": True,
    "qk_scale": None,
    "drop_rate": 0.0,
    "attn_drop_rate": 0.0,
    "drop_path_rate": 0.0,
    "drop_path_uniform": False,
    "add_pos_at_every_layer": False,
    "postnorm": True,
    "prompt_tuning": False,
    "use_flash_self_attn": False,
}
_COARSE = {"use_fps_seed": True, "normalize_group_centers": True}
_TOKENIZER: dict[str, Any] = {
    "num_init_groups": 256,
    "context_length": None,
    "group_max_points": None,
    "group_radius": None,
    "group_upscale_points": None,
    "overlap_factor": None,
    "reduction_method": "fps",
    "use_relative_features": False,
    "normalize_group_centers": False,
    "use_fps_seed": False,
    "embed_dim": None,
}
_DATA: dict[str, Any] = {
    "emin": 1e-6,
    "emax": 20.0,
    "energy_threshold": 0.13,
    "remove_low_energy_scatters": False,
    "maxlen": -1,
    "min_points": 1024,
    "return_semantic_id": True,
    "return_cluster_id": True,
    "return_endpoints": False,
}
_DATA_MODULE = {
    "data_path",
    "batch_size",
    "num_workers",
    "dataset_kwargs",
    "test_dataset_kwargs",
    "_instantiator",
    "_class_path",
}


def model_fields(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the configuration that Lightning's ``hyper_parameters`` determine.

    Raises:
      ModelError: A hyperparameter is unknown, or has a value with which the original
        does not run or that symjax does not have.
    """
    _known("hyper_parameters", hyperparameters, _MODEL | IGNORED)
    if hyperparameters.get("seg_decoder"):
        raise _refused("seg_decoder", True, NO_SEG_DECODER)
    if "encoder" not in hyperparameters:
        raise _refused("encoder", sorted(hyperparameters), "is not among the settings")
    encoder = _arguments("encoder", hyperparameters, "TransformerEncoder", _ENCODER)
    for name, wanted in (("num_channels", 4), ("masking_type", "rand")):
        if encoder[name] != wanted:
            raise _refused(name, encoder[name], f"only {wanted!r} is supported")
    fields = {
        **_tokenizer(encoder),
        **_transformer("encoder", encoder),
        **_decoder(hyperparameters),
        **_detector(hyperparameters),
        "masking_ratio": encoder["masking_ratio"],
        "head_dropout": hyperparameters.get("seg_head_dropout", 0.5),
        "global_features": bool(hyperparameters.get("condition_global_features")),
    }
    layers = hyperparameters.get("seg_head_fetch_layers", [3, 7, 11])
    # As indices of Python's lists, which may count from the end.
    fields["fetch_layers"] = tuple(
        fields["depth"] + layer if layer < 0 else layer for layer in layers
    )
    return fields


def _transformer(owner: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    arch = arguments["arch"]
    if arch not in ARCHITECTURES:
        raise _refused(f"{owner}.arch", arch, f"is none of {', '.join(ARCHITECTURES)}")
    width, depth, heads = ARCHITECTURES[arch]
    where = f"{owner}.transformer_kwargs"
    given = arguments["transformer_kwargs"] or {}
    _known(where, given, _TRANSFORMER)
    defaults = {"embed_dim": width, "depth": depth, "num_heads": heads}
    chosen = {**_TRANSFORMER, **defaults, **given}
    for name, wanted in (("qkv_bias", True), ("prompt_tuning", False)):
        if chosen[name] is not wanted:
            raise _refused(f"{where}.{name}", chosen[name], f"only {wanted} exists")
    # The fused attention of the original knows no scale but the usual one, and 0 is
    # none there.
    scale = None if chosen["use_flash_self_attn"] else (chosen["qk_scale"] or None)
    uniform = chosen["drop_path_uniform"] is True
    return {
        "embed_dim": chosen["embed_dim"],
        "depth": chosen["depth"],
        "num_heads": chosen["num_heads"],
        "mlp_ratio": chosen["mlp_ratio"],
        "attention_scale": scale,
        "dropout": chosen["drop_rate"],
        "attention_dropout": chosen["attn_drop_rate"],
        "drop_path": chosen["drop_path_rate"],
        "drop_path_uniform": uniform,
        "position_at_every_layer": bool(chosen["add_pos_at_every_layer"]),
        "encoder_norm": bool(chosen["postnorm"]),
    }


def _decoder(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """The decoder of pretraining; what it shares with the encoder must be equal."""
    if hyperparameters.get("decoder") is None:
        return {"decoder_depth": 0}
    decoder = _arguments("decoder", hyperparameters, "TransformerDecoder", _DECODER)
    theirs = _transformer("decoder", decoder)
    encoder = _arguments("encoder", hyperparameters, "TransformerEncoder", _ENCODER)
    ours = _transformer("encoder", encoder)
    if theirs["attention_scale"] != ours["attention_scale"]:
        raise _refused(
            "decoder.transformer_kwargs.qk_scale",
            theirs["attention_scale"],
            "differs from the encoder's",
        )
    return {
        "decoder_depth": theirs["depth"],
        "decoder_heads": theirs["num_heads"],
        "decoder_mlp_ratio": theirs["mlp_ratio"],
        "decoder_position_at_every_layer": theirs["position_at_every_layer"],
        "decoder_norm": theirs["encoder_norm"],
    }


def _tokenizer(encoder: Mapping[str, Any]) -> dict[str, Any]:
    size = encoder["voxel_size"]
    published = PointMAEConfig.named("vit_small", size)
    given = encoder["tokenizer_kwargs"] or {}
    where = "encoder.tokenizer_kwargs"
    _known(where, given, _TOKENIZER)
    chosen = {
        **_TOKENIZER,
        "context_length": published.context_length,
        "group_max_points": published.group_points,
        # The original's radii are in units of its own detector.
        "group_radius": size * voxel_length(768),
        "group_upscale_points": published.upscale_points,
        "overlap_factor": published.overlap_factor,
        **(_COARSE if size == 25 else {}),
        **given,
    }
    if chosen["use_relative_features"]:
        raise _refused(
            f"{where}.use_relative_features",
            True,
            "energies relative to the mean of their token are not supported",
        )
    count, context = chosen["num_init_groups"], chosen["context_length"]
    for name, value in (("num_init_groups", count), ("context_length", context)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise _refused(f"{where}.{name}", value, "the original needs an integer")
    plain = chosen["overlap_factor"] is None
    seeded = plain or chosen["use_fps_seed"]
    points = chosen["group_max_points"]
    radius = chosen["group_radius"]
    upscale = chosen["group_upscale_points"]
    upscale = points if upscale is None else upscale
    return {
        "context_length": context,
        "group_points": points,
        "group_radius": None if radius is None else float(radius),
        "upscale_points": upscale,
        "overlap_factor": chosen["overlap_factor"],
        "reduction": chosen["reduction_method"],
        "mean_centers": bool(chosen["normalize_group_centers"]),
        "max_neighbors": count,
        # Without suppression the original cuts what its context does not hold.
        "num_seeds": (min(count, context) if plain else count) if seeded else None,
    }


def _detector(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Centre and scale of the positions."""
    steps = hyperparameters.get("val_transformations", ["center_and_scale"])
    if list(steps) != ["center_and_scale"]:
        raise _refused(
            "val_transformations", list(steps), "only ['center_and_scale'] is supported"
        )
    center = hyperparameters.get("transformation_center", 384.0)
    center = np.broadcast_to(np.asarray(center, float), (3,))
    given = hyperparameters.get("transformation_scale_factor", voxel_length(768))
    factors = np.unique(np.asarray(given, float))
    if factors.size != 1:
        raise _refused(
            "transformation_scale_factor",
            given,
            "a scale that differs between directions deforms the event",
        )
    scale = float(factors[0])
    if not (np.isfinite(center).all() and math.isfinite(scale) and scale > 0):
        raise _refused(
            "transformation_center, transformation_scale_factor",
            (center.tolist(), scale),
            "are not finite, or the scale is not positive",
        )
    size = max(round(2 * float(center.max())), 1)
    middle = (center == size / 2).all()
    usual = np.float32(scale) == np.float32(voxel_length(size))
    return {
        "detector_size": size,
        "center": None if middle else tuple(center.tolist()),
        "scale": None if usual else scale,
    }


def data_fields(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the configuration that ``datamodule_hyper_parameters`` determine.

    Those of the validation count, where they differ from the training's.
    """
    _known("datamodule_hyper_parameters", hyperparameters, _DATA_MODULE)
    chosen = dict(_DATA)
    for name in ("dataset_kwargs", "test_dataset_kwargs"):
        given = hyperparameters.get(name) or {}
        _known(f"datamodule_hyper_parameters.{name}", given, _DATA)
        chosen.update(given)
    threshold = chosen["energy_threshold"]
    removed = chosen["remove_low_energy_scatters"]
    return {
        "energy_threshold": max(threshold, 0.0),
        # The threshold, where there is one, takes the place of the minimum.
        "energy_offset": threshold if threshold > 0 else chosen["emin"],
        "energy_maximum": chosen["emax"],
        "low_energy": "first cluster" if removed else "keep",
    }


def _arguments(
    name: str, hyperparameters: Mapping[str, Any], kind: str, defaults: dict[str, Any]
) -> dict[str, Any]:
    """Arguments of a module that Lightning's command line has stored."""
    value = hyperparameters.get(name, {})
    if not isinstance(value, Mapping):
        raise _refused(
            name,
            type(value).__name__,
            "is stored as an object, not as the settings that it was made of",
        )
    path = value.get("class_path", kind)
    if not str(path).endswith(kind):
        raise _refused(f"{name}.class_path", path, f"is no {kind}")
    _known(name, value, {"class_path", "init_args"})
    given = value.get("init_args") or {}
    _known(f"{name}.init_args", given, defaults)
    return {**defaults, **given}


def _known(where: str, given: Mapping[str, Any], names: Any) -> None:
    if not isinstance(given, Mapping):
        raise _refused(where, given, "holds no settings")
    unknown = sorted(set(map(str, given)) - set(names))
    if unknown:
        raise ModelError(
            where,
            unknown,
            "has hyperparameters that the original code does not take",
            "Use a checkpoint of that code; known are " + ", ".join(sorted(names)),
        )


def _refused(name: str, value: Any, problem: str) -> ModelError:
    return ModelError(name, value, problem, REMEDY)
