"""From files and ASE structures to checked, padded graphs and targets."""

from symjax.data.build import build_graph
from symjax.data.graph import (
    Graph,
    GraphShape,
    bucket_shape,
    cast_graph,
    edge_distances,
    edge_vectors,
    graph_shape,
    join_graphs,
    pad_graph,
    pad_to_bucket,
    rotate_graph,
)
from symjax.data.neighbor_list import NeighborList, find_neighbors
from symjax.data.search import Found, find_structures
from symjax.data.structures import (
    check_structure,
    find_structure,
    periodic_cell,
    read_structures,
)
from symjax.data.symmetry import (
    Symmetry,
    edge_permutations,
    find_symmetry,
    symmetrize,
)
from symjax.data.targets import Targets, read_targets, read_values

__all__ = [
    "Found",
    "Graph",
    "GraphShape",
    "NeighborList",
    "Symmetry",
    "Targets",
    "bucket_shape",
    "build_graph",
    "cast_graph",
    "check_structure",
    "edge_distances",
    "edge_permutations",
    "edge_vectors",
    "find_neighbors",
    "find_structure",
    "find_structures",
    "find_symmetry",
    "graph_shape",
    "join_graphs",
    "pad_graph",
    "pad_to_bucket",
    "periodic_cell",
    "read_structures",
    "read_targets",
    "read_values",
    "rotate_graph",
    "symmetrize",
]
