"""A PET with its parameters: predictions on graphs, forces and stress, layers by name.

Everything is a pure function of (model or parameters, graph): safe to jit, vmap and
differentiate.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.data.cells import onto_periodic
from symjax.data.graph import Graph, Surroundings
from symjax.data.mesh import differentiated, find_mesh, forces_and_virials
from symjax.errors import ModelError
from symjax.models._paths import flatten, join_path
from symjax.models.pet.config import Block, PETConfig, Target
from symjax.models.pet.cutoff import adaptive_radii, cutoff_factors
from symjax.models.pet.energies import energy_of_forces, takes_repulsion
from symjax.models.pet.graphs import check_selected
from symjax.models.pet.layers import check_layers, layer_of
from symjax.models.pet.modules import (
    FEATURES,
    PET,
    READ,
    SHIFTS,
    STAGES,
    PETInputs,
    is_invariant,
)
from symjax.models.pet.moved import Evaluated, evaluate
from symjax.models.pet.uncertainty import (
    evaluate_uncertainty,
    uncertain_outputs,
    uncertainty_shapes,
)
from symjax.models.pet.zbl import zbl_energies
from symjax.models.precision import full_precision

# Added to squared distances (angstrom^2).
_EPSILON = 1e-15


@dataclasses.dataclass(frozen=True, eq=False)
class PETModel:
    """A trained (or fresh) PET.

    Attributes:
      name: Name for reports.
      config: Hyperparameters and targets.
      parameters: Pytree with ``"network"`` (Flax parameters), and for every target
        and block ``"scale"`` and ``"baseline"``, of shape ``(species, properties)``:
        an atom's prediction is ``scale * raw + baseline``, the baseline only for
        invariants. Models with uncertainties have ``"uncertainty"``, see
        :func:`~symjax.models.pet.uncertainty.uncertainty_shapes`.
      card: Where the model comes from and how well it does; JSON-serialisable.

    Example:
      >>> from symjax.models import load_model
      >>> model = load_model("pet-ethanol")
      >>> model.name, sorted(model.parameters)
      ('pet-ethanol', ['baseline', 'network', 'scale'])
    """

    name: str
    config: PETConfig
    parameters: dict[str, Any]
    card: dict[str, Any] = dataclasses.field(default_factory=dict)


def _init_network(config: PETConfig, key: Array) -> Any:
    integer, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
    inputs = PETInputs(
        vectors=jnp.zeros((1, 1, 3), jnp.float32),
        distances=jnp.ones((1, 1), jnp.float32),
        cutoff_factors=jnp.ones((1, 1), jnp.float32),
        edge_mask=mask,
        reverse=integer,
        centers=integer[0],
        neighbors=integer,
        structure=integer[0],
        charge=integer[0],
        spin_multiplicity=integer[0] + 1,
        repulsion=jnp.zeros(1, jnp.float32),
        long_range=None
        if config.long_range is None
        else find_mesh([ase.Atoms("H")], 1.0, 1.0, np.float32),
    )
    return PET(config).init(key, inputs)["params"]


def parameter_shapes(config: PETConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter of a model, by its path.

    Args:
      config: Hyperparameters and targets.

    Returns:
      Shapes by path, with ``/`` between the keys.

    Example:
      >>> from symjax.models.pet import PETConfig
      >>> from symjax.models.pet.model import parameter_shapes
      >>> parameter_shapes(PETConfig(species=(1, 8)))["scale/energy/scalar"]
      (2, 1)
    """
    tree = jax.eval_shape(lambda: _init_network(config, jax.random.key(0)))
    shapes = {f"network/{path}": leaf.shape for path, leaf in flatten(tree).items()}
    for target in config.targets:
        for block in target.blocks:
            shape = (len(config.species), block.properties)
            shapes[join_path("scale", target.name, block.key)] = shape
            if is_invariant(block):
                shapes[join_path("baseline", target.name, block.key)] = shape
    return shapes | uncertainty_shapes(config)


def init_pet(config: PETConfig, key: Array, name: str = "pet") -> PETModel:
    """A PET with random parameters, unit scales and zero baselines.

    Args:
      config: Hyperparameters and targets.
      key: Random key.
      name: Name for reports.

    Returns:
      The model, in float32.

    Raises:
      ModelError: The configuration has uncertainties.

    Example:
      >>> import jax
      >>> from symjax.models.pet import PETConfig, init_pet
      >>> config = PETConfig(species=(1, 8), d_pet=8, d_node=8, d_head=8,
      ...                    d_feedforward=8, num_heads=2)
      >>> model = init_pet(config, jax.random.key(0))
      >>> sorted(model.parameters)
      ['baseline', 'network', 'scale']
    """
    network = jax.jit(_init_network, static_argnums=0)(config, key)
    # With x64 enabled, initialisers would draw float64.
    network = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), network)
    species = len(config.species)
    if config.uncertainties:
        raise ModelError(
            "uncertainties",
            [own.target for own in config.uncertainties],
            "are those of a trained network, and this one is fresh",
            "Leave them out",
        )

    def constant(value: float, invariant_only: bool) -> dict[str, Any]:
        return {
            target.name: {
                block.key: np.full((species, block.properties), value, np.float32)
                for block in target.blocks
                if is_invariant(block) or not invariant_only
            }
            for target in config.targets
        }

    parameters = {
        "network": network,
        "scale": constant(1.0, False),
        "baseline": constant(0.0, True),
    }
    return PETModel(name, config, parameters)


def cast_parameters(parameters: Any, dtype: Any) -> Any:
    """Casts all parameters; baselines and scales too.

    Args:
      parameters: Pytree of arrays.
      dtype: ``float32`` or ``float64``.

    Returns:
      The same pytree, of JAX arrays of that dtype.

    Raises:
      ModelError: float64 was asked for while JAX has it disabled.

    Example:
      >>> import numpy as np
      >>> from symjax.models.pet import cast_parameters
      >>> cast_parameters({"a": np.ones(2)}, "float32")["a"].dtype
      dtype('float32')
    """
    dtype = np.dtype(dtype)
    # The attribute, unlike jax.config.read, respects jax.enable_x64 as a context.
    x64 = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    if dtype == np.float64 and not x64:
        raise ModelError(
            "dtype",
            str(dtype),
            "JAX computes in float32 unless told otherwise",
            'Call jax.config.update("jax_enable_x64", True) first, or use float32',
        )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), parameters)


def without_uncertainties(model: PETModel) -> PETModel:
    """A model whose parameters may change: uncertainties would not be its own.

    Args:
      model: The model.

    Returns:
      The model without uncertainties and ensembles.

    Example:
      >>> from symjax.models import load_model
      >>> from symjax.models.pet.model import without_uncertainties
      >>> without_uncertainties(load_model("pet-ethanol")).config.uncertainties
      ()
    """
    config = dataclasses.replace(model.config, uncertainties=())
    parameters = {k: v for k, v in model.parameters.items() if k != "uncertainty"}
    return dataclasses.replace(model, config=config, parameters=parameters)


def _species_index(config: PETConfig, species: Array) -> Array:
    table = np.zeros(max(config.species) + 1, np.int32)
    table[list(config.species)] = np.arange(len(config.species))
    # Padding has atomic number 0 and reads the first species, behind its mask.
    return jnp.asarray(table)[species]


class _Lengths(NamedTuple):
    """What does not rotate; of pairs, where the edges are a selection of them."""

    edges: Float[Array, "atoms neighbors"]
    pairs: Float[Array, "atoms pairs"] | None


def _lengths(graph: Graph) -> _Lengths:
    around = graph.surroundings
    pairs = None if around is None else jnp.asarray(around.lengths)
    return _Lengths(jnp.asarray(graph.lengths), pairs)


def _invariants(
    config: PETConfig, graph: Graph, lengths: _Lengths
) -> tuple[tuple[Array, Array, Array], Array]:
    """Token distances, cutoff factors and repulsion; and which edges are seen."""
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

    Example:
      >>> import ase.build
      >>> from symjax.models.pet import PETConfig, pet_graph, pet_inputs
      >>> config = PETConfig(species=(1, 8))
      >>> graph = pet_graph(config, ase.build.molecule("H2O"))
      >>> pet_inputs(config, graph).distances.shape
      (3, 2)
    """
    check_selected(config, graph)
    (distances, factors, repulsion), seen = _invariants(config, graph, _lengths(graph))
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


def _finish(
    target: Target,
    block: Block,
    parameters: Any,
    raw: Float[Array, "atoms *block"],
    graph: Graph,
    inputs: PETInputs,
    baseline: bool,
    repels: bool,
) -> Float[Array, "samples *block"]:
    """Scales atomic predictions, adds baseline and repulsion, sums over structures."""
    centers = inputs.centers
    components = len(block.shape) - 1
    scale = jnp.asarray(parameters["scale"][target.name][block.key])[centers]
    values = raw * scale.reshape(-1, *(1,) * components, block.properties)
    if baseline and is_invariant(block):
        offset = jnp.asarray(parameters["baseline"][target.name][block.key])[centers]
        values = values + offset.reshape(values.shape)
    if repels:
        values = values + inputs.repulsion.reshape(values.shape)
    structure = jnp.asarray(graph.structure)
    if target.name == "non_conservative_stress":
        # metatrain's convention: symmetric, over the volume, 0 without a cell.
        volume = jnp.abs(jnp.linalg.det(graph.cells))[structure]
        inverse = jnp.where(volume > 0, 1 / jnp.where(volume > 0, volume, 1), 0)
        values = values * inverse.reshape(-1, *(1,) * len(block.shape))
        values = 0.5 * (values + jnp.swapaxes(values, 1, 2))
    values = _of_samples(target, values, graph)
    return values[..., 0] if block.properties == 1 else values


def _of_samples(
    target: Target, values: Float[Array, "atoms ..."], graph: Graph
) -> Float[Array, "samples ..."]:
    """Values of atoms, summed over structures unless the target is one of atoms."""
    mask = jnp.asarray(graph.atom_mask).reshape(-1, *(1,) * (values.ndim - 1))
    values = jnp.where(mask, values, 0)
    if target.per_atom:
        return values
    structure = jnp.asarray(graph.structure)
    return jax.ops.segment_sum(values, structure, num_segments=len(graph.cells))


def outputs_from_inputs(
    config: PETConfig,
    parameters: Any,
    graph: Graph,
    inputs: PETInputs,
    *,
    targets: tuple[str, ...] | None = None,
    layers: tuple[str, ...] = (),
    baseline: bool = True,
    network_dtype: Any = None,
    shifts: Mapping[str, Array] | None = None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Targets and features of layers, from the inputs of the network.

    Args:
      config: Hyperparameters and targets.
      parameters: As in :class:`PETModel`.
      graph: The graph; only its masks and structures are read.
      inputs: From :func:`pet_inputs`, possibly with rotated vectors.
      targets: Names of the targets, and of uncertainties and ensembles; all by
        default.
      layers: Names of layers whose features are returned as well.
      baseline: Whether each species' constant is added.
      network_dtype: Type in which the network computes, for instance ``bfloat16``;
        scales, baselines and sums over atoms keep that of the inputs. None for the
        same throughout.
      shifts: What is added to the features that GNN layers hand on, by
        :func:`stage_names`; if not None, these are among the features that come back,
        as they were before.

    Returns:
      Outputs by name, of shape ``(structures, ...)`` or ``(atoms, ...)``, and
      features by layer, of shape ``(atoms, ...)`` or ``(atoms, neighbors, ...)``.

    Example:
      >>> import ase.build
      >>> from symjax.models import load_model
      >>> from symjax.models.pet import outputs_from_inputs, pet_graph, pet_inputs
      >>> model = load_model("pet-ethanol")
      >>> graph = pet_graph(model.config, ase.build.molecule("H2O"), dtype="float32")
      >>> outputs, _ = outputs_from_inputs(
      ...     model.config, model.parameters, graph, pet_inputs(model.config, graph))
      >>> outputs["energy"].shape
      (1,)
    """
    uncertain = {
        own
        for name, own in uncertain_outputs(config).items()
        if targets is None or name in targets
    }
    collections = [FEATURES] * bool(layers) + [READ] * bool(uncertain)
    collections += [] if shifts is None else [STAGES]
    network = parameters["network"]
    if network_dtype is not None:
        network = jax.tree.map(lambda leaf: leaf.astype(network_dtype), network)

    def apply(seen: PETInputs) -> Evaluated:
        if network_dtype is not None:
            seen = seen.replace(
                **{
                    name: getattr(seen, name).astype(network_dtype)
                    for name in ("vectors", "distances", "cutoff_factors")
                }
            )
        with full_precision():
            raw, state = PET(config).apply(
                {"params": network, SHIFTS: shifts or {}}, seen, mutable=collections
            )
        read = state.get(READ, {})
        if network_dtype is not None:
            dtype = inputs.vectors.dtype
            raw, read = jax.tree.map(lambda leaf: leaf.astype(dtype), (raw, read))
        return raw, {**state, READ: read}

    raw, state = evaluate(config, apply, inputs, bool(layers))
    outputs = {}
    for number, target in enumerate(config.targets):
        own = next((own for own in uncertain if own.target == target.name), None)
        if targets is not None and target.name not in targets and own is None:
            continue
        for name, block in target.outputs:
            outputs[name] = _finish(
                target,
                block,
                parameters,
                raw[target.name][block.key],
                graph,
                inputs,
                baseline,
                repels=config.zbl and takes_repulsion(target),
            )
        if own is not None:
            (read,) = state[READ][f"targets_{number}"]["features"]
            prediction = outputs[target.name].reshape(-1, *target.blocks[0].shape)
            if targets is not None and target.name not in targets:
                del outputs[target.name]
            extra = evaluate_uncertainty(
                own,
                parameters["uncertainty"][target.name],
                _of_samples(target, read, graph),
                prediction,
            )
            outputs |= {n: extra[n] for n in extra if targets is None or n in targets}
    features = _named_features(config, state[FEATURES]) if layers else {}
    found = {name: features[name] for name in layers}
    if shifts is not None:
        found |= {name: state[STAGES][name][0] for name in stage_names(config)}
    return outputs, found


def stage_names(config: PETConfig) -> tuple[str, ...]:
    """Names of what every GNN layer hands on: features of nodes and of edges.

    Args:
      config: Hyperparameters and targets.

    Returns:
      ``("node_0", "edge_0", "node_1", ...)``, in the order of the network.

    Example:
      >>> from symjax.models.pet import PETConfig
      >>> from symjax.models.pet.model import stage_names
      >>> stage_names(PETConfig(species=(1,), num_gnn_layers=1))
      ('node_0', 'edge_0')
    """
    numbers = range(config.num_gnn_layers)
    return tuple(f"{kind}_{n}" for n in numbers for kind in ("node", "edge"))


def _named_features(config: PETConfig, tree: Any) -> dict[str, Array]:
    """Sown features under metatrain's module paths."""
    # Each sown entry is a tuple of one; its index ends the path.
    return {
        layer_of(config, [str(entry.key) for entry in path[:-1]]): value
        for path, value in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


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
        functools.partial(_invariants, config, graph), _lengths(graph), has_aux=True
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
        more, more_virials = _onto_atoms(graph.surroundings, 0.0, slopes.pairs)
        forces, virials = forces + more, virials + more_virials
    if mesh is not None:
        more, more_virials = forces_and_virials(mesh, whole)
        forces, virials = forces + more, virials + more_virials
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


def predict(
    model: PETModel,
    graph: Graph,
    *,
    forces: bool = False,
    stress: bool = False,
    layers: tuple[str, ...] = (),
    energy: str | None = None,
) -> dict[str, Array]:
    """Predictions of a model on a graph.

    The dtype is that of the graph. One program is compiled for each
    configuration and shape of the graph, and found again.

    Args:
      model: The model.
      graph: Structures as the model reads them, see :func:`pet_graph`.
      forces: Whether to return ``"forces"``, minus the gradient of the energy.
      stress: Whether to return ``"stress"``.
      layers: Names of layers whose features are returned, see :func:`layer_names`.
      energy: Name of the target whose derivatives are forces and stress, see
        :func:`~symjax.models.pet.choose_energy`.

    Returns:
      Arrays by name: outputs of shape ``(structures, ...)``, or ``(atoms, ...)`` for
      targets per atom, and features.

    Raises:
      ModelError: The model has no such layer or energy, or several energies and none
        was named.

    Example:
      >>> import ase.build
      >>> import jax
      >>> from symjax.models.pet import PETConfig, init_pet, pet_graph, predict
      >>> config = PETConfig(species=(1, 8), d_pet=8, d_node=8, d_head=8,
      ...                    d_feedforward=8, num_heads=2)
      >>> model = init_pet(config, jax.random.key(0))
      >>> graph = pet_graph(config, ase.build.molecule("H2O"), dtype="float32")
      >>> predict(model, graph, forces=True)["forces"].shape
      (3, 3)
    """
    check_layers(model.config, layers)
    if forces or stress:
        energy = energy_of_forces(model.config, energy)
    return _predict(
        model.config,
        model.parameters,
        graph,
        forces=forces,
        stress=stress,
        layers=tuple(layers),
        energy=energy,
    )


@functools.partial(
    jax.jit, static_argnames=("config", "forces", "stress", "layers", "energy")
)
def _predict(
    config: PETConfig,
    parameters: Any,
    graph: Graph,
    *,
    forces: bool,
    stress: bool,
    layers: tuple[str, ...],
    energy: str | None,
) -> dict[str, Array]:
    parameters = cast_parameters(parameters, jnp.asarray(graph.vectors).dtype)
    if forces or stress:
        outputs, features = conservative(
            config,
            parameters,
            graph,
            layers=layers,
            energy=energy,
            stress=stress,
        )
        if not forces:
            del outputs["forces"]
    else:
        outputs, features = outputs_from_inputs(
            config, parameters, graph, pet_inputs(config, graph), layers=layers
        )
    return {**outputs, **features}
