"""Unbiased estimates of the error that is left after an average, from random elements.

A *turn* is a fixed set G of elements times a random rotation R. If G is a union of
cosets H c of a finite group H, the average over H predicts z_H(c R) = mean over h in H
of z(h c R), which follows from the responses of the turn. With q_t the mean of
||z_H||^2 over the cosets of a turn and m_t the mean of z,

    V_H = E[q] - E_{t != t'}[<m_t, m_t'>]

is unbiased, and its error is proportional to V_H itself. The estimate is accurate
however small V_H is compared with V, where moments from independent random rotations
would be lost in the noise of V.
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
    """A group whose average can be evaluated from the elements of a turn.

    Attributes:
      average: Name of the group.
      members: Positions of the elements of each coset within a turn.
    """

    average: str
    members: Int[np.ndarray, "cosets elements"]


def turn_members(turn: str) -> Float[np.ndarray, "members 3 3"]:
    """The rotations of a turn, before the random rotation.

    Args:
      turn: Symbol of a finite group of rotations, or ``"fibonacci n"`` for n
        low-discrepancy rotations, n from 1 to 999.

    Returns:
      Proper rotations; -R is evaluated with each R.

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
            "has improper elements, but -R is evaluated with each rotation R anyway",
            "Use a group of rotations: C1, D2, T, O or I",
        )
    return proper


@functools.lru_cache(maxsize=64)
def cosets_of(turn: str) -> tuple[Cosets, ...]:
    """The groups whose averages can be evaluated from a turn of :func:`turn_members`.

    They are those of :data:`~symjax.metrics.response_spectrum.GROUPS` under which the
    turn is closed.

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
    """An unbiased estimate of V after an average.

    Attributes:
      num_elements: Evaluations of the model that the average needs.
      variance: V of the averaged response; may be negative if it nearly vanishes.
      square: Squared standard error of V.
    """

    num_elements: int
    variance: float
    square: float


@dataclasses.dataclass(frozen=True)
class SampledResponse:
    """Estimates of A after averages, from random elements; sums over structures.

    Attributes:
      name: Name of the output.
      unit: Its unit.
      estimates: Estimates by name of the average, ``"none"`` without one.
      count: Number of components of all samples.
      noise: Upper bound of the part of V that is round-off; 0 if unknown.

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
        """Names of the averages with an estimate, without ``"none"``."""
        return tuple(name for name in self.estimates if name != "none")

    @classmethod
    def sum_of(cls, parts: Sequence["SampledResponse"]) -> "SampledResponse":
        """The sum over structures, for the averages that all of them have."""
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
        """The same with squares multiplied by a weight, such as 1 / atoms^2."""
        estimates = {
            name: AveragedVariance(
                one.num_elements, weight * one.variance, weight**2 * one.square
            )
            for name, one in self.estimates.items()
        }
        return dataclasses.replace(self, estimates=estimates, noise=weight * self.noise)

    def after(self, average: Any, include_inversion: bool = True) -> AveragedError:
        """A after an average, with an uncertainty of two standard errors of V.

        Args:
          average: None for no average, or a group of ``averages`` or its symbol.
          include_inversion: As in :meth:`ResponseSpectrum.after`.

        Returns:
          A with its uncertainty.

        Raises:
          ArgumentError: There is no estimate for the elements of this average.
        """
        rotations = rotations_of(average, include_inversion)
        name = rotations.name
        if name not in self.estimates or not _is_group(rotations):
            raise ArgumentError(
                "average",
                name,
                "cannot be estimated from these random elements",
                f"Use one of {', '.join(self.averages)}, a larger turn such as 'O', or "
                "a grid",
            )
        one = self.estimates[name]
        variance, spread = max(one.variance, 0.0), 2 * math.sqrt(one.square)
        error = math.sqrt(variance / self.count)
        # Estimates of few turns are skewed: on a logarithmic scale if V is significant.
        if variance > spread:
            largest = variance * math.exp(spread / variance)
        else:
            largest = variance + (math.e - 1) * spread
        largest = math.sqrt((largest + self.noise) / self.count)
        return AveragedError(name, one.num_elements, error, largest - error)


def _is_group(rotations: Rotations) -> bool:
    """Whether the elements are those of the group, or the identity, of the name."""
    group = rotations_of(None if rotations.name == "none" else rotations.name, True)
    if len(group.elements) != len(rotations.elements):
        return False
    apart = np.abs(rotations.elements[:, None] - group.elements).max(axis=(2, 3))
    same = apart.min(axis=0).max() < 1e-6 and apart.min(axis=1).max() < 1e-6
    return bool(same and np.allclose(rotations.weights, group.weights))
