"""PETs back to metatrain: checkpoints that ``mtt export`` and engines load.

The inverse of :mod:`symjax.interop.metatrain`, whose import of what was written decides
whether it is written at all.
"""

import dataclasses
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from symjax._files import replace_atomically, unwritable
from symjax.data.quantities import Block, QuantityName, Target
from symjax.errors import ModelError, needs_extra
from symjax.interop._layouts import layout_of
from symjax.interop.metatrain import load_metatrain, torch_name
from symjax.models.biases.config import NO_BIASES
from symjax.models.pet.config import PETConfig
from symjax.models.pet.model import PETModel
from symjax.models.pet.uncertainty import uncertainty_name

_STABLEHLO = "Export the compiled function instead, as StableHLO"
# Fields of the configuration that metatrain names differently or does not have.
_NOT_HYPERS = ("species", "targets", "uncertainties", "biases")


def save_metatrain(model: PETModel, path: str | Path) -> None:
    """Writes a PET as a checkpoint of metatrain.

    ``mtt export model.ckpt`` makes of it what metatomic, and with it LAMMPS, i-PI and
    torch-sim, load; ``mtt train`` goes on from it. The network keeps its precision.
    Before the file takes its name it is imported again: all outputs of a small crystal
    must be those of metatrain, and configuration and parameters those of the model.

    Args:
      model: The model.
      path: The file, ``model.ckpt``; replaced if it exists.

    Raises:
      ModelError: The extra ``[torch]`` is not installed; the model is no PET, or has a
        part that metatrain does not have, which the message names; or the file cannot
        be written.

    Example:
      >>> from symjax.interop import save_metatrain
      >>> from symjax.models import load_model
      >>> save_metatrain(load_model("polarmae-events"), "model.ckpt")
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: model='polarmae-events': is no PET...
    """
    path = Path(path)
    checkpoint = _checkpoint(model)
    import torch

    def write(part: Path) -> None:
        torch.save(checkpoint, part)
        _check_again(model, load_metatrain(part, model.name))

    try:
        replace_atomically(path, write)
    except (OSError, RuntimeError) as error:  # torch raises the latter for files
        raise unwritable(ModelError, "path", path, error) from error


def _checkpoint(model: Any) -> dict[str, Any]:
    """The checkpoint of metatrain, as it would write it itself."""
    if not isinstance(model, PETModel):
        raise ModelError(
            "model",
            getattr(model, "name", model),
            "is no PET, and metatrain has no counterpart of it",
            _STABLEHLO,
        )
    config = model.config
    if config.biases != NO_BIASES:
        names = ", ".join(config.biases.to_json())
        raise ModelError(
            "model",
            model.name,
            f"has biases ({names}), which metatrain's PET does not have",
            _STABLEHLO,
        )
    with needs_extra("torch", "model", model.name):
        import torch
        from metatomic.torch import ModelMetadata
        from metatrain.pet import PET
        from metatrain.utils.architectures import get_default_hypers
        from metatrain.utils.data import DatasetInfo
    hypers = get_default_hypers("pet")["model"]
    hypers.update(_hypers(config, hypers, model.name))
    info = DatasetInfo(
        length_unit="angstrom",
        atomic_types=list(config.species),
        targets={target.name: _target_info(target) for target in config.targets},
    )
    network = flax.traverse_util.flatten_dict(model.parameters["network"], sep="/")
    dtypes = {np.dtype(np.asarray(leaf).dtype) for leaf in network.values()}
    if len(dtypes) != 1:
        raise ModelError(
            "model",
            model.name,
            f"mixes the types {', '.join(sorted(map(str, dtypes)))}",
            "Give all parameters of the network one type",
        )
    theirs = PET(hypers, info).to(getattr(torch, str(dtypes.pop())))
    theirs.metadata = ModelMetadata(
        name=model.name, description=str(model.card.get("description", ""))
    )
    _fill_network(theirs, config, network)
    _fill_maps(theirs, model)
    if config.uncertainties:
        theirs = _with_uncertainties(theirs, model)
    checkpoint: dict[str, Any] = theirs.get_checkpoint()
    return checkpoint


def _with_uncertainties(theirs: Any, model: PETModel) -> Any:
    """Metatrain's uncertainty model around a PET, with the numbers of the model's."""
    import torch
    from metatrain.llpr import LLPRUncertaintyModel

    own = model.config.uncertainties
    members = {each.target: each.members for each in own if each.members}
    wrapper = LLPRUncertaintyModel(
        {"num_ensemble_members": members}, theirs.dataset_info
    )
    wrapper.set_wrapped_model(theirs)
    wrapper.to(next(theirs.parameters()).dtype)
    with torch.no_grad():
        for each in own:
            values = {
                part: torch.tensor(np.asarray(value))
                for part, value in model.parameters["uncertainty"][each.target].items()
            }
            factor, name = values["cholesky"], uncertainty_name(each.target)
            getattr(wrapper, f"cholesky_{name}").copy_(factor)
            getattr(wrapper, f"covariance_{name}").copy_(factor @ factor.T)
            getattr(wrapper, f"multiplier_{name}").copy_(values["multiplier"])
            if each.members:
                weight = wrapper.llpr_ensemble_layers[each.target].weight
                weight.copy_(values["ensemble"].reshape(weight.shape))
    return wrapper


def _hypers(config: PETConfig, known: dict[str, Any], name: str) -> dict[str, Any]:
    """Hyperparameters under metatrain's names; refused if it does not know one."""
    ours = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in _NOT_HYPERS
    }
    ours["long_range"] = known["long_range"]
    if config.long_range is not None:
        given = dataclasses.asdict(config.long_range)
        # metatrain's value in training.
        switches = {"enable": True, "use_ewald": True}
        ours["long_range"] = {**known["long_range"], **switches, **given}
    default = PETConfig(config.species)
    for field in sorted(set(ours) - set(known)):
        if ours.pop(field) != getattr(default, field):
            raise ModelError(
                "model",
                name,
                f"has {field}={getattr(config, field)!r}, which metatrain's PET does "
                "not know",
                _STABLEHLO,
            )
    number = ours["num_neighbors_adaptive"]
    if number is not None and float(number).is_integer():
        ours["num_neighbors_adaptive"] = int(number)  # the type that metatrain requires
    return ours


def _target_info(target: Target) -> Any:
    """Layout of a target: keys, components and properties as metatrain names them."""
    import torch
    from metatensor.torch import Labels, TensorMap
    from metatrain.utils.data import TargetInfo

    blocks = [_empty_block(target, block) for block in target.blocks]
    entries = [layout_of(block.kind)[0] for block in target.blocks]
    if all(entries):
        values = torch.tensor([list(entry.values()) for entry in entries])
        keys = Labels(list(entries[0]), values)
    elif len(blocks) == 1:
        keys = Labels.single()
    else:
        raise ModelError(
            "targets",
            target.name,
            "has several blocks, not all of them irreps, for which metatrain has no "
            "layout",
            _STABLEHLO,
        )
    quantity = "energy" if QuantityName.parse(target.name).is_energy else ""
    return TargetInfo(TensorMap(keys, blocks), quantity=quantity, unit=target.unit)


def _empty_block(target: Target, block: Block) -> Any:
    import torch
    from metatensor.torch import Labels, TensorBlock

    components = [
        Labels([name], torch.tensor(values).reshape(-1, 1))
        for name, values in layout_of(block.kind)[1].items()
    ]
    samples = ["system", "atom"] if target.per_atom else ["system"]
    # Without prefix and variant, as metatrain names them.
    quantity = QuantityName.parse(target.name).quantity
    name = quantity.removeprefix("mtt::").replace("::", "_")
    shape = (0, *(len(labels) for labels in components), block.properties)
    return TensorBlock(
        # metatensor can only store this type
        values=torch.empty(shape, dtype=torch.float64),
        samples=Labels(samples, torch.empty((0, len(samples)), dtype=torch.int32)),
        components=components,
        properties=Labels.range(name, block.properties),
    )


def _fill_network(theirs: Any, config: PETConfig, network: dict[str, Any]) -> None:
    import torch

    state = theirs.state_dict()  # references, not copies
    for path, leaf in network.items():
        name = torch_name(theirs, config, path)
        name = name if name in state else f"backend.{name}"
        # torch stores the transposed kernel.
        value = np.asarray(leaf).T if path.endswith("/kernel") else np.asarray(leaf)
        state[name].copy_(torch.tensor(value).reshape(state[name].shape))


def _fill_maps(theirs: Any, model: PETModel) -> None:
    """Scales and baselines, which metatrain keeps as maps and as buffers of them."""
    import metatensor.torch as mts
    import torch

    def fill(tensors: Any, target: Target, kind: str) -> None:
        ours = model.parameters[kind][target.name]
        keys = theirs.dataset_info.targets[target.name].layout.keys
        for index, block in enumerate(target.blocks):
            if block.key in ours and keys[index] in list(tensors.keys):
                values = tensors.block(keys[index]).values
                filled = torch.tensor(np.asarray(ours[block.key], np.float64))
                # Targets of structures have one row of scales for all species.
                values[:] = filled[: len(values)].reshape(values.shape)

    def store(owner: Any, name: str, tensors: Any) -> None:
        owner.register_buffer(name, mts.save_buffer(mts.make_contiguous(tensors)))

    composition, scaler = theirs.additive_models[0], theirs.scaler
    composition.weights_to(torch.device("cpu"), torch.float64)
    scaler.scales_to(torch.device("cpu"), torch.float64)
    for target in model.config.targets:
        name = target.name
        if name in composition.model.weights:
            weights = composition.model.weights[name]
            fill(weights, target, "baseline")
            store(composition, f"{name}_composition_buffer", weights)
        for part in ("scales", "per_target_scales"):
            fill(getattr(scaler.model, part)[name], target, "scale")
        store(scaler, f"{name}_scaler_buffer", scaler.model.scales[name])
        store(
            scaler,
            f"{name}_per_target_scaler_buffer",
            scaler.model.per_target_scales[name],
        )


def _check_again(model: PETModel, again: PETModel) -> None:
    """Raises if reading back gives another model: metatrain cannot represent it."""
    for field in dataclasses.fields(model.config):
        ours = getattr(model.config, field.name)
        theirs = getattr(again.config, field.name)
        if field.name == "targets":
            # Keys of blocks may differ, their contents may not.
            ours, theirs = (tuple(map(_shape_of, t)) for t in (ours, theirs))
        if field.name == "long_range" and None not in (ours, theirs):
            # metatrain keeps the width in the type of the parameters.
            smearing = float(np.float32(ours.smearing))
            if smearing == np.float32(theirs.smearing):
                theirs = dataclasses.replace(theirs, smearing=ours.smearing)
        if ours != theirs:
            raise ModelError(
                "model",
                model.name,
                f"has {field.name}={ours!r}, of which metatrain's PET makes {theirs!r}",
                _STABLEHLO,
            )
    for kind in ("network", "scale", "baseline", "uncertainty"):
        pairs = zip(
            _leaves(model, kind).items(), _leaves(again, kind).items(), strict=True
        )
        for (path, ours), (_, theirs) in pairs:
            if not np.array_equal(ours, theirs):
                raise ModelError(
                    "model",
                    model.name,
                    f"has {path} of {np.shape(ours)}, which metatrain's PET changes",
                    _STABLEHLO,
                )


def _shape_of(target: Target) -> Any:
    blocks = tuple((block.kind, block.properties) for block in target.blocks)
    return target.name, target.unit, target.per_atom, blocks


def _leaves(model: PETModel, kind: str) -> dict[str, np.ndarray]:
    """Parameters in an order that does not depend on names of blocks."""
    flat = flax.traverse_util.flatten_dict(model.parameters.get(kind, {}), sep="/")
    if kind in ("network", "uncertainty"):
        return {path: np.asarray(flat[path]) for path in sorted(flat)}
    return {
        f"{kind} of {target.name}/{block.key}": np.asarray(
            flat[f"{target.name}/{block.key}"], np.float64
        )
        for target in model.config.targets
        for block in target.blocks
        if f"{target.name}/{block.key}" in flat
    }
