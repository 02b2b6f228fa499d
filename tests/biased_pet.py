"""What the tests of biases of PET share: targets of three kinds, and a tiny network."""

from symjax.data.quantities import Block, Target

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
