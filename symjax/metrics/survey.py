"""A survey: a few random elements for each of many structures.

No single structure is resolved; what is asked is an average over structures, and for
that every one contributes unbiased estimates (:mod:`symjax.metrics.unbiased`) whose
noise averages out (:mod:`symjax.metrics.pooling`).
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

# The next look is made when so many times as many structures have been visited.
_NEXT_LOOK = 1.25


@dataclasses.dataclass(frozen=True)
class Survey:
    """A few random elements of O(3) for each structure.

    Attributes:
      num: Evaluations of each structure, in each round.
      turn: What is turned at random, at once: ``"C1"`` for independent pairs of a
        rotation and its negative; the rotations of a finite group, such as ``"D2"``,
        ``"T"`` or ``"O"``, each with its negative; or ``"fibonacci 8"``, as many
        low-discrepancy rotations. Two turns at least.
      seed: Of the elements and of the order of the structures.
      until: Half of the 95 % interval, relative to A, at which to stop; of every output
        of the model. None to visit all structures once.
      of: What the interval is about: ``"data"``, this data set, or ``"population"``,
        what it was drawn from.
      minimum: Structures that are visited before it is looked at ``until``. Of kinds
        that make up 1 % of the data, 400 structures miss all in 2 % of surveys.
      rounds: Largest number of rounds of new elements over the whole data set, if
        ``until`` is about the data set and one round does not reach it.

    Raises:
      ArgumentError: An attribute has an impossible value.

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
                f"is not two or more times the {order} elements of a turn of "
                f"{self.turn}",
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
                "gives two turns, which do not show the error within a structure that "
                "an interval of this data set needs",
                f"Pass {3 * order}, another turn, or of='population'",
            )

    @property
    def turns(self) -> int:
        """Random rotations of each structure."""
        return self.num // (2 * len(turn_members(self.turn)))

    def elements(
        self, labels: Sequence[str], number: int = 0
    ) -> Float[np.ndarray, "items turns members 3 3"]:
        """Random turns of each structure.

        They depend on its name, the seed and the round alone: not on what else is
        measured, nor on the order.

        Args:
          labels: Names of the structures.
          number: Number of the round.

        Returns:
          Proper rotations, in float64.
        """
        quaternions = np.empty((len(labels), self.turns, 4))
        for row, label in zip(quaternions, labels, strict=True):
            digest = hashlib.sha256(label.encode()).digest()
            words = np.frombuffer(digest[:16], "<u4")
            random = np.random.default_rng([self.seed, number, *words.tolist()])
            row[:] = random.standard_normal(row.shape)
        turns = Rotation.from_quat(quaternions.reshape(-1, 4)).as_matrix()
        shaped = turns.reshape(*quaternions.shape[:2], 1, 3, 3)
        return turn_members(self.turn) @ shaped

    def order(self, labels: Sequence[str], groups: Groups) -> np.ndarray:
        """The random order in which structures are visited, strata in proportion."""
        return groups.order(labels, np.random.default_rng([self.seed, len(labels)]))

    def looks(self, num: int) -> list[int]:
        """Numbers of visited structures after which ``until`` is looked at.

        Few, and fixed in advance: who looks after every structure stops at the first
        chance fluctuation.

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
    """Surveys many structures of any model, one after another.

    PETs are surveyed many times as fast by :func:`symjax.report.survey_structures`,
    which evaluates structures together.

    Args:
      problems: By label, or functions that make them, called when it is their turn.
      over: How many elements, and when to stop.
      max_degree: Largest degree of the projected sectors.
      groups: What structures have in common: strata and clusters.

    Returns:
      Figures of all structures.

    Raises:
      ArgumentError: There is no problem, or an argument has an impossible value.

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
        arguments.check_type("label", label, str, "Use texts as labels")

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
    """Raises where one name stands for two things: their sums would be no quantity."""
    for field in ("unit", "representation", "kind"):
        known, own = getattr(before, field), getattr(output, field)
        if known != own:
            raise ArgumentError(
                f"problems[{label!r}].outputs[{name!r}].{field}",
                str(own),
                f"differs from that of the structures before, {str(known)!r}",
                "Give outputs of all structures one unit, or other names",
            )


class Surveyed(NamedTuple):
    """What a survey found.

    Attributes:
      pool: Figures of all structures that were visited.
      over: How it was surveyed.
      rounds: Rounds of elements over the data set.
      reached: The relative half width of the widest interval of A, if it was asked
        for; it may be above ``over.until`` if the data ended first.

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
        """Whether what was asked for has been reached."""
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
      labels: Names of all structures.
      visit: From indices of structures, and the number of the round, to what is found,
        some structures at a time; structures that failed are left out.
      over: How many elements, and when to stop.
      outputs: What is known about the outputs; may be filled in while visiting.
      groups: What structures have in common: strata and clusters.
      folder: Where sums are kept meanwhile, in a file without a name; by default that
        for temporary files.

    Returns:
      What was found.

    Raises:
      ArgumentError: There is no structure, or all have failed; or of some it is not
        said to which group they belong.
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
    """The largest relative half width of A of the outputs of a model.

    Outputs whose A is 0 to the last digit of float64 count as known.

    Args:
      pooled: The structures.
      of: What intervals are about.
      outputs: What is known about the outputs.

    Returns:
      The width; 0 if all A are 0.
    """
    widths = [0.0]
    for name in pooled.names:
        if outputs[name].kind != "output":
            continue
        interval = pooled.error(name, of=of)
        # What is exactly 0 has no relative width. Round-off is measured as all else.
        if interval.high > np.finfo(float).eps * pooled.root_mean_square(name):
            widths.append(interval.relative_width)
    return max(widths)


@run.register
def _(over: Survey, prepared: Prepared, max_degree: int) -> Any:
    raise ArgumentError(
        "over",
        over,
        "is for many structures, of which none is resolved",
        "Use measure_many({label: problem, ...}, over=...), or HaarSamples for one",
    )
