"""The order in which nodes are evaluated, and the tables that project them."""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from symjax.metrics.characters import Projector, factorised_tables
from symjax.metrics.planning import Elements, Plan
from symjax.so3.quadratures import Quadrature

CHECK_SEED = 20
"""Seed of the random elements at which results on a fixed grid are checked; constant,
so that results are reproducible."""


def _check_nodes(elements: Elements) -> Float[np.ndarray, "group 3 3"]:
    """Random rotations of the slots after the nodes, as rotations of the rule."""
    num = elements.check_slots * elements.rule.in_plane
    return Rotation.random(num, random_state=CHECK_SEED).as_matrix()


def check_rotations(elements: Elements) -> Float[np.ndarray, "group 3 3"]:
    """Random proper elements at which results on a fixed grid are checked.

    There are as many as the rule has in-plane angles.
    """
    return elements.place(_check_nodes(elements))


class Slots:
    """The order and weights of the nodes.

    The slots after the nodes of the rule have weight 0. The first ones hold random
    elements, at which the projected response is checked; the others pad the last call
    and repeat the last used slot.
    """

    def __init__(self, elements: Elements, plan: Plan):
        rule = elements.rule
        self._plan = plan
        self.num_used = plan.num_nodes + plan.num_checks
        self.checks = _check_nodes(elements)
        coarser = [weights for _, weights in elements.nested]
        self.weights = np.pad(
            [rule.sphere_weights, *coarser], ((0, 0), (0, plan.num_checks))
        )
        matrices = rule.rotations.reshape(plan.num_nodes, plan.in_plane, 3, 3)
        extra = self.checks.reshape(plan.num_checks, plan.in_plane, 3, 3)
        self._matrices = elements.place(np.concatenate([matrices, extra]))

    def of_call(self, call: int) -> np.ndarray:
        """Slots of one call."""
        first = call * self._plan.nodes_per_call
        return np.arange(first, first + self._plan.nodes_per_call)

    def of_buffer(self, number: int) -> np.ndarray:
        """Slots of one buffer."""
        size = self._plan.nodes_per_buffer
        return np.arange(number * size, (number + 1) * size)

    def rotations(self, index: np.ndarray) -> Float[np.ndarray, "group 3 3"]:
        """Elements of some slots: in-plane angles vary slowest, then nodes, cosets."""
        node = np.minimum(index, self.num_used - 1)
        proper = np.swapaxes(self._matrices[node], 0, 1)
        return np.stack([proper, -proper], axis=2).reshape(-1, 3, 3)

    def element_weights(self, index: np.ndarray) -> Float[np.ndarray, "rules group"]:
        """Weights of the elements of some slots, under each rule."""
        node = np.minimum(index, self.num_used - 1)
        weight = np.where(index < self._plan.num_nodes, self.weights[:, node], 0.0)
        share = np.repeat(weight, 2, axis=1) / (2 * self._plan.in_plane)
        return np.tile(share, (1, self._plan.in_plane))


@dataclasses.dataclass(frozen=True)
class Tables:
    """Maps from nodes or elements to the rows of the coefficients.

    Attributes:
      plan: The plan, which says the number of in-plane angles.
      waves: The in-plane transform.
      maps: Maps by index of the rule and largest projected degree.
    """

    plan: Plan
    waves: np.ndarray
    maps: dict[tuple[int, int], list[np.ndarray]]

    def projectors(self, degrees: tuple[int, ...]) -> tuple[Projector, ...]:
        """One projector for each rule."""
        return tuple(Projector(degree, self.plan.in_plane) for degree in degrees)

    def of_buffer(
        self, slots: Slots, number: int
    ) -> dict[tuple[int, int], list[np.ndarray]]:
        """The columns of the slots of a buffer, 0 for slots after the nodes."""
        columns = slots.of_buffer(number)
        real = columns < self.plan.num_nodes
        index = np.where(real, columns, 0)
        return {
            key: [np.where(real, table[..., index], 0.0) for table in maps]
            for key, maps in self.maps.items()
        }


def make_tables(
    plan: Plan, rule: Quadrature, sphere: np.ndarray, degrees: list[tuple[int, ...]]
) -> Tables:
    """Maps to the coefficients, for every rule and projected degree of the pieces.

    ``sphere`` holds the weights of the nodes under every rule.
    """
    maps: dict[tuple[int, int], list[np.ndarray]] = {}
    for number, degree in sorted({key for one in degrees for key in enumerate(one)}):
        projector = Projector(degree, plan.in_plane)
        found, maps[number, degree] = factorised_tables(projector, rule, sphere[number])
        if number == 0:
            waves = found
    return Tables(plan, waves, maps)
