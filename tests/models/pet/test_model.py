"""Predictions of a PET with its parameters, and what is refused."""

import ase.build
import jax
import numpy as np
import pytest
from pet_models import CONFIG, CUTOFF, ethanol, model, roomy

from symjax.data import build_graph
from symjax.errors import ModelError, StructureError
from symjax.models.pet import pet_graph, predict

BAD_CALLS = {
    "layer": {"layers": ("x",)},
    "energy is a vector": {"forces": True, "energy": "dipole"},
    "no such energy": {"forces": True, "energy": "u"},
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls(case):
    with pytest.raises(ModelError) as caught:
        predict(model(), build_graph(ethanol(), CUTOFF), **BAD_CALLS[case])
    assert caught.value.remedy


def test_unknown_species():
    """Refused, and not numbers where a graph is traced: that structure's alone."""
    graph = roomy([ethanol(), ase.build.molecule("NH3")])
    with pytest.raises(StructureError, match=r"\[7\]: are atomic numbers that"):
        predict(model(), graph)
    found = jax.jit(lambda graph: predict(model(), graph, forces=True))(graph)
    np.testing.assert_array_equal(np.isnan(found["energy"]), [False, True])
    atoms = graph.atom_mask
    unknown = (np.asarray(graph.structure) == 1)[atoms]
    forces = np.asarray(found["forces"])[atoms]
    np.testing.assert_array_equal(np.isnan(forces).all(axis=1), unknown)
    density = np.asarray(found["density/2+"])[atoms]
    np.testing.assert_array_equal(np.isnan(density).any((1, 2)), unknown)


@pytest.mark.parametrize(
    ("argument", "number"), [("charge", -2), ("spin_multiplicity", 4)]
)
def test_unknown_charges_and_multiplicities(argument, number):
    """As unknown species; the last row of the embedding must not stand in."""
    made = model(system_conditioning=True, max_charge=1, max_spin_multiplicity=3)
    wrong = ethanol()
    wrong.info[argument] = number
    graph = roomy([ethanol(), wrong])
    with pytest.raises(ModelError) as caught:
        predict(made, graph)
    assert caught.value.argument == argument
    with pytest.raises(ModelError, match=f"{argument}="):
        pet_graph(made.config, wrong)
    energies = jax.jit(lambda graph: predict(made, graph)["energy"])(graph)
    np.testing.assert_array_equal(np.isnan(energies), [False, True])


def test_float64_without_x64_is_refused():
    """It would be computed in float32."""
    with jax.enable_x64(False), pytest.raises(ModelError, match="jax_enable_x64"):
        predict(model(), pet_graph(CONFIG, ethanol()))
