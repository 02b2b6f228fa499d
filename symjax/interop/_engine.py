"""Evaluates a metatomic model on a structure, as a molecular-dynamics engine does."""

import contextlib
import importlib
import json
import tempfile
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import ase
import numpy as np

from symjax.data._pairs import find_pairs
from symjax.data.cells import onto_periodic, stress_volume
from symjax.data.conditions import warn_of_unread
from symjax.data.structures import check_structure, periodic_cell
from symjax.errors import ModelError, StructureError, needs_extra
from symjax.interop._inputs import Given, given_input
from symjax.interop._reading import Archive, read_archive
from symjax.so3.representations import VECTOR, Representation

Arrays = dict[str, np.ndarray]


class Engine:
    """Evaluates a model on orientations of one structure.

    Neighbors are found once, in the given orientation. Vectors to them rotate with the
    structure, as do momenta, velocities and magnetic moments that the model reads.
    ``x`` has the arrays that rotate, ``action`` their representations.

    Args:
      model: A ``metatomic.torch.AtomisticModel``.
      atoms: The structure, with all inputs that the model reads.
      device: Device that the model runs on.
    """

    def __init__(self, model: Any, atoms: ase.Atoms, device: str = "cpu"):
        torch, _ = libraries(model)
        check_structure(atoms)
        capabilities = model.capabilities()
        check_species(capabilities, atoms)
        self._dtype = getattr(torch, capabilities.dtype)
        self._device = device
        self._model = model.to(device=device, dtype=self._dtype).eval()
        self._neighbors = [
            _neighbors(atoms, request) for request in model.requested_neighbor_lists()
        ]
        self._inputs: dict[str, Given] = {
            name: given_input(name, request, atoms)
            for name, request in model.requested_inputs(use_new_names=True).items()
        }
        arrays = [key for given in self._inputs.values() for key in given.reads]
        whole = [
            name.removeprefix("ase::info::")
            for name, given in self._inputs.items()
            if not given.per_atom
        ]
        warn_of_unread(atoms, arrays + whole)
        self._volume = stress_volume(atoms)
        self.num_pairs = {len(first) for _, _, first, _, _ in self._neighbors}
        self._types = torch.tensor(atoms.numbers, dtype=torch.int32, device=device)
        self._pbc = torch.tensor(np.asarray(atoms.pbc), device=device)
        self.x: Arrays = {
            "positions": atoms.positions.astype(float),
            "cell": periodic_cell(atoms),
        }
        self.action: dict[str, Representation] = {"positions": VECTOR, "cell": VECTOR}
        for name, given in self._inputs.items():
            if given.rotates is not None:
                self.x[name], self.action[name] = given.values, given.rotates

    def _system(self, x: Arrays, derivatives: bool) -> tuple[Any, Any, Any]:
        """A system, and the variables with respect to which energies are derived."""
        torch, metatomic = libraries(self._model)
        kind: dict[str, Any] = {"dtype": self._dtype, "device": self._device}
        # About their mean, so that float32 models lose little precision.
        centered = x["positions"] - x["positions"].mean(axis=0)
        positions = torch.tensor(centered, **kind)
        cell = torch.tensor(x["cell"], **kind)
        strain = torch.eye(3, **kind)
        if derivatives:
            positions.requires_grad_(True)
            strain.requires_grad_(True)
        moved, cell = positions @ strain, cell @ strain
        made = metatomic.System(self._types, moved, cell, self._pbc)
        for request, samples, first, second, shifts in self._neighbors:
            # In float64, unless derivatives pass through them.
            vectors = (
                x["positions"][second] - x["positions"][first] + shifts @ x["cell"]
            )
            block = _block(vectors, samples, self._dtype, self._device)
            if derivatives:
                metatomic.register_autograd_neighbors(made, block)
            made.add_neighbor_list(request, block)
        for name, given in self._inputs.items():
            values = x.get(name, given.values)
            made.add_data(name, given.as_block(values, self._dtype, self._device))
        return made, positions, strain

    def evaluate(
        self,
        batch: Sequence[Arrays],
        requests: Mapping[str, Any],
        energy: str = "",
        derivatives: Collection[str] = (),
    ) -> tuple[dict[str, Any], list[Arrays]]:
        """Outputs of a batch of orientations, and derivatives of the energy of each.

        The stress has the components within the periodic directions, divided by the
        volume of the cell (:func:`symjax.data.cells.stress_volume`), which must not be
        0.
        """
        torch, metatomic = libraries(self._model)
        options = metatomic.ModelEvaluationOptions(
            length_unit="angstrom", outputs=dict(requests)
        )
        systems, positions, strains = zip(
            *(self._system(x, bool(derivatives)) for x in batch), strict=True
        )
        with torch.set_grad_enabled(bool(derivatives)), warnings.catch_warnings():
            # Meant for the training code that chose the names.
            warnings.filterwarnings("ignore", message=".*output name is deprecated")
            values = self._model(list(systems), options, check_consistency=False)
        rows: list[Arrays] = [{} for _ in batch]
        if not derivatives:
            return values, rows
        total = values[energy].block().values.sum()
        variables = [*positions, *strains]
        # The energy of a composition model, for instance, depends on no position.
        slopes = (
            torch.autograd.grad(total, variables, allow_unused=True)
            if total.requires_grad
            else [None] * len(variables)
        )
        found = [
            np.zeros(variable.shape) if slope is None else slope.cpu().numpy()
            for variable, slope in zip(variables, slopes, strict=True)
        ]
        for number, (row, x) in enumerate(zip(rows, batch, strict=True)):
            if "forces" in derivatives:
                row["forces"] = -found[number]
            if "stress" in derivatives:
                # A strain along a non-periodic direction only displaces atoms.
                within = np.asarray(onto_periodic(x["cell"]))
                virial = within @ found[len(batch) + number] @ within
                # In the precision of the model, like its outputs.
                row["stress"] = (virial / self._volume).astype(found[number].dtype)
        return values, rows


def check_species(capabilities: Any, atoms: ase.Atoms) -> None:
    """Raises if a structure has species that a model does not know."""
    unknown = sorted(set(atoms.numbers.tolist()) - set(capabilities.atomic_types))
    if unknown:
        raise StructureError(
            "atoms",
            atoms.get_chemical_formula(),
            f"has atomic numbers that the model does not know: {unknown}",
            f"Use structures of {sorted(capabilities.atomic_types)}",
        )


def libraries(model: Any) -> tuple[Any, Any]:
    """Imports ``torch`` and ``metatomic.torch``; raises if a model is not theirs."""
    with needs_extra("torch", "model", model):
        import metatomic.torch
        import torch
    if not hasattr(model, "capabilities"):
        raise ModelError(
            "model",
            type(model).__name__,
            "is not a metatomic AtomisticModel",
            "Export the model, or pass the path of an exported one",
        )
    return torch, metatomic.torch


def load_exported(path: Path) -> Any:
    """Reads an exported model, possibly compressed with gzip."""
    if not path.is_file():
        raise ModelError(
            "model", str(path), "there is no such file", "Pass an exported model .pt"
        )
    with needs_extra("torch", "model", str(path)):
        from metatomic.torch import load_atomistic_model
    missing: list[str] = []
    folder = path.parent / "extensions"
    beside = str(folder) if folder.is_dir() else None
    try:
        archive = read_archive(path)
        if beside is None:
            missing = _import_extensions(archive)
        if len(archive.data) == path.stat().st_size:
            return load_atomistic_model(str(path), beside)
        with tempfile.NamedTemporaryFile(suffix=".pt") as unpacked:
            unpacked.write(archive.data)
            unpacked.flush()
            return load_atomistic_model(unpacked.name, beside)
    except Exception as error:  # torch raises errors of many types
        if missing:
            raise ModelError(
                "model",
                str(path),
                f"needs the compiled extensions of {', '.join(missing)}",
                f"Run pip install {' '.join(missing)}, or put the folder extensions/ "
                "of its export next to the file",
            ) from error
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            "model",
            str(path),
            f"cannot be read as an exported model: {reason}",
            "Export it again with this metatomic, or pass the checkpoint .ckpt",
        ) from error


def _import_extensions(archive: Archive) -> list[str]:
    """Loads the extensions that an export needs; returns packages not installed.

    Importing a package loads its extension.
    """
    missing = []
    for extension in json.loads(archive.read("/extra/extensions") or b"[]"):
        # For instance "sphericart/torch/torch-2.13/lib/libsphericart_torch.so".
        package, *rest = PurePosixPath(extension["path"]).parts
        inner = [".".join([package, rest[0]])] if rest and rest[0] == "torch" else []
        for module in [*inner, package]:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
                break
        else:
            missing.append(package.replace("_", "-"))
    return missing


def _neighbors(atoms: ase.Atoms, request: Any) -> tuple[Any, ...]:
    """Indices and shifts of a requested neighbor list."""
    positions, cell = atoms.positions.astype(float), periodic_cell(atoms)
    # The request is in the model's unit of length.
    cutoff = request.engine_cutoff("angstrom")
    pairs = find_pairs(positions, cell, np.asarray(atoms.pbc), cutoff)
    first, second, shifts = pairs.first, pairs.second, pairs.shifts
    if request.full_list:
        first, second = np.append(first, second), np.append(second, first)
        shifts = np.concatenate([shifts, -shifts])
    # metatrain's long-range features assume that pairs are sorted by the first atom.
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
