"""Layers of models that are measured in place, from outputs or forward hooks."""

import contextlib
import functools
import re
import types
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ase
import numpy as np

from symjax.data.quantities import QuantityName
from symjax.errors import ModelError, SymjaxError
from symjax.interop._engine import Arrays, Engine, libraries
from symjax.interop._opening import Opened
from symjax.interop.metatomic_models import block_key
from symjax.metrics import Output
from symjax.models._layers import match_layers
from symjax.so3.representations import FEATURE

_FEATURES = re.compile(r"features?(/.*)?|mtt::aux::.*_last_layer_features(/.*)?")
# Outputs that metatomic defines for whole structures.
_OF_STRUCTURES = (
    *("energy", "energy_ensemble", "energy_uncertainty", "non_conservative_stress"),
    "heat_flux",
)
# Layers of PET that metatrain captures itself, without padding.
CAPTURED = "mtt::feature::"
_OF_PET = re.compile(
    r"node_embedders\.\d+|edge_embedder|combination_mlps\.\d+"
    r"|gnn_layers\.\d+\.(edge_embedder|neighbor_embedder|compress)"
    r"|gnn_layers\.\d+\.trans\.layers\.\d+_(node|edge)|gnn_layers_post_mp_(node|edge)\.\d+"
    r"|(node|edge)_(backbone|heads\.[^.]+)\.\d+"
)
# Largest number of layers that a message lists.
_FEW = 20
# Parts of metatrain's models without features.
_NO_LAYERS = ("additive_models", "scaler")


def request_of(opened: Opened, name: str, energy: str) -> Any:
    """Requests an output per structure if it is known to be one.

    Otherwise as announced, where ``"atom"`` often means that both are available.
    """
    _, metatomic = libraries(opened.model)
    announced = opened.outputs.get(name)
    if announced is None:  # captured by metatrain
        return metatomic.ModelOutput(sample_kind="atom")
    kind = opened.sample_kinds.get(name, announced.sample_kind)
    if name == energy or QuantityName.parse(name).quantity in _OF_STRUCTURES:
        kind = "system"
    return metatomic.ModelOutput(unit=announced.unit, sample_kind=kind)


@contextlib.contextmanager
def failures(name: str) -> Iterator[None]:
    """Converts errors of a model to ModelError, and hides warnings of its packages."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="metat(ensor|omic|rain)")
            yield
    except SymjaxError:
        raise
    except Exception as error:  # models raise errors of many types
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            "model",
            name,
            f"failed: {lines[-1].strip()[:300]}",
            "Try it on this structure with metatomic's own calculator for ASE",
        ) from error


def is_feature(name: str) -> bool:
    """Whether the name of an output is that of a feature vector of the network."""
    return _FEATURES.fullmatch(name) is not None


class _Seen(NamedTuple):
    """A tensor that a submodule has returned, alone or among several."""

    path: str
    value: Any


class Reader(NamedTuple):
    """How layers are read: as outputs, or by hooks on submodules.

    ``model`` is evaluated, ``outputs`` are requested in addition to its others, and
    ``hooked`` are the layers, by name, that hooks on the submodules ``paths`` read.
    """

    model: Any
    outputs: tuple[str, ...] = ()
    module: Any = None
    paths: frozenset[str] = frozenset()
    hooked: Mapping[str, Output] = types.MappingProxyType({})

    @contextlib.contextmanager
    def reading(self) -> Iterator[Arrays]:
        """Layers of the evaluation in the context, available at its end."""
        found: Arrays = {}
        if not self.hooked:
            yield found
            return
        with hooks(self.module, self.paths) as seen:
            yield found
        for name in self.hooked:
            if name not in seen:
                raise ModelError(
                    "layers",
                    name,
                    "was not called in every orientation",
                    "Leave it out",
                )
            found[name] = seen[name].value.detach().cpu().numpy()


@contextlib.contextmanager
def hooks(
    module: Any, paths: frozenset[str] | None = None
) -> Iterator[dict[str, _Seen]]:
    """Records what submodules return, by name; all of them if no paths are given.

    Several tensors of a submodule have a number after its name, and repeated calls
    ``@2`` and so on.
    """
    seen: dict[str, _Seen] = {}
    calls: dict[str, int] = {}

    def remember(path: str, _: Any, __: Any, out: Any) -> None:
        calls[path] = calls.get(path, 0) + 1
        again = f"@{calls[path]}" if calls[path] > 1 else ""
        for suffix, value in _tensors(out):
            seen[f"{path}{suffix}{again}"] = _Seen(path, value)

    handles = [
        part.register_forward_hook(functools.partial(remember, path))
        for path, part in module.named_modules()
        if path
        and (paths is None or path in paths)
        and path.split(".")[0] not in _NO_LAYERS
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _tensors(out: Any) -> Iterator[tuple[str, Any]]:
    """Tensors of features among the results of a module, with suffixes."""
    if hasattr(out, "blocks") and hasattr(out, "keys"):
        joined = _joined(list(out.blocks()))
        if joined is not None:
            yield "", joined
            return
        for entry, block in out.items():
            yield f"/{block_key(entry)}", block.values
    elif isinstance(out, tuple | list):
        for index, part in enumerate(out):
            if hasattr(part, "is_floating_point"):
                yield f"_{index}", part
    elif hasattr(out, "is_floating_point"):
        yield "", out


def _joined(blocks: Sequence[Any]) -> Any:
    """Blocks of several species as one, in the order of the atoms; None if they differ.

    Blocks of one shape that have no sample in common are rows of one array.
    """
    shapes = {tuple(block.values.shape[1:]) for block in blocks}
    if len(blocks) == 1:
        return blocks[0].values
    samples = np.concatenate([block.samples.values.cpu().numpy() for block in blocks])
    once = len(np.unique(samples, axis=0)) == len(samples)
    if len(shapes) != 1 or not once:
        return None
    import torch

    order = torch.as_tensor(np.lexsort(samples.T[::-1]).copy())
    values = torch.cat([block.values for block in blocks])
    return values[order.to(values.device)]


def find_layers(
    opened: Opened,
    atoms: ase.Atoms,
    layers: str | Sequence[str],
    device: str,
    energy: str,
) -> Reader:
    """Finds the requested layers, by one evaluation."""
    if layers == "none" or not layers:
        return Reader(opened.model)
    known = opened.outputs
    announced = [name for name in known if is_feature(name)]
    if opened.module is None:
        return Reader(opened.model, chosen_layers(layers, announced, opened))
    requests = {name: request_of(opened, name, energy) for name in known}
    with failures(opened.name), hooks(opened.module) as seen:
        engine = Engine(opened.model, atoms, device)
        engine.evaluate([engine.x], requests)
    if opened.captures:
        inner = list(dict.fromkeys(filter(None, map(_layer_of_pet, seen))))
        chosen = chosen_layers(layers, [*announced, *inner], opened)
        wanted = tuple(
            name if name in announced else CAPTURED + name for name in chosen
        )
        return Reader(_capturing(opened.model, wanted), wanted)
    features = {
        name: one
        for name, one in seen.items()
        if one.value.is_floating_point() and one.value.ndim > 1 and one.value.numel()
    }
    if layers == "all":
        # A container returns the tensor of its last part.
        first = {id(one.value): name for name, one in reversed(features.items())}
        features = {name: features[name] for name in reversed(first.values())}
    chosen = chosen_layers(layers, [*announced, *features], opened)
    hooked = {name: features[name] for name in chosen if name in features}
    return Reader(
        opened.model,
        tuple(name for name in chosen if name not in features),
        opened.module,
        frozenset(one.path for one in hooked.values()),
        {
            name: _layer(one.value.shape, atoms, engine.num_pairs)
            for name, one in hooked.items()
        },
    )


def chosen_layers(
    layers: str | Sequence[str], known: Sequence[str], opened: Opened
) -> tuple[str, ...]:
    """The requested layers; for an export these can only be features."""
    if not known:
        raise ModelError(
            "layers",
            layers,
            f"{opened.name} is an exported model, whose layers cannot be read",
            "Pass the checkpoint .ckpt, whose layers can be read, or leave it out",
        )
    if layers == "all":
        return tuple(known)
    try:
        return match_layers(layers, known)
    except ModelError as error:
        if opened.module is not None:
            names = ", ".join(known[:_FEW])
            others = f" and {len(known) - _FEW} others" if len(known) > _FEW else ""
            raise ModelError(
                error.argument,
                error.value,
                error.problem,
                f"Use 'all', 'none', or patterns of these names: {names}{others}",
            ) from error
        raise ModelError(
            error.argument,
            error.value,
            "is not a feature that the exported model announces, and other layers of "
            "an export cannot be read",
            f"Pass the checkpoint .ckpt; or use {', '.join(known)}",
        ) from error


def _layer(
    shape: Sequence[int], atoms: ase.Atoms, num_pairs: Collection[int]
) -> Output:
    """The kind of a layer, from its number of rows: atoms, pairs, or some of either."""
    *samples, _ = shape
    if samples[0] != len(atoms):
        return Output(FEATURE, kind="edge" if samples[0] in num_pairs else "node")
    inner = (1,) * (len(samples) - 1)
    numbers = np.broadcast_to(atoms.numbers.reshape(-1, *inner), samples)
    return Output(FEATURE, kind="node", samples=numbers)


def _layer_of_pet(name: str) -> str:
    """The layer of PET that metatrain captures under this name; empty if none."""
    _, backend, path = name.rpartition("backend.")
    for number, suffix in enumerate(("_node", "_edge")):
        if re.fullmatch(r"gnn_layers\.\d+\.trans\.layers\.\d+", path[:-2]):
            path = path.removesuffix(f"_{number}") + suffix * path.endswith(
                f"_{number}"
            )
    return path if backend and _OF_PET.fullmatch(path) else ""


def _capturing(model: Any, names: Sequence[str]) -> Any:
    """The same model, announcing the layers that metatrain captures."""
    _, metatomic = libraries(model)
    old = model.capabilities()
    added = {
        name: metatomic.ModelOutput(sample_kind="atom")
        for name in names
        if name not in old.outputs
    }
    capabilities = metatomic.ModelCapabilities(
        outputs={**old.outputs, **added},
        atomic_types=old.atomic_types,
        interaction_range=old.interaction_range,
        length_unit=old.length_unit,
        supported_devices=old.supported_devices,
        dtype=old.dtype,
    )
    return metatomic.AtomisticModel(model.module, model.metadata(), capabilities)
