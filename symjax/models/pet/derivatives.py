"""Evaluates a PET on a graph, with forces and stress as derivatives of its energy."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax.data.cells import onto_periodic
from symjax.data.graph import Graph, Surroundings
from symjax.data.mesh import differentiated, forces_and_virials
from symjax.models.pet.evaluation import Evaluation
from symjax.models.pet.inputs import invariants as invariants_of
from symjax.models.pet.inputs import lengths_of, pet_inputs
from symjax.models.pet.outputs import evaluate_inputs


def evaluate(
    evaluation: Evaluation,
    parameters: Any,
    graph: Graph,
    shifts: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Evaluates targets, forces, stress and features of layers.

    A traced graph cannot be checked for unknown species, charges and multiplicities:
    predictions for structures that have them are NaN.

    Args:
      evaluation: What to evaluate.
      parameters: Parameters as in :class:`PETModel`.
      graph: Graph from :func:`pet_graph`, possibly rotated.
      shifts: Arrays to add to the features that GNN layers pass on, by name, see
        :func:`~symjax.models.pet.layers.stage_names`. If not None, even if empty, the
        features before the addition are returned too, under the same names.

    Returns:
      Arrays by name:

      - outputs, of shape ``(structures, ...)``, or ``(atoms, ...)`` for per-atom
        targets;
      - ``"forces"``, ``(atoms, 3)``, in the unit of the energy per angstrom;
      - ``"stress"``, ``(structures, 3, 3)``, in the unit of the energy per cubic
        angstrom: the derivative with respect to strain, divided by the volume and not
        symmetrised. For slabs and wires only components within the periodic directions
        are nonzero, and the volume is :func:`symjax.data.cells.stress_volume`; without
        a volume the stress is 0;
      - features, of shape ``(atoms, ...)`` or ``(atoms, neighbors, ...)``.

    Raises:
      ArgumentError: The graph was not made for this model's cutoff.
      StructureError: The model does not know a species of the graph.
      ModelError: The model does not know a charge or multiplicity of the graph.

    Example:
      >>> import ase.build
      >>> import jax
      >>> from symjax.models import load_model
      >>> from symjax.models.pet import Evaluation, evaluate, pet_graph
      >>> model = load_model("pet-ethanol")
      >>> graph = pet_graph(model.config, ase.build.molecule("H2O"), dtype="float32")
      >>> evaluation = Evaluation(model.config, forces=True)
      >>> # Shapes, without computing anything.
      >>> outputs = jax.eval_shape(
      ...     lambda *given: evaluate(evaluation, *given), model.parameters, graph)
      >>> {name: output.shape for name, output in outputs.items()}
      {'energy': (1,), 'forces': (3, 3)}
    """
    if evaluation.differentiated is not None:
        return _with_derivatives(
            evaluation, evaluation.differentiated, parameters, graph, shifts
        )
    inputs = pet_inputs(evaluation.config, graph)
    return evaluate_inputs(evaluation, parameters, graph, inputs, shifts)


def _with_derivatives(
    evaluation: Evaluation,
    energy: str,
    parameters: Any,
    graph: Graph,
    shifts: Mapping[str, Array] | None,
) -> dict[str, Array]:
    """Outputs with forces and stress.

    The network reads edge vectors, and functions of lengths. The chain rule follows
    both: through the vectors, and through the lengths of edges and, with an adaptive
    cutoff, of all pairs. Under a ``vmap`` over rotated graphs only the vectors are
    mapped, so everything that depends on lengths alone is computed once.
    """
    config = evaluation.config
    with_energy = dataclasses.replace(evaluation, targets=(*evaluation.chosen, energy))
    inputs = pet_inputs(config, graph)
    mesh = inputs.long_range
    invariants, pullback, _ = jax.vjp(
        functools.partial(invariants_of, config, graph), lengths_of(graph), has_aux=True
    )

    def total(
        vectors: Array,
        invariants: tuple[Array, Array, Array],
        whole: dict[str, Array],
    ) -> tuple[Array, dict[str, Array]]:
        distances, factors, repulsion = invariants
        moved = inputs.replace(
            vectors=vectors,
            distances=distances,
            cutoff_factors=factors,
            repulsion=repulsion,
            long_range=None if mesh is None else mesh.replace(**whole),
        )
        found = evaluate_inputs(with_energy, parameters, graph, moved, shifts)
        return jnp.sum(found[energy]), found

    (direct, along, whole), outputs = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(
        inputs.vectors, invariants, {} if mesh is None else differentiated(mesh)
    )
    (slopes,) = pullback(along)
    forces, virials = _onto_atoms(graph, direct, slopes.edges)
    if graph.surroundings is not None:
        further, own = _onto_atoms(graph.surroundings, 0.0, slopes.pairs)
        forces, virials = forces + further, virials + own
    if mesh is not None:
        further, own = forces_and_virials(mesh, whole)
        forces, virials = forces + further, virials + own
    outputs = dict(outputs)
    if energy not in evaluation.chosen:
        del outputs[energy]
    if evaluation.forces:
        outputs["forces"] = forces
    if evaluation.stress:
        virial = jax.ops.segment_sum(
            virials, jnp.asarray(graph.structure), num_segments=len(graph.cells)
        )
        volume = jnp.asarray(graph.volumes)[:, None, None]
        within = onto_periodic(graph.cells).astype(virial.dtype)
        # Along directions that are not periodic, strain is not a change of the cell.
        virial = jnp.matmul(
            jnp.matmul(within, virial, precision="highest"), within, precision="highest"
        )
        outputs["stress"] = jnp.where(
            volume > 0, virial / jnp.where(volume > 0, volume, 1), 0
        )
    return outputs


def _onto_atoms(
    rows: Graph | Surroundings,
    direct: Float[Array, "atoms neighbors 3"] | float,
    slopes: Float[Array, "atoms neighbors"],
) -> tuple[Float[Array, "atoms 3"], Float[Array, "atoms 3 3"]]:
    """Forces and virials of atoms, from derivatives with respect to edges."""
    vectors, mask = jnp.asarray(rows.vectors), jnp.asarray(rows.edge_mask)[..., None]
    edge = direct + (slopes / jnp.asarray(rows.lengths))[..., None] * vectors
    edge = jnp.where(mask, edge, 0)
    # dE/dr_i is the sum over edges that arrive at i minus that over edges that leave.
    # Those that arrive are the reverses of those that leave.
    arriving = edge.reshape(-1, 3)[jnp.asarray(rows.reverse)]
    forces = jnp.sum(jnp.where(mask, edge - arriving, 0), axis=1)
    return forces, jnp.einsum("anx,any->axy", vectors, edge, precision="highest")
