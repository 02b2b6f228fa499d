"""What structures of a survey have in common: strata to visit, clusters to leave out.

*Strata*, such as formulas, are visited in proportion to their numbers of structures, so
that a survey that ends early has no more of one kind than the data have; what strata
differ by is then no noise. Inside a stratum the order is random, and a sum over all N_h
structures of a stratum is estimated from the n_h that were visited as N_h / n_h times
theirs: unbiased however many of each there are.

*Clusters*, such as trajectories, are what structures depend on.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from symjax.errors import ArgumentError
from symjax.metrics.arguments import check_type

# Strata of which fewer are expected among the visited are one stratum together: the
# spread within a stratum is known from two structures, and chance may take one.
_LEAST = 3


class Strata(NamedTuple):
    """The strata of the structures that were visited.

    Attributes:
      of: The stratum of each.
      totals: For each stratum its structures in the data set, visited or not.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics.groups import Strata
      >>> Strata(np.array([0, 0, 1]), np.array([4, 1])).weights
      array([2., 2., 1.])
    """

    of: Int[np.ndarray, "items"]
    totals: Int[np.ndarray, "strata"]

    @property
    def visited(self) -> Int[np.ndarray, "strata"]:
        """Visited structures of each stratum."""
        return np.bincount(self.of, minlength=len(self.totals))

    @property
    def weights(self) -> Float[np.ndarray, "items"]:
        """For how many structures of the data set each visited one stands."""
        return (self.totals / np.maximum(self.visited, 1))[self.of]


@dataclasses.dataclass(frozen=True)
class Groups:
    """What structures have in common, by label.

    Attributes:
      strata: Of what kind each structure is, such as its formula or size; kinds are
        visited in proportion. None for a simple random order.
      clusters: What each structure depends on, such as its trajectory; whole clusters
        are left out for intervals of the population. None for independent structures.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import Groups
      >>> labels = ["a", "b", "c", "d"]
      >>> groups = Groups(strata={"a": 1, "b": 1, "c": 2, "d": 2})
      >>> order = groups.order(labels, np.random.default_rng(0))
      >>> {groups.strata[labels[i]] for i in order[:2]}  # one of each
      {1, 2}
    """

    strata: Mapping[str, object] | None = None
    clusters: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        for name in ("strata", "clusters"):
            if getattr(self, name) is not None:
                remedy = "Pass {label: what it belongs to, ...}"
                check_type(name, getattr(self, name), Mapping, remedy)

    def order(
        self, labels: Sequence[str], random: np.random.Generator
    ) -> Int[np.ndarray, "items"]:
        """A random order that visits strata in proportion.

        Args:
          labels: Names of all structures.
          random: What is drawn from.

        Returns:
          Their indices.

        Raises:
          ArgumentError: The stratum of a structure is not given.
        """
        order = random.permutation(len(labels))
        if self.strata is None:
            return order
        of = _numbered("strata", self.strata, labels)[order]
        totals = np.bincount(of)
        place = np.empty(len(of))  # of each structure within its stratum
        grouped = np.argsort(of, kind="stable")
        place[grouped] = np.arange(len(of)) - (np.cumsum(totals) - totals)[of[grouped]]
        when = (place + random.random(len(totals))[of]) / totals[of]
        return order[np.argsort(when, kind="stable")]

    def strata_of(self, visited: Sequence[str], usable: Sequence[str]) -> Strata:
        """The strata of what was visited; those with few structures are joined.

        Args:
          visited: Names of the structures that were visited.
          usable: Names of all that are, or can be, visited.

        Returns:
          The strata, of two visited structures or more.
        """
        if self.strata is None:
            return Strata(np.zeros(len(visited), int), np.array([len(usable)]))
        both = _numbered("strata", self.strata, [*visited, *usable])
        own, every = both[: len(visited)], both[len(visited) :]
        totals = np.bincount(every)
        num = np.bincount(own, minlength=len(totals))
        expected = totals * len(visited) / len(usable)
        few = (num < 2) | ((expected < _LEAST) & (num < totals))
        while 0 < few.sum() < len(few) and num[few].sum() < 2:
            few[np.argmin(np.where(few, len(own) + 1, num))] = True
        names, joined = np.unique(
            np.where(few, -1, np.arange(len(few))), return_inverse=True
        )
        return Strata(joined[own], np.bincount(joined, totals, len(names)).astype(int))

    def clusters_of(self, visited: Sequence[str]) -> Int[np.ndarray, "items"] | None:
        """The cluster of each visited structure; None if there are none."""
        if self.clusters is None:
            return None
        return _numbered("clusters", self.clusters, visited)


def _numbered(
    name: str, groups: Mapping[str, object], labels: Sequence[str]
) -> Int[np.ndarray, "items"]:
    """Groups as numbers, in the order in which they come."""
    known: dict[object, int] = {}
    missing = next((label for label in labels if label not in groups), None)
    if missing is not None:
        raise ArgumentError(
            name,
            missing,
            "is in no group",
            "Say of every structure to which it belongs",
        )
    return np.array(
        [known.setdefault(groups[label], len(known)) for label in labels], int
    )
