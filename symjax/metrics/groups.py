"""Strata and clusters of the structures of a survey.

*Strata*, such as chemical formulas, are visited in proportion to their numbers of
structures. A survey that ends early then has the composition of the data set, and
differences between strata add no noise. Within a stratum the order is random: a sum
over its N_h structures is estimated, without bias, as N_h / n_h times that over the n_h
visited ones.

*Clusters*, such as trajectories, are sets of structures that depend on each other.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from symjax.errors import ArgumentError
from symjax.metrics.arguments import check_type

# Strata with fewer expected visits are merged: the spread within a stratum is only
# known from two structures or more.
_LEAST = 3


class Strata(NamedTuple):
    """The strata of the visited structures.

    Attributes:
      of: Index of the stratum of each visited structure.
      totals: Number of structures of each stratum in the data set, visited or not.

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
        """Number of visited structures of each stratum."""
        return np.bincount(self.of, minlength=len(self.totals))

    @property
    def weights(self) -> Float[np.ndarray, "items"]:
        """Number of structures of the data set that each visited one represents."""
        return (self.totals / np.maximum(self.visited, 1))[self.of]


@dataclasses.dataclass(frozen=True)
class Groups:
    """Strata and clusters of structures, by label.

    Attributes:
      strata: The stratum of each structure, such as its formula or size; strata are
        visited in proportion. None for a simple random order.
      clusters: The cluster of each structure, such as its trajectory; for intervals of
        the population whole clusters are left out. None for independent structures.

    Raises:
      ArgumentError: ``strata`` or ``clusters`` is not a mapping.

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
                remedy = "Pass {label: name of its group, ...}"
                check_type(name, getattr(self, name), Mapping, remedy)

    def order(
        self, labels: Sequence[str], random: np.random.Generator
    ) -> Int[np.ndarray, "items"]:
        """A random order that visits strata in proportion.

        Args:
          labels: Labels of all structures.
          random: Random number generator.

        Returns:
          Indices of the structures.

        Raises:
          ArgumentError: A structure has no stratum.
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
        """The strata of the visited structures; small ones are merged.

        Args:
          visited: Labels of the visited structures.
          usable: Labels of all structures that were or could be visited.

        Returns:
          The strata, each with two visited structures or more where possible.

        Raises:
          ArgumentError: A structure has no stratum.
        """
        if self.strata is None:
            return Strata(np.zeros(len(visited), int), np.array([len(usable)]))
        both = _numbered("strata", self.strata, [*visited, *usable])
        own, every = both[: len(visited)], both[len(visited) :]
        totals = np.bincount(every)
        num = np.bincount(own, minlength=len(totals))
        expected = totals * len(visited) / len(usable)
        small = (num < 2) | ((expected < _LEAST) & (num < totals))
        while 0 < small.sum() < len(small) and num[small].sum() < 2:
            small[np.argmin(np.where(small, len(own) + 1, num))] = True
        names, joined = np.unique(
            np.where(small, -1, np.arange(len(small))), return_inverse=True
        )
        return Strata(joined[own], np.bincount(joined, totals, len(names)).astype(int))

    def clusters_of(self, visited: Sequence[str]) -> Int[np.ndarray, "items"] | None:
        """Index of the cluster of each visited structure; None without clusters.

        Raises:
          ArgumentError: A structure has no cluster.
        """
        if self.clusters is None:
            return None
        return _numbered("clusters", self.clusters, visited)


def _numbered(
    name: str, groups: Mapping[str, object], labels: Sequence[str]
) -> Int[np.ndarray, "items"]:
    """Groups of structures as numbers, in order of first occurrence."""
    known: dict[object, int] = {}
    missing = next((label for label in labels if label not in groups), None)
    if missing is not None:
        raise ArgumentError(
            name,
            missing,
            "has no entry",
            "Add an entry for every structure",
        )
    return np.array(
        [known.setdefault(groups[label], len(known)) for label in labels], int
    )
