"""Small models of metatomic in closed form."""

from typing import Dict, List, Optional  # noqa: UP035

import ase.build
import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import (
    AtomisticModel,
    ModelCapabilities,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
)

from symjax.interop import torch_callable
from symjax.so3 import SCALAR


def of_structures(energies: List[torch.Tensor]) -> TensorMap:  # noqa: UP006
    """Energies of several structures, in the layout of metatomic."""
    zero = torch.zeros(1, 1, dtype=torch.int32)
    rows = torch.arange(len(energies), dtype=torch.int32).reshape(-1, 1)
    block = TensorBlock(
        torch.stack(energies).reshape(-1, 1),
        Labels("system", rows),
        [],
        Labels("energy", zero),
    )
    return TensorMap(Labels("_", zero), [block])


class Closed(torch.nn.Module):
    """Sums over pairs in closed form; exact, but for a share along the axis z.

    The energy is sum |r|^2 + broken sum z^2, its vector sum of r |r|^2 over pairs from
    the first atom, its 2+ the harmonics of these pairs.
    """

    def __init__(self, cutoff: float, broken: float):
        super().__init__()
        self.broken = broken
        self.list = NeighborListOptions(cutoff=cutoff, full_list=True, strict=True)
        self.readout = torch.nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.readout.weight[:] = torch.eye(3)[:2]

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:  # noqa: UP006
        return [self.list]

    def forward(
        self,
        systems: List[System],  # noqa: UP006
        outputs: Dict[str, ModelOutput],  # noqa: UP006
        selected_atoms: Optional[Labels],  # noqa: UP045
    ) -> Dict[str, TensorMap]:  # noqa: UP006
        energies = []
        vectors = []
        quadrupoles = []
        for system in systems:
            pairs = system.get_neighbor_list(self.list)
            r = pairs.values.reshape(-1, 3)
            self.readout(r)
            energies.append((r * r).sum() + self.broken * (r[:, 2] ** 2).sum())
            first = r[pairs.samples.column("first_atom") == 0]
            squares = (first * first).sum(dim=1, keepdim=True)
            vectors.append((first * squares).sum(dim=0))
            x, y, z = first[:, 0], first[:, 1], first[:, 2]
            quadrupoles.append(
                torch.stack(
                    [
                        (x * y).sum(),
                        (y * z).sum(),
                        ((2 * z * z - x * x - y * y) / 12.0**0.5).sum(),
                        (x * z).sum(),
                        ((x * x - y * y) / 2.0).sum(),
                    ]
                )
            )
        zero = torch.zeros(1, 1, dtype=torch.int32)
        rows = Labels(
            "system", torch.arange(len(systems), dtype=torch.int32).reshape(-1, 1)
        )
        single = Labels("_", zero)
        found: Dict[str, TensorMap] = {}  # noqa: UP006
        found["energy/pbe"] = of_structures(energies)
        axis = Labels("xyz", torch.arange(3, dtype=torch.int32).reshape(-1, 1))
        found["mtt::vector"] = TensorMap(
            single,
            [TensorBlock(torch.stack(vectors).reshape(-1, 3, 1), rows, [axis], single)],
        )
        mu = Labels("o3_mu", torch.arange(-2, 3, dtype=torch.int32).reshape(-1, 1))
        key = Labels(
            ["o3_lambda", "o3_sigma"], torch.tensor([[2, 1]], dtype=torch.int32)
        )
        found["mtt::quadrupole"] = TensorMap(
            key,
            [
                TensorBlock(
                    torch.stack(quadrupoles).reshape(-1, 5, 1), rows, [mu], single
                )
            ],
        )
        return found


UNITS = {"angstrom": 1.0, "nm": 0.1, "bohr": 1 / 0.529177210903}


def atomistic(module, outputs, cutoff, unit):
    """The module as a model of H and O in float64, the cutoff in its unit of length."""
    return AtomisticModel(
        module.eval(),
        ModelMetadata(),
        ModelCapabilities(
            outputs=outputs,
            atomic_types=[1, 8],
            interaction_range=cutoff,
            length_unit=unit,
            supported_devices=["cpu"],
            dtype="float64",
        ),
    )


def closed(unit="angstrom", broken=0.0, cutoff=2.0):
    """A model whose energy is in the squares of its own unit of length."""
    cutoff = cutoff * UNITS[unit]
    outputs = {
        "energy/pbe": ModelOutput(unit="eV", sample_kind="system"),
        "mtt::vector": ModelOutput(unit="e*A", sample_kind="system"),
        "mtt::quadrupole": ModelOutput(sample_kind="system"),
    }
    return atomistic(Closed(cutoff, broken), outputs, cutoff, unit)


class Squares(torch.nn.Module):
    """Sum over pairs of (r / cutoff)^2, and over an input of its squares."""

    def __init__(self, cutoff: float, name: str, kind: str):
        super().__init__()
        self.cutoff = cutoff
        self.name = name
        self.kind = kind
        self.list = NeighborListOptions(cutoff=cutoff, full_list=True, strict=True)

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:  # noqa: UP006
        return [self.list]

    def requested_inputs(self) -> Dict[str, ModelOutput]:  # noqa: UP006
        if self.name == "":
            return {}
        return {self.name: ModelOutput(sample_kind=self.kind)}

    def forward(
        self,
        systems: List[System],  # noqa: UP006
        outputs: Dict[str, ModelOutput],  # noqa: UP006
        selected_atoms: Optional[Labels],  # noqa: UP045
    ) -> Dict[str, TensorMap]:  # noqa: UP006
        energies = []
        for system in systems:
            vectors = system.get_neighbor_list(self.list).values / self.cutoff
            energy = (vectors * vectors).sum()
            if self.name != "":
                values = system.get_data(self.name).block().values
                energy = energy + (values * values).sum() + 1000.0 * values.shape[0]
            energies.append(energy)
        return {"energy": of_structures(energies)}


def energy(atoms, cutoff=0.1, length_unit="angstrom", name="", kind="atom"):
    outputs = {"energy": ModelOutput(unit="eV", sample_kind="system")}
    model = atomistic(Squares(cutoff, name, kind), outputs, cutoff, length_unit)
    problem = torch_callable(model, atoms, {"energy": SCALAR})
    return float(problem.function.function([problem.x])[0]["energy"][0])


def water():
    atoms = ase.build.molecule("H2O")
    atoms.rattle(0.05, seed=1)
    return atoms
