"""Surveys: a few random elements for each of many structures.

A survey estimates averages over structures without resolving any single one: each
structure contributes unbiased estimates (:mod:`symjax.metrics.unbiased`), whose noise
averages out (:mod:`symjax.metrics.pooling`).
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from symjax.errors import ArgumentError
from symjax.metrics import arguments
from symjax.metrics.gathering import Gathered, check_distinct
from symjax.metrics.groups import Groups
from symjax.metrics.packs import Pack, measure_packs, pack_of
from symjax.metrics.pooling import QUESTIONS, Pool, Sampled
from symjax.metrics.problem import Output, Prepared, Problem, run
from symjax.metrics.turn_averages import turn_members
from symjax.so3.sampling import check_rotations_fit

# Factor between the numbers of structures at successive looks.
_NEXT_LOOK = 1.25


@dataclasses.dataclass(frozen=True)
class Survey:
    """A few random elements of O(3) for each structure.

    Attributes:
      num: Evaluations of each structure in each round: at least twice the number of
        elements in a set (see ``turn``), and a multiple of it.
      turn: The set of rotations that is rotated at random as a whole, each with its
        negative: ``"C1"`` for independent rotations; a finite group of rotations, such
        as ``"D2"``, ``"T"`` or ``"O"``; or ``"fibonacci 8"`` for eight low-discrepancy
        rotations.
      seed: Seed of the elements and of the order of the structures.
      until: Stop once half of the 95 % interval of A, relative to A, is below this for
        every output of the model. None to visit all structures once.
      of: Whether the interval is that of this data set (``"data"``) or of the
        population that it was drawn from (``"population"``).
      minimum: Number of structures to visit before ``until`` is first checked. With
        400, a kind that makes up 1 % of the data is missed in 2 % of surveys.
      rounds: Largest number of rounds of new elements over the whole data set, if
        ``until`` is about the data set and one round does not reach it.

    Raises:
      ArgumentError: An attribute has an invalid value.

    Example:
      >>> from symjax.metrics import Survey
      >>> Survey(16).turns, Survey(16, turn="D2").turns
      (8, 2)
      >>> Survey(16, turn="O")
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: num=16: is not two or more times the 48 elements...
    """

    num: int = 16
    turn: str = "C1"
    seed: int = 0
    until: float | None = None
    of: str = "data"
    minimum: int = 400
    rounds: int = 10

    def __post_init__(self) -> None:
        arguments.check_integers(self, num=4, seed=0, minimum=2, rounds=1)
        check_rotations_fit("num", self.num)
        order = 2 * len(turn_members(self.turn))
        if self.num % order or self.num < 2 * order:
            raise ArgumentError(
                "num",
                self.num,
                f"is not two or more times the {order} elements of turn {self.turn!r}",
                f"Pass {2 * order}, or another turn",
            )
        arguments.check_choice("of", self.of, QUESTIONS)
        if self.until is None:
            return
        arguments.check_fractions(self, "until")
        if self.of == "data" and self.turns < 3:
            raise ArgumentError(
                "num",
                self.num,
                "gives two turns, too few for the error within a structure that an "
                "interval of this data set needs",
                f"Pass {3 * order}, another turn, or of='population'",
            )

    @property
    def turns(self) -> int:
        """Number of independent random rotations of each structure."""
        return self.num // (2 * len(turn_members(self.turn)))

    def elements(
        self, labels: Sequence[str], number: int = 0
    ) -> Float[np.ndarray, "items turns members 3 3"]:
        """The random rotations of each structure.

        They depend only on its label, the seed and the round, not on other structures
        or their order.

        Args:
          labels: Labels of the structures.
          number: Number of the round.

        Returns:
          Proper rotations in float64, ``(items, turns, members, 3, 3)``.
        """
        quaternions = np.empty((len(labels), self.turns, 4))
        for row, label in zip(quaternions, labels, strict=True):
            digest = hashlib.sha256(label.encode()).digest()
            words = np.frombuffer(digest[:16], "<u4")
            random = np.random.default_rng([self.seed, number, *words.tolist()])
            row[:] = random.standard_normal(row.shape)
        rotations = Rotation.from_quat(quaternions.reshape(-1, 4)).as_matrix()
        shaped = rotations.reshape(*quaternions.shape[:2], 1, 3, 3)
        return turn_members(self.turn) @ shaped

    def order(self, labels: Sequence[str], groups: Groups) -> np.ndarray:
        """Indices of the structures in random order, with strata in proportion."""
        return groups.order(labels, np.random.default_rng([self.seed, len(labels)]))

    def looks(self, num: int) -> list[int]:
        """Numbers of visited structures after which ``until`` is checked.

        They are few and fixed in advance: a check after every structure would stop at
        the first chance fluctuation.

        Example:
          >>> from symjax.metrics import Survey
          >>> Survey(until=0.01).looks(700), Survey().looks(700)
          ([400, 500, 625, 700], [700])
        """
        if self.until is None:
            return [num]
        found, next_look = [], self.minimum
        while next_look < num:
            found.append(next_look)
            next_look = int(np.ceil(_NEXT_LOOK * next_look))
        return [*found, num]


def measure_many(
    problems: Mapping[str, Problem | Callable[[], Problem]],
    *,
    over: Survey,
    max_degree: int = 6,
    groups: Groups | None = None,
) -> "Surveyed":
    """Surveys many structures with any model, one after another.

    For PETs, :func:`symjax.report.survey_structures` is many times faster, because it
    evaluates structures together.

    Args:
      problems: By label, the problem of each structure, or a function that makes it
        when it is needed.
      over: How many elements, and when to stop.
      max_degree: Largest degree of the projected sectors.
      groups: Strata and clusters of the structures.

    Returns:
      Estimates for all structures.

    Raises:
      ArgumentError: There is no problem; an argument has an invalid value; or outputs
        of one name differ in unit, representation or kind between structures.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import Output, Problem, Survey, measure_many
      >>> from symjax.so3 import VECTOR
      >>> def problem(x):
      ...     return Problem(lambda x: x + 1e-3 * x**2, x, {"output": Output(VECTOR)})
      >>> random = np.random.default_rng(0)
      >>> many = {str(i): problem(random.normal(size=(4, 3))) for i in range(20)}
      >>> found = measure_many(many, over=Survey(16), max_degree=2)
      >>> interval = found.pool.error("output")
      >>> bool(interval.low < interval.value < interval.high), found.reached
      (True, None)
    """
    arguments.check_type("problems", problems, Mapping, "Pass {label: problem, ...}")
    arguments.check_type("over", over, Survey, "Pass Survey(16)")
    labels = list(problems)
    for label in labels:
        arguments.check_type("label", label, str, "Use strings as labels")

    def visit(indices: Sequence[int], number: int) -> Iterator[list[Sampled]]:
        def packs() -> Iterator[Pack]:
            for index in indices:
                made = problems[labels[index]]
                problem = made() if callable(made) else made
                pack = pack_of(labels[index], problem)
                for name, output in pack.outputs.items():
                    _check_same(labels[index], name, outputs.get(name, output), output)
                outputs.update(pack.outputs)
                yield pack

        return measure_packs(packs(), over, max_degree, number)

    outputs: dict[str, Output] = {}
    return survey(labels, visit, over, outputs, groups)


def _check_same(label: str, name: str, before: Output, output: Output) -> None:
    """Raises if outputs of one name differ: their sums would be meaningless."""
    for field in ("unit", "representation", "kind"):
        known, own = getattr(before, field), getattr(output, field)
        if known != own:
            raise ArgumentError(
                f"problems[{label!r}].outputs[{name!r}].{field}",
                str(own),
                f"differs from that of earlier structures, {str(known)!r}",
                "Describe this output alike for all structures, or rename it",
            )


class Surveyed(NamedTuple):
    """The result of a survey.

    Attributes:
      pool: Estimates for all visited structures.
      over: The survey.
      rounds: Number of rounds of elements over the data set.
      reached: Relative half width of the widest interval of A; None if ``over.until``
        is None. Above ``over.until`` if the data or the rounds ended first.

    Example:
      >>> from symjax.metrics import Survey
      >>> from symjax.metrics.survey import Surveyed
      >>> Surveyed(None, Survey(), 1, 0.02).reached
      0.02
    """

    pool: Pool
    over: Survey
    rounds: int
    reached: float | None

    @property
    def stopped(self) -> bool:
        """Whether the requested interval was reached."""
        until = self.over.until
        return until is not None and self.reached is not None and self.reached <= until


def survey(
    labels: Sequence[str],
    visit: Callable[[Sequence[int], int], Iterable[Sequence[Sampled]]],
    over: Survey,
    outputs: Mapping[str, Output],
    groups: Groups | None = None,
    folder: Path | None = None,
) -> Surveyed:
    """Visits structures in random order until an interval is narrow enough.

    Args:
      labels: Labels of all structures.
      visit: Function of the indices of structures and the number of the round that
        yields their estimates, some structures at a time, without failed ones.
      over: How many elements, and when to stop.
      outputs: Descriptions of the outputs, by name; may be filled in by ``visit``.
      groups: Strata and clusters of the structures.
      folder: Folder of the unnamed temporary file that holds the sums; by default the
        system's.

    Returns:
      The result.

    Raises:
      ArgumentError: There is no structure, all have failed, two have one label, or the
        stratum or cluster of one is missing.
    """
    groups = Groups() if groups is None else groups
    arguments.check_type("groups", groups, Groups, "Pass Groups(strata={label: ...})")
    check_distinct(labels)
    order = over.order(labels, groups).tolist()
    gathered = Gathered(len(labels), folder)

    def result(number: int, visited: Sequence[int]) -> Surveyed:
        failed = {labels[index] for index in visited} - gathered.rows.keys()
        usable = [label for label in labels if label not in failed]
        pooled = gathered.pool(usable, groups)
        reached = None
        if over.until is not None:
            reached = widest(pooled, over.of, outputs)
        return Surveyed(pooled, over, number, reached)

    before = 0
    for look in over.looks(len(labels)):
        for items in visit(order[before:look], 0):
            gathered.add(items)
        before = look
        enough = len(gathered.rows) >= min(over.minimum, len(labels))
        if enough and over.until is not None:
            best = result(1, order[:look])
            if best.stopped:
                return best
    if over.until is None or over.of == "population":
        return result(1, order)
    for number in range(1, over.rounds):
        again = [index for index in order if labels[index] in gathered.rows]
        for items in visit(again, number):
            gathered.add(items)
        best = result(number + 1, order)
        if best.stopped:
            return best
    return result(over.rounds, order)


def widest(pooled: Pool, of: str, outputs: Mapping[str, Output]) -> float:
    """The largest relative half width of the intervals of A, over outputs of the model.

    Outputs whose A is 0 within the round-off of float64 are ignored; 0 if all are.
    """
    widths = [0.0]
    for name in pooled.names:
        if outputs[name].kind != "output":
            continue
        interval = pooled.error(name, of=of)
        # An exact 0 has no relative width.
        if interval.high > np.finfo(float).eps * pooled.root_mean_square(name):
            widths.append(interval.relative_width)
    return max(widths)


@run.register
def _(over: Survey, prepared: Prepared, max_degree: int) -> Any:
    raise ArgumentError(
        "over",
        over,
        "is for many structures, not for a single one",
        "Use measure_many({label: problem, ...}, over=...), or HaarSamples for one",
    )
