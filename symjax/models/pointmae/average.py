"""Class probabilities of an event, averaged over a group to make them invariant."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from symjax._arrays import to_device
from symjax.data.point_clouds import PointCloud
from symjax.errors import ModelError
from symjax.metrics.problem import Problem
from symjax.models.biases.average import Average, averaged
from symjax.models.pointmae.config import PointMAEConfig
from symjax.models.pointmae.grouping import gather_groups
from symjax.models.pointmae.inputs import make_event
from symjax.models.pointmae.model import PointMAEModel, Prediction, check_finite
from symjax.models.pointmae.orbits import (
    check_segmentation,
    event_problem,
    orbit_config,
    orbit_function,
)
from symjax.so3.representations import FEATURE


@functools.lru_cache(maxsize=16)
def _function(
    config: PointMAEConfig, average: Average, tokens: str
) -> Callable[..., dict[str, Array]]:
    return averaged(
        orbit_function(config, tokens, (), False), FEATURE, *average.fixed()
    )


def averaged_problem(
    model: PointMAEModel,
    cloud: PointCloud,
    average: str = "Oh",
    *,
    tokens: str = "regrouped",
    dtype: Any = "float32",
) -> Problem:
    """Problem of an event's class probabilities, averaged over group elements.

    p(x) = sum_k w_k softmax(f(g_k x)). The average over a finite group is invariant
    under that group if tokens are recomputed in each orientation; with frozen tokens
    only the network's part of the error is averaged. ``"haar DEGREE"`` is the average
    over O(3) if the quadrature resolves the response.

    Args:
      model: A model with segmentation.
      cloud: One event, padded or not.
      average: A finite group such as ``"O"``, or ``"haar DEGREE"``.
      tokens: ``"frozen"``, ``"regrouped"`` or ``"voxelised"``, as in
        :func:`event_problem`.
      dtype: ``"float32"`` or ``"float64"``.

    Returns:
      The problem, with the single output ``class_probabilities``.

    Raises:
      ArgumentError: ``tokens`` is unknown.
      ModelError: ``average`` is not possible for events, the model has no segmentation,
        the event has no token, or ``dtype`` is float64 while JAX has it disabled.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event
      >>> from symjax.models import load_model
      >>> from symjax.models.pointmae import averaged_problem
      >>> model = load_model("polarmae-events")
      >>> list(averaged_problem(model, generate_event(3, SMALL), "O").outputs)
      ['class_probabilities']
    """
    over = Average.parse(average)
    if over.kind == "frames":
        raise ModelError(
            "average", average, "frames need atoms", "Use a group or a quadrature"
        )
    check_segmentation(model)
    problem = event_problem(model, cloud, tokens=tokens, layers="none", dtype=dtype)
    name = "class_probabilities"
    return dataclasses.replace(
        problem,
        function=_function(orbit_config(model, problem), over, tokens),
        outputs={name: problem.outputs[name]},
    )


def predict_averaged(
    model: PointMAEModel,
    cloud: PointCloud,
    average: str = "Oh",
    *,
    tokens: str = "regrouped",
    dtype: Any = "float32",
) -> Prediction:
    """Labels the points of an event by class probabilities averaged over a group.

    The cost is one prediction for each group element.

    Args:
      model: A model with segmentation.
      cloud: One event.
      average: As in :func:`averaged_problem`.
      tokens: As in :func:`averaged_problem`.
      dtype: ``"float32"`` or ``"float64"``.

    Returns:
      The prediction, without reconstruction, and with the tokens of the given
      orientation.

    Raises:
      ArgumentError: ``tokens`` is unknown.
      ModelError: As in :func:`averaged_problem`; or an output is not finite, for
        instance because the event has many more tokens at one of the elements.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event
      >>> from symjax.models import load_model
      >>> from symjax.models.pointmae import predict_averaged
      >>> model = load_model("polarmae-events")
      >>> prediction = predict_averaged(model, generate_event(3, SMALL), "C2")
      >>> bool(abs(prediction.probabilities.sum(axis=1) - 1).max() < 1e-5)
      True
    """
    problem = averaged_problem(model, cloud, average, tokens=tokens, dtype=dtype)
    out = jax.jit(problem.function)(problem.x, *problem.args)
    probabilities = out["class_probabilities"]
    mask = np.asarray(problem.outputs["class_probabilities"].mask)
    check_finite(model.name, np.asarray(probabilities)[mask])
    labels = to_device(np.where(mask, np.argmax(probabilities, axis=-1), -1))
    event = make_event(model.config, cloud, dtype)
    assignment = problem.args[3]
    groups = gather_groups(model.config, assignment, event.positions, event.energies)
    return Prediction(probabilities, labels, None, groups)
