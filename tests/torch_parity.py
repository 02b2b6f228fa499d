"""Comparison of an imported PET with metatrain's, layer by layer."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import torch

from symjax.data import GraphShape, graph_shape, pad_graph
from symjax.models.pet import (
    cast_parameters,
    layer_names,
    pet_graph,
    pet_inputs,
    predict,
)
from symjax.models.pet.evaluation import Evaluation
from symjax.models.pet.inputs import invariants as invariants_of
from symjax.models.pet.inputs import lengths_of
from symjax.models.pet.outputs import evaluate_inputs
from symjax.models.pet.uncertainty import uncertain_outputs

# Relative to the largest entry of what is compared; in float32, forces and stress
# relative to the largest sum of the magnitudes of their terms if that is larger.
# float64: both sides round a few thousand operations; 1e-13 is typical.
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
# All structures are padded to these, so that code is compiled once.
ATOMS, NEIGHBORS = 13, 80
# A layer that metatrain does not capture by itself.
LONG_RANGE = "long_range_featurizer"


def torch_outputs(model, atoms, config, layers, dtype, name="energy"):
    """Outputs, forces, strain derivative and features of metatrain's model.

    ``name`` is the energy that forces are derived from.
    """
    from metatensor.torch import Labels, TensorBlock, TensorMap
    from metatomic.torch import ModelOutput, System, systems_to_torch
    from metatrain.utils.neighbor_lists import (
        get_requested_neighbor_lists,
        get_system_with_neighbor_lists,
    )

    (system,) = systems_to_torch([atoms], dtype=dtype)
    strain = torch.eye(3, dtype=dtype, requires_grad=True)
    positions = system.positions.clone().requires_grad_(True)
    system = System(system.types, positions @ strain, system.cell @ strain, system.pbc)
    system = get_system_with_neighbor_lists(system, get_requested_neighbor_lists(model))
    for key, default in (("charge", 0), ("spin_multiplicity", 1)):
        value = torch.tensor([[float(atoms.info.get(key, default))]], dtype=dtype)
        block = TensorBlock(
            value,
            Labels(["system"], torch.tensor([[0]])),
            [],
            Labels([key], torch.tensor([[0]])),
        )
        system.add_data(key, TensorMap(Labels(["_"], torch.tensor([[0]])), [block]))
    of_targets = {target.name: target.name for target in config.targets}
    for extra, own in uncertain_outputs(config).items():
        of_targets[extra] = own.target
    wanted = {
        output: ModelOutput(
            sample_kind="atom" if config.target(target).per_atom else "system"
        )
        for output, target in of_targets.items()
    }
    captured = [layer for layer in layers if layer != LONG_RANGE]
    for layer in captured:
        wanted[f"mtt::feature::{layer}"] = ModelOutput(sample_kind="atom")
    kept = []
    hook = getattr(model, "model", model).long_range_featurizer.register_forward_hook(
        lambda *call: kept.append(call[-1])
    )
    out = model([system], wanted)
    hook.remove()
    energy = out[name].block().values.sum()
    gradients = torch.autograd.grad(energy, [positions, strain], allow_unused=True)
    gradients = [
        torch.zeros_like(like) if value is None else value
        for value, like in zip(gradients, (positions, strain), strict=True)
    ]
    arrays = {
        name: [block.values.detach().numpy() for block in value.blocks()]
        for name, value in out.items()
    }
    if LONG_RANGE in layers:
        arrays[f"mtt::feature::{LONG_RANGE}"] = [kept[0].detach().numpy()]
    edges = None
    for layer in captured:
        block = out[f"mtt::feature::{layer}"].block()
        if "first_atom" in block.samples.names:
            rows = block.samples.values.numpy()
            edges = rows if edges is None else edges
            np.testing.assert_array_equal(edges, rows)
    return arrays, -gradients[0].numpy(), gradients[1].numpy(), edges


class Errors:
    """Collects errors relative to the largest entry, and raises the largest."""

    def __init__(self):
        self.found = {}

    def add(self, kind, where, actual, expected, scale=0.0, other=None):
        """``scale`` is the least that the error is divided by, but for a floor.

        The error is that from the nearer of ``expected`` and ``other``.
        """
        error = float("inf")
        for each in (expected, expected if other is None else other):
            size = max(np.abs(each).max(initial=0.0), scale, 1e-3)
            found = np.abs(np.asarray(actual) - each).max(initial=0.0) / size
            error = min(error, float("inf") if np.isnan(found) else float(found))
        if error >= self.found.get(kind, (0.0, ""))[0]:
            self.found[kind] = (error, where)

    def check(self, tolerance):
        for kind, (error, where) in self.found.items():
            assert error < tolerance, f"{kind} of {where}: {error:.2e} of the largest"


def edge_slots(graph, edges):
    """Slot of each of metatrain's edges (structure, i, j, shift) in the graph."""
    if edges is None or len(edges) == 0:
        assert edges is None or not graph.edge_mask.any()
        return np.zeros(0, int), np.zeros(0, int)
    table = {}
    for i, k in zip(*np.nonzero(graph.edge_mask), strict=True):
        key = (int(i), int(graph.neighbors[i, k]), *map(int, graph.shifts[i, k]))
        table[key] = (i, k)
    found = [table[tuple(map(int, row[1:6]))] for row in edges]
    # No edge that the model does not see is a row of any layer.
    assert len(found) == len(set(found)) == len(table)
    return tuple(np.array(found).T)


def sums_of_terms(model, graph, dtype, name):
    """What forces and virial would be if none of their terms cancelled.

    In perfect crystals forces nearly vanish; rounding errors are those of the terms,
    of an edge's vector and of its length.
    """
    parameters = cast_parameters(model.parameters, dtype)

    def energy(vectors, lengths):
        (distances, factors, repulsion), _ = invariants_of(model.config, graph, lengths)
        inputs = pet_inputs(model.config, graph).replace(
            vectors=vectors,
            distances=distances,
            cutoff_factors=factors,
            repulsion=repulsion,
        )
        evaluation = Evaluation(model.config, (name,))
        return evaluate_inputs(evaluation, parameters, graph, inputs)[name].sum()

    direct, slopes = jax.grad(energy, argnums=(0, 1))(graph.vectors, lengths_of(graph))

    def of(rows, direct, slopes):
        radial = jnp.abs(slopes / rows.lengths)[..., None] * jnp.abs(rows.vectors)
        terms = jnp.where(rows.edge_mask[..., None], jnp.abs(direct) + radial, 0)
        virial = jnp.abs(rows.vectors)[..., :, None] * terms[..., None, :]
        return jnp.array([terms.sum(axis=1).max(), virial.sum(axis=(0, 1)).max()])

    found = of(graph, direct, slopes.edges)
    if graph.surroundings is not None:
        found = found + of(graph.surroundings, 0.0, slopes.pairs)
    return found


def compare(reference, model, dtype, cases, name="energy"):
    """Errors of an imported model against metatrain's, on structures by name.

    ``name`` is the energy that forces are derived from.
    """
    torch_dtype = getattr(torch, dtype)
    # Derivatives of metatrain in float32 can be ten times as far from those in float64
    # as ours (one atom with 80 images), and not numbers (a mesh of five nodes): in
    # float32 ours must agree with its derivatives in one of the two precisions.
    exact = copy.deepcopy(reference).to(torch.float64)
    reference = reference.to(torch_dtype)
    layers, errors = layer_names(model.config), Errors()
    wanted = {"forces": True, "stress": True, "layers": layers, "energy": name}
    run = jax.jit(lambda graph: predict(model, graph, **wanted))
    scales = jax.jit(lambda graph: sums_of_terms(model, graph, dtype, name))
    for label, atoms in cases.items():
        graph = pet_graph(model.config, atoms, dtype=dtype)
        pairs = NEIGHBORS if graph.surroundings else 0
        room = (ATOMS, NEIGHBORS, 1, pairs)
        graph = pad_graph(graph, GraphShape(*np.maximum(graph_shape(graph), room)))
        mask = np.asarray(graph.atom_mask)
        ours = {name: np.asarray(value) for name, value in run(graph).items()}
        theirs, forces, strain, edges = torch_outputs(
            reference, atoms, model.config, layers, torch_dtype, name
        )
        others = forces, strain
        if dtype == "float32":
            _, *others, _ = torch_outputs(
                exact, atoms, model.config, layers, torch.float64, name
            )
        for target in model.config.targets:
            for block, values in zip(target.blocks, theirs[target.name], strict=True):
                single = len(target.blocks) == 1
                key = target.name if single else f"{target.name}/{block.key}"
                mine = ours[key][mask] if target.per_atom else ours[key]
                values = values.reshape(mine.shape)
                errors.add("output", f"{label}, {key}", mine, values)
        for key, own in uncertain_outputs(model.config).items():
            target, (values,) = model.config.target(own.target), theirs[key]
            mine = ours[key][mask] if target.per_atom else ours[key]
            if mine.ndim == 1:
                # One number, which metatrain repeats for components and properties.
                mine = np.broadcast_to(
                    mine.reshape(-1, *(1,) * (values.ndim - 1)), values.shape
                )
            kind = "ensemble" if key.endswith("_ensemble") else "uncertainty"
            errors.add(kind, f"{label}, {key}", mine, values)
        force, virial = (0.0, 0.0) if dtype == "float64" else scales(graph)
        errors.add(
            "forces", label, ours["forces"][mask], forces, float(force), others[0]
        )
        if atoms.pbc.all():
            volume = atoms.get_volume()
            scale = float(virial) / volume
            errors.add(
                *("stress", label, ours["stress"][0], strain / volume, scale),
                others[1] / volume,
            )
        slots = edge_slots(graph, edges)
        for layer in layers:
            values, mine = theirs[f"mtt::feature::{layer}"][0], ours[layer]
            mine = mine[slots] if mine.ndim == 3 else mine[mask]
            if values.size:
                errors.add("features", f"{label}, {layer}", mine, values)
    return errors
