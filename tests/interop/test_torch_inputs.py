"""Units, charges and far atoms of exported models, as an engine gives them."""

import ase.build
import numpy as np
import pytest

from symjax.errors import ModelError, StructureError
from symjax.so3 import SCALAR

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("metatomic.torch")

from typing import Dict, List, Optional  # noqa: E402, UP035

from metatensor.torch import Labels, TensorBlock, TensorMap  # noqa: E402
from metatomic.torch import (  # noqa: E402
    AtomisticModel,
    ModelCapabilities,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
)

from symjax.interop import torch_callable  # noqa: E402


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
        zero = torch.zeros(1, 1, dtype=torch.int32)
        rows = torch.arange(len(systems), dtype=torch.int32).reshape(-1, 1)
        block = TensorBlock(
            torch.stack(energies).reshape(-1, 1),
            Labels("system", rows),
            [],
            Labels("energy", zero),
        )
        return {"energy": TensorMap(Labels("_", zero), [block])}


def energy(atoms, cutoff=0.1, length_unit="angstrom", name="", kind="atom"):
    model = AtomisticModel(
        Squares(cutoff, name, kind).eval(),
        ModelMetadata(),
        ModelCapabilities(
            outputs={"energy": ModelOutput(unit="eV", sample_kind="system")},
            atomic_types=[1, 8],
            interaction_range=cutoff,
            length_unit=length_unit,
            supported_devices=["cpu"],
            dtype="float64",
        ),
    )
    problem = torch_callable(model, atoms, {"energy": SCALAR})
    return float(problem.function.function([problem.x])[0]["energy"][0])


def test_a_cutoff_is_in_the_unit_of_the_model():
    water = ase.build.molecule("H2O")
    distances = water.get_all_distances()
    expected = np.sum((distances / 2.0) ** 2)  # all pairs are within 2 angstrom
    for unit, cutoff in (("angstrom", 2.0), ("nm", 0.2), ("bohr", 2 / 0.52917721)):
        assert energy(water, cutoff, unit) == pytest.approx(expected, rel=1e-6)


def test_charges_of_atoms_are_those_of_the_atoms():
    water = ase.build.molecule("H2O")
    with pytest.raises(StructureError, match=r"no charges of atoms.*set_initial"):
        energy(water, name="charge")
    water.set_initial_charges([-0.8, 0.4, 0.4])
    # three rows; the squares add up to 0.96
    assert energy(water, name="charge") == pytest.approx(3000.96, abs=1e-9)
    water.info["charge"] = 2
    assert energy(water, name="charge", kind="system") == pytest.approx(1004.0)


def test_other_inputs_of_atoms_are_refused():
    with pytest.raises(ModelError, match=r"mass"):
        energy(ase.build.molecule("H2O"), name="mass")


def test_atoms_far_apart_end_nothing():
    far = ase.Atoms("H2", [[0, 0, 0], [2000, 2000, 0]])
    assert energy(far, cutoff=4.5) == 0.0
    slab = ase.Atoms("H", cell=[3000, 3000, 0], pbc=(True, True, False))
    assert energy(slab, cutoff=4.5) == 0.0
