"""A Point-MAE with its parameters: initialisation and predictions."""

import dataclasses
import functools
import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from symjax.data.point_clouds import PointCloud
from symjax.errors import ModelError
from symjax.models._layers import match_layers
from symjax.models._parameters import fresh_variables
from symjax.models.pointmae.config import PointMAEConfig
from symjax.models.pointmae.grouping import Assignment, Groups, gather_groups
from symjax.models.pointmae.inputs import Event, make_event, tokenise
from symjax.models.pointmae.layers import FEATURES
from symjax.models.pointmae.losses import random_hidden
from symjax.models.pointmae.modules import PointMAE, Reconstruction
from symjax.models.precision import cast_parameters, full_precision


@dataclasses.dataclass(frozen=True)
class PointMAEModel:
    """A Point-MAE with its parameters.

    Attributes:
      name: Name in reports.
      config: Hyperparameters.
      parameters: ``{"params": ..., "batch_stats": ...}``, the variables of
        :class:`~symjax.models.pointmae.PointMAE`.
      card: Model card with data, errors, licence and limits; JSON-serialisable.

    Example:
      >>> from symjax.models import load_model
      >>> model = load_model("polarmae-events")
      >>> model.config.num_classes, sorted(model.parameters)
      (4, ['batch_stats', 'params'])
    """

    name: str
    config: PointMAEConfig
    parameters: Any
    card: dict[str, Any] = dataclasses.field(default_factory=dict)


class Prediction(NamedTuple):
    """Prediction of a model for one event.

    Attributes:
      probabilities: Class probabilities of each point, ``(points, classes)``; None
        without segmentation.
      labels: Most probable class of each point, -1 for padding, ``(points,)``; None
        without segmentation.
      reconstruction: Predicted points of hidden tokens; None without a decoder, or if
        nothing is hidden.
      groups: The tokens.

    Example:
      >>> from symjax.models.pointmae import Prediction
      >>> Prediction._fields[1]
      'labels'
    """

    probabilities: Float[Array, "points classes"] | None
    labels: Int[Array, "points"] | None
    reconstruction: Reconstruction | None
    groups: Groups


def _init(config: PointMAEConfig, key: Array | None) -> Any:
    tokens, size = config.context_length, config.group_points
    zeros: Any = np.zeros  # only shapes matter
    groups = Groups(
        zeros((tokens, size, 4), "f4"),
        zeros((tokens, size), bool),
        zeros((tokens, 3), "f4"),
        zeros(tokens, bool),
    )
    neighbors = zeros((1, config.num_upsampling_neighbors), "i4")
    points, mask = zeros((1, 3), "f4"), zeros(1, bool)
    inputs = (groups, points, mask, neighbors, zeros(tokens, bool))
    collections = ("params", "batch_stats")
    return fresh_variables(PointMAE(config), key, inputs, collections)


def _short(config: PointMAEConfig) -> PointMAEConfig:
    """The configuration with a short context, which has the same parameters."""
    return dataclasses.replace(config, context_length=2)


def init_pointmae(
    config: PointMAEConfig, key: Array, name: str = "pointmae"
) -> PointMAEModel:
    """Initialises a Point-MAE with random parameters.

    Args:
      config: Hyperparameters.
      key: Random key.
      name: Name in reports.

    Returns:
      The model, with float32 parameters.

    Example:
      >>> import jax
      >>> from symjax.models.pointmae import init_pointmae, PointMAEConfig
      >>> config = PointMAEConfig(embed_dim=8, depth=1, num_heads=2, decoder_depth=0,
      ...                         pointnet_widths=(4, 4, 4))
      >>> sorted(init_pointmae(config, jax.random.key(0)).parameters)
      ['batch_stats', 'params']
    """
    parameters = jax.tree.map(np.asarray, _init(_short(config), key))
    return PointMAEModel(name, config, parameters)


@functools.lru_cache(maxsize=64)
def parameter_shapes(config: PointMAEConfig) -> Mapping[str, tuple[int, ...]]:
    """Shape of every parameter and statistic by path, found by tracing; cached."""
    tree = _init(_short(config), None)
    flat = flax.traverse_util.flatten_dict(dict(tree), sep="/")
    return types.MappingProxyType({path: leaf.shape for path, leaf in flat.items()})


def layer_names(config: PointMAEConfig) -> tuple[str, ...]:
    """Names of all layers whose features can be measured, in network order.

    They are the module paths of the released implementation, so that results can be
    compared.

    Args:
      config: Hyperparameters.

    Returns:
      The names.

    Example:
      >>> from symjax.models.pointmae import PointMAEConfig, layer_names
      >>> layer_names(PointMAEConfig(depth=1, decoder_depth=0, fetch_layers=(0,)))[:3]
      ('encoder.tokenizer.embedding', 'encoder.pos_embed', 'encoder...blocks.0.attn')
    """

    def stack(prefix: str, depth: int, norm: bool) -> list[str]:
        names = []
        for index in range(depth):
            block = f"{prefix}.transformer.blocks.{index}"
            names += [f"{block}.attn", f"{block}.mlp", block]
        return names + ([f"{prefix}.transformer.norm"] if norm else [])

    names = ["encoder.tokenizer.embedding", "encoder.pos_embed"]
    names += stack("encoder", config.depth, config.encoder_norm)
    if config.num_classes:
        names += ["upsampler.interpolated", "upsampler", "seg_head.hidden"]
    if config.decoder_depth:
        names += stack("decoder", config.decoder_depth, True)
    return tuple(names)


def is_point_layer(name: str) -> bool:
    """Whether the features of a layer belong to points rather than to tokens."""
    return name.startswith(("upsampler", "seg_head"))


def select_layers(
    config: PointMAEConfig, layers: str | Sequence[str]
) -> tuple[str, ...]:
    """``"all"`` layers, ``"none"``, or those of :func:`match_layers`.

    Raises:
      ModelError: A pattern matches no layer, or is not a regular expression.
    """
    known = layer_names(config)
    if layers in ("none", "all"):
        return known if layers == "all" else ()
    return match_layers(layers, known)


def features_by_name(collection: Any) -> dict[str, Array]:
    """Sown features by the names of :func:`layer_names`.

    If the encoder ran twice, they are those of the first run, without hidden tokens.
    """
    out = {}
    for path, values in flax.traverse_util.flatten_dict(dict(collection)).items():
        *modules, last = path
        name = last.removeprefix("=")
        parts = [re.sub(r"_(\d+)$", r".\1", module) for module in modules]
        out[".".join(parts + ([] if name == "out" else [name]))] = values[0]
    return out


def evaluate_heads(
    config: PointMAEConfig,
    variables: Any,
    event: Event,
    assignment: Assignment,
    hidden: Bool[Array, "tokens"] | None = None,
    *,
    layers: tuple[str, ...] = (),
) -> tuple[Array | None, Reconstruction | None, Groups, dict[str, Array]]:
    """Evaluates the heads of a model on an event; a pure function.

    Tokens are reconstructed where ``hidden`` is True; None for no reconstruction.

    Returns:
      Logits ``(points, classes)``, or None without segmentation; the reconstruction, or
      None without one; the tokens; and features by name.
    """
    positions, energies, mask = event
    groups = gather_groups(config, assignment, positions, energies)
    network = PointMAE(config)
    collections = [FEATURES] if layers else []
    features: dict[str, Array] = {}

    def run(method: Any, *arguments: Any) -> Any:
        with full_precision():
            out, state = network.apply(
                variables, *arguments, method=method, mutable=collections
            )
        if not collections:
            return out
        for name, value in features_by_name(state[FEATURES]).items():
            features.setdefault(name, value)
        return out

    logits, reconstruction = None, None
    if config.num_classes:
        logits = run(PointMAE.segment, groups, positions, mask, assignment.neighbors)
    else:
        run(PointMAE.encode, groups)
    if config.decoder_depth and hidden is not None:
        reconstruction = run(PointMAE.reconstruct, groups, hidden)
    return logits, reconstruction, groups, {name: features[name] for name in layers}


@functools.partial(jax.jit, static_argnums=(0,))
def _predict(
    config: PointMAEConfig,
    variables: Any,
    event: Event,
    assignment: Assignment,
    hidden: Bool[Array, "tokens"] | None,
) -> Prediction:
    logits, reconstruction, groups, _ = evaluate_heads(
        config, variables, event, assignment, hidden
    )
    if logits is None:
        return Prediction(None, None, reconstruction, groups)
    labels = jnp.where(event.mask, jnp.argmax(logits, axis=-1), -1)
    return Prediction(jax.nn.softmax(logits, axis=-1), labels, reconstruction, groups)


def predict(
    model: PointMAEModel,
    cloud: PointCloud,
    *,
    hide: int | None = None,
    dtype: Any = "float32",
) -> Prediction:
    """Labels the points of an event, and reconstructs hidden tokens.

    All points are read: select those that the model is meant to read first, with
    :func:`symjax.data.point_clouds.select_points`.

    Args:
      model: The model.
      cloud: One event.
      hide: Random seed for hiding the fraction ``masking_ratio`` of the tokens from the
        encoder; None to hide none.
      dtype: ``"float32"`` or ``"float64"``.

    Returns:
      The prediction.

    Raises:
      ModelError: Points are outside the detector of the model, the event has no token,
        a probability is not finite, or ``dtype`` is float64 while JAX has it disabled.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event, select_points
      >>> from symjax.models import load_model
      >>> from symjax.models.pointmae import predict
      >>> event = select_points(generate_event(12, SMALL))
      >>> labels = predict(load_model("polarmae-events"), event).labels
      >>> bool((labels == event.semantic).mean() > 0.7)
      True
    """
    variables = cast_parameters(model.parameters, dtype)
    event = make_event(model.config, cloud, dtype)
    assignment = tokenise(model.config, event)
    hidden = None
    if hide is not None:
        hidden = random_hidden(
            jax.random.key(hide), assignment.mask, model.config.masking_ratio
        )
    out = _predict(model.config, variables, event, assignment, hidden)
    if out.probabilities is not None:
        real = np.asarray(event.mask)
        check_finite(model.name, np.asarray(out.probabilities)[real])
    return out


def check_finite(name: str, outputs: Float[Array | np.ndarray, "..."]) -> None:
    """Raises if an output is NaN or infinite.

    Raises:
      ModelError: An output is not finite.
    """
    count = int(np.sum(~np.isfinite(np.asarray(outputs))))
    if count:
        raise ModelError(
            "model",
            name,
            f"{count} of {np.size(outputs)} outputs are not finite numbers",
            "Check the model's parameters, and the positions and energies of the event",
        )
