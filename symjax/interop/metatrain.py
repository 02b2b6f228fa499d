"""Import of PET checkpoints that were trained with metatrain.

Reading a checkpoint unpickles it, which can run any code that its author put there:
import only files whose source you trust. It happens in this module alone, and only
here are torch and metatrain imported (the extra ``symjax[torch]``); what is written
needs neither.
"""

import gzip
import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from symjax.errors import ModelError
from symjax.models.pet.config import Block, PETConfig, Target
from symjax.models.pet.model import PETModel, is_invariant, parameter_shapes

_HYPERS = (
    "cutoff",
    "cutoff_function",
    "cutoff_width",
    "adaptive_cutoff_method",
    "cutoff_width_adaptive",
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
    "system_conditioning",
    "max_charge",
    "max_spin_multiplicity",
    "zbl",
)
_LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "scale": "weight",
    "embedding": "weight",
}


def load_metatrain(path: str | Path, name: str | None = None) -> PETModel:
    """Reads a PET checkpoint of metatrain.

    Older versions go through metatrain's own upgrade. The weights are those that
    metatrain would export: the best ones of the training.

    Args:
      path: A checkpoint ``.ckpt``, possibly compressed with gzip.
      name: Name of the model for reports; by default that of the file.

    Returns:
      The model, in the checkpoint's precision, for
      :func:`symjax.models.save_model`.

    Raises:
      ModelError: The extra ``[torch]`` is not installed; there is no such file; it is
        truncated or no checkpoint of PET; or the model has a part that symjax does
        not have (long range, low-rank adapters, targets of an atomic basis or of
        rank above 2), which the message names.

    Example:
      >>> from symjax.interop import load_metatrain
      >>> load_metatrain("missing.ckpt")
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: path='missing.ckpt': there is no such file...
    """
    path = Path(path)
    model = _read(path)
    config = _config(model, str(path))
    state = {
        key.removeprefix("backend."): value
        for key, value in model.state_dict().items()
        if key.startswith("backend.") and not key.endswith("species_to_species_index")
    }
    network = _network(model, config, state, str(path))
    parameters = {
        "network": network,
        "scale": _scales(model, config),
        "baseline": _baselines(model, config),
    }
    card = {
        "description": "PET trained with metatrain",
        "source": path.name,
    }
    stem = path.name.removesuffix(".gz").removesuffix(".ckpt")
    return PETModel(name or stem, config, parameters, card)


def _read(path: Path) -> Any:
    """Unpickles a checkpoint and lets metatrain build and upgrade the model."""
    if not path.is_file():
        raise ModelError(
            "path", str(path), "there is no such file", "Pass a checkpoint .ckpt"
        )
    try:
        import metatomic.torch  # noqa: F401  (registers the classes that are unpickled)
        import torch
        from metatrain.utils.io import model_from_checkpoint
    except ImportError as error:
        raise ModelError(
            "path",
            str(path),
            f"reading a checkpoint of metatrain needs {error.name}",
            "Install symjax[torch]; what is imported works without it",
        ) from error
    remedy = "Pass a checkpoint that metatrain's PET wrote, whole"
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        checkpoint = torch.load(
            io.BytesIO(data), map_location="cpu", weights_only=False
        )
    except Exception as error:  # unpickling raises whatever the damage leads to
        raise ModelError(
            "path", str(path), f"cannot be read as a checkpoint: {error}", remedy
        ) from error
    if not isinstance(checkpoint, dict) or "architecture_name" not in checkpoint:
        raise ModelError("path", str(path), "is no checkpoint of metatrain", remedy)
    architecture = checkpoint["architecture_name"]
    if architecture != "pet":
        raise ModelError(
            "path",
            str(path),
            f"holds the architecture {architecture!r}",
            "Only 'pet' can be imported",
        )
    if (
        checkpoint.get("model_state_dict")
        and checkpoint["model_state_dict"].get("finetune_config", {}).get("method")
        == "lora"
    ):
        raise ModelError(
            "path", str(path), "has low-rank adapters (LoRA)", "Merge them first"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model_from_checkpoint(checkpoint, context="export").eval()
    except Exception as error:
        raise ModelError(
            "path", str(path), f"metatrain cannot load it: {error}", remedy
        ) from error


def _config(model: Any, path: str) -> PETConfig:
    hypers = model.hypers
    if hypers["long_range"]["enable"]:
        raise ModelError(
            "path", path, "has long-range features", "symjax has no long range yet"
        )
    adaptive = hypers["num_neighbors_adaptive"]
    return PETConfig(
        species=tuple(int(number) for number in sorted(model.atomic_types)),
        targets=tuple(
            _target(name, info, path)
            for name, info in model.dataset_info.targets.items()
        ),
        num_neighbors_adaptive=None if adaptive is None else float(adaptive),
        **{key: hypers[key] for key in _HYPERS},
    )


def _target(name: str, info: Any, path: str) -> Target:
    blocks = []
    for key, block in info.layout.items():
        names, sizes = list(key.names), [len(part) for part in block.components]
        properties = len(block.properties)
        if names == ["_"] and sizes in ([], [3], [3, 3]):
            kind = ("scalar", "vector", "matrix")[len(sizes)]
        elif names == ["o3_lambda", "o3_sigma"]:
            sigma = "+" if int(key["o3_sigma"]) == 1 else "-"
            kind = f"{int(key['o3_lambda'])}{sigma}"
        else:
            raise ModelError(
                "path",
                path,
                f"the target {name!r} has a block with keys {names} and components "
                f"of sizes {sizes}",
                "Scalars, Cartesian tensors to rank 2 and spherical tensors can be "
                "imported",
            )
        blocks.append(Block(kind, kind, properties))
    return Target(name, info.unit, info.sample_kind == "atom", tuple(blocks))


def _network(
    model: Any, config: PETConfig, state: dict[str, Any], path: str
) -> dict[str, Any]:
    network: dict[str, Any] = {}
    for wanted, shape in parameter_shapes(config).items():
        part, _, inner = wanted.partition("/")
        if part != "network":
            continue
        source = _torch_name(model, config, inner)
        if source not in state:
            raise ModelError(
                "path", path, f"has no parameter {source}", "Use metatrain >= 2026.4"
            )
        value = state.pop(source).detach().cpu().numpy()
        # torch stores the transposed kernel; heads of several components are flat.
        value = value.T if inner.endswith("/kernel") else value
        if value.shape != shape:
            raise ModelError(
                "path",
                path,
                f"{source} has shape {value.shape}, not {shape}",
                "The checkpoint does not fit its hyperparameters",
            )
        node = network
        *folders, leaf = inner.split("/")
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = np.ascontiguousarray(value)
    if state:
        raise ModelError(
            "path",
            path,
            f"has {len(state)} parameters that symjax's PET has not: "
            f"{', '.join(sorted(state)[:5])}",
            "They belong to a part that cannot be imported (adapters, long range)",
        )
    return network


def _torch_name(model: Any, config: PETConfig, path: str) -> str:
    """The name of a parameter in metatrain."""
    *folders, leaf = path.split("/")
    match = re.fullmatch(r"targets_(\d+)", folders[0])
    if match:
        target = config.targets[int(match[1])].name
        kind, *rest = folders[1:]
        last = re.fullmatch(r"(node|edge)_last_layers_(\d+)_(\d+)", kind)
        if last:
            key = list(model.output_shapes[target])[int(last[3])]
            words = [f"{last[1]}_last_layers", target, last[2], key]
        else:
            heads, _, index = kind.rpartition("_")
            words = [heads, target, index, *rest]
    else:
        words = [
            re.sub(
                r"^(gnn_layers|layers|combination_norms|combination_mlps|"
                r"node_embedders|project)_(\d+)$",
                r"\1.\2",
                folder,
            )
            for folder in folders
        ]
    return ".".join([*words, _LEAVES[leaf]])


def _scales(model: Any, config: PETConfig) -> dict[str, Any]:
    """Scales by species; targets of structures have one for all."""
    scales: dict[str, Any] = {}
    for target in config.targets:
        scales[target.name] = {}
        known = model.scaler.model.scales.get(target.name)
        for index, block in enumerate(target.blocks):
            shape = (len(config.species), block.properties)
            if known is None:
                values = np.ones(shape)
            else:
                values = known.block(index).values.detach().cpu().numpy()
            scales[target.name][block.key] = np.array(np.broadcast_to(values, shape))
    return scales


def _baselines(model: Any, config: PETConfig) -> dict[str, Any]:
    """Composition weights by species, in the order of the atomic numbers."""
    weights = model.additive_models[0].model.weights
    baselines: dict[str, Any] = {}
    for target in config.targets:
        baselines[target.name] = {}
        for index, block in enumerate(target.blocks):
            if not is_invariant(block):
                continue
            shape = (len(config.species), block.properties)
            values = np.zeros(shape)
            if target.name in weights:
                keys = list(weights[target.name].keys)
                info = model.dataset_info.targets[target.name].layout.keys
                if info[index] in keys:
                    stored = weights[target.name].block(info[index])
                    values = stored.values.detach().cpu().numpy().reshape(shape)
            baselines[target.name][block.key] = np.array(values)
    return baselines
