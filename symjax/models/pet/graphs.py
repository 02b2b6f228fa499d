"""Graphs for a PET, with only the edges that it uses.

An adaptive cutoff drops most pairs. It depends on lengths alone, so the remaining edges
are selected and packed once, on the host, and layers compute nothing for the others.
For derivatives the radii are computed again from all pairs, which the packed graph
keeps as its surroundings.
"""

from collections.abc import Sequence
from typing import Any

import ase
import jax
import numpy as np

from symjax._files import physical_memory
from symjax.data.build import build_graph
from symjax.data.conditions import check_conditions, warn_of_unread
from symjax.data.graph import Graph, GraphShape, bucket_shape, graph_shape, pad_graph
from symjax.data.mesh import find_mesh
from symjax.data.transform import select_edges
from symjax.errors import ArgumentError, ModelError, StructureError
from symjax.models.pet.config import PETConfig
from symjax.models.pet.cutoff import adaptive_radii


def pet_graph(
    config: PETConfig,
    structures: ase.Atoms | Sequence[ase.Atoms],
    *,
    shape: GraphShape | None = None,
    dtype: Any = np.float64,
) -> Graph:
    """Builds the graph of structures for a model.

    Args:
      config: Hyperparameters of the model.
      structures: One structure or several.
      shape: Sizes to pad to; by default the smallest possible.
      dtype: ``float32`` or ``float64``.

    Returns:
      A graph of NumPy arrays. With an adaptive cutoff its edges are those within the
      adaptive cutoffs, and its ``surroundings`` hold all pairs.

    Raises:
      ArgumentError: A size in ``shape`` is too small.
      StructureError: A structure cannot be used, has a species that the model does not
        know, or needs more memory than the machine has; or as in :func:`as_read`.
      ModelError: The model does not know a structure's total charge or multiplicity.

    Example:
      >>> import ase.build
      >>> from symjax.models.pet import PETConfig, pet_graph
      >>> config = PETConfig(species=(29,), cutoff=5.0, num_neighbors_adaptive=8.0)
      >>> graph = pet_graph(config, ase.build.bulk("Cu"))
      >>> int(graph.edge_mask.sum()), int(graph.surroundings.edge_mask.sum())
      (12, 42)
    """
    graph = build_graph(
        structures, config.cutoff, known_species=config.species, dtype=dtype
    )
    listed = [structures] if isinstance(structures, ase.Atoms) else list(structures)
    graph = as_read(config, graph, listed)
    return graph if shape is None else pad_graph(graph, shape)


def as_read(config: PETConfig, graph: Graph, structures: Sequence[ase.Atoms]) -> Graph:
    """Selects the edges that a model uses, and adds the mesh of long-range features.

    The given graph has all pairs of the structures within the model's cutoff.

    Raises:
      StructureError: The model reads charge and spin, and a structure gives them in a
        form that is not read (:func:`symjax.data.conditions.check_conditions`); the
        model has long-range features, and a structure is periodic in one or two
        directions, or in any direction if the cutoff is adaptive; or an evaluation
        needs more memory than the machine has.
      ModelError: The model does not know a structure's total charge or multiplicity.
    """
    adaptive = config.num_neighbors_adaptive is not None
    reads = ("charge", "spin_multiplicity") if config.system_conditioning else ()
    for number, atoms in enumerate(structures):
        if reads:
            check_conditions(atoms, number if len(structures) > 1 else None)
        warn_of_unread(atoms, reads)
    check_conditioning(config, graph)
    graph = seen_edges(config, graph)
    _check_memory(config, graph)
    if config.long_range is None:
        return graph
    for number, atoms in enumerate(structures):
        if adaptive and np.any(atoms.pbc):
            raise StructureError(
                "atoms",
                atoms.get_chemical_formula(),
                f"(structure {number}) is periodic, and long-range features under an "
                "adaptive cutoff are defined for molecules only, as in metatrain",
                "Use a molecule, or a model with a fixed cutoff",
            )
    mesh = find_mesh(
        structures,
        config.long_range.kspace_resolution,
        config.long_range.smearing,
        np.asarray(graph.vectors).dtype,
    )
    return graph.replace(mesh=mesh)


_radii = jax.jit(adaptive_radii, static_argnums=0)


def _check_memory(config: PETConfig, graph: Graph) -> None:
    """Raises if one evaluation needs more memory than the machine has."""
    num_atoms, num_neighbors, *_ = graph_shape(graph)
    # Attention scores of one layer, between all pairs of tokens of each atom.
    entries = num_atoms * config.num_heads * (num_neighbors + 1) ** 2
    needed = entries * np.asarray(graph.vectors).dtype.itemsize
    largest = physical_memory()
    if needed > largest:
        raise StructureError(
            "atoms",
            f"{num_atoms} atoms with up to {num_neighbors} neighbors",
            f"one evaluation needs about {needed / 2**30:,.0f} GiB, and the machine "
            f"has {largest / 2**30:,.0f}",
            "Check that cell and positions are in angstrom; use a smaller structure, "
            "or a model with a smaller cutoff",
        )


def seen_edges(config: PETConfig, graph: Graph) -> Graph:
    """Selects the edges that a model uses from all pairs within ``config.cutoff``.

    With an adaptive cutoff these are the pairs within the mean of the radii of both
    atoms, otherwise all pairs.
    """
    if config.num_neighbors_adaptive is None:
        return graph
    shape = graph_shape(graph)
    # Padded to one of a few sizes: the selection is compiled for each.
    padded = pad_graph(graph, bucket_shape(shape))
    with jax.enable_x64(np.asarray(graph.lengths).dtype == np.float64):
        radii = np.asarray(
            _radii(config, padded.lengths, padded.edge_mask, padded.atom_mask)
        )
    seen = padded.edge_mask & (
        padded.lengths <= (radii[:, None] + radii[padded.neighbors]) / 2
    )
    return select_edges(graph, seen[: shape.num_atoms, : shape.num_neighbors])


def check_graph(config: PETConfig, graph: Graph) -> None:
    """Raises unless a graph was made for a model.

    Species, charges and multiplicities of a traced graph cannot be checked; see
    :func:`symjax.models.pet.inputs.invariants`.

    Raises:
      ArgumentError: The graph has a shorter cutoff than the model; edges were selected
        with an adaptive cutoff and the model has a fixed one, or the reverse; or the
        model has long-range features and the graph has no mesh.
      StructureError: The model does not know one of the species.
      ModelError: The model does not know one of the charges or multiplicities.
    """
    if not isinstance(graph.species, jax.core.Tracer):
        numbers = np.asarray(graph.species)[np.asarray(graph.atom_mask)]
        unknown = sorted(set(numbers.tolist()) - set(config.species))
        if unknown:
            raise StructureError(
                "graph.species",
                unknown,
                "are atomic numbers that the model does not know",
                f"It knows {', '.join(map(str, config.species))}",
            )
    check_conditioning(config, graph)
    adaptive, selected = config.num_neighbors_adaptive, graph.surroundings is not None
    if graph.cutoff < config.cutoff:
        problem = f"lacks pairs that the model sees, within {config.cutoff:g} angstrom"
    elif config.long_range is not None and graph.mesh is None:
        problem = "has no mesh, which the model's long-range features need"
    elif adaptive is not None and not selected:
        problem = "has all pairs as edges, but the model has an adaptive cutoff"
    elif adaptive is None and selected:
        problem = "has a selection of edges, but the model has a fixed cutoff"
    else:
        return
    found = f"{graph_shape(graph)} with cutoff={graph.cutoff:g}"
    remedy = "Make it with symjax.models.pet.pet_graph(model.config, structures)"
    raise ArgumentError("graph", found, problem, remedy)


def check_conditioning(config: PETConfig, graph: Graph) -> None:
    """Raises if a graph has charges or multiplicities beyond a model's embeddings.

    Those of a traced graph cannot be checked; see
    :func:`symjax.models.pet.inputs.invariants`.

    Raises:
      ModelError: The model reads charge and spin multiplicity, and one of them is
        outside its range.
    """
    if not config.system_conditioning or isinstance(graph.charge, jax.core.Tracer):
        return
    for name, smallest, largest in (
        ("charge", -config.max_charge, config.max_charge),
        ("spin_multiplicity", 1, config.max_spin_multiplicity),
    ):
        for value in np.asarray(getattr(graph, name)).tolist():
            if not smallest <= value <= largest:
                problem = f"the model knows those from {smallest} to {largest}"
                remedy = f"Set atoms.info[{name!r}] within them"
                raise ModelError(name, value, problem, remedy)
