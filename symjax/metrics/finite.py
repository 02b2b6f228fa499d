"""Measurements over a finite group: exact sums instead of quadratures.

Only a finite subgroup of O(3) maps a lattice to itself, such as the octahedral group
O_h for voxels in a cube. The definitions are those of :mod:`symjax.metrics.results`,
with averages over the elements of the group, and its irreps in place of (l, sigma):

    (P_rho u)(g) = d / order(G) sum_h chi_rho(h^-1 g)* u(h),
    B_rho = ||P_rho u||^2 / ||u||^2,   ||u||^2 = 1 / order(G) sum_g u(g)^2.

The sectors are complete: contents sum to 1, and there is no aliasing.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics import orbit
from symjax.metrics.pieces import (
    Leaf,
    rotate_back,
    spherical_matrices,
    spherical_values,
)
from symjax.metrics.problem import Prepared, run
from symjax.metrics.results import ByName, OfTotals, Totals, unflatten_mean
from symjax.so3.finite_groups import FiniteGroup
from symjax.so3.representations import Representation


@dataclasses.dataclass(frozen=True)
class FiniteLeaf(OfTotals):
    """The measurement of one output over a finite group.

    Arrays are NumPy float64; ``samples`` stands for the leading axes of the output.

    Attributes:
      name: Name of the output.
      representation: The representation that was assumed for it.
      sectors: Names of the irreps of the group.
      mean: The exactly equivariant part, in the shape of the output.
      variance: V, ``samples``.
      norm: Average of ||z||^2, ``samples``.
      power: ||P_rho u||^2, ``(*samples, sectors)``.
      mask: Which samples are real, ``samples``.
      size: Number of components times channels of a sample.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import measure
      >>> from symjax.so3 import VECTOR, finite_group
      >>> leaf = measure(lambda x: x, jnp.eye(3), representations=VECTOR,
      ...                over=finite_group("Oh"))["output"]
      >>> round(leaf.content_of("T1u"), 6), leaf.relative_error < 1e-6
      (1.0, True)
    """

    name: str
    representation: Representation
    sectors: tuple[str, ...]
    mean: np.ndarray
    variance: np.ndarray
    norm: np.ndarray
    power: np.ndarray
    mask: np.ndarray
    size: int

    def totals(self) -> Totals:
        """Sums over the real samples; the last axis of ``power`` is ``sectors``."""
        count = int(self.mask.sum()) * self.size
        return Totals(
            self.variance[self.mask].sum(keepdims=True),
            self.norm[self.mask].sum(keepdims=True),
            self.power[self.mask].sum(axis=0)[None],
            np.array([float(count)]),
        )

    @property
    def content(self) -> dict[str, float]:
        """B of every irrep of the group, by name; zeros for a vanishing response."""
        return dict(zip(self.sectors, self.totals().content.tolist(), strict=True))

    def content_of(self, irrep: str) -> float:
        """B of one irrep of the group, for instance ``"T1u"``.

        Raises:
          ArgumentError: The group has no such irrep.
        """
        if irrep not in self.sectors:
            raise ArgumentError(
                "irrep",
                irrep,
                "is not an irrep of the group",
                f"Use one of {', '.join(self.sectors)}",
            )
        return self.content[irrep]


@dataclasses.dataclass(frozen=True)
class FiniteMeasurement(ByName, Mapping[str, FiniteLeaf]):
    """The measurements of all outputs of a function over a finite group.

    Attributes:
      leaves: Measurement of each output, by name.
      group: Name of the group.
      num_elements: Its order.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import measure
      >>> from symjax.so3 import SCALAR, finite_group
      >>> out = measure(lambda x: x[0, 0], jnp.eye(3), representations=SCALAR,
      ...               over=finite_group("C4"))
      >>> out.num_elements, list(out), round(out["output"].content_of("E"), 6)
      (4, ['output'], 1.0)
    """

    leaves: dict[str, FiniteLeaf]
    group: str
    num_elements: int


@run.register
def _(over: FiniteGroup, prepared: Prepared, max_degree: int) -> FiniteMeasurement:
    """Sums over the elements of the group, in float64."""
    group, leaves, checked = over, prepared.leaves, prepared.masks
    progress, memory = prepared.execution.progress, prepared.execution.memory
    batch = _batch_size(prepared.execution.batch_size, group.order)
    passes = _split(leaves, 8 * group.order, memory)
    results: dict[str, FiniteLeaf] = {}
    total = group.order * len(passes)
    for number, names in enumerate(passes):
        held: list[list[np.ndarray]] = [[] for _ in names]
        for start in range(0, group.order, batch):
            some = group.elements[start : start + batch]
            responses = prepared.respond(some, [leaves[name] for name in names], batch)
            for rows, values in zip(held, responses, strict=True):
                rows.append(np.asarray(values, np.float64))
            if progress is not None:
                progress(number * group.order + start + batch, total)
        for name, rows in zip(names, held, strict=True):
            direct = np.concatenate(rows)
            orbit.check_finite(name, direct, group.elements)
            representation = leaves[name].representation
            results[name] = _finish(name, representation, direct, checked[name], group)
    ordered = {name: results[name] for name in leaves}
    return FiniteMeasurement(ordered, group.name, group.order)


def _batch_size(batch_size: int | None, order: int) -> int:
    if batch_size is None:
        return max(d for d in range(1, 13) if order % d == 0)
    if order % batch_size:
        raise ArgumentError(
            "batch_size",
            batch_size,
            f"does not divide the {order} elements of the group",
            "Pass a divisor, or leave it out",
        )
    return batch_size


def _split(
    leaves: Mapping[str, Leaf], bytes_per_value: int, memory: float
) -> list[list[str]]:
    """Groups outputs that fit the memory together; each group has at least one."""
    passes: list[list[str]] = [[]]
    used = 0
    for name, leaf in leaves.items():
        size = bytes_per_value * leaf.size
        if passes[-1] and used + size > memory:
            passes.append([])
            used = 0
        passes[-1].append(name)
        used += size
    return passes


def _finish(
    name: str,
    representation: Representation,
    direct: np.ndarray,
    mask: np.ndarray,
    group: FiniteGroup,
) -> FiniteLeaf:
    """Moments and projections of the responses at all elements."""
    leaf = Leaf(representation, direct.shape[1:], "float64")
    samples, components, channels = leaf.axes
    u = spherical_values(leaf, direct)
    z = np.asarray(rotate_back(spherical_matrices([leaf], group.elements)[0], u))
    mean = z.mean(axis=0)
    # Deviations from the mean resolve variations of 1e-12 of it.
    variance = np.square(z - mean).sum(axis=(2, 3)).mean(axis=0)
    norm = np.square(z).sum(axis=(2, 3)).mean(axis=0)
    flat = u.reshape(group.order, -1)
    reference = flat[:1]
    power = []
    for irrep in group.irreps:
        projected = group.projector(irrep.name) @ (flat - reference)
        if irrep.is_trivial:
            # A constant has its whole content in the trivial irrep.
            projected = projected + reference
        squares = np.square(projected).mean(axis=0)
        power.append(squares.reshape(-1, components * channels).sum(axis=1))
    return FiniteLeaf(
        name,
        representation,
        tuple(irrep.name for irrep in group.irreps),
        unflatten_mean(representation, mean, samples),
        variance.reshape(samples),
        norm.reshape(samples),
        np.stack(power, axis=-1).reshape(*samples, -1),
        mask,
        components * channels,
    )
