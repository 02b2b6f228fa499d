"""PETs whose layers can be interfered with: which, and how many forces fit."""

import dataclasses

import pytest
from pet_models import CONFIG, drawn, ethanol, model

from symjax.data.quantities import Target
from symjax.errors import ArgumentError, ModelError
from symjax.models.biases import Biases
from symjax.models.pet import staged_problem
from symjax.models.pet.staged import traceable_atoms


def test_stages_are_those_of_the_gnn_layers():
    staged = staged_problem(model(num_gnn_layers=2), ethanol())
    assert staged.stages == (("node_0", "edge_0"), ("node_1", "edge_1"))
    assert set(staged.problem.outputs) == {
        *("energy", "dipole", "density/0+", "density/2+"),
    }


@pytest.mark.parametrize(
    "biases",
    [
        Biases(canonical_frame=True),
        Biases(symmetrized_layers=("node_heads.*",)),
        Biases(output_average="O"),
    ],
    ids=["frame", "layers", "average"],
)
def test_models_that_move_their_input_are_refused(biases):
    made = model()
    config = dataclasses.replace(made.config, biases=biases)
    moving = dataclasses.replace(made, config=config)
    with pytest.raises(ModelError, match="moves its input itself"):
        staged_problem(moving, ethanol())


def test_forces_need_an_energy():
    blind = drawn(dataclasses.replace(CONFIG, targets=(Target("mtt::gap", "eV"),)))
    with pytest.raises(ModelError, match="cannot give forces"):
        staged_problem(blind, ethanol(), forces_of=(0,))
    assert traceable_atoms(blind, ethanol(), 8, 2**30) == ()


@pytest.mark.parametrize("index", [-1, 9, 0.5])
def test_forces_of_atoms_that_are_not_there(index):
    """No edge belongs to them: their forces would be 0."""
    with pytest.raises(ArgumentError, match="indices of the 9 atoms"):
        staged_problem(model(), ethanol(), forces_of=(0, index))


def test_as_many_atoms_as_the_memory_holds():
    made, atoms = model(), ethanol()
    assert traceable_atoms(made, atoms, 8, 2**40) == tuple(range(9))
    assert traceable_atoms(made, atoms, 8, 0) == ()
    few = traceable_atoms(made, atoms, 8, 2**20)
    assert 0 < len(few) < 9
    # Half the elements take half the memory.
    assert len(traceable_atoms(made, atoms, 4, 2**19)) == len(few)
