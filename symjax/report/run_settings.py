"""What was measured, by what, and how: what the structures of a report share."""

import dataclasses
from typing import Literal

from symjax.metrics.slots import CHECK_SEED
from symjax.report.stored import Count, Positive, Record, Size, Text


@dataclasses.dataclass(frozen=True)
class Software(Record):
    """What computed a report.

    Attributes:
      symjax: Version of symjax.
      jax: Version of JAX.
      platform: Backend of JAX: ``"cpu"``, ``"gpu"`` or ``"tpu"``.
    """

    symjax: str
    jax: str
    platform: str


@dataclasses.dataclass(frozen=True)
class ModelInfo(Record):
    """Which model was measured.

    Attributes:
      name: Name of the model.
      digest: SHA-256 of its parameters and hyperparameters, hexadecimal.
      note: How it was evaluated; empty for models of symjax.
    """

    name: Text
    digest: str
    note: Text = ""


@dataclasses.dataclass(frozen=True)
class Climb(Record):
    """How the grid of each structure was chosen: see :class:`symjax.metrics.Adaptive`.

    Attributes:
      content_tolerance: Error admitted on each B.
      error_tolerance: Relative error admitted on A.
      limit: Largest degree of a rule that is tried.
      samples: Number of random rotations at which every rule is checked.
    """

    content_tolerance: Size
    error_tolerance: Size
    limit: Count
    samples: Count


@dataclasses.dataclass(frozen=True)
class Settings(Record):
    """How the model was measured; reports can be added only if these agree.

    Attributes:
      max_degree: Largest degree L of the projected sectors.
      grid: Name of the quadrature rule; ``"auto"`` if each structure has its own.
      degree: Degree through which the rule is exact, 0 for random elements; the largest
        degree that is tried if each structure has its own rule.
      num_elements: Elements of O(3) at which the model was evaluated; the largest
        possible number if each structure has its own rule.
      layers: Selection of layers, as requested.
      dtype: Floating-point type of the evaluation.
      tolerance: Change of B above which a response counts as not resolved; for random
        elements, the limit on two standard errors of B.
      symmetry: Whether the point groups of the structures were used; each structure
        then has its own number of elements.
      seed: Seed of the random elements: those at which results are checked, or all.
      adaptive: How the rule of each structure was chosen; None for a fixed one.
      matmul_precision: Precision of the model's matrix products, as JAX names it.
      energy: Name of the output whose derivatives are forces and stress; empty if the
        model has no energy, None for models that do not act on atoms.
      points: Which points of events were read; empty for structures.
      labels: Fields and units of labels; empty if fields are named as the outputs are,
        and units are eV and angstrom.
    """

    max_degree: Count
    grid: str
    degree: Count
    num_elements: Positive
    layers: Text
    dtype: Literal["float32", "float64"]
    tolerance: Size
    symmetry: bool = False
    seed: int = CHECK_SEED
    adaptive: Climb | None = None
    matmul_precision: str = "highest"
    energy: str | None = None
    points: str = ""
    labels: Text = ""
