"""Models of the PyTorch stack, measured in place through metatomic."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import ase
import numpy as np

from symjax.data._pairs import find_pairs
from symjax.data.structures import (
    check_structure,
    periodic_cell,
    spin_multiplicity,
    total_charge,
)
from symjax.errors import ArgumentError, ModelError, StructureError
from symjax.metrics import HostFunction, Output, Problem
from symjax.so3.representations import Representation


def torch_callable(
    model: Any,
    atoms: ase.Atoms,
    outputs: Mapping[str, Representation],
    *,
    per_atom: Collection[str] = (),
    device: str = "cpu",
) -> Problem:
    """Wraps a metatomic model, so that the metrics run on it unchanged.

    Neighbors are found once, in the given orientation; the vectors to them rotate with
    the structure. Structures are evaluated in batches of the measurement's
    ``batch_size``. Total charge and spin multiplicity, where a model reads them, are
    those of ``atoms.info``.

    Args:
      model: A ``metatomic.torch.AtomisticModel``, or the path of an exported one.
      atoms: The structure.
      outputs: The representation of every output to measure. The last axis of a
        block holds its properties: they are channels where the representation has
        them, else there must be one. A block of an output with several is named with
        its irrep: ``"mtt::density/2+"``. ``"forces"`` and ``"stress"``, unless the
        model has such outputs, are derivatives of its ``"energy"``: minus its gradient
        with respect to positions, and that with respect to strain over the volume.
      per_atom: Names of the outputs to evaluate for each atom, such as features or
        non-conservative forces; the others are of whole structures.
      device: Where the model runs.

    Returns:
      The problem, whose ``x`` are positions and cell in angstrom, float64. Outputs are
      in the model's units, derivatives per angstrom and cubic angstrom.

    Raises:
      ModelError: The extra ``[torch]`` is not installed; the model cannot be read,
        has no such output or block, or needs other inputs.
      ArgumentError: ``outputs`` is empty, or has no output of ``per_atom``; blocks of
        one output differ in ``per_atom``; stress of a structure without a cell.
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
        model = _load(Path(model))
    torch, metatomic = _libraries(model)
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
    capabilities = model.capabilities()
    derived, blocks = _sort_outputs(outputs, capabilities.outputs)
    if "stress" in derived and not np.all(atoms.pbc):
        raise ArgumentError(
            "outputs",
            "stress",
            "a structure without a cell in three directions has no stress",
            "Leave it out, or set atoms.cell and atoms.pbc",
        )
    requests = {
        name: metatomic.ModelOutput(
            unit=capabilities.outputs[name].unit, sample_kind=kind
        )
        for name, kind in _sample_kinds(blocks, derived, per_atom).items()
    }
    dtype = getattr(torch, capabilities.dtype)
    model = model.to(device=device, dtype=dtype).eval()
    options = metatomic.ModelEvaluationOptions(length_unit="angstrom", outputs=requests)
    neighbors = [
        _neighbors(atoms, request) for request in model.requested_neighbor_lists()
    ]
    inputs = {
        name: _input(name, request, atoms, dtype, device)
        for name, request in model.requested_inputs(use_new_names=True).items()
    }
    types = torch.tensor(atoms.numbers, dtype=torch.int32, device=device)
    pbc = torch.tensor(np.asarray(atoms.pbc), device=device)

    def system(x: dict[str, np.ndarray]) -> tuple[Any, Any, Any]:
        # About their mean, so that little is lost where the model is in float32.
        centered = x["positions"] - x["positions"].mean(axis=0)
        positions = torch.tensor(centered, dtype=dtype, device=device)
        cell = torch.tensor(x["cell"], dtype=dtype, device=device)
        strain = torch.eye(3, dtype=dtype, device=device)
        if derived:
            positions.requires_grad_(True)
            strain.requires_grad_(True)
        moved, cell = positions @ strain, cell @ strain
        made = metatomic.System(types, moved, cell, pbc)
        for request, samples, first, second, shifts in neighbors:
            # In float64, unless derivatives pass through them.
            vectors = (
                x["positions"][second] - x["positions"][first] + shifts @ x["cell"]
            )
            block = _block(vectors, samples, dtype, device)
            if derived:
                metatomic.register_autograd_neighbors(made, block)
            made.add_neighbor_list(request, block)
        for name, value in inputs.items():
            made.add_data(name, value)
        return made, positions, strain

    def evaluate(batch: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        systems, *moved = zip(*(system(x) for x in batch), strict=True)
        with torch.set_grad_enabled(bool(derived)):
            values = model(list(systems), options, check_consistency=False)
        rows: list[dict[str, np.ndarray]] = [{} for _ in batch]
        for name, (output, key) in blocks.items():
            arrays = _split(values[output], name, key, outputs[name], len(batch))
            for row, array in zip(rows, arrays, strict=True):
                row[name] = array
        if derived:
            total = values["energy"].block().values.sum()
            slopes = torch.autograd.grad(total, [*moved[0], *moved[1]])
            for number, (row, x) in enumerate(zip(rows, batch, strict=True)):
                if "forces" in derived:
                    row["forces"] = -slopes[number].cpu().numpy()
                if "stress" in derived:
                    virial = slopes[len(batch) + number].cpu().numpy()
                    row["stress"] = virial / abs(np.linalg.det(x["cell"]))
        return rows

    x = {"positions": atoms.positions.astype(float), "cell": periodic_cell(atoms)}
    units = {
        name: capabilities.outputs[output].unit for name, (output, _) in blocks.items()
    }
    for name, volume in (("forces", "angstrom"), ("stress", "angstrom^3")):
        if name in derived:
            units[name] = f"{capabilities.outputs['energy'].unit}/{volume}"
    described = {
        name: Output(
            representation,
            units[name],
            samples=atoms.numbers if name in (*per_atom, "forces") else None,
        )
        for name, representation in outputs.items()
    }
    return Problem(HostFunction(evaluate, batched=True), x, described)


def _sort_outputs(
    names: Collection[str], known: Mapping[str, Any]
) -> tuple[tuple[str, ...], dict[str, tuple[str, str]]]:
    """Names to derive from the energy, and output and block of all others."""
    derived, blocks = [], {}
    for name in names:
        output, _, key = name.rpartition("/")
        if name in known:
            blocks[name] = (name, "")
        elif name in ("forces", "stress") and "energy" in known:
            derived.append(name)
        elif output in known:
            blocks[name] = (output, key)
        else:
            raise ModelError(
                "outputs",
                name,
                "the model has no such output",
                f"Use {', '.join(sorted(known))}"
                + (", forces or stress" if "energy" in known else ""),
            )
    return tuple(derived), blocks


def _sample_kinds(
    blocks: Mapping[str, tuple[str, str]],
    derived: Collection[str],
    per_atom: Collection[str],
) -> dict[str, str]:
    """``"atom"`` or ``"system"`` for every output of the model that is asked for."""
    kinds: dict[str, str] = {}
    for name, (output, _) in blocks.items():
        kind = "atom" if name in per_atom else "system"
        if kinds.setdefault(output, kind) != kind:
            raise ArgumentError(
                "per_atom",
                name,
                f"the blocks of {output} are either all per atom or none",
                "Name all of them or none",
            )
    if derived:
        kinds.setdefault("energy", "system")
    return kinds


def _libraries(model: Any) -> tuple[Any, Any]:
    try:
        import metatomic.torch
        import torch
    except ImportError as error:
        raise ModelError(
            "model", model, f"{error.name} is not installed", "Install symjax[torch]"
        ) from error
    if not hasattr(model, "capabilities"):
        raise ModelError(
            "model",
            type(model).__name__,
            "is no metatomic AtomisticModel",
            "Export the model, or pass the path of an exported one",
        )
    return torch, metatomic.torch


def _load(path: Path) -> Any:
    if not path.is_file():
        raise ModelError(
            "model", str(path), "there is no such file", "Pass an exported model .pt"
        )
    try:
        from metatomic.torch import load_atomistic_model
    except ImportError as error:
        raise ModelError(
            "model",
            str(path),
            f"{error.name} is not installed",
            "Install symjax[torch]",
        ) from error
    try:
        return load_atomistic_model(str(path))
    except Exception as error:  # torch raises what the damage leads to
        raise ModelError(
            "model",
            str(path),
            f"cannot be read as an exported model: {error}",
            "Export it again with metatrain",
        ) from error


def _neighbors(atoms: ase.Atoms, request: Any) -> tuple[Any, ...]:
    """Indices and shifts of one requested list, of one structure."""
    positions, cell = atoms.positions.astype(float), periodic_cell(atoms)
    # The request is in the unit of length of the model.
    cutoff = request.engine_cutoff("angstrom")
    pairs = find_pairs(positions, cell, np.asarray(atoms.pbc), cutoff)
    first, second, shifts = pairs.first, pairs.second, pairs.shifts
    if request.full_list:
        first, second = np.append(first, second), np.append(second, first)
        shifts = np.concatenate([shifts, -shifts])
    # metatrain's long-range features take distances in the order of first atoms for
    # those of the list, whatever order it has.
    order = np.argsort(first, kind="stable")
    first, second, shifts = first[order], second[order], shifts[order]
    samples = np.concatenate([first[:, None], second[:, None], shifts], axis=1)
    return request, samples.astype(np.int32), first, second, shifts


def _block(vectors: np.ndarray, samples: np.ndarray, dtype: Any, device: str) -> Any:
    import torch
    from metatensor.torch import Labels, TensorBlock

    names = [
        "first_atom",
        "second_atom",
        "cell_shift_a",
        "cell_shift_b",
        "cell_shift_c",
    ]
    return TensorBlock(
        torch.tensor(vectors, dtype=dtype, device=device).reshape(-1, 3, 1),
        Labels(names, torch.tensor(samples, device=device)),
        [Labels(["xyz"], torch.arange(3, device=device).reshape(-1, 1))],
        Labels(["distance"], torch.zeros(1, 1, dtype=torch.int32, device=device)),
    )


def _input(name: str, request: Any, atoms: ase.Atoms, dtype: Any, device: str) -> Any:
    """A quantity of the structure, or of its atoms, that a model asks for."""
    import torch
    from metatensor.torch import Labels, TensorBlock, TensorMap

    of_atoms = request.sample_kind == "atom"
    known = {"charge": total_charge, "spin_multiplicity": spin_multiplicity}
    if name not in known or request.sample_kind not in ("atom", "system"):
        raise ModelError(
            "model",
            name,
            f"the model reads this input of each {request.sample_kind}",
            f"Models that read {' and '.join(known)} can be measured",
        )
    if of_atoms:
        values = _of_atoms(name, atoms)
        samples = Labels(
            ["system", "atom"],
            torch.tensor([[0, i] for i in range(len(atoms))], dtype=torch.int32),
        ).to(device)
    else:
        values = np.array([known[name](atoms)], float)
        samples = Labels(["system"], torch.zeros(1, 1, dtype=torch.int32)).to(device)
    zero = torch.zeros(1, 1, dtype=torch.int32, device=device)
    value = torch.tensor(values, dtype=dtype, device=device).reshape(-1, 1)
    block = TensorBlock(value, samples, [], Labels([name], zero))
    return TensorMap(Labels(["_"], zero), [block])


def _of_atoms(name: str, atoms: ase.Atoms) -> np.ndarray:
    if name != "charge":
        raise ModelError(
            "model",
            name,
            "the model reads this input of each atom",
            "Models that read the charge of each atom can be measured",
        )
    if not atoms.has("initial_charges"):
        raise StructureError(
            "atoms",
            atoms.get_chemical_formula(),
            "has no charges of atoms, which the model reads",
            "Set them in e with atoms.set_initial_charges",
        )
    return np.asarray(atoms.get_initial_charges(), float)


def _split(
    values: Any, name: str, key: str, representation: Representation, num: int
) -> list[np.ndarray]:
    """Values of each structure of a batch."""
    found = {_block_key(entry): block for entry, block in values.items()}
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
    systems = block.samples.column("system").cpu().numpy()
    return [array[systems == number] for number in range(num)]


def _block_key(entry: Any) -> str:
    """The irrep of a block, as in the names of symjax's own outputs."""
    if list(entry.names) == ["o3_lambda", "o3_sigma"]:
        return f"{int(entry['o3_lambda'])}{'+' if int(entry['o3_sigma']) == 1 else '-'}"
    return ",".join(str(int(value)) for value in entry.values)
