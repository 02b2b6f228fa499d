"""Fitting energies and forces, with random elements of O(3) as augmentation."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from symjax.data.graph import Graph
from symjax.data.transform import cast_graph, rotate_graph
from symjax.errors import ArgumentError
from symjax.models.pet.config import PETConfig
from symjax.models.pet.energies import energy_of_forces
from symjax.models.pet.model import PETModel, conservative
from symjax.training.augmentation import random_elements


class Samples(NamedTuple):
    """Structures of one padded shape with their references, along a leading axis.

    Attributes:
      graphs: Graphs of one structure each, stacked.
      energies: Total energies, shape ``(num,)``, in the unit of the target.
      forces: Forces, shape ``(num, atoms, 3)``; 0 for padding.

    Example:
      >>> import ase.build
      >>> import numpy as np
      >>> from symjax.data import build_graph
      >>> from symjax.training.fit import stack_samples
      >>> graph = build_graph(ase.build.molecule("H2O"), 4.5)
      >>> samples = stack_samples([graph] * 4, np.zeros(4), [np.zeros((3, 3))] * 4)
      >>> samples.energies.shape, samples.forces.shape
      ((4,), (4, 3, 3))
    """

    graphs: Graph
    energies: Float[Array | np.ndarray, "num"]
    forces: Float[Array | np.ndarray, "num atoms 3"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a model is fitted.

    Attributes:
      steps: Number of optimisation steps.
      batch_size: Structures in each step, drawn with replacement.
      learning_rate: Peak of the cosine schedule.
      energy_weight: Weight of the energy per atom relative to the forces, both in
        units of the model's scale.
      augment: Whether every structure is turned by a random element of O(3).
      average: Decay of the exponential average of the parameters that is returned.
      seed: Of the batches and the elements.

    Example:
      >>> from symjax.training.fit import Settings
      >>> Settings(steps=10).batch_size
      8
    """

    steps: int
    batch_size: int = 8
    learning_rate: float = 1e-3
    energy_weight: float = 1.0
    augment: bool = True
    average: float = 0.999
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("steps", "batch_size"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise ArgumentError(field, value, "is not a count", "Pass 1 or more")
        if not self.learning_rate > 0:
            raise ArgumentError(
                "learning_rate", self.learning_rate, "is not positive", "Pass 1e-3"
            )
        if not 0 <= self.average < 1:
            raise ArgumentError(
                "average", self.average, "is not in [0, 1)", "Pass 0.999, or 0 for none"
            )


class State(NamedTuple):
    """Everything a fit needs to go on from where it stopped.

    Example:
      >>> from symjax.models import load_model
      >>> from symjax.training.fit import Settings
      >>> from symjax.training.fit import start
      >>> state = start(load_model("pet-ethanol"), Settings(steps=10))
      >>> int(state.step)
      0
    """

    step: Array
    network: Any
    averaged: Any
    optimizer: Any
    key: Array


def stack_samples(
    graphs: list[Graph], energies: np.ndarray, forces: list[np.ndarray]
) -> Samples:
    """Stacks graphs of one padded shape.

    Args:
      graphs: One for each structure, all padded to one shape.
      energies: Energy of each structure.
      forces: Forces of each structure, shape ``(atoms, 3)``.

    Returns:
      The samples, in float32.

    Raises:
      ArgumentError: There is none, or shapes differ.

    Example:
      >>> import ase.build
      >>> import numpy as np
      >>> from symjax.data import build_graph
      >>> from symjax.training.fit import stack_samples
      >>> graph = build_graph(ase.build.molecule("H2O"), 4.5)
      >>> samples = stack_samples([graph, graph], np.zeros(2), [np.zeros((3, 3))] * 2)
      >>> samples.graphs.positions.shape
      (2, 3, 3)
    """
    if not graphs or len({graph.neighbors.shape for graph in graphs}) != 1:
        raise ArgumentError(
            "graphs",
            sorted({graph.neighbors.shape for graph in graphs}),
            "can be stacked only if there is one at least and all have one shape",
            "Pad them with symjax.data.pad_graph",
        )
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *graphs)
    atoms = stacked.positions.shape[1]
    padded = [np.pad(f, ((0, atoms - len(f)), (0, 0))) for f in forces]
    stacked = cast_graph(stacked, np.float32)
    return Samples(
        stacked, np.asarray(energies, np.float32), np.asarray(padded, np.float32)
    )


def _one(
    config: PETConfig,
    energy: str,
    parameters: Any,
    graph: Graph,
    rotation: Float[Array, "3 3"],
) -> tuple[Float[Array, ""], Float[Array, "atoms 3"]]:
    """Energy and forces of one structure, the forces rotated back."""
    turned = rotate_graph(graph, rotation)
    outputs, _ = conservative(config, parameters, turned, energy=energy)
    forces = jnp.matmul(outputs["forces"], rotation, precision="highest")
    return outputs[energy][0], forces


@functools.partial(jax.jit, static_argnums=(0, 1))
def evaluate(
    config: PETConfig,
    energy: str,
    parameters: Any,
    samples: Samples,
) -> tuple[Float[Array, "num"], Float[Array, "num atoms 3"]]:
    """Energies and forces of all samples, as they stand.

    Args:
      config: Hyperparameters and targets.
      energy: Name of the energy target.
      parameters: As in :class:`~symjax.models.pet.PETModel`.
      samples: The structures.

    Returns:
      Energies ``(num,)`` and forces ``(num, atoms, 3)``.
    """
    return jax.lax.map(
        lambda graph: _one(config, energy, parameters, graph, jnp.eye(3)),
        samples.graphs,
        batch_size=16,
    )


def _optimizer(settings: Settings) -> optax.GradientTransformation:
    warmup = max(settings.steps // 50, 1)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        settings.learning_rate,
        warmup,
        max(settings.steps, warmup + 1),
        end_value=0.01 * settings.learning_rate,
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


def start(model: PETModel, settings: Settings) -> State:
    """State before the first step.

    Args:
      model: The model to be fitted.
      settings: How.

    Returns:
      The state.
    """
    network = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float32), model.parameters["network"]
    )
    return State(
        jnp.zeros((), jnp.int32),
        network,
        network,
        _optimizer(settings).init(network),
        jax.random.key_data(jax.random.key(settings.seed)),
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run(
    config: PETConfig,
    energy: str,
    settings: Settings,
    num_steps: int,
    fixed: Any,
    samples: Samples,
    state: State,
) -> tuple[State, Float[Array, ""]]:
    """Some steps in one compiled loop; returns the mean loss."""
    optimizer = _optimizer(settings)
    num = len(samples.energies)
    atoms = jnp.sum(samples.graphs.atom_mask, axis=1)
    unit = jnp.mean(fixed["scale"][energy]["scalar"])

    def loss(network: Any, batch: Array, elements: Array) -> Float[Array, ""]:
        graphs = jax.tree.map(lambda leaf: jnp.asarray(leaf)[batch], samples.graphs)
        parameters = {**fixed, "network": network}
        energies, forces = jax.vmap(
            lambda graph, rotation: _one(config, energy, parameters, graph, rotation)
        )(graphs, elements)
        counts = atoms[batch]
        energy_error = (energies - jnp.asarray(samples.energies)[batch]) / counts / unit
        force_error = (forces - jnp.asarray(samples.forces)[batch]) / unit
        # Huber: a few strained frames must not set the step.
        force_loss = jnp.sum(optax.huber_loss(force_error)) / (3 * jnp.sum(counts))
        return force_loss + settings.energy_weight * jnp.mean(
            optax.huber_loss(energy_error)
        )

    def step(state: State, _: None) -> tuple[State, Float[Array, ""]]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        batch_key, element_key = jax.random.split(key)
        batch = jax.random.randint(batch_key, (settings.batch_size,), 0, num)
        elements = _elements(element_key, settings)
        value, gradient = jax.value_and_grad(loss)(state.network, batch, elements)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer)
        network = optax.apply_updates(state.network, updates)
        # Young averages forget the random start sooner.
        decay = jnp.minimum(settings.average, (1 + state.step) / (10 + state.step))
        averaged = jax.tree.map(
            lambda old, new: decay * old + (1 - decay) * new, state.averaged, network
        )
        state = State(state.step + 1, network, averaged, optimizer_state, state.key)
        return state, value

    state, values = jax.lax.scan(step, state, None, length=num_steps)
    return state, jnp.mean(values)


def _elements(key: PRNGKeyArray, settings: Settings) -> Float[Array, "batch 3 3"]:
    if settings.augment:
        return random_elements(key, settings.batch_size).astype(jnp.float32)
    return jnp.broadcast_to(jnp.eye(3, dtype=jnp.float32), (settings.batch_size, 3, 3))


def fit(
    model: PETModel,
    samples: Samples,
    settings: Settings,
    *,
    energy: str | None = None,
    state: State | None = None,
    interval: int = 200,
    report: Callable[[State, float], None] | None = None,
) -> PETModel:
    """Fits a model to energies and forces.

    The model's scales and baselines stay as they are: set them from the data first.

    Args:
      model: The model to start from.
      samples: Training structures and references.
      settings: How.
      energy: Name of the energy target, see
        :func:`~symjax.models.pet.choose_energy`.
      state: Where an interrupted fit stopped; a fresh start by default.
      interval: Steps between two reports, compiled into one loop.
      report: Called with the state and the mean loss after every interval, to save
        the one and show the other.

    Returns:
      The model with averaged parameters.

    Raises:
      ModelError: ``energy`` is no energy of the model.

    Example:
      >>> import ase.build
      >>> import jax
      >>> import numpy as np
      >>> from symjax.data import build_graph
      >>> from symjax.models.pet import PETConfig, init_pet
      >>> from symjax.training.fit import Settings, fit, stack_samples
      >>> config = PETConfig(species=(1, 8), d_pet=4, d_node=4, d_head=4,
      ...                    d_feedforward=4, num_heads=1, num_gnn_layers=1,
      ...                    num_attention_layers=1)
      >>> model = init_pet(config, jax.random.key(0))
      >>> graph = build_graph(ase.build.molecule("H2O"), 4.5)
      >>> samples = stack_samples([graph], np.zeros(1), [np.zeros((3, 3))])
      >>> fitted = fit(model, samples, Settings(steps=2, batch_size=1))
      >>> fitted.config == model.config
      True
    """
    energy = energy_of_forces(model.config, energy)
    fixed = {
        part: jax.tree.map(jnp.asarray, model.parameters[part])
        for part in ("scale", "baseline")
    }
    state = start(model, settings) if state is None else state
    done = int(state.step)
    while done < settings.steps:
        num = min(interval, settings.steps - done)
        state, value = _run(model.config, energy, settings, num, fixed, samples, state)
        done += num
        if report is not None:
            report(state, float(value))
    network = jax.tree.map(np.asarray, state.averaged)
    return dataclasses.replace(
        model, parameters={**model.parameters, "network": network}
    )
