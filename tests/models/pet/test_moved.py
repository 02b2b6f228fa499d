"""PET with biases: what must be exact is."""

import dataclasses

import ase.build
import jax
import numpy as np
import pytest
from biased_pet import TARGETS, TINY, rattled_methanol, without_biases
from pet_models import drawn

from symjax.data import build_graph, rotate_graph
from symjax.errors import ModelError
from symjax.models.biases import Biases
from symjax.models.pet import (
    Evaluation,
    PETConfig,
    cast_parameters,
    evaluate,
    layer_names,
    predict,
)
from symjax.so3 import VECTOR, act, haar
from symjax.so3.finite_groups import finite_group

ACT = jax.jit(act, static_argnums=0)
HEADS = ("node_heads.*", "edge_heads.*")
OCTAHEDRAL = finite_group("O").elements
EXACT = {
    "canonical frame, all else": (
        Biases(
            edge_harmonics=2,
            pseudotensors=1,
            token_layers="every",
            readout="sum",
            canonical_frame=True,
        ),
        None,
    ),
    "weighted frames": (Biases(output_average="frames 3"), None),
    "mean over O": (Biases(output_average="O"), OCTAHEDRAL),
    "readout of averaged heads": (
        Biases(readout="equivariant", symmetrized_layers=HEADS),
        OCTAHEDRAL,
    ),
}


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def graph():
    return rattled_methanol()


@pytest.fixture(scope="module")
def plain():
    return without_biases()


@pytest.fixture(scope="module")
def biased():
    """A model with parameters for every source of tokens and every readout."""
    biases = Biases(
        edge_harmonics=2, pseudotensors=1, token_layers="every", readout="sum"
    )
    return drawn(PETConfig(**TINY, biases=biases))


def moved(model, biases):
    """The same parameters under biases that need no others."""
    config = dataclasses.replace(model.config, biases=biases)
    return dataclasses.replace(model, config=config)


@pytest.mark.parametrize("name", EXACT)
def test_exact(name, graph, plain, biased):
    """Predictions turn with the structure, under the group that the bias promises.

    The tolerance is that of float64 through a network and a quotient of norms.
    """
    biases, group = EXACT[name]
    model = moved(plain if biases.readout == "linear" else biased, biases)
    parameters = cast_parameters(model.parameters, "float64")
    layer = "node_heads.energy.0"
    # Features are not averaged by either output average: of one it is looked at.
    layers = () if name == "weighted frames" else (layer,)
    # A frame moves with the positions by which an energy is derived; elements do not.
    forces = group is None
    evaluation = Evaluation(model.config, layers=layers, forces=forces)

    @jax.jit
    def outputs(element):
        return evaluate(evaluation, parameters, rotate_graph(graph, element))

    if group is None:
        element = -np.asarray(haar(jax.random.key(1), 1)[0], np.float64)
    else:
        element = group[-1]
    found, turned = (
        jax.tree.map(np.asarray, outputs(one)) for one in (np.eye(3), element)
    )
    representations = {
        **{target.name: target.blocks[0].representation for target in TARGETS},
        **({"forces": VECTOR} if forces else {}),
    }
    for output, representation in representations.items():
        wanted = ACT(representation, element, found[output])
        scale = np.abs(found[output]).max()
        assert scale > 1e-6
        np.testing.assert_allclose(turned[output], wanted, atol=1e-10 * scale + 1e-12)
    for layer in layers:
        invariant = np.allclose(turned[layer], found[layer], atol=1e-10)
        assert invariant == (not biases.output_average)


def test_part_of_a_layer(graph, plain):
    """Of a layer that is averaged in part, that part is invariant, the rest is not."""
    layer = "gnn_layers.0.compress"
    biases = Biases(symmetrized_layers=(layer,), symmetrized_share=0.5)
    model = moved(plain, biases)
    parameters = cast_parameters(model.parameters, "float64")
    evaluation = Evaluation(model.config, (), (layer,))

    @jax.jit
    def features(element):
        return evaluate(evaluation, parameters, rotate_graph(graph, element))[layer]

    found, turned = (np.asarray(features(one)) for one in (np.eye(3), OCTAHEDRAL[-1]))
    apart = np.abs(found - turned).max(axis=(0, 1))
    assert (apart[:2] < 1e-12).all()
    assert (apart[2:] > 1e-4).all()


def test_layers_that_cannot_be_averaged_are_refused(plain):
    for layer in ("node_embedders.0", "gnn_layers.0.edge_embedder", "edge_backbone.0"):
        model = moved(plain, Biases(symmetrized_layers=(layer,)))
        assert layer in layer_names(model.config)
        graph = build_graph(ase.build.molecule("H2O"), 4.5, dtype="float32")
        with pytest.raises(ModelError, match="cannot be averaged"):
            jax.eval_shape(lambda m=model, g=graph: predict(m, g))
