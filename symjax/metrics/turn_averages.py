"""What averages leave of a response, from random turns of their elements: unbiased.

A turn is a set G of elements times a random rotation R. If G holds the elements of a
finite group H and their products with its own, G is made of cosets H c, and the average
over H predicts z_H(c R) = mean over h in H of z(h c R). All of these are known from the
turn. With q_t the mean of ||z_H||^2 over the cosets of a turn and m_t that of z,

    V_H = E[q] - E_{t != t'}[<m_t, m_t'>]

is unbiased, and its error is a share of V_H itself: what a group leaves is told however
small it is beside V, where moments from random rotations are lost in the noise of V.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from symjax.errors import ArgumentError
from symjax.metrics.orbit import with_negatives
from symjax.metrics.response_spectrum import GROUPS, AveragedError
from symjax.so3.averages import Rotations, rotations_of
from symjax.so3.finite_groups import finite_group
from symjax.so3.sampling import super_fibonacci


class Cosets(NamedTuple):
    """An average that can be had from a turn.

    Attributes:
      average: Name of the group.
      members: Positions of the elements of each coset within a turn.
    """

    average: str
    members: Int[np.ndarray, "cosets elements"]


def turn_members(turn: str) -> Float[np.ndarray, "members 3 3"]:
    """The rotations that are turned together.

    Args:
      turn: A finite group of rotations, or ``"fibonacci 8"``, at most 999.

    Returns:
      Rotations R, each of which comes with -R.

    Raises:
      ArgumentError: There is no such group, or it has improper elements.
    """
    kind, _, number = turn.partition(" ") if isinstance(turn, str) else ("", "", "")
    if kind == "fibonacci" and re.fullmatch("[1-9][0-9]{0,2}", number):
        with jax.enable_x64(True):
            return np.asarray(super_fibonacci(int(number)))
    elements = np.asarray(finite_group(turn).elements)
    proper = elements[np.linalg.det(elements) > 0]
    if len(proper) < len(elements):
        raise ArgumentError(
            "turn",
            turn,
            "has improper elements; each rotation R of a turn comes with -R anyway",
            "Use a group of rotations: C1, D2, T, O or I",
        )
    return proper


@functools.lru_cache(maxsize=64)
def cosets_of(turn: str) -> tuple[Cosets, ...]:
    """The averages that can be had from a turn: found once, for all structures.

    Args:
      turn: As in :func:`turn_members`.

    Returns:
      Groups whose products with all elements are elements of the turn.

    Example:
      >>> from symjax.metrics.turn_averages import cosets_of
      >>> [one.average for one in cosets_of("C1")]
      ['Ci']
      >>> [one.average for one in cosets_of("T")]
      ['Ci', 'D2', 'D2h', 'T', 'Th']
    """
    members = turn_members(turn)
    elements = with_negatives(members)
    flat = elements.reshape(-1, 9)
    found = []
    for name in GROUPS:
        index = []
        for one in finite_group(name).elements:
            traces = (one @ elements).reshape(-1, 9) @ flat.T
            if traces.max(axis=1).min() < 3 - 1e-6:
                break
            index.append(traces.argmax(axis=1))
        else:
            cosets = np.unique(np.sort(np.stack(index, axis=1), axis=1), axis=0)
            found.append(Cosets(name, cosets))
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class AveragedVariance:
    """An unbiased estimate of what an average leaves.

    Attributes:
      num_elements: Evaluations of the model that the average needs.
      variance: V of the averaged response; may be negative where it vanishes.
      square: Squared standard error of V.
    """

    num_elements: int
    variance: float
    square: float


@dataclasses.dataclass(frozen=True)
class SampledResponse:
    """What averages leave of one output, from random elements; sums over structures.

    Attributes:
      name: The output.
      unit: Its unit.
      estimates: By average, ``"none"`` for the output as it is.
      count: Number of values, components of all samples.
      noise: Upper bound of the part of V that is round-off; 0 where it is not known.

    Example:
      >>> from symjax.metrics import SampledResponse, frontier
      >>> from symjax.metrics.turn_averages import AveragedVariance
      >>> one = SampledResponse("energy", "eV", {
      ...     "none": AveragedVariance(1, 4.0, 0.0),
      ...     "Ci": AveragedVariance(2, 1.0, 0.0)}, 1, 0.0)
      >>> [(each.average, each.error) for each in frontier(one)]
      [('none', 2.0), ('Ci', 1.0)]
    """

    name: str
    unit: str
    estimates: Mapping[str, AveragedVariance]
    count: int
    noise: float

    @property
    def averages(self) -> tuple[str, ...]:
        """What is known, beside no average at all."""
        return tuple(name for name in self.estimates if name != "none")

    @classmethod
    def sum_of(cls, parts: Sequence["SampledResponse"]) -> "SampledResponse":
        """The sum over structures, of what is known of all."""
        first = parts[0]
        estimates = {
            name: AveragedVariance(
                one.num_elements,
                sum(part.estimates[name].variance for part in parts),
                sum(part.estimates[name].square for part in parts),
            )
            for name, one in first.estimates.items()
            if all(name in part.estimates for part in parts)
        }
        count = sum(part.count for part in parts)
        noise = sum(part.noise for part in parts)
        return cls(first.name, first.unit, estimates, count, noise)

    def weighted(self, weight: float) -> "SampledResponse":
        """The same with squares that count more or less."""
        estimates = {
            name: AveragedVariance(
                one.num_elements, weight * one.variance, weight**2 * one.square
            )
            for name, one in self.estimates.items()
        }
        return dataclasses.replace(self, estimates=estimates, noise=weight * self.noise)

    def after(self, average: Any, include_inversion: bool = True) -> AveragedError:
        """The error that an average leaves, with two standard errors of V.

        Args:
          average: None, or one of ``averages``.
          include_inversion: As in :meth:`ResponseSpectrum.after`.

        Returns:
          A with its uncertainty.

        Raises:
          ArgumentError: The elements do not tell what it leaves.
        """
        rotations = rotations_of(average, include_inversion)
        name = rotations.name
        if name not in self.estimates or not _is_group(rotations):
            raise ArgumentError(
                "average",
                name,
                "is not told by these random elements",
                f"Use one of {', '.join(self.averages)}, a larger turn such as 'O', or "
                "a grid",
            )
        one = self.estimates[name]
        variance, spread = max(one.variance, 0.0), 2 * math.sqrt(one.square)
        error = math.sqrt(variance / self.count)
        # Estimates of few turns are skewed: on a logarithmic scale where V is told.
        if variance > spread:
            largest = variance * math.exp(spread / variance)
        else:
            largest = variance + (math.e - 1) * spread
        largest = math.sqrt((largest + self.noise) / self.count)
        return AveragedError(name, one.num_elements, error, largest - error)


def _is_group(rotations: Rotations) -> bool:
    """Whether an average is over the group, or the identity, that its name says."""
    group = rotations_of(None if rotations.name == "none" else rotations.name, True)
    if len(group.elements) != len(rotations.elements):
        return False
    apart = np.abs(rotations.elements[:, None] - group.elements).max(axis=(2, 3))
    same = apart.min(axis=0).max() < 1e-6 and apart.min(axis=1).max() < 1e-6
    return bool(same and np.allclose(rotations.weights, group.weights))
