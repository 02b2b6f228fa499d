"""What the tests of PET share: two structures, and a model whose programs are few."""

import functools

import ase.build
import jax
import numpy as np
import small_models

from symjax.data import build_graph
from symjax.data.quantities import Block, Target
from symjax.models.pet import PETConfig, layer_names, predict
from symjax.models.pet.model import PETModel, parameter_shapes

CUTOFF = 3.2
TARGETS = (
    Target("energy", "eV"),
    Target("dipole", "e angstrom", blocks=(Block("vector", "vector"),)),
    Target(
        "density", per_atom=True, blocks=(Block("0+", "0+", 2), Block("2+", "2+", 2))
    ),
)
CONFIG = PETConfig(
    species=(1, 6, 8, 29),
    targets=TARGETS,
    cutoff=CUTOFF,
    d_pet=4,
    d_node=8,
    d_head=4,
    d_feedforward=4,
    num_heads=2,
    num_gnn_layers=1,
    num_attention_layers=1,
)
# Room for two molecules of ethanol, or two cells of copper.
ROOM = {"num_atoms": 18, "num_neighbors": 16, "num_structures": 2}


@functools.cache
def model(**changes):
    """A model of ``CONFIG``, some fields changed, with baselines 1, 2, 3, 4."""
    made = drawn(PETConfig(**{**CONFIG.__dict__, **changes}))
    made.parameters["baseline"] = jax.tree.map(
        lambda leaf: leaf + np.arange(1, len(leaf) + 1, dtype=np.float32)[:, None],
        made.parameters["baseline"],
    )
    return made


def drawn(config, name="drawn"):
    """A model that no program is compiled for, whose biases are not 0."""
    weights = small_models.drawn(parameter_shapes(config), directions=1, biases=0.1)
    return PETModel(name, config, weights)


def run(graph):
    """All that there is of a model: one program for each shape of a graph."""
    layers = layer_names(CONFIG)
    return predict(model(), graph, forces=True, stress=True, layers=layers)


def roomy(structures, cutoff=CUTOFF):
    """Their graph, padded to the one shape of all such graphs."""
    return build_graph(structures, cutoff, **ROOM)


def ethanol(seed=0):
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=seed)
    return atoms


def copper(seed=0):
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms
