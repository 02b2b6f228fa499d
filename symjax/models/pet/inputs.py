"""Input of the network: vectors, and rotation-invariant functions of lengths."""

from typing import TYPE_CHECKING, Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from symjax.data.graph import Graph
from symjax.data.mesh import Mesh
from symjax.models.pet.config import PETConfig
from symjax.models.pet.cutoff import adaptive_radii, cutoff_factors
from symjax.models.pet.graphs import check_graph
from symjax.models.pet.zbl import zbl_energies

# Added to squared distances (angstrom^2).
_EPSILON = 1e-15


@flax.struct.dataclass
class PETInputs:
    """Input of the network.

    Only ``vectors``, and positions and cells in ``long_range``, change under rotations.
    Under a ``vmap`` over rotations, everything that depends only on the other fields is
    computed once.

    Attributes:
      vectors: Edge vectors in angstrom, 0 for padding.
      distances: Edge lengths in angstrom, sqrt(r^2 + 1e-15) as in metatrain.
      cutoff_factors: Cutoff factors, 0 for padding.
      edge_mask: True for edges.
      reverse: Flat index of the reverse edge; of the edge itself for padding.
      centers: Index of each atom's species in the model's list.
      neighbors: Index of each neighbor's species in the model's list.
      structure: Index of each atom's structure.
      charge: Total charge of each structure, in elementary charges.
      spin_multiplicity: Spin multiplicity 2S+1 of each structure.
      repulsion: ZBL repulsion of each atom in eV, 0 unless the model has it. It is
        added to energies after the network.
      long_range: Mesh for long-range features; None without them.

    Example:
      >>> import ase.build
      >>> import numpy as np
      >>> from symjax.models.pet import PETConfig, pet_graph, pet_inputs
      >>> config = PETConfig(species=(1, 8))
      >>> graph = pet_graph(config, ase.build.molecule("H2O"))
      >>> inputs = pet_inputs(config, graph)
      >>> np.asarray(inputs.centers).tolist()  # O is the second of the model's species
      [1, 0, 0]
    """

    vectors: Float[Array, "atoms neighbors 3"]
    distances: Float[Array, "atoms neighbors"]
    cutoff_factors: Float[Array, "atoms neighbors"]
    edge_mask: Bool[Array, "atoms neighbors"]
    reverse: Int[Array, "atoms neighbors"]
    centers: Int[Array, "atoms"]
    neighbors: Int[Array, "atoms neighbors"]
    structure: Int[Array, "atoms"]
    charge: Int[Array, "structures"]
    spin_multiplicity: Int[Array, "structures"]
    repulsion: Float[Array, "atoms"]
    long_range: Mesh | None = None

    if TYPE_CHECKING:
        # Added by flax, out of sight of type checkers.
        def __init__(self, **fields: Any) -> None: ...
        def replace(self, **changes: Any) -> "PETInputs":
            """Returns a copy with some fields changed."""


def _species_index(config: PETConfig, species: Array) -> Array:
    table = np.zeros(max(config.species) + 1, np.int32)
    table[list(config.species)] = np.arange(len(config.species))
    # Padding has atomic number 0 and gets the first species; it is masked later.
    return jnp.asarray(table)[species]


class Lengths(NamedTuple):
    """Rotation-invariant lengths of a graph, in angstrom.

    Attributes:
      edges: Lengths of the edges.
      pairs: Lengths of all pairs, if the edges are a selection of them.
    """

    edges: Float[Array, "atoms neighbors"]
    pairs: Float[Array, "atoms pairs"] | None


def lengths_of(graph: Graph) -> Lengths:
    """The lengths of a graph."""
    around = graph.surroundings
    pairs = None if around is None else jnp.asarray(around.lengths)
    return Lengths(jnp.asarray(graph.lengths), pairs)


def invariants(
    config: PETConfig, graph: Graph, lengths: Lengths
) -> tuple[tuple[Array, Array, Array], Array]:
    """Rotation-invariant input of the network, as a function of the graph's lengths.

    Distances are NaN in structures with a species, total charge or spin multiplicity
    that the model does not know, and so are all predictions for them.

    Returns:
      Distances, cutoff factors and repulsion, as in :class:`PETInputs`; and the mask of
      edges.
    """
    mask, around = jnp.asarray(graph.edge_mask), graph.surroundings
    if around is None:
        factors, seen = cutoff_factors(config, lengths.edges, config.cutoff), mask
    else:
        assert lengths.pairs is not None
        radii = adaptive_radii(
            config,
            lengths.pairs,
            jnp.asarray(around.edge_mask),
            jnp.asarray(graph.atom_mask),
        )
        cutoffs = (radii[:, None] + radii[jnp.asarray(graph.neighbors)]) / 2
        factors = cutoff_factors(config, lengths.edges, cutoffs)
        # Normally all edges; not those that round-off or moved atoms put outside.
        seen = mask & (lengths.edges <= cutoffs)
    factors = jnp.where(seen, factors, 0)
    # PET's definition, in which the epsilon keeps derivatives finite.
    distances = jnp.sqrt(lengths.edges**2 + _EPSILON)
    known = jnp.isin(graph.species, np.array(config.species)) | ~graph.atom_mask
    readable = jax.ops.segment_min(
        known.astype(jnp.int32), graph.structure, len(graph.cells)
    )
    if config.system_conditioning:
        readable &= jnp.abs(graph.charge) <= config.max_charge
        readable &= graph.spin_multiplicity >= 1
        readable &= graph.spin_multiplicity <= config.max_spin_multiplicity
    distances = jnp.where(readable[graph.structure, None], distances, jnp.nan)
    if config.zbl:
        # Over all pairs, since atoms that repel each other need not share an edge.
        pairs = graph if around is None else around
        centers = _species_index(config, jnp.asarray(graph.species))
        repulsion = zbl_energies(
            config.species,
            centers,
            centers[jnp.asarray(pairs.neighbors)],
            lengths.edges if lengths.pairs is None else lengths.pairs,
            jnp.asarray(pairs.edge_mask),
        )
    else:
        repulsion = jnp.zeros(mask.shape[0], distances.dtype)
    return (distances, factors, repulsion), seen


def pet_inputs(config: PETConfig, graph: Graph) -> PETInputs:
    """Prepares the input of the network from a graph.

    Args:
      config: Hyperparameters of the model.
      graph: Graph from :func:`pet_graph`.

    Returns:
      The input, differentiable with respect to the vectors and lengths of the graph.

    Raises:
      ArgumentError: The graph was not made for this model's cutoff.
      StructureError: The model does not know a species of the graph.
      ModelError: The model does not know a charge or multiplicity of the graph.

    Example:
      >>> import ase.build
      >>> from symjax.models.pet import PETConfig, pet_graph, pet_inputs
      >>> config = PETConfig(species=(1, 8))
      >>> graph = pet_graph(config, ase.build.molecule("H2O"))
      >>> pet_inputs(config, graph).distances.shape
      (3, 2)
    """
    check_graph(config, graph)
    (distances, factors, repulsion), seen = invariants(config, graph, lengths_of(graph))
    centers = _species_index(config, jnp.asarray(graph.species))
    return PETInputs(
        vectors=jnp.asarray(graph.vectors),
        distances=distances,
        cutoff_factors=factors,
        repulsion=repulsion,
        edge_mask=seen,
        reverse=jnp.asarray(graph.reverse),
        centers=centers,
        neighbors=centers[jnp.asarray(graph.neighbors)],
        structure=jnp.asarray(graph.structure),
        charge=jnp.asarray(graph.charge),
        spin_multiplicity=jnp.asarray(graph.spin_multiplicity),
        long_range=None
        if config.long_range is None
        else jax.tree.map(jnp.asarray, graph.mesh),
    )
