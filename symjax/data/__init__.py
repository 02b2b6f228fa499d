"""Reads structures and labels, checks them, and builds padded graphs."""

from symjax.data.build import build_graph
from symjax.data.graph import (
    Graph,
    GraphShape,
    Surroundings,
    bucket_shape,
    graph_shape,
    join_graphs,
    pad_graph,
)
from symjax.data.label_fields import LabelFields
from symjax.data.neighbor_list import NeighborList, find_neighbors
from symjax.data.quantities import Block, Target
from symjax.data.reading import find_structure, read_structures
from symjax.data.search import FoundStructures, find_structures
from symjax.data.structures import check_structure, periodic_cell
from symjax.data.symmetry import (
    Symmetry,
    edge_permutations,
    find_symmetry,
    symmetrize,
)
from symjax.data.targets import Targets, read_targets, read_values
from symjax.data.transform import cast_graph, rotate_graph, select_edges

__all__ = [
    "Block",
    "FoundStructures",
    "Graph",
    "GraphShape",
    "LabelFields",
    "NeighborList",
    "Surroundings",
    "Symmetry",
    "Target",
    "Targets",
    "bucket_shape",
    "build_graph",
    "cast_graph",
    "check_structure",
    "edge_permutations",
    "find_neighbors",
    "find_structure",
    "find_structures",
    "find_symmetry",
    "graph_shape",
    "join_graphs",
    "pad_graph",
    "periodic_cell",
    "read_structures",
    "read_targets",
    "read_values",
    "rotate_graph",
    "select_edges",
    "symmetrize",
]
