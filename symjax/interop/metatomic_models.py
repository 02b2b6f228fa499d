"""Models of the PyTorch stack, measured in place through metatomic."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np

from symjax.data.cells import NO_STRESS, stress_volume
from symjax.data.quantities import DERIVATIVES, energy_among
from symjax.data.structures import check_structure
from symjax.data.units import derivative_unit
from symjax.errors import ArgumentError, ModelError
from symjax.interop._engine import Arrays, Engine, libraries, load_exported
from symjax.metrics import HostFunction, Output, Problem
from symjax.so3.irreps import Irrep
from symjax.so3.representations import Representation


def torch_callable(
    model: Any,
    atoms: ase.Atoms,
    outputs: Mapping[str, Representation],
    *,
    per_atom: Collection[str] = (),
    energy: str | None = None,
    device: str = "cpu",
) -> Problem:
    """Wraps a metatomic model as a problem.

    Neighbors are found once, in the given orientation; the vectors to them rotate with
    the structure. Orientations are evaluated in batches of the measurement's
    ``batch_size``. Other inputs of the model are read from the structure: total charge
    and spin multiplicity from ``atoms.info``; charges, masses, momenta, velocities,
    magnetic moments and tags from the atoms. Vectors among them rotate.

    Args:
      model: A ``metatomic.torch.AtomisticModel``, or the path of an exported one.
      atoms: The structure.
      outputs: The representation of each output to measure. The last axis of a block
        has its properties: they are channels if the representation has channels;
        otherwise there must be one. A block of an output with several is named by its
        irrep: ``"mtt::density/2+"``. ``"forces"`` and ``"stress"``, unless the model
        has such outputs, are derived from its energy: minus its gradient with respect
        to positions, and its derivative with respect to strain divided by the volume
        of the cell, for slabs and wires within their periodic directions.
      per_atom: Names of the outputs to evaluate per atom, such as features or
        non-conservative forces; the others are evaluated per structure.
      energy: The output to derive; by default ``"energy"``, or its only variant, such
        as ``"energy/pbe"``.
      device: Device that the model runs on.

    Returns:
      The problem. Its ``x`` has positions and cell in angstrom and the other vectors
      that rotate, in float64. Outputs are in the units of the model, derivatives per
      angstrom and cubic angstrom.

    Raises:
      ModelError: The extra ``[torch]`` is not installed; the model cannot be read,
        has no such output or block, several energies of which none was named, or
        needs other inputs.
      ArgumentError: ``outputs`` is empty, or has no output of ``per_atom``; blocks of
        one output differ in ``per_atom``; stress of a structure without a periodic
        direction or a volume.
      StructureError: The structure cannot be used.

    Example:
      >>> import ase.build
      >>> from symjax.interop import torch_callable
      >>> from symjax.so3 import SCALAR
      >>> water = ase.build.molecule("H2O")
      >>> torch_callable("missing.pt", water, {"energy": SCALAR})
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: model='missing.pt': there is no such file...
    """
    if isinstance(model, str | Path):
        model = load_exported(Path(model))
    _, metatomic = libraries(model)
    check_structure(atoms)
    if not outputs:
        raise ArgumentError(
            "outputs", outputs, "is empty", "Name outputs and their representations"
        )
    for name in per_atom:
        if name not in outputs:
            raise ArgumentError(
                "per_atom", name, "is not among the outputs", "Name it in outputs too"
            )
    known = model.capabilities().outputs
    derivable = [name for name in DERIVATIVES if name in outputs and name not in known]
    chosen = energy_of(known, energy) if derivable or energy is not None else ""
    derived, blocks = _sort_outputs(outputs, known, chosen)
    if "stress" in derived and not stress_volume(atoms):
        raise ArgumentError("outputs", "stress", *NO_STRESS)
    requests = {
        name: metatomic.ModelOutput(unit=known[name].unit, sample_kind=kind)
        for name, kind in _sample_kinds(blocks, derived, per_atom, chosen).items()
    }
    engine = Engine(model, atoms, device)

    def evaluate(batch: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        values, rows = engine.evaluate(batch, requests, chosen, derived)
        for name, (output, key) in blocks.items():
            add_block(rows, values[output], name, key, outputs[name])
        return rows

    units = {name: known[output].unit for name, (output, _) in blocks.items()}
    units |= {name: derivative_unit(name, known[chosen].unit) for name in derived}
    described = {
        name: Output(
            representation,
            units[name],
            samples=atoms.numbers if name in (*per_atom, "forces") else None,
        )
        for name, representation in outputs.items()
    }
    function = HostFunction(evaluate, batched=True)
    return Problem(function, engine.x, described, action=engine.action)


def energy_of(known: Mapping[str, Any], name: str | None = None) -> str:
    """The requested output, or the energy among all; empty if there is none.

    Raises:
      ModelError: The requested output does not exist, or there are several variants of
        the energy to choose from.
    """
    if name is not None:
        if name not in known:
            raise ModelError(
                "energy",
                name,
                "the model has no such output",
                f"Use one of {', '.join(sorted(known))}",
            )
        return name
    return energy_among(known) or ""


def _sort_outputs(
    names: Collection[str], known: Mapping[str, Any], energy: str
) -> tuple[tuple[str, ...], dict[str, tuple[str, str]]]:
    """Names to derive from the energy, and output and block of all others."""
    derived, blocks = [], {}
    for name in names:
        output, _, key = name.rpartition("/")
        if name in known:
            blocks[name] = (name, "")
        elif name in DERIVATIVES and energy:
            derived.append(name)
        elif output in known:
            blocks[name] = (output, key)
        else:
            raise ModelError(
                "outputs",
                name,
                "the model has no such output",
                f"Use {', '.join(sorted(known))}"
                + (", forces or stress" if energy_of(known, energy or None) else ""),
            )
    return tuple(derived), blocks


def _sample_kinds(
    blocks: Mapping[str, tuple[str, str]],
    derived: Collection[str],
    per_atom: Collection[str],
    energy: str,
) -> dict[str, str]:
    """``"atom"`` or ``"system"`` for each requested output of the model."""
    kinds: dict[str, str] = {}
    for name, (output, _) in blocks.items():
        kind = "atom" if name in per_atom else "system"
        if kinds.setdefault(output, kind) != kind:
            raise ArgumentError(
                "per_atom",
                name,
                f"names some blocks of {output} and not others",
                "Name all blocks of an output or none",
            )
    if derived:
        kinds.setdefault(energy, "system")
    return kinds


def add_block(
    rows: Sequence[Arrays],
    values: Any,
    name: str,
    key: str,
    representation: Representation,
) -> None:
    """Adds an output, called ``name``, to the rows of a batch, one for each structure.

    ``key`` is that of the block (:func:`block_key`), empty for the only one. If the
    representation is a scalar with channels, components are channels too.

    Raises:
      ModelError: The output has several blocks and none is named, or several properties
        and a representation without channels.
    """
    found = {block_key(entry): block for entry, block in values.items()}
    if not key and len(found) == 1:
        key = next(iter(found))
    if key not in found:
        raise ModelError(
            "outputs",
            name,
            f"has {len(found)} blocks",
            f"Name one of them: {', '.join(found)}, after a /",
        )
    block = found[key]
    array = block.values.detach().cpu().numpy()
    if not representation.has_channels:
        if array.shape[-1] != 1:
            raise ModelError(
                "outputs",
                name,
                f"has {array.shape[-1]} properties",
                "Name a representation with channels",
            )
        array = array[..., 0]
    elif not representation.shape:
        array = array.reshape(len(array), -1)
    samples = block.samples.values.cpu().numpy()
    # Models may sort atoms by species: restore the order of the structure.
    order = np.lexsort(samples.T[::-1])
    systems = block.samples.column("system").cpu().numpy()[order]
    array = array[order]
    for number, row in enumerate(rows):
        row[name] = array[systems == number]


def block_key(entry: Any) -> str:
    """The irrep of a block, such as ``"2+"``; for other keys their values."""
    if list(entry.names) == ["o3_lambda", "o3_sigma"]:
        return str(Irrep(int(entry["o3_lambda"]), int(entry["o3_sigma"])))
    return ",".join(str(int(value)) for value in entry.values)
