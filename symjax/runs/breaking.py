"""Sources of symmetry breaking in labels of events: network, tokens and voxels."""

import math
from collections.abc import Mapping

import numpy as np

from symjax.errors import ModelError
from symjax.metrics import functions, orbit
from symjax.metrics.consistency import sampled_elements, summarise_labels
from symjax.metrics.problem import Problem
from symjax.report.event_schema import Breaking
from symjax.so3.finite_groups import FiniteGroup, finite_group

_BATCH = 8
_SOURCES = ("network", "tokenisation", "voxelisation", "all")


def measure_breaking(
    problem: Problem, *, samples: int = 48
) -> tuple[Breaking, Breaking]:
    """Measures the sources over O_h, the symmetry of voxels, and over O(3).

    Args:
      problem: From :func:`symjax.models.pointmae.breaking_problem`.
      samples: Number of random elements of O(3), even. Variances over them are
        unbiased.

    Returns:
      The sources over the 48 elements of O_h, and over the samples.

    Raises:
      ModelError: A probability is not finite.
      ArgumentError: ``samples`` is not positive and even.
    """
    cubic = finite_group("Oh")
    return (
        _over(problem, cubic.elements, cubic),
        _over(problem, sampled_elements(samples)),
    )


def _over(
    problem: Problem, elements: np.ndarray, group: FiniteGroup | None = None
) -> Breaking:
    """Over the elements of a group, or over random ones of O(3)."""
    output = problem.outputs["all"]
    assert output.mask is not None
    mask = output.mask
    u = {
        name: values[:, mask] for name, values in _responses(problem, elements).items()
    }
    # Random elements have one degree of freedom less, for their mean.
    free = len(elements) - (group is None)

    def spread(values: np.ndarray) -> float:
        deviation = np.square(values - values.mean(axis=0))
        return math.sqrt(deviation.sum() / free / values[0].size)

    def size(values: np.ndarray) -> float:
        return math.sqrt(np.mean(np.square(values)))

    assert output.samples is not None
    classes = u["all"].shape[-1]
    # Classes beyond those of the model count as unknown, not as errors.
    truth = output.samples[mask]
    known = np.where(truth < classes, truth, -1)
    everywhere = np.ones(len(truth), bool)
    frozen, labels = (
        summarise_labels(u[name].argmax(-1), classes, known, everywhere)
        for name in ("network", "all")
    )
    return Breaking(
        group="O(3)" if group is None else "Oh",
        num_elements=len(elements),
        num_points=len(truth),
        num_known=int((known >= 0).sum()),
        network=spread(u["network"]),
        tokenisation=size(u["tokenisation"]),
        voxelisation=size(u["voxelisation"]),
        total=spread(u["all"]),
        content={} if group is None else _content(group, u["all"]),
        frozen_labels=frozen,
        labels=labels,
    )


def _responses(problem: Problem, elements: np.ndarray) -> dict[str, np.ndarray]:
    # JAX orders the entries of a dictionary by name.
    order = sorted(_SOURCES)
    responses = orbit.respond_in_batches(
        functions.as_function(problem.function),
        functions.as_action(problem.action),
        problem.x,
        elements,
        args=problem.args,
        keep=tuple(range(len(order))),
        batch_size=_BATCH,
    )
    u = {
        name: np.asarray(values, float)
        for name, values in zip(order, responses, strict=True)
    }
    for name, values in u.items():
        if not np.isfinite(values).all():
            raise ModelError(
                name,
                float("nan"),
                "a probability is not finite at some orientation of the event",
                "Use float64, or a model with a longer context",
            )
    return u


def _content(group: FiniteGroup, u: np.ndarray) -> Mapping[str, float]:
    """B of each irrep, as in :mod:`symjax.metrics.finite`."""
    flat = u.reshape(len(u), -1)
    norm = float(np.square(flat).sum())
    return {
        irrep.name: float(np.square(group.projector(irrep.name) @ flat).sum()) / norm
        for irrep in group.irreps
    }
