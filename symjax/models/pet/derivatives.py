"""Forces and stress of a PET, as derivatives of its energy."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax.data.cells import onto_periodic
from symjax.data.graph import Graph, Surroundings
from symjax.data.mesh import differentiated, forces_and_virials
from symjax.models.pet.config import PETConfig
from symjax.models.pet.energies import energy_of_forces
from symjax.models.pet.inputs import invariants as invariants_of
from symjax.models.pet.inputs import lengths_of, pet_inputs
from symjax.models.pet.outputs import outputs_from_inputs


def conservative(
    config: PETConfig,
    parameters: Any,
    graph: Graph,
    *,
    targets: tuple[str, ...] | None = None,
    layers: tuple[str, ...] = (),
    energy: str | None = None,
    baseline: bool = True,
    stress: bool = False,
    network_dtype: Any = None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Targets, and forces and stress as derivatives of the energy.

    The network sees the edge vectors, and functions of lengths that do not change
    under rotations. Both paths of the chain rule are followed: by the vectors, and by
    the lengths of the edges and, where they were selected by an adaptive cutoff, of all
    pairs. Under a ``vmap`` over rotated graphs, whose vectors rotate and whose lengths
    do not, all that depends on lengths alone is computed once.

    Args:
      config: Hyperparameters and targets.
      parameters: As in :class:`PETModel`.
      graph: Structures as the model reads them, possibly rotated.
      targets: Names of the targets to return; all by default.
      layers: Names of layers whose features are returned as well.
      energy: Name of the target that is differentiated, see
        :func:`~symjax.models.pet.choose_energy`.
      baseline: Whether each species' constant is added.
      stress: Whether the stress is computed.
      network_dtype: As in :func:`outputs_from_inputs`.

    Returns:
      Outputs with ``"forces"`` (atoms, 3) in unit of energy per angstrom and, if
      asked for, ``"stress"`` (structures, 3, 3) in unit of energy per cubic angstrom,
      the derivative with respect to strain over the volume, not symmetrised: for slabs
      and wires that of a strain within the periodic directions over the volume of the
      cell (:func:`symjax.data.cells.stress_volume`), other components 0, and all of
      them 0 without a volume; and features by layer.

    Raises:
      ModelError: The model has no such energy, or several and none was named.

    Example:
      >>> import ase.build
      >>> import jax
      >>> from symjax.models import load_model
      >>> from symjax.models.pet import conservative, pet_graph
      >>> model = load_model("pet-ethanol")
      >>> graph = pet_graph(model.config, ase.build.molecule("H2O"), dtype="float32")
      >>> def function(parameters, graph):
      ...     return conservative(model.config, parameters, graph)
      >>> # Shapes, without computing anything.
      >>> outputs, _ = jax.eval_shape(function, model.parameters, graph)
      >>> outputs["forces"].shape
      (3, 3)
    """
    energy = energy_of_forces(config, energy)
    inputs = pet_inputs(config, graph)
    mesh = inputs.long_range
    invariants, pullback, _ = jax.vjp(
        functools.partial(invariants_of, config, graph), lengths_of(graph), has_aux=True
    )

    def total(
        vectors: Array,
        invariants: tuple[Array, Array, Array],
        whole: dict[str, Array],
    ) -> tuple[Array, tuple[dict[str, Array], dict[str, Array]]]:
        distances, factors, repulsion = invariants
        moved = inputs.replace(
            vectors=vectors,
            distances=distances,
            cutoff_factors=factors,
            repulsion=repulsion,
            long_range=None if mesh is None else mesh.replace(**whole),
        )
        wanted = None if targets is None else (*targets, energy)
        both = outputs_from_inputs(
            config,
            parameters,
            graph,
            moved,
            targets=wanted,
            layers=layers,
            baseline=baseline,
            network_dtype=network_dtype,
        )
        return jnp.sum(both[0][energy]), both

    (direct, along, whole), (outputs, features) = jax.grad(
        total, argnums=(0, 1, 2), has_aux=True
    )(inputs.vectors, invariants, {} if mesh is None else differentiated(mesh))
    (slopes,) = pullback(along)
    forces, virials = _onto_atoms(graph, direct, slopes.edges)
    if graph.surroundings is not None:
        further, own = _onto_atoms(graph.surroundings, 0.0, slopes.pairs)
        forces, virials = forces + further, virials + own
    if mesh is not None:
        further, own = forces_and_virials(mesh, whole)
        forces, virials = forces + further, virials + own
    outputs = dict(outputs)
    if targets is not None and energy not in targets:
        del outputs[energy]
    outputs["forces"] = forces
    if stress:
        virial = jax.ops.segment_sum(
            virials, jnp.asarray(graph.structure), num_segments=len(graph.cells)
        )
        volume = jnp.asarray(graph.volumes)[:, None, None]
        within = onto_periodic(graph.cells).astype(virial.dtype)
        # Along a direction without periods a strain only moves atoms.
        virial = jnp.matmul(
            jnp.matmul(within, virial, precision="highest"), within, precision="highest"
        )
        outputs["stress"] = jnp.where(
            volume > 0, virial / jnp.where(volume > 0, volume, 1), 0
        )
    return outputs, features


def _onto_atoms(
    rows: Graph | Surroundings,
    direct: Float[Array, "atoms neighbors 3"] | float,
    slopes: Float[Array, "atoms neighbors"],
) -> tuple[Float[Array, "atoms 3"], Float[Array, "atoms 3 3"]]:
    """Forces and virials of atoms, from derivatives by vectors and by lengths."""
    vectors, mask = jnp.asarray(rows.vectors), jnp.asarray(rows.edge_mask)[..., None]
    edge = direct + (slopes / jnp.asarray(rows.lengths))[..., None] * vectors
    edge = jnp.where(mask, edge, 0)
    # dE/dr_i collects minus the edges that leave i and plus those that arrive: the
    # reverses of those that leave.
    arriving = edge.reshape(-1, 3)[jnp.asarray(rows.reverse)]
    forces = jnp.sum(jnp.where(mask, edge - arriving, 0), axis=1)
    return forces, jnp.einsum("anx,any->axy", vectors, edge, precision="highest")
