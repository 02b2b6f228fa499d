"""Models of metatomic and metatrain of any architecture, measured where they are.

A model announces its outputs, their units and their samples; the components of a block
tell how it rotates. Nothing is imported and nothing is assumed of the network. An
exported model is a program in which no layer can be read but the features that it
announces; of a checkpoint, metatrain makes a module, whose submodules can be.
"""

import contextlib
import dataclasses
import functools
import logging
import re
import types
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase
import numpy as np

from symjax import models
from symjax._files import file_digest
from symjax.errors import ModelError, SymjaxError
from symjax.interop._engine import Arrays, Engine, check_species, libraries
from symjax.interop._opening import Opened, UnknownFileError, open_model, stem
from symjax.interop.torch_callable import (
    DERIVATIVES,
    block_key,
    derivative_unit,
    energy_of,
    split_block,
)
from symjax.metrics import HostFunction, Output, Problem
from symjax.models._layers import match_layers
from symjax.so3.representations import (
    FEATURE,
    MATRIX,
    SCALAR,
    VECTOR,
    Representation,
    spherical,
)

_log = logging.getLogger(__name__)

_FEATURES = re.compile(r"features?(/.*)?|mtt::aux::.*_last_layer_features(/.*)?")
_UNCERTAINTY = re.compile(r".*_uncertainty(/.*)?")
# Outputs that metatomic defines for whole structures.
_OF_STRUCTURES = (
    *("energy", "energy_ensemble", "energy_uncertainty", "non_conservative_stress"),
    "heat_flux",
)
# What metatrain captures of PET by itself, without the padding of its arrays.
_CAPTURED = "mtt::feature::"
_OF_PET = re.compile(
    r"node_embedders\.\d+|edge_embedder|combination_mlps\.\d+"
    r"|gnn_layers\.\d+\.(edge_embedder|neighbor_embedder|compress)"
    r"|gnn_layers\.\d+\.trans\.layers\.\d+_(node|edge)|gnn_layers_post_mp_(node|edge)\.\d+"
    r"|(node|edge)_(backbone|heads\.[^.]+)\.\d+"
)
# Names of layers that a message lists.
_FEW = 20
# Parts of metatrain's models that read no features.
_NO_LAYERS = ("additive_models", "scaler")


class _Measured(NamedTuple):
    """An output of a problem: where it is found, and what it is."""

    output: str
    key: str
    known: Output


def metatomic_problem(
    model: Any,
    atoms: ase.Atoms,
    *,
    energy: str | None = None,
    layers: str | Sequence[str] = "none",
    device: str = "cpu",
) -> Problem:
    """Prepares a metatomic model of any architecture, with all its outputs.

    The model is evaluated once to see the components of its blocks: none is a scalar,
    ``xyz`` a vector, ``xyz_1, xyz_2`` a matrix, ``o3_mu`` with the keys ``o3_lambda``
    and ``o3_sigma`` an irrep. An uncertainty is invariant, whatever it belongs to.
    Forces, and stress of what is periodic in three directions, are derivatives of the
    energy, where the model has one and no such output.

    Args:
      model: A ``metatomic.torch.AtomisticModel``; or the path of an exported model, or
        of a checkpoint of metatrain, of any architecture that is installed. Lengths
        may be in any unit that metatomic knows.
      atoms: The structure.
      energy: The output to derive; by default ``"energy"``, or its only variant.
      layers: ``"none"``; ``"all"``; or names or regular expressions. Features that the
        model announces, such as ``"feature"``, are layers; of a checkpoint also what
        its submodules return, under their names: rows and channels as the network has
        them, each orientation in a call of its own.
      device: Where the model runs.

    Returns:
      The problem. Outputs are in the units of the model, derivatives for each
      angstrom; ``x`` are positions and cell in angstrom.

    Raises:
      ModelError: The extra ``[torch]`` or a package of the architecture is not
        installed, the file cannot be read, there is no such energy or layer, or the
        model needs other inputs or fails.
      StructureError: The structure cannot be used, or has unknown species.

    Example:
      >>> import ase.build
      >>> from symjax.interop import metatomic_problem
      >>> metatomic_problem("missing.pt", ase.build.molecule("H2O"))
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: model='missing.pt': there is no such file...
    """
    opened = open_model(model)
    known = opened.outputs
    chosen = energy_of(known, energy)
    periodic = bool(np.all(atoms.pbc))
    derived = tuple(
        name
        for name in DERIVATIVES
        if chosen and name not in known and (name == "forces" or periodic)
    )
    names = [
        name
        for name in known
        if not _FEATURES.fullmatch(name)
        and (periodic or not name.startswith("non_conservative_stress"))
    ]
    reader = _reader(opened, atoms, layers, device, chosen)
    requests = {
        name: _request(opened, name, energy=chosen)
        for name in dict.fromkeys([*names, *reader.outputs])
    }
    with _failures(opened.name):
        engine = Engine(reader.model, atoms, device)
        first, _ = engine.evaluate([engine.x], requests)
    measured = _described(first, requests, atoms, reader.outputs)
    for name in derived:
        kind = VECTOR if name == "forces" else MATRIX
        unit = derivative_unit(name, known[chosen].unit)
        samples = atoms.numbers if name == "forces" else None
        measured[name] = _Measured("", "", Output(kind, unit, samples=samples))
    if not measured and not reader.hooked:
        raise ModelError(
            "model",
            opened.name,
            "announces no output that can be measured",
            "Export it with an output such as energy",
        )

    def several(batch: Sequence[Arrays]) -> list[Arrays]:
        with _failures(opened.name), reader.reading() as read:
            values, rows = engine.evaluate(batch, requests, chosen, derived)
        for name, (output, key, what) in measured.items():
            if output:
                arrays = split_block(
                    values[output], name, key, what.representation, len(batch)
                )
                for row, array in zip(rows, arrays, strict=True):
                    row[name] = array
        for row in rows:
            row |= read
        return rows

    def function(batch: list[Arrays]) -> list[Arrays]:
        if not reader.hooked:
            return several(batch)
        return [row for x in batch for row in several([x])]

    outputs = {name: found.known for name, found in measured.items()}
    return Problem(
        HostFunction(function, batched=True), engine.x, {**outputs, **reader.hooked}
    )


def _request(opened: Opened, name: str, energy: str) -> Any:
    """What the model is asked for: of structures where that can be known.

    Else as it is announced, where ``"atom"`` often means that both can be had.
    """
    _, metatomic = libraries(opened.model)
    announced = opened.outputs.get(name)
    if announced is None:  # what metatrain captures
        return metatomic.ModelOutput(sample_kind="atom")
    kind = opened.sample_kinds.get(name, announced.sample_kind)
    if name == energy or name.split("/")[0] in _OF_STRUCTURES:
        kind = "system"
    return metatomic.ModelOutput(unit=announced.unit, sample_kind=kind)


@contextlib.contextmanager
def _failures(name: str) -> Iterator[None]:
    """Whatever a model raises, under its name; what its packages warn of is theirs."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="metat(ensor|omic|rain)")
            yield
    except SymjaxError:
        raise
    except Exception as error:  # what a model of anybody's raises
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            "model",
            name,
            f"failed: {lines[-1].strip()[:300]}",
            "Try it on this structure with metatomic's own calculator for ASE",
        ) from error


def _described(
    values: Mapping[str, Any],
    requests: Mapping[str, Any],
    atoms: ase.Atoms,
    features: Sequence[str],
) -> dict[str, _Measured]:
    """How each block rotates, from its components; others are warned of."""
    found: dict[str, _Measured] = {}
    for output, request in requests.items():
        if output not in values:
            warnings.warn(f"{output!r} was not returned by the model", stacklevel=4)
            continue
        entries = list(values[output].items())
        for entry, block in entries:
            key = block_key(entry)
            name = output.removeprefix(_CAPTURED)
            name = name if len(entries) == 1 else f"{name}/{key}"
            if not len(block.samples):
                continue
            is_layer = output in features
            kind = FEATURE if is_layer else _representation(output, entry, block)
            if kind is None:
                parts = ", ".join(part.names[0] for part in block.components)
                warnings.warn(
                    f"{name!r} is left out: symjax does not know how components "
                    f"{parts} rotate",
                    stacklevel=4,
                )
                continue
            samples = None
            if "atom" in block.samples.names:
                column = np.sort(block.samples.column("atom").cpu().numpy())
                samples = atoms.numbers[column]
            layer = "node" if samples is not None else "edge"
            found[name] = _Measured(
                output,
                key,
                Output(
                    kind,
                    request.unit,
                    kind=layer if is_layer else "output",
                    samples=samples,
                ),
            )
    return found


def _representation(output: str, entry: Any, block: Any) -> Representation | None:
    """How a block rotates; None if its components do not say."""
    parts = [part.names[0] for part in block.components]
    channels = block.values.shape[-1] > 1
    kind: Representation
    if not parts:
        kind = SCALAR
    elif _UNCERTAINTY.fullmatch(output):
        # One number, repeated for every component.
        return FEATURE
    elif parts == ["xyz"]:
        kind = VECTOR
    elif parts == ["xyz_1", "xyz_2"]:
        kind = MATRIX
    elif parts == ["o3_mu"] and {"o3_lambda", "o3_sigma"} <= set(entry.names):
        kind = spherical(int(entry["o3_lambda"]), int(entry["o3_sigma"]))
    else:
        return None
    return dataclasses.replace(kind, has_channels=True) if channels else kind


class _Seen(NamedTuple):
    """What a submodule has returned: a tensor, or one of several."""

    path: str
    value: Any


class _Reader(NamedTuple):
    """How layers are read: as outputs, or by hooks on submodules.

    ``model`` is what is evaluated, ``outputs`` are asked for beside its others, and
    ``hooked`` are layers that hooks on the submodules ``paths`` read, by name.
    """

    model: Any
    outputs: tuple[str, ...] = ()
    module: Any = None
    paths: frozenset[str] = frozenset()
    hooked: Mapping[str, Output] = types.MappingProxyType({})

    @contextlib.contextmanager
    def reading(self) -> Iterator[Arrays]:
        """Layers of what is evaluated inside, filled in at the end."""
        found: Arrays = {}
        if not self.hooked:
            yield found
            return
        with _hooks(self.module, self.paths) as seen:
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
def _hooks(
    module: Any, paths: frozenset[str] | None = None
) -> Iterator[dict[str, _Seen]]:
    """What submodules return, by name; all of them if no paths are given.

    A submodule that returns several tensors has a number behind its name, and one that
    is called again ``@2`` and so on.
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
    """Tensors of features among what a module has returned, with suffixes."""
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


def _reader(
    opened: Opened,
    atoms: ase.Atoms,
    layers: str | Sequence[str],
    device: str,
    energy: str,
) -> _Reader:
    """Finds the layers that are asked for, by one evaluation."""
    if layers == "none" or not layers:
        return _Reader(opened.model)
    known = opened.outputs
    announced = [name for name in known if is_feature(name)]
    if opened.module is None:
        return _Reader(opened.model, _chosen(layers, announced, opened))
    requests = {name: _request(opened, name, energy) for name in known}
    with _failures(opened.name), _hooks(opened.module) as seen:
        engine = Engine(opened.model, atoms, device)
        engine.evaluate([engine.x], requests)
    if opened.captures:
        inner = list(dict.fromkeys(filter(None, map(_layer_of_pet, seen))))
        chosen = _chosen(layers, [*announced, *inner], opened)
        wanted = tuple(
            name if name in announced else _CAPTURED + name for name in chosen
        )
        return _Reader(_capturing(opened.model, wanted), wanted)
    features = {
        name: one
        for name, one in seen.items()
        if one.value.is_floating_point() and one.value.ndim > 1 and one.value.numel()
    }
    if layers == "all":
        # A container returns what its last part has returned.
        first = {id(one.value): name for name, one in reversed(features.items())}
        features = {name: features[name] for name in reversed(first.values())}
    chosen = _chosen(layers, [*announced, *features], opened)
    hooked = {name: features[name] for name in chosen if name in features}
    return _Reader(
        opened.model,
        tuple(name for name in chosen if name not in features),
        opened.module,
        frozenset(one.path for one in hooked.values()),
        {
            name: _layer(one.value.shape, atoms, engine.num_pairs)
            for name, one in hooked.items()
        },
    )


def _chosen(
    layers: str | Sequence[str], known: Sequence[str], opened: Opened
) -> tuple[str, ...]:
    """Layers that are asked for; of an export only features can be."""
    if not known:
        raise ModelError(
            "layers",
            layers,
            f"{opened.name} is an exported model, of which no layers can be had",
            "Pass the checkpoint .ckpt, whose layers can be read, or leave it out",
        )
    if layers == "all":
        return tuple(known)
    try:
        return match_layers(layers, known)
    except ModelError as error:
        if opened.module is not None:
            few = ", ".join(known[:_FEW])
            more = f" and {len(known) - _FEW} others" if len(known) > _FEW else ""
            raise ModelError(
                error.argument,
                error.value,
                error.problem,
                f"Use 'all', 'none', or patterns of these names: {few}{more}",
            ) from error
        raise ModelError(
            error.argument,
            error.value,
            "is no feature that the exported model announces, and other layers cannot "
            "be had from an export",
            f"Pass the checkpoint .ckpt; or use {', '.join(known)}",
        ) from error


def _layer(
    shape: Sequence[int], atoms: ase.Atoms, num_pairs: Collection[int]
) -> Output:
    """What rows are, by their number: atoms, pairs of neighbors, or some of either."""
    *samples, _ = shape
    if samples[0] != len(atoms):
        return Output(FEATURE, kind="edge" if samples[0] in num_pairs else "node")
    inner = (1,) * (len(samples) - 1)
    numbers = np.broadcast_to(atoms.numbers.reshape(-1, *inner), samples)
    return Output(FEATURE, kind="node", samples=numbers)


def _layer_of_pet(name: str) -> str:
    """The layer that metatrain captures of PET under this name; empty if none."""
    _, backend, path = name.rpartition("backend.")
    for number, suffix in enumerate(("_node", "_edge")):
        if re.fullmatch(r"gnn_layers\.\d+\.trans\.layers\.\d+", path[:-2]):
            path = path.removesuffix(f"_{number}") + suffix * path.endswith(
                f"_{number}"
            )
    return path if backend and _OF_PET.fullmatch(path) else ""


def _capturing(model: Any, names: Sequence[str]) -> Any:
    """The same model, announcing what metatrain captures of it."""
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


def is_feature(name: str) -> bool:
    """Whether an output that a model announces is a feature vector of its network.

    Args:
      name: Name of the output.

    Returns:
      Whether it is.

    Example:
      >>> from symjax.interop.in_place import is_feature
      >>> is_feature("mtt::aux::energy_last_layer_features"), is_feature("energy")
      (True, False)
    """
    return _FEATURES.fullmatch(name) is not None


@dataclasses.dataclass(frozen=True)
class MetatomicSource:
    """A model in a file of PyTorch that is measured in place.

    Attributes:
      path: An exported model, or a checkpoint of metatrain.

    Raises:
      ModelError: The file cannot be read.

    Example:
      >>> from symjax.interop.in_place import MetatomicSource
      >>> MetatomicSource("missing.pt")
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: model='missing.pt': there is no such file...
    """

    path: str

    def __post_init__(self) -> None:
        open_model(self.path)

    @property
    def name(self) -> str:
        """The name of the file, without its ending."""
        return stem(Path(self.path))

    @property
    def digest(self) -> str:
        """Of the file."""
        return file_digest(Path(self.path))

    @property
    def dtype(self) -> str:
        """The floating-point type in which the model runs."""
        return str(open_model(self.path).model.capabilities().dtype)

    @property
    def note(self) -> str:
        """What a report says: how it is measured, in which unit, and of layers."""
        opened = open_model(self.path)
        unit = opened.model.capabilities().length_unit
        what = "an exported model" if opened.module is None else "a checkpoint"
        lines = [f"Measured in place by metatomic, from {what} of {opened.kind}."]
        if not unit:
            lines.append("It states no unit of length: angstrom is assumed.")
        elif unit.lower() not in ("a", "angstrom"):
            lines.append(f"It takes lengths in {unit}.")
        if opened.module is None:
            lines.append(
                "Layers cannot be had from an export: pass the checkpoint (.ckpt)."
            )
        return " ".join(lines)

    def shapes(
        self, structures: Mapping[str, ase.Atoms]
    ) -> tuple[dict[str, None], dict[str, SymjaxError]]:
        """No structure is padded; those with unknown species are refused.

        Args:
          structures: The structures by label.

        Returns:
          None for each, and the errors of those that cannot be used.
        """
        capabilities = open_model(self.path).model.capabilities()
        errors: dict[str, SymjaxError] = {}
        for label, atoms in structures.items():
            try:
                check_species(capabilities, atoms)
            except SymjaxError as error:
                errors[label] = error
        return {label: None for label in structures if label not in errors}, errors

    def check_layers(self, layers: str) -> None:
        """Raises unless an exported model announces such features.

        Args:
          layers: See :func:`metatomic_problem`. Those of a checkpoint are known when
            the first structure is evaluated.

        Raises:
          ModelError: It does not.
        """
        opened = open_model(self.path)
        if layers != "none" and opened.module is None:
            known = opened.outputs
            _chosen(layers, [name for name in known if is_feature(name)], opened)

    def energy(self, name: str | None) -> str:
        """The output whose derivatives are forces and stress.

        Args:
          name: The one that is asked for.

        Returns:
          Its name; empty if the model has no energy.

        Raises:
          ModelError: There is none of this name, or there are several to choose from.
        """
        return energy_of(open_model(self.path).outputs, name)

    def problem(self, atoms: ase.Atoms, shape: None, options: Any) -> Problem:
        """Outputs and layers of a structure.

        Args:
          atoms: The structure.
          shape: Not used.
          options: :class:`symjax.runs.Options`; ``energy`` and ``layers`` are read.

        Returns:
          The problem.

        Raises:
          SymjaxError: See :func:`metatomic_problem`.
        """
        return metatomic_problem(
            self.path, atoms, energy=options.energy, layers=options.layers
        )


def load_or_open(name_or_path: str | Path) -> Any:
    """A model of symjax, imported where it can be; else its file, measured in place.

    Args:
      name_or_path: As :func:`symjax.models.load_model` takes it; or an exported model
        or a checkpoint of any architecture of metatrain.

    Returns:
      A model of symjax, or a :class:`MetatomicSource`; what stood in the way of an
      import is logged.

    Raises:
      ModelError: There is no such model, or it cannot be read.

    Example:
      >>> from symjax.interop.in_place import load_or_open
      >>> load_or_open("pet-ethanol").name
      'pet-ethanol'
    """
    try:
        return models.load_model(name_or_path)
    except ModelError as error:
        path = Path(name_or_path)
        if not path.is_file():
            raise
        try:
            source = MetatomicSource(str(path))
        except UnknownFileError:
            raise error from None
        reason = error.problem.splitlines()[0]
        _log.info("%s is measured in place, not imported: it %s", path.name, reason)
        return source
