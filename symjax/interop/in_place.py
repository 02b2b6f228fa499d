"""Measures metatomic and metatrain models of any architecture in place.

A model announces its outputs, their units and their samples; the components of a block
determine how it rotates. Nothing is imported or assumed about the network. Of an
exported model only the features that it announces can be read as layers; a checkpoint
is loaded by metatrain as a module, whose submodules can be read.
"""

import dataclasses
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase
import numpy as np

from symjax import models
from symjax._files import file_digest
from symjax._text import model_stem
from symjax.data.cells import stress_volume
from symjax.data.quantities import DERIVATIVES, representation_of
from symjax.data.units import derivative_unit
from symjax.errors import ModelError, SymjaxError
from symjax.interop._engine import Arrays, Engine, check_species
from symjax.interop._inner_layers import (
    CAPTURED,
    chosen_layers,
    failures,
    find_layers,
    is_feature,
    request_of,
)
from symjax.interop._layouts import kind_of
from symjax.interop._opening import UnknownFileError, open_model
from symjax.interop.foreign_sources import PlainSource
from symjax.interop.jax_modules import with_layers
from symjax.interop.metatomic_models import add_block, block_key, energy_of
from symjax.metrics import HostFunction, Output, Problem
from symjax.metrics.problem import Kind
from symjax.so3.representations import FEATURE, MATRIX, VECTOR, Representation

_log = logging.getLogger(__name__)

_UNCERTAINTY = re.compile(r".*_uncertainty(/.*)?")


class _Measured(NamedTuple):
    """An output of a problem, and the block that it is read from."""

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
    Forces and stress are derivatives of the energy, where the model has one and no such
    output; the stress of slabs and wires within their periodic directions, over the
    volume of the cell (:func:`symjax.data.cells.stress_volume`).

    Args:
      model: A ``metatomic.torch.AtomisticModel``; or the path of an exported model, or
        of a checkpoint of metatrain, of any architecture that is installed. Lengths
        may be in any unit that metatomic knows.
      atoms: The structure.
      energy: The output to derive; by default ``"energy"``, or its only variant.
      layers: ``"none"``; ``"all"``; or names or regular expressions. Features that the
        model announces, such as ``"feature"``, are layers; for a checkpoint also the
        results of its submodules, by their names, with the rows and channels of the
        network. Layers of submodules are read one orientation at a time.
      device: Device that the model runs on.

    Returns:
      The problem. Outputs are in the units of the model, derivatives per angstrom and
      cubic angstrom. ``x`` has positions and cell in angstrom and the other vectors
      that the model reads: momenta, velocities and magnetic moments.

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
    has_stress = stress_volume(atoms) > 0
    derived = tuple(
        name
        for name in DERIVATIVES
        if chosen and name not in known and (name == "forces" or has_stress)
    )
    names = [
        name
        for name in known
        if not is_feature(name)
        and (has_stress or not name.startswith("non_conservative_stress"))
    ]
    reader = find_layers(opened, atoms, layers, device, chosen)
    requests = {
        name: request_of(opened, name, energy=chosen)
        for name in dict.fromkeys([*names, *reader.outputs])
    }
    with failures(opened.name):
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
        with failures(opened.name), reader.reading() as read:
            values, rows = engine.evaluate(batch, requests, chosen, derived)
        for name, (output, key, what) in measured.items():
            if output:
                add_block(rows, values[output], name, key, what.representation)
        for row in rows:
            row |= read
        return rows

    def function(batch: list[Arrays]) -> list[Arrays]:
        if not reader.hooked:
            return several(batch)
        return [row for x in batch for row in several([x])]

    outputs = {name: found.known for name, found in measured.items()}
    return Problem(
        HostFunction(function, batched=True),
        engine.x,
        with_layers(outputs, reader.hooked),
        action=engine.action,
    )


def _described(
    values: Mapping[str, Any],
    requests: Mapping[str, Any],
    atoms: ase.Atoms,
    features: Sequence[str],
) -> dict[str, _Measured]:
    """How each block rotates, from its components; warns of those left out."""
    found: dict[str, _Measured] = {}
    for output, request in requests.items():
        if output not in values:
            warnings.warn(f"{output!r} was not returned by the model", stacklevel=4)
            continue
        entries = list(values[output].items())
        for entry, block in entries:
            key = block_key(entry)
            name = output.removeprefix(CAPTURED)
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
            layer: Kind = "node" if samples is not None else "edge"
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
    """How a block rotates; None if its components do not determine it."""
    if block.components and _UNCERTAINTY.fullmatch(output):
        # One number, repeated for every component.
        return FEATURE
    kind = kind_of(entry, block.components)
    if kind is None:
        return None
    return representation_of(kind, channels=block.values.shape[-1] > 1)


@dataclasses.dataclass(frozen=True)
class MetatomicSource(PlainSource):
    """A model in a file of PyTorch that is measured in place.

    Attributes:
      path: An exported model, or a checkpoint of metatrain.
    """

    path: str

    def __post_init__(self) -> None:
        open_model(self.path)

    @property
    def name(self) -> str:
        """The name of the file, without its ending."""
        return model_stem(Path(self.path))

    @property
    def digest(self) -> str:
        """Of the file."""
        return file_digest(Path(self.path))

    @property
    def dtype(self) -> str:
        """The floating-point type in which the model runs."""
        return str(open_model(self.path).model.capabilities().dtype)

    @property
    def note(self) -> str:  # type: ignore[override]
        """Note for reports: how the model is measured, its unit of length, layers."""
        opened = open_model(self.path)
        unit = opened.model.capabilities().length_unit
        origin = "an exported model" if opened.module is None else "a checkpoint"
        lines = [f"Measured in place by metatomic, from {origin} of {opened.kind}."]
        if not unit:
            lines.append("It states no unit of length: angstrom is assumed.")
        elif unit.lower() not in ("a", "angstrom"):
            lines.append(f"It takes lengths in {unit}.")
        if opened.module is None:
            lines.append(
                "Layers of an export cannot be read: pass the checkpoint (.ckpt)."
            )
        return " ".join(lines)

    def settings(self, options: Any) -> dict[str, Any]:
        """The output whose derivatives are forces and stress; empty without an energy.

        Layers of a checkpoint are known when the first structure is evaluated.
        """
        opened = open_model(self.path)
        if options.layers != "none" and opened.module is None:
            features = [name for name in opened.outputs if is_feature(name)]
            chosen_layers(options.layers, features, opened)
        return {"energy": energy_of(opened.outputs, options.energy)}

    def sizes(
        self, items: Mapping[str, ase.Atoms]
    ) -> tuple[dict[str, None], dict[str, SymjaxError]]:
        """Structures are not padded; those with unknown species are errors."""
        capabilities = open_model(self.path).model.capabilities()
        errors: dict[str, SymjaxError] = {}
        for label, atoms in items.items():
            try:
                check_species(capabilities, atoms)
            except SymjaxError as error:
                errors[label] = error
        return {label: None for label in items if label not in errors}, errors

    def problem(self, item: ase.Atoms, size: int, options: Any) -> Problem:
        """Outputs and layers of a structure, see :func:`metatomic_problem`."""
        return metatomic_problem(
            self.path, item, energy=options.energy, layers=options.layers
        )


def load_or_open(name_or_path: str | Path) -> Any:
    """A model of symjax, imported where it can be; else its file, measured in place.

    What stood in the way of an import is logged.

    Args:
      name_or_path: As :func:`symjax.models.load_model` takes it; or an exported model
        or a checkpoint of any architecture of metatrain.

    Raises:
      ModelError: It is neither the name of a model nor a file that one of the two
        reads.
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
