"""Every matrix product of a model says its precision; lower ones enter when asked."""

import functools

import ase.build
import flax.traverse_util
import jax
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr
from small_models import drawn_pointmae

from symjax.data.point_clouds import SMALL, generate_event, select_points
from symjax.models.biases import Biases
from symjax.models.pet import Evaluation, PETConfig, evaluate, pet_graph
from symjax.models.pet.long_range import LongRange
from symjax.models.pet.model import parameter_shapes
from symjax.models.pointmae import event_problem
from symjax.report.provenance import precision_line
from symjax.runs import Options

TINY = {
    "species": (1, 8),
    "cutoff": 4.0,
    "d_pet": 8,
    "d_node": 12,
    "d_head": 8,
    "d_feedforward": 8,
    "num_heads": 2,
    "num_attention_layers": 1,
    "num_gnn_layers": 1,
}
PRODUCTS = ("dot_general", "conv_general_dilated", "ragged_dot")


def products(jaxpr):
    """Precisions of all products in a program, those of its inner programs too."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name.startswith(PRODUCTS):
            found.append(equation.params["precision"])
        for value in jax.tree.leaves(
            equation.params, is_leaf=lambda leaf: isinstance(leaf, ClosedJaxpr | Jaxpr)
        ):
            if isinstance(value, ClosedJaxpr):
                found += products(value.jaxpr)
            elif isinstance(value, Jaxpr):
                found += products(value)
    return found


def of_pet(**changes):
    config = PETConfig(**{**TINY, **changes})
    # Nothing is computed: shapes are enough.
    shapes = {
        tuple(path.split("/")): jax.ShapeDtypeStruct(shape, "float32")
        for path, shape in parameter_shapes(config).items()
    }
    parameters = {"baseline": {}, **flax.traverse_util.unflatten_dict(shapes)}
    graph = pet_graph(config, ase.build.bulk("CO", "rocksalt", a=3.0), dtype="float32")
    traced = jax.make_jaxpr(
        functools.partial(evaluate, Evaluation(config, forces=True, stress=True))
    )
    return products(traced(parameters, graph).jaxpr)


def of_points(tokens):
    model = drawn_pointmae()
    event = select_points(generate_event(12, SMALL))
    problem = event_problem(model, event, tokens=tokens, layers="none")
    return products(jax.make_jaxpr(problem.function)(problem.x, *problem.args).jaxpr)


HIGHEST = (jax.lax.Precision.HIGHEST,) * 2
BIASES = Biases(edge_harmonics=1, pseudotensors=0, output_average="Ci")


@pytest.mark.parametrize(
    "changes",
    [
        {"species": (6, 8), "zbl": True, "system_conditioning": True},
        {
            "species": (6, 8),
            "num_neighbors_adaptive": 4.0,
            "adaptive_cutoff_method": "grid",
            "featurizer_type": "residual",
            "num_gnn_layers": 2,
        },
        {"species": (6, 8), "biases": BIASES},
        {"species": (6, 8), "long_range": LongRange()},
    ],
    ids=["zbl", "adaptive", "biases", "long range"],
)
def test_products_of_pet_with_forces(changes):
    if "long_range" in changes:
        pytest.importorskip("jaxpme", reason="needs the extra [long-range]")
    found = of_pet(**changes)
    assert len(found) > 40
    assert set(found) == {HIGHEST}


@pytest.mark.parametrize("tokens", ["frozen", "regrouped", "voxelised"])
def test_products_of_point_mae(tokens):
    found = of_points(tokens)
    assert len(found) > 15
    assert set(found) == {HIGHEST}


def test_lower_precision_is_asked_for_and_stated():
    with jax.default_matmul_precision("tensorfloat32"):
        found = of_pet(species=(6, 8))
        settings = Options().settings()
    high = (jax.lax.Precision.HIGH,) * 2
    # What rotates and adds up forces and stress keeps its precision.
    assert found.count(high) > 40
    assert set(found) == {high, HIGHEST}
    assert "tensorfloat32" in precision_line(settings)
    assert precision_line(Options().settings()) == "float32"


@pytest.mark.parametrize("distance", [1e3, 1e5])
def test_float32_far_from_the_origin(distance):
    """Positions are subtracted before they are rounded: the graph is the same.

    float64 positions at 1e5 angstrom are multiples of 1.5e-11 angstrom.
    """
    config = PETConfig(**TINY)
    here = ase.build.molecule("H2O")
    crystal = ase.build.bulk("CO", "rocksalt", a=3.0) * (2, 1, 1)
    crystal.numbers[:] = 8
    for atoms in (here, crystal):
        there = atoms.copy()
        there.translate(np.array([0.6, -0.3, 0.74]) * distance)
        if atoms.pbc.all():
            # An unwrapped trajectory: one atom is many cells away.
            there.positions[0] += round(distance) * there.cell[0]
        graphs = [pet_graph(config, a, dtype="float32") for a in (atoms, there)]
        lengths = [np.sort(graph.lengths[graph.edge_mask]) for graph in graphs]
        np.testing.assert_allclose(*lengths, rtol=3e-7)
        rows = [np.sort(graph.vectors, axis=None) for graph in graphs]
        np.testing.assert_allclose(*rows, atol=1e-6)
