"""What PET reads of a graph: vectors, and functions of lengths that do not rotate."""

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
    """What the network reads.

    Only ``vectors`` change under rotations, and positions and cells of ``long_range``.
    A ``vmap`` over rotations that maps ``vectors`` alone computes everything that reads
    only the other fields once.

    Attributes:
      vectors: Edge vectors in angstrom, 0 for padding.
      distances: Edge lengths as the tokens see them, in angstrom.
      cutoff_factors: Cutoff factors, 0 for padding.
      edge_mask: True for edges.
      reverse: Flat slot of the reverse edge; the edge's own slot for padding.
      centers: Index of each atom's species in the model's list.
      neighbors: Index of each neighbor's species.
      structure: Structure of each atom.
      charge: Total charge of each structure, in elementary charges.
      spin_multiplicity: 2S+1 of each structure.
      repulsion: Nuclear repulsion of each atom in eV, 0 unless the model has it. The
        network does not read it.
      long_range: What long-range features read; None without them.

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
    # Padding has atomic number 0 and reads the first species, behind its mask.
    return jnp.asarray(table)[species]


class Lengths(NamedTuple):
    """What does not rotate; of pairs, where the edges are a selection of them."""

    edges: Float[Array, "atoms neighbors"]
    pairs: Float[Array, "atoms pairs"] | None


def lengths_of(graph: Graph) -> Lengths:
    """Lengths of a graph's edges, and of the pairs that they were selected from."""
    around = graph.surroundings
    pairs = None if around is None else jnp.asarray(around.lengths)
    return Lengths(jnp.asarray(graph.lengths), pairs)


def invariants(
    config: PETConfig, graph: Graph, lengths: Lengths
) -> tuple[tuple[Array, Array, Array], Array]:
    """Token distances, cutoff factors and repulsion; and which edges are seen.

    Distances are NaN in structures with a species, total charge or spin multiplicity
    that the model does not know, and so are all predictions for them.
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
        # All, but for rounding and for atoms that were moved since.
        seen = mask & (lengths.edges <= cutoffs)
    factors = jnp.where(seen, factors, 0)
    # The token's square root is that of the squared length, plus an epsilon that
    # keeps derivatives finite; part of PET's definition.
    distances = jnp.sqrt(lengths.edges**2 + _EPSILON)
    known = jnp.isin(graph.species, np.array(config.species)) | ~graph.atom_mask
    readable = jax.ops.segment_min(
        known.astype(jnp.int32), graph.structure, len(graph.cells)
    )
    if config.system_conditioning:
        readable &= jnp.abs(graph.charge) <= config.max_charge
        readable &= graph.spin_multiplicity <= config.max_spin_multiplicity
    distances = jnp.where(readable[graph.structure, None], distances, jnp.nan)
    if config.zbl:
        # Of all pairs: those that repel each other need not be edges.
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
    """What the network reads from a graph.

    Args:
      config: The model's hyperparameters.
      graph: Structures as the model reads them, see :func:`pet_graph`.

    Returns:
      The inputs, differentiable with respect to the graph's vectors and lengths.

    Raises:
      ArgumentError: The graph was not made for this model's cutoff.
      StructureError: The model does not know one of its species.

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
