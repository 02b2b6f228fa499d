"""A Point-MAE on an event as a function on the orbit, ready for ``symjax.metrics``.

Rotations turn the event about the centre of the detector. Three things can break
symmetry, and each problem includes one more of them:

- ``"frozen"``: which points belong to which token is decided once, at the given
  orientation; only the network can break symmetry.
- ``"regrouped"``: tokens are found anew at every orientation; ties, boundaries of
  balls and round-off decide differently. (The order of the points is kept.)
- ``"voxelised"``: turned points are first put back onto the voxels of the detector,
  where some merge.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.data.point_clouds import (
    CLASSES,
    PointCloud,
    voxelise,
)
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
"""Ways to treat tokens on the orbit, from the fewest sources of error to all."""


@functools.lru_cache(maxsize=64)
def orbit_function(
    config: PointMAEConfig,
    tokens: str,
    layers: tuple[str, ...],
    reconstruct: bool,
) -> Callable[..., dict[str, Array]]:
    """The function on the orbit; cached, so that its compiled code is too.

    Args:
      config: Hyperparameters.
      tokens: ``"frozen"``, ``"regrouped"`` or ``"voxelised"``.
      layers: Names of layers whose features are returned.
      reconstruct: Whether hidden tokens are reconstructed.

    Returns:
      Function of normalised coordinates, and of parameters, energies, mask, tokens
      and hidden tokens, which do not rotate.
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
            # An orientation with more tokens than the context holds must be refused,
            # as measurements do with NaN, rather than lose tokens unseen.
            lost = assignment.num_found > config.context_length
            probabilities = jnp.where(lost, jnp.nan, probabilities)
            if slots is not None:
                # Every point has the label of the voxel that it fell into.
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
    """The event after voxelisation, and the slot of each point's voxel."""
    unit = config.unit
    # Where the centre of the detector lies between the points of the lattice.
    shift = jnp.asarray([value % 1 for value in config.middle], positions.dtype)
    lattice = voxelise(positions / unit + shift, energies, mask)
    where = jnp.where(lattice.mask[:, None], (lattice.positions - shift) * unit, 0)
    event = Event(where, scaled_energies(config, lattice.energies), lattice.mask)
    return event, lattice.representative


def orbit_config(
    config: PointMAEConfig, cloud: PointCloud, tokens: str, dtype: Any
) -> PointMAEConfig:
    """A model's configuration with room for the tokens of one event on the orbit.

    Tokens that are found anew (``"regrouped"`` and ``"voxelised"``, not ``"frozen"``)
    vary in number, by a few percent; there is room for an eighth more.

    Raises:
      ModelError: The event has no token.
    """
    assignment = tokenise(config, make_event(config, cloud, dtype))
    found = int(assignment.num_found)
    return with_room(config, found, 0 if tokens == "frozen" else 8 + found // 8)


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
    hidden tokens ``reconstructed_positions`` (in voxels, relative to the centre, one
    vector for each slot) and ``reconstructed_energies`` (on the network's scale).
    Tokens that are found anew have no identity from one orientation to the next, so
    features of tokens exist with frozen tokens only. There is room for an eighth more
    of them than at the given orientation; where there are more still, outputs are NaN,
    which measurements refuse.

    Args:
      model: The model.
      cloud: One event, padded or not.
      tokens: ``"frozen"``, ``"regrouped"`` or ``"voxelised"``.
      layers: ``"all"``, ``"none"``, or names or regular expressions of
        :func:`symjax.models.pointmae.layer_names`; ``"all"`` means none unless tokens
        are frozen.
      hide: Seed of the tokens that are hidden from the encoder for reconstruction.
      dtype: ``"float32"`` or ``"float64"``.

    Returns:
      The problem.

    Raises:
      ArgumentError: ``tokens`` is unknown.
      ModelError: The event has no token, there is no such layer, layers are asked for
        while tokens are not frozen, the model has no output, or ``dtype`` is float64
        while JAX has it disabled.

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
            "tokens that are found anew have no identity on the orbit",
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
    config = orbit_config(config, cloud, tokens, dtype)
    event = make_event(config, cloud, dtype)
    assignment = assign_groups(config, *event)
    hidden = random_hidden(jax.random.key(hide), assignment.mask, config.masking_ratio)
    energies = jnp.where(event.mask, jnp.asarray(cloud.energies, dtype), 0)
    members = np.asarray(assignment.members) >= 0
    per = {
        "point": np.asarray(event.mask),
        "token": np.asarray(assignment.mask),
        "visible": np.asarray(assignment.mask & ~hidden),
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
        # Both are read from the decoder's last layer, which is the last of all.
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

        def anew(event: Event) -> Array:
            found = assign_groups(config, *event)
            logits, *_ = evaluate_heads(config, variables, event, found)
            assert logits is not None
            lost = found.num_found > config.context_length
            return jnp.where(lost, jnp.nan, jax.nn.softmax(logits, axis=-1))

        # One program for both: compiled twice, it may round distances in two ways and
        # decide ties between points differently, of an event that is the same.
        both = jax.tree.map(lambda *parts: jnp.stack(parts), event, lattice)
        regrouped, merged = jax.lax.map(anew, both)
        voxelised = merged[slots]
        return {
            "network": frozen,
            "tokenisation": regrouped - frozen,
            "voxelisation": voxelised - regrouped,
            "all": voxelised,
        }

    return function


def check_segmentation(model: PointMAEModel) -> None:
    """Raises unless a model labels points."""
    if not model.config.num_classes:
        raise ModelError(
            "model", model.name, "has no segmentation", "Use a fine-tuned model"
        )


def breaking_problem(
    model: PointMAEModel, cloud: PointCloud, *, dtype: Any = "float32"
) -> Problem:
    """Class probabilities on the orbit, split by the source that breaks symmetry.

    With p_F, p_R and p_V the probabilities with tokens frozen, regrouped, and regrouped
    after voxelisation, the outputs are

    - ``network``: p_F, whose equivariance error is the network's alone;
    - ``tokenisation``: p_R - p_F, what finding tokens anew changes;
    - ``voxelisation``: p_V - p_R, what the lattice changes;
    - ``all``: p_V, whose error is that of the whole chain.

    The two differences vanish without their source: their root mean square, not their
    variance, is the size of the effect.

    Args:
      model: A model with segmentation.
      cloud: One event.
      dtype: ``"float32"`` or ``"float64"``.

    Returns:
      The problem.

    Raises:
      ModelError: The model has no segmentation, or the event has no token.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event
      >>> from symjax.models import load_model
      >>> from symjax.models.pointmae import breaking_problem
      >>> model = load_model("polarmae-events")
      >>> list(breaking_problem(model, generate_event(3, SMALL)).outputs)
      ['network', 'tokenisation', 'voxelisation', 'all']
    """
    check_segmentation(model)
    one = event_problem(model, cloud, tokens="regrouped", layers="none", dtype=dtype)
    names = ("network", "tokenisation", "voxelisation", "all")
    return dataclasses.replace(
        one,
        function=_sources(orbit_config(model.config, cloud, "regrouped", dtype)),
        outputs=dict.fromkeys(names, one.outputs["class_probabilities"]),
    )


def class_names(config: PointMAEConfig) -> tuple[str, ...]:
    """Names of the classes that a model knows.

    The first names of :data:`symjax.data.point_clouds.CLASSES`, with numbers beyond.
    """
    unnamed = range(len(CLASSES), config.num_classes)
    names = (*CLASSES, *(f"class {n}" for n in unnamed))
    return names[: config.num_classes]
