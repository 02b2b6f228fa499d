"""Problems for ``symjax.metrics``: a Point-MAE on the orbit of an event.

Events are rotated about the centre of the detector. There are three sources of symmetry
breaking. Each treatment of tokens adds one of them:

- ``"frozen"``: points are assigned to tokens once, in the given orientation; only the
  network can break the symmetry.
- ``"regrouped"``: tokens are recomputed in every orientation, with other decisions at
  ties, at boundaries of balls and by round-off. The order of the points is kept.
- ``"voxelised"``: rotated points are first moved to the voxels of the detector, where
  some merge; then tokens are recomputed.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax._arrays import to_device
from symjax.data.point_clouds import CLASSES, PointCloud, voxelise
from symjax.errors import ArgumentError, ModelError
from symjax.metrics.problem import Output, Problem
from symjax.models.pointmae.config import PointMAEConfig
from symjax.models.pointmae.grouping import Assignment, assign_groups
from symjax.models.pointmae.inputs import (
    Event,
    make_event,
    scaled_energies,
    tokenise,
    with_room,
    with_slots,
)
from symjax.models.pointmae.losses import random_hidden
from symjax.models.pointmae.model import (
    PointMAEModel,
    evaluate_heads,
    is_point_layer,
    layer_names,
    select_layers,
)
from symjax.models.precision import cast_parameters
from symjax.so3.representations import FEATURE, SCALAR, VECTOR, Representation

TOKENS = ("frozen", "regrouped", "voxelised")
"""Treatments of tokens on the orbit, by increasing number of sources of error."""


@functools.lru_cache(maxsize=64)
def orbit_function(
    config: PointMAEConfig,
    tokens: str,
    layers: tuple[str, ...],
    reconstruct: bool,
) -> Callable[..., dict[str, Array]]:
    """The function on the orbit; cached, so that its compiled code is reused.

    Returns:
      Function of normalised coordinates, which rotate, and of parameters, energies in
      MeV, mask, assignment and hidden tokens, which do not.
    """

    def function(
        positions: Float[Array, "points 3"],
        variables: Any,
        energies: Float[Array, "points"],
        mask: Array,
        assignment: Assignment,
        hidden: Array,
    ) -> dict[str, Array]:
        # Energies are in MeV: those of merged voxels add up.
        event = Event(positions, scaled_energies(config, energies), mask)
        slots = None
        if tokens == "voxelised":
            event, slots = _onto_voxels(config, positions, energies, mask)
        if tokens != "frozen":
            assignment = assign_groups(config, *event)
        logits, filled, _, features = evaluate_heads(
            config,
            variables,
            event,
            assignment,
            hidden if reconstruct else None,
            layers=layers,
        )
        out: dict[str, Array] = {}
        if logits is not None:
            probabilities = jax.nn.softmax(logits, axis=-1)
            # NaN, which measurements refuse, if the context is too short.
            lost = assignment.num_found > config.context_length
            probabilities = jnp.where(lost, jnp.nan, probabilities)
            if slots is not None:
                # Each point gets the probabilities of its voxel.
                probabilities = probabilities[slots]
            out["class_probabilities"] = probabilities
        if filled is not None:
            scale = config.group_radius or 1.0
            out["reconstructed_positions"] = filled.points[..., :3] * (
                scale / config.unit
            )
            if filled.energies is not None:
                out["reconstructed_energies"] = filled.energies
        return {**out, **features}

    return function


def _onto_voxels(
    config: PointMAEConfig,
    positions: Float[Array, "points 3"],
    energies: Float[Array, "points"],
    mask: Array,
) -> tuple[Event, Array]:
    """The event after voxelisation, and the index of each point's voxel in it."""
    unit = config.unit
    # Position of the centre of the detector within a voxel.
    shift = jnp.asarray([value % 1 for value in config.middle], positions.dtype)
    lattice = voxelise(positions / unit + shift, energies, mask)
    where = jnp.where(lattice.mask[:, None], (lattice.positions - shift) * unit, 0)
    event = Event(where, scaled_energies(config, lattice.energies), lattice.mask)
    return event, lattice.representative


def orbit_config(model: PointMAEModel, problem: Problem) -> PointMAEConfig:
    """The configuration with the context of a problem from :func:`event_problem`."""
    assignment = problem.args[3]
    return dataclasses.replace(model.config, context_length=len(assignment.mask))


def event_problem(
    model: PointMAEModel,
    cloud: PointCloud,
    *,
    tokens: str = "frozen",
    layers: str | Sequence[str] = "all",
    hide: int = 0,
    dtype: Any = "float32",
) -> Problem:
    """Prepares a model and an event for :func:`symjax.metrics.measure`.

    Outputs are ``class_probabilities`` of every point and, with frozen tokens, of the
    points of hidden tokens ``reconstructed_positions`` (vectors in voxels, relative to
    the centre) and ``reconstructed_energies`` (on the network's scale). Recomputed
    tokens do not correspond to each other between orientations, so features and
    reconstructions need frozen tokens. There is room for an eighth more tokens than in
    the given orientation; if there are more, outputs are NaN, which measurements
    refuse. All points of the event are read, see :func:`predict`.

    Args:
      model: The model.
      cloud: One event, padded or not.
      tokens: ``"frozen"``, ``"regrouped"`` or ``"voxelised"``.
      layers: ``"all"``, ``"none"``, or names or regular expressions of
        :func:`symjax.models.pointmae.layer_names`; ``"all"`` means none unless tokens
        are frozen.
      hide: Random seed for hiding tokens from the encoder, for reconstruction.
      dtype: ``"float32"`` or ``"float64"``.

    Returns:
      The problem.

    Raises:
      ArgumentError: ``tokens`` is unknown.
      ModelError: Points are outside the detector, the event has no token, there is no
        such layer, layers are requested while tokens are not frozen, the model has no
        output, or ``dtype`` is float64 while JAX has it disabled.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event
      >>> from symjax.models import load_model
      >>> from symjax.models.pointmae import event_problem
      >>> model = load_model("polarmae-events")
      >>> problem = event_problem(
      ...     model, generate_event(3, SMALL), tokens="regrouped", layers="none")
      >>> list(problem.outputs)
      ['class_probabilities']
    """
    config = model.config
    if tokens not in TOKENS:
        raise ArgumentError(
            "tokens", tokens, "is unknown", f"Use one of {', '.join(TOKENS)}"
        )
    frozen = tokens == "frozen"
    chosen = select_layers(config, layers) if frozen or layers != "all" else ()
    if chosen and not frozen:
        raise ModelError(
            "layers",
            layers,
            "recomputed tokens do not correspond between orientations",
            "Use tokens='frozen', or layers='none'",
        )
    reconstruct = frozen and config.decoder_depth > 0
    if not (config.num_classes or reconstruct):
        raise ModelError(
            "tokens",
            tokens,
            f"the model {model.name!r} has no segmentation to measure",
            "Use tokens='frozen', or a fine-tuned model",
        )
    variables = cast_parameters(model.parameters, dtype)
    event = make_event(config, cloud, dtype)
    assignment = tokenise(config, event)
    found = int(assignment.num_found)
    # Where tokens are recomputed, their number varies by a few percent.
    config = with_room(config, found, 0 if frozen else 8 + found // 8)
    assignment = with_slots(assignment, config.context_length)
    hidden = random_hidden(jax.random.key(hide), assignment.mask, config.masking_ratio)
    energies = to_device(np.where(event.mask, np.asarray(cloud.energies, dtype), 0))
    members = np.asarray(assignment.members) >= 0
    per = {
        "point": np.asarray(event.mask),
        "token": np.asarray(assignment.mask),
        "hidden": members & np.asarray(hidden)[:, None],
    }
    semantic = np.asarray(cloud.semantic)
    outputs: dict[str, Output] = {}

    def add(
        name: str, samples: str, representation: Representation = FEATURE, **says: Any
    ) -> None:
        labels = semantic if samples == "point" else None
        outputs[name] = Output(
            representation, mask=per[samples], samples=labels, **says
        )

    known = layer_names(config)
    if config.num_classes:
        add("class_probabilities", "point", reads=("seg_head.hidden",))
    if reconstruct:
        # Both are read from the last layer of the decoder, the last of all layers.
        add("reconstructed_positions", "hidden", VECTOR, unit="voxel", reads=known[-1:])
        if config.energy_infilling:
            unit = "log scale"
            add("reconstructed_energies", "hidden", SCALAR, unit=unit, reads=known[-1:])
    for name in chosen:
        kind = "point" if is_point_layer(name) else "token"
        add(name, kind, kind=kind, beside=name == "encoder.pos_embed")
    return Problem(
        orbit_function(config, tokens, chosen, reconstruct),
        event.positions,
        outputs,
        args=(variables, energies, event.mask, assignment, hidden),
    )


@functools.lru_cache(maxsize=16)
def _sources(config: PointMAEConfig) -> Callable[..., dict[str, Array]]:
    network = orbit_function(config, "frozen", (), False)

    def function(
        x: Array,
        variables: Any,
        energies: Array,
        mask: Array,
        assignment: Assignment,
        hidden: Array,
    ) -> dict[str, Array]:
        args = (variables, energies, mask, assignment, hidden)
        frozen = network(x, *args)["class_probabilities"]
        event = Event(x, scaled_energies(config, energies), mask)
        lattice, slots = _onto_voxels(config, x, energies, mask)

        def recomputed(event: Event) -> Array:
            assignment = assign_groups(config, *event)
            logits, *_ = evaluate_heads(config, variables, event, assignment)
            assert logits is not None
            lost = assignment.num_found > config.context_length
            return jnp.where(lost, jnp.nan, jax.nn.softmax(logits, axis=-1))

        # One program for both: two programs may round distances differently, and break
        # ties differently in the same event.
        both = jax.tree.map(lambda *parts: jnp.stack(parts), event, lattice)
        regrouped, merged = jax.lax.map(recomputed, both)
        voxelised = merged[slots]
        return {
            "network": frozen,
            "tokenisation": regrouped - frozen,
            "voxelisation": voxelised - regrouped,
            "all": voxelised,
        }

    return function


def check_segmentation(model: PointMAEModel) -> None:
    """Raises unless a model has a segmentation.

    Raises:
      ModelError: It has none.
    """
    if not model.config.num_classes:
        raise ModelError(
            "model", model.name, "has no segmentation", "Use a fine-tuned model"
        )


def breaking_problem(
    model: PointMAEModel, cloud: PointCloud, *, dtype: Any = "float32"
) -> Problem:
    """Problem of class probabilities, split by the source of symmetry breaking.

    With class probabilities p_F for frozen tokens, p_R for recomputed tokens, and p_V
    for tokens recomputed after voxelisation, the outputs are

    - ``network``: p_F, whose equivariance error comes from the network alone;
    - ``tokenisation``: p_R - p_F, the effect of recomputing tokens;
    - ``voxelisation``: p_V - p_R, the effect of the voxels;
    - ``all``: p_V, whose equivariance error is that of the whole chain.

    The two differences vanish without their source, so the size of the effect is their
    root mean square rather than their standard deviation.

    Args:
      model: A model with segmentation.
      cloud: One event.
      dtype: ``"float32"`` or ``"float64"``.

    Returns:
      The problem.

    Raises:
      ModelError: The model has no segmentation, the event has no token, or ``dtype`` is
        float64 while JAX has it disabled.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event
      >>> from symjax.models import load_model
      >>> from symjax.models.pointmae import breaking_problem
      >>> model = load_model("polarmae-events")
      >>> list(breaking_problem(model, generate_event(3, SMALL)).outputs)
      ['network', 'tokenisation', 'voxelisation', 'all']
    """
    check_segmentation(model)
    whole = event_problem(model, cloud, tokens="regrouped", layers="none", dtype=dtype)
    names = ("network", "tokenisation", "voxelisation", "all")
    return dataclasses.replace(
        whole,
        function=_sources(orbit_config(model, whole)),
        outputs=dict.fromkeys(names, whole.outputs["class_probabilities"]),
    )


def class_names(config: PointMAEConfig) -> tuple[str, ...]:
    """Names of the classes of a model.

    They are the first names of :data:`symjax.data.point_clouds.CLASSES`, followed by
    ``"class N"``.
    """
    unnamed = range(len(CLASSES), config.num_classes)
    names = (*CLASSES, *(f"class {n}" for n in unnamed))
    return names[: config.num_classes]
