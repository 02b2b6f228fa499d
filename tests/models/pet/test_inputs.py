"""What PET reads of a graph."""

import dataclasses

import jax
import numpy as np
import pytest
from pet_models import CONFIG, copper, ethanol, roomy

from symjax.errors import ModelError
from symjax.models.pet import pet_inputs
from symjax.models.pet.cutoff import bump

inputs_of = jax.jit(pet_inputs, static_argnums=0)


def test_of_every_edge_and_atom():
    graph = roomy([ethanol(), copper()])
    found = inputs_of(CONFIG, graph)
    mask, species = graph.edge_mask, np.array(CONFIG.species)
    np.testing.assert_array_equal(found.edge_mask, mask)
    np.testing.assert_array_equal(found.vectors, graph.vectors)
    real = graph.atom_mask
    np.testing.assert_array_equal(species[found.centers][real], graph.species[real])
    ends = graph.species[graph.neighbors][mask]
    np.testing.assert_array_equal(species[found.neighbors][mask], ends)
    # Tokens see lengths through a square root that can be differentiated at 0.
    expected = np.sqrt(graph.lengths**2 + 1e-15)
    np.testing.assert_allclose(found.distances, expected, rtol=1e-15)
    smooth = jax.jit(bump, static_argnums=(1, 2))(graph.lengths, 3.2, 0.5)
    np.testing.assert_allclose(found.cutoff_factors, np.where(mask, smooth, 0))
    assert not np.asarray(found.repulsion).any()
    assert found.long_range is None


def test_a_multiplicity_below_1_is_not_that_of_the_last_row():
    config = dataclasses.replace(CONFIG, system_conditioning=True)
    graph = roomy([copper(), ethanol()])
    graph = graph.replace(spin_multiplicity=np.array([1, 0], np.int32))
    with pytest.raises(ModelError, match=r"spin_multiplicity=0: .*from 1 to 10"):
        pet_inputs(config, graph)
    unknown = np.isnan(inputs_of(config, graph).distances).all(axis=1)
    assert unknown[:13].tolist() == [False] * 4 + [True] * 9


def test_structures_of_unknown_species_have_no_lengths():
    """So that no prediction of theirs is a number."""
    atoms = ethanol()
    atoms.numbers[0] = 7
    found = inputs_of(CONFIG, roomy([copper(), atoms]))
    unknown = np.isnan(found.distances).all(axis=1)
    assert unknown[:13].tolist() == [False] * 4 + [True] * 9
