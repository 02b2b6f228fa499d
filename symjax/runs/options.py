"""Options for measuring the items of a run."""

import dataclasses
from typing import Any

import jax

from symjax.data import LabelFields
from symjax.errors import ArgumentError, GridError
from symjax.metrics import Adaptive, Grid, HaarSamples, arguments
from symjax.metrics.problem import DEFAULT_MEMORY
from symjax.metrics.slots import CHECK_SEED
from symjax.models.precision import matmul_precision
from symjax.report import schema
from symjax.so3.quadratures import LARGEST_DEGREE, quadrature

DTYPES = ("float32", "float64")
AUTO = "auto"
"""Value of ``grid`` for which a grid is chosen for each structure by its accuracy."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a measurement, the same for all structures of a report.

    Attributes:
      max_degree: Largest degree L of the projected sectors.
      grid: Degree of the quadrature; None for ``2 * max_degree + 1``; ``"auto"`` to
        refine the grid for each structure until it is certified
        (:class:`symjax.metrics.Adaptive`).
      samples: Number of random rotations R for each structure, each paired with -R,
        instead of a grid (:class:`symjax.metrics.HaarSamples`): estimates with standard
        errors, for expensive models. None for a grid.
      turn: Finite group whose elements are rotated together, with ``samples``. The
        report estimates what averages over it and its subgroups leave.
      layers: ``"all"``, ``"none"``, or comma-separated names or regular expressions.
      dtype: ``"float32"``, or ``"float64"``, which needs JAX's x64 mode.
      tolerance: Largest change of B (its uncertainty, with ``samples``) of a response
        that counts as resolved; not used with ``grid="auto"``.
      memory: Memory in bytes for responses and coefficients.
      symmetry: Whether to use the point group of each structure.
      energy: Name of the target whose derivatives are forces and stress, see
        :func:`symjax.models.pet.choose_energy`.
      labels: Names and units of the labels of structures, with which outputs are
        compared.

    Example:
      >>> from symjax.runs import Options
      >>> Options(max_degree=8, layers="all").settings().degree
      17
    """

    max_degree: int = 6
    grid: int | str | None = None
    samples: int | None = None
    turn: str = "C1"
    layers: str = "none"
    dtype: str = "float32"
    tolerance: float = 0.05
    memory: int = DEFAULT_MEMORY
    symmetry: bool = False
    energy: str | None = None
    labels: LabelFields = dataclasses.field(default_factory=LabelFields)

    def settings(self) -> schema.Settings:
        """Checks the options and returns the settings that a report stores.

        Returns:
          The settings, with the name of the quadrature rule.

        Raises:
          ArgumentError: An option has an impossible value.
          GridError: The grid is too coarse for ``max_degree``.

        Example:
          >>> from symjax.runs import Options
          >>> Options(max_degree=6).settings().grid
          'icosahedral 14 x 14'
        """
        self._check()
        common: dict[str, Any] = {
            "max_degree": self.max_degree,
            "layers": self.layers,
            "dtype": self.dtype,
            "symmetry": self.symmetry,
            "matmul_precision": matmul_precision(),
            "labels": str(self.labels),
        }
        rule = self.over
        if isinstance(rule, Adaptive):
            return schema.Settings(
                grid=AUTO,
                degree=rule.limit,
                num_elements=rule.most_elements,
                tolerance=rule.content_tolerance,
                seed=rule.seed,
                adaptive=schema.Climb(
                    rule.content_tolerance,
                    rule.error_tolerance,
                    rule.limit,
                    rule.samples,
                ),
                **common,
            )
        if isinstance(rule, HaarSamples):
            return schema.Settings(
                grid=f"{rule.num} random pairs"
                + (f" in turns of {rule.turn}" if rule.turn != "C1" else ""),
                degree=0,
                num_elements=2 * rule.num,
                tolerance=rule.content_tolerance,
                seed=rule.seed,
                **common,
            )
        fixed = quadrature(self._degree)
        return schema.Settings(
            grid=fixed.name,
            degree=fixed.degree,
            num_elements=2 * fixed.num_rotations,
            tolerance=self.tolerance,
            seed=CHECK_SEED,
            **common,
        )

    @property
    def _degree(self) -> int:
        """Degree of a fixed grid; of others the smallest one that suffices."""
        if self._climbs or self.grid is None:
            return 2 * self.max_degree + 1
        assert isinstance(self.grid, int)
        return self.grid

    def _check(self) -> None:
        """Refuses impossible options and combinations."""
        if self.max_degree < 0:
            raise ArgumentError(
                "max_degree",
                self.max_degree,
                "is not a degree",
                "Pass an integer from 0 up",
            )
        needed = 2 * self.max_degree
        if needed + 1 > LARGEST_DEGREE:
            raise ArgumentError(
                "max_degree",
                self.max_degree,
                f"needs a grid of degree {needed + 1}, beyond {LARGEST_DEGREE}",
                "Pass 6, for instance",
            )
        if self.samples is not None and self.grid is not None:
            raise ArgumentError(
                "samples",
                self.samples,
                f"takes the place of grid={self.grid!r}",
                "Pass one of them",
            )
        if self.samples is None and self.turn != "C1":
            raise ArgumentError(
                "turn",
                self.turn,
                "groups the random rotations of samples, and a grid has none",
                "Pass samples too, or leave it out",
            )
        degree = self._degree
        if not 1 <= degree <= LARGEST_DEGREE:
            raise GridError(
                "grid",
                degree,
                f"is not a degree of a grid, from 1 to {LARGEST_DEGREE}",
                "Use {grid}",
                grid=needed + 1,
            )
        if degree < needed:
            raise GridError(
                "grid",
                degree,
                f"is too coarse to project to degree {self.max_degree}: products "
                f"of two such sectors have degree {needed}",
                "Use {grid}" + (", or {max_degree}" if degree > 1 else ""),
                grid=needed + 1,
                max_degree=degree // 2,
            )
        arguments.check_choice("dtype", self.dtype, DTYPES)
        if self.dtype == "float64" and not jax.config.read("jax_enable_x64"):
            raise ArgumentError(
                "dtype",
                self.dtype,
                "needs the x64 mode of JAX, or it would become float32",
                "Call jax.config.update('jax_enable_x64', True) first",
            )
        arguments.check_fraction("tolerance", self.tolerance)
        if not self.memory > 0:
            raise ArgumentError(
                "memory",
                self.memory,
                "is not a positive amount of memory",
                "Allow 4 GiB, for instance",
            )

    @property
    def over(self) -> Grid | Adaptive | HaarSamples:
        """The grid or samples for :func:`symjax.metrics.measure`.

        Raises:
          ArgumentError: The grid is a string other than ``"auto"``, or there are too
            few samples.

        Example:
          >>> from symjax.runs import Options
          >>> Options(grid="auto").over.limit
          59
        """
        if self.samples is not None:
            return HaarSamples(
                self.samples, self.turn, content_tolerance=self.tolerance
            )
        if self._climbs:
            return Adaptive(on_aliasing="report")
        assert not isinstance(self.grid, str)
        return Grid(self.grid, tolerance=self.tolerance, on_aliasing="report")

    @property
    def _climbs(self) -> bool:
        if isinstance(self.grid, str) and self.grid != AUTO:
            raise ArgumentError(
                "grid",
                self.grid,
                "is neither a degree nor 'auto'",
                "Use {grid}, or 'auto'",
                grid=2 * max(self.max_degree, 0) + 1,
            )
        return self.grid == AUTO

    def check_fixed(self, why: str) -> None:
        """Checks that all structures have the same grid.

        Args:
          why: What needs a fixed grid, for the message.

        Raises:
          ArgumentError: The grid is ``"auto"``.

        Example:
          >>> from symjax.runs import Options
          >>> Options(grid=13).check_fixed("an estimate")
        """
        if self._climbs:
            raise ArgumentError(
                "grid",
                self.grid,
                f"{why} needs a fixed grid",
                "Use {grid}, for instance",
                grid=2 * self.max_degree + 1,
            )
