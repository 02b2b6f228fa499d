"""Units, charges and far atoms of exported models, as an engine gives them."""

import ase.build
import numpy as np
import pytest

from symjax.errors import ModelError, StructureError
from symjax.metrics import Grid, measure
from symjax.so3 import SCALAR

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("metatomic.torch")

from typing import Dict, List, Optional  # noqa: E402, UP035

from metatensor.torch import Labels, TensorMap  # noqa: E402
from metatomic.torch import (  # noqa: E402
    AtomisticModel,
    ModelCapabilities,
    ModelMetadata,
    ModelOutput,
    System,
)
from torch_closed import energy, of_structures  # noqa: E402

from symjax.interop import torch_callable  # noqa: E402
from symjax.interop._inputs import given_input  # noqa: E402


def test_charges_of_atoms_are_those_of_the_atoms():
    water = ase.build.molecule("H2O")
    with pytest.raises(
        StructureError, match=r"no initial charges.*set_initial_charges"
    ):
        energy(water, name="charge")
    water.set_initial_charges([-0.8, 0.4, 0.4])
    # three rows; the squares add up to 0.96
    assert energy(water, name="charge") == pytest.approx(3000.96, abs=1e-9)
    water.info["charge"] = 2
    with pytest.warns(UserWarning, match="initial charges"):
        found = energy(water, name="charge", kind="system")
    assert found == pytest.approx(1004.0)


class Asked(torch.nn.Module):
    """Sum over atoms of an input times the position, or of the input alone."""

    def __init__(self, name: str, kind: str, unit: str, component: int):
        super().__init__()
        self.name = name
        self.kind = kind
        self.unit = unit
        self.component = component

    def requested_inputs(self) -> Dict[str, ModelOutput]:  # noqa: UP006
        return {self.name: ModelOutput(unit=self.unit, sample_kind=self.kind)}

    def forward(
        self,
        systems: List[System],  # noqa: UP006
        outputs: Dict[str, ModelOutput],  # noqa: UP006
        selected_atoms: Optional[Labels],  # noqa: UP045
    ) -> Dict[str, TensorMap]:  # noqa: UP006
        energies = []
        for system in systems:
            values = system.get_data(self.name).block().values[..., 0]
            if values.dim() == 2:
                energy = (values * system.positions).sum()
                if self.component >= 0:
                    energy = values[1, self.component] + 0 * energy
            else:
                energy = values.sum() + 0 * system.positions.sum()
            energies.append(energy)
        return {"energy": of_structures(energies)}


def asked(atoms, name, kind="atom", unit="", component=-1):
    model = AtomisticModel(
        Asked(name, kind, unit, component).eval(),
        ModelMetadata(),
        ModelCapabilities(
            outputs={"energy": ModelOutput(unit="eV", sample_kind="system")},
            atomic_types=[1, 8],
            interaction_range=0.0,
            length_unit="angstrom",
            supported_devices=["cpu"],
            dtype="float64",
        ),
    )
    problem = torch_callable(model, atoms, {"energy": SCALAR})
    return problem, float(problem.function.function([problem.x])[0]["energy"][0])


def moving_water():
    water = ase.build.molecule("H2O")
    rng = np.random.default_rng(0)
    water.set_momenta(rng.normal(size=(3, 3)))
    water.set_initial_magnetic_moments(rng.normal(size=(3, 3)))
    water.set_initial_charges([-0.8, 0.4, 0.4])
    water.set_array("field", np.array([1.0, 2.0, 4.0]))
    water.info["pressure"] = 3
    return water


@pytest.mark.parametrize(
    ("name", "kind", "unit", "expected"),
    [
        ("mass", "atom", "", 15.999 + 2 * 1.008),
        ("mass", "atom", "kg", (15.999 + 2 * 1.008) * 1.66053907e-27),
        ("charge", "atom", "e", 0.0),
        ("ase::initial_charges", "atom", "", 0.0),
        ("ase::arrays::field", "atom", "", 7.0),
        ("ase::tags", "atom", "", 0.0),
        ("ase::info::pressure", "system", "", 3.0),
    ],
)
@pytest.mark.filterwarnings("ignore:initial")
def test_scalars_that_a_model_asks_for(name, kind, unit, expected):
    _, found = asked(moving_water(), name, kind, unit)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", ["momentum", "velocity", "ase::initial_magmoms"])
@pytest.mark.filterwarnings("ignore:initial")
def test_vectors_that_a_model_asks_for_turn(name):
    """Momenta as vectors: p . r is invariant. Moments as pseudovectors: 0-."""
    water = moving_water()
    problem, _ = asked(water, name)
    leaf = measure(problem, over=Grid(3), max_degree=1)["energy"]
    sector = "0-" if "magmoms" in name else "0+"
    assert leaf.content_of(sector) == pytest.approx(1, abs=1e-12)
    # and a component of one of them is a component of a vector
    problem, found = asked(water, name, component=2)
    leaf = measure(problem, over=Grid(3), max_degree=1)["energy"]
    sector = "1-" if "magmoms" in name else "1+"
    assert leaf.content_of(sector) == pytest.approx(1, abs=1e-12)
    values = {
        "momentum": water.get_momenta,
        "velocity": water.get_velocities,
        "ase::initial_magmoms": water.get_initial_magnetic_moments,
    }
    assert found == pytest.approx(values[name]()[1, 2], rel=1e-12)


def test_the_same_as_the_engine_of_metatomic():
    """metatomic's own ASE calculator gives its models the same numbers."""
    inputs = pytest.importorskip("metatomic_ase._calculator")._get_ase_input
    water = moving_water()
    kinds = {"momentum": "atom", "velocity": "atom", "mass": "atom", "charge": "atom"}
    kinds |= {"ase::initial_magmoms": "atom", "spin_multiplicity": "system"}
    for name, kind in kinds.items():
        request = ModelOutput(sample_kind=kind)
        theirs = inputs(water, name, request, torch.float64, torch.device("cpu"))
        given = given_input(name, request, water)
        ours = given.as_block(given.values, torch.float64, "cpu")
        assert ours.get_info("unit") == theirs.get_info("unit"), name
        one, two = ours.block(), theirs.block()
        assert torch.equal(one.values, two.values), name
        assert one.samples == two.samples, name
        assert one.properties == two.properties, name
        assert [*one.components] == [*two.components], name


def test_what_a_structure_does_not_have_is_refused():
    water = ase.build.molecule("H2O")
    for name, words in {
        "momentum": "has no momenta.*set_momenta",
        "velocity": "has no momenta.*set_velocities",
        "ase::initial_magmoms": "has no initial magmoms.*set_initial_magnetic",
        "ase::arrays::field": "has no array 'field'.*set_array",
    }.items():
        with pytest.raises(StructureError, match=words):
            asked(water, name)
    with pytest.raises(StructureError, match=r"info\['pressure'\]=None.*not a number"):
        asked(water, "ase::info::pressure", "system")
    water.set_array("field", np.ones((3, 3)))
    with pytest.raises(StructureError, match="how its components rotate is unknown"):
        asked(water, "ase::arrays::field")
    with pytest.raises(ModelError, match=r"polarizability.*of each atom: mass"):
        asked(water, "mtt::polarizability")


def test_spins_under_other_keys_are_refused_and_charges_that_go_unread_are_named():
    water = ase.build.molecule("H2O")
    water.info["spin"] = 3
    with pytest.raises(StructureError, match=r"info\['spin'\]=3"):
        energy(water, name="spin_multiplicity", kind="system")
    water = ase.build.molecule("H2O")
    water.set_initial_charges([-0.8, 0.4, 0.4])
    with pytest.warns(UserWarning, match="initial charges of atoms are not read"):
        energy(water)
