"""What the tests of biases of PET share: targets of three kinds, and a tiny network."""

import ase.build
from pet_models import drawn

from symjax.data import build_graph
from symjax.data.quantities import Block, Target
from symjax.models.pet import PETConfig

TARGETS = (
    Target("energy", "eV"),
    Target("tensor", "", False, (Block("matrix", "matrix"),)),
    Target("spin", "", True, (Block("2-", "2-", 2),)),
)
TINY = {
    "species": (1, 6, 8),
    "targets": TARGETS,
    "d_pet": 4,
    "d_node": 4,
    "d_head": 4,
    "d_feedforward": 4,
    "num_heads": 2,
    "num_attention_layers": 1,
    "num_gnn_layers": 1,
}


def rattled_methanol():
    """A structure without symmetry, in double precision."""
    atoms = ase.build.molecule("CH3OH")
    atoms.rattle(0.1, seed=0)
    return build_graph(atoms, 4.5, dtype="float64")


def without_biases():
    """The tiny network as it is."""
    return drawn(PETConfig(**TINY))
