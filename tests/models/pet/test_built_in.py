"""Which sources and readers a model has, and what biases compute of the geometry."""

import dataclasses

import jax
import pytest
from biased_pet import TARGETS, TINY
from pet_models import ethanol

from symjax.models.biases import Biases
from symjax.models.pet import PETConfig, pet_graph, pet_inputs
from symjax.models.pet.built_in import GeometricTensors, readers, token_sources

PLAIN = PETConfig(**TINY)


@pytest.mark.parametrize(
    ("biases", "first", "later"),
    [
        (Biases(), 0, 0),
        (Biases(edge_harmonics=2), 1, 0),
        (Biases(edge_harmonics=2, pseudotensors=0), 2, 0),
        (Biases(pseudotensors=1, token_layers="every"), 1, 1),
    ],
)
def test_sources(biases, first, later):
    assert len(token_sources(biases, is_first=True)) == first
    assert len(token_sources(biases, is_first=False)) == later


@pytest.mark.parametrize(("readout", "number"), [("linear", 1), ("sum", 2)])
def test_readers(readout, number):
    """Invariants are read linearly, whatever the readout."""
    scalar, matrix, _ = (target.blocks[0] for target in TARGETS)
    biases = Biases(readout=readout)
    assert len(readers(biases, scalar)) == 1
    assert len(readers(biases, matrix)) == number
    alone = readers(Biases(readout="equivariant"), matrix)
    assert len(alone) == 1
    assert alone[0] is not readers(Biases(), matrix)[0]


@pytest.mark.parametrize(
    ("biases", "degree", "pseudo"),
    [
        (Biases(), None, None),
        (Biases(edge_harmonics=4), 4, None),
        # Vectors of atoms are needed too; four channels of 1 + 3 components.
        (Biases(pseudotensors=1), 1, 16),
        # That of the tensor and of the pseudotensor of degree 2.
        (Biases(readout="sum"), 2, None),
    ],
)
def test_tensors_go_as_far_as_they_are_read(biases, degree, pseudo):
    config = dataclasses.replace(PLAIN, biases=biases)
    graph = pet_graph(config, ethanol(), dtype="float32")

    def tensors():
        inputs = pet_inputs(config, graph)
        return GeometricTensors(config).init_with_output(jax.random.key(0), inputs)[0]

    found = jax.eval_shape(tensors)
    if degree is None:
        assert found is None
        return
    assert [one.shape[-1] for one in found.angles] == list(range(1, 2 * degree + 2, 2))
    assert (found.pseudo.shape[-1] if found.pseudo is not None else None) == pseudo
