"""Moves the atoms and cells of a graph, so that derivatives can be taken by them.

What is computed from the moved graph is differentiated by JAX alone: an oracle for
forces and stress, which the library derives from vectors and lengths by hand.
"""

import jax.numpy as jnp

from symjax.data.mesh import whole_cells


def displaced(graph, positions, cells=None):
    """The graph with its edges, at other positions and cells; volumes stay.

    New vectors are ``vectors + (u_j - u_i) + S @ (cell' - cell)`` with displacements u.
    """
    moved = positions - graph.positions
    new = jnp.asarray(graph.cells if cells is None else cells)
    strained = (new - graph.cells)[graph.structure]

    def follow(rows):
        change = moved[rows.neighbors] - moved[:, None, :]
        change += jnp.einsum("anc,acd->and", rows.shifts, strained)
        mask = jnp.asarray(rows.edge_mask)
        vectors = rows.vectors + jnp.where(mask[..., None], change, 0)
        # The square root has an infinite derivative at 0.
        squared = jnp.where(mask, jnp.sum(vectors**2, axis=-1), 1)
        return rows.replace(vectors=vectors, lengths=jnp.sqrt(squared))

    around, mesh = graph.surroundings, graph.mesh
    return follow(graph).replace(
        positions=positions,
        cells=new,
        surroundings=None if around is None else follow(around),
        mesh=None if mesh is None else _moved(mesh, positions, new),
    )


def _moved(mesh, positions, cells):
    """The same waves of a mesh that follows the atoms and the cell."""
    structure = jnp.asarray(mesh.structure)

    def within(positions, cells):
        inverse = jnp.linalg.inv(whole_cells(mesh, cells))[structure]
        return jnp.einsum("ax,axc->ac", positions, inverse)

    change = within(positions, cells) - within(mesh.positions, mesh.cells)
    periodic = (jnp.asarray(mesh.sizes)[:, 0] > 0)[structure, None]
    fractional = mesh.fractional + jnp.where(periodic, change, 0)
    return mesh.replace(positions=positions, cells=cells, fractional=fractional)
