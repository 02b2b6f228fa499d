"""The options of ``symjax report``, by group."""

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from symjax.cli.application import options_as_typed, refuse_typed
from symjax.cli.groups import Group
from symjax.cli.options import Dtype, Overwrite, Reach
from symjax.errors import ArgumentError

if TYPE_CHECKING:
    import ase

    from symjax.metrics import Groups


class FigureFormat(enum.StrEnum):
    """File formats of figures; typer takes no list of literals."""

    PNG = "png"
    SVG = "svg"
    PDF = "pdf"


class Resolution(Group, panel="Resolution"):
    """The elements of O(3) at which a model is evaluated."""

    max_degree: Annotated[
        int,
        typer.Option(
            metavar="L", help="Largest degree of the irreps in the symmetry content."
        ),
    ] = 6
    grid: Annotated[
        str | None,
        typer.Option(
            metavar="DEGREE|auto",
            help="Degree of the quadrature over O(3), at least 2 L. The number of "
            "evaluations is about 2/3 (DEGREE + 1)^3. With auto, the degree grows for "
            "each structure until each content is certified to 0.001 and each error to "
            "1 %. Default: 2 L + 1.",
            show_default=False,
        ),
    ] = None
    samples: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Instead of a grid, N random rotations for each structure, each "
            "paired with its product with the inversion: 2 N evaluations. Numbers get "
            "uncertainties. Default with --calculator: 32.",
            show_default=False,
        ),
    ] = None
    turn: Annotated[
        str,
        typer.Option(
            metavar="GROUP",
            help="With --survey or --samples: rotations that share one random "
            "rotation: C1 for independent rotations, a group such as D2 or T, or "
            "'fibonacci 8'.",
        ),
    ] = "C1"
    symmetry: Annotated[
        bool,
        typer.Option(
            "--symmetry/--no-symmetry",
            help="Whether to use the point group of each structure: equivalent "
            "orientations are evaluated once, after a check that the model gives the "
            "same result for them.",
        ),
    ] = False
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="FRACTION",
            help="Change of the content between nested grids above which a response "
            "counts as not resolved.",
        ),
    ] = 0.05

    def degree(self, context: typer.Context) -> int | str | None:
        """The degree of the grid, ``"auto"``, or None for the default.

        Raises:
          ArgumentError: It is neither a degree nor ``"auto"``, or ``--tolerance`` is
            given with ``--grid auto``.
        """
        if self.grid is None:
            return None
        if self.grid != "auto":
            try:
                return int(self.grid)
            except ValueError:
                raise ArgumentError(
                    "--grid",
                    self.grid,
                    "is neither a degree nor 'auto'",
                    "Pass --grid 13, for instance, or --grid auto",
                ) from None
        problem = "is for a fixed grid; --grid auto certifies each content to 0.001"
        remedy = "Leave out --tolerance, or pass a degree to --grid"
        refuse_typed(context, ["tolerance"], problem, remedy)
        return self.grid


class Measured(Group, panel="What is measured"):
    """What is measured besides the outputs, and in which precision."""

    layers: Annotated[
        str,
        typer.Option(
            metavar="all|none|PATTERN",
            help="Layers to measure as well: all, none, or names or regular "
            "expressions separated by commas.",
        ),
    ] = "none"
    laws: Annotated[
        bool,
        typer.Option(
            "--laws/--no-laws",
            help="Whether to check other laws of nature, with a few dozen evaluations "
            "of the smallest structure of each periodicity: translation, permutation "
            "of like atoms, other cells, and whether forces are minus the gradient of "
            "the energy.",
        ),
    ] = True
    dtype: Annotated[
        Dtype, typer.Option(help="Floating-point type in which the model runs.")
    ] = "float32"


class EventOptions(Group, panel="Events"):
    """Which points of events are read."""

    energy_threshold: Annotated[
        float | None,
        typer.Option(
            metavar="MEV",
            help="Points of at most this energy are dropped; 0 keeps all. Default: as "
            "the model was trained, 0.13 if it does not say.",
            show_default=False,
        ),
    ] = None
    low_energy: Annotated[
        Literal["label", "first-cluster", "keep"] | None,
        typer.Option(
            help="Which scattered low-energy deposits are dropped. Default: as the "
            "model was trained, label if it does not say.",
            show_default=False,
        ),
    ] = None

    def apply(self, model: Any, events: bool) -> Any:
        """The model with these rules for the points that it reads.

        Raises:
          ArgumentError: The model has no such rules, or a value is invalid.
        """
        changes: dict[str, Any] = {}
        if self.energy_threshold is not None:
            changes["energy_threshold"] = self.energy_threshold
        if self.low_energy is not None:
            changes["low_energy"] = self.low_energy.replace("-", " ")
        if not changes:
            return model
        problem = ""
        if not events:
            problem = "is for events, and these are structures"
        elif not hasattr(model, "config"):
            problem = f"is for networks of symjax, and {model.name} reads all points"
        if problem:
            name, value = next(iter(changes.items()))
            option = f"--{name.replace('_', '-')}"
            raise ArgumentError(option, value, problem, "Leave it out")
        with options_as_typed({"energy_threshold": "--energy-threshold"}):
            config = dataclasses.replace(model.config, **changes)
        return dataclasses.replace(model, config=config)


class SurveyOptions(Group, panel="Survey"):
    """Averages over many structures, with few elements for each."""

    survey: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Instead of resolving each structure, averages over all, with "
            "intervals, from N random elements of O(3) for each, such as 16.",
            show_default=False,
        ),
    ] = None
    until: Annotated[
        str | None,
        typer.Option(
            metavar="FRACTION",
            help="With --survey: stop when A of every output is known to this "
            "fraction, such as 1% (half of the 95 % interval). Default: visit all "
            "structures once.",
            show_default=False,
        ),
    ] = None
    of: Annotated[
        Literal["data", "population"],
        typer.Option(
            help="With --survey: whether --until is for this data set, or for the "
            "population that it was drawn from."
        ),
    ] = "data"
    strata: Annotated[
        Literal["formula", "size"] | None,
        typer.Option(
            help="With --survey and --until: draw structures in proportion to the "
            "numbers of each formula or size, so that fewer are needed.",
            show_default=False,
        ),
    ] = None
    chemiscope: Annotated[
        bool,
        typer.Option(
            "--chemiscope",
            help="With --survey: also write survey.chemiscope.json.gz, with A by "
            "structure and by atom, for the viewer chemiscope. Needs the extra "
            "[chemiscope].",
        ),
    ] = False

    def groups(self, structures: "Mapping[str, ase.Atoms]") -> "Groups | None":
        """The stratum of every structure; None if there are no strata."""
        if self.strata is None:
            return None
        from ase import Atoms

        from symjax.metrics import Groups

        of: Any = len if self.strata == "size" else Atoms.get_chemical_formula
        return Groups({label: of(atoms) for label, atoms in structures.items()})


class Written(Group, panel="Output"):
    """What is written, and where."""

    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Folder to write the report into."
        ),
    ] = Path("report")
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted run in FOLDER: completed structures are "
            "kept, failed structures are tried again.",
        ),
    ] = False
    overwrite: Overwrite = False
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Whether to draw figures.")
    ] = True
    page: Annotated[
        bool,
        typer.Option("--html/--no-html", help="Whether to write report.html."),
    ] = True
    figure_format: Annotated[
        list[FigureFormat] | None,
        typer.Option(
            help="Format of the figures; may be given several times. Default: png.",
            show_default=False,
        ),
    ] = None


class Cost(Group, panel="Cost"):
    """Time and memory, and the machines that are used."""

    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Only print how many evaluations, how much time and how much memory "
            "each structure will take; measure and write nothing.",
        ),
    ] = False
    memory: Annotated[
        float,
        typer.Option(
            metavar="GIB",
            help="Budget in GiB for responses and coefficients. With less, layers "
            "are measured in several passes.",
        ),
    ] = 4.0
    jobs: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Number of processes that measure structures in parallel on the cores "
            "of this machine.",
        ),
    ] = 1
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="N|all",
            help="Number of accelerators of this machine that measure structures in "
            "parallel, or all of them. Default: 1.",
            show_default=False,
        ),
    ] = None
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address of a scheduler of the package distributed, such as "
            "tcp://node1:8786, whose workers measure the structures; they may come and "
            "go. Needs the extra [scheduler].",
            show_default=False,
        ),
    ] = None

    def check(self, context: typer.Context) -> None:
        """Raises ArgumentError for an invalid memory, or options beside --scheduler."""
        # Not "<= 0": NaN must not pass; nor infinity, which is no number of bytes.
        if not 0 < self.memory < 2**30:
            raise ArgumentError(
                "--memory",
                self.memory,
                "is not a positive number of GiB",
                "Pass 2, for instance",
            )
        if self.scheduler is not None:
            problem = "is for this machine, not for the workers of --scheduler"
            options = ("jobs", "devices", "estimate")
            refuse_typed(context, options, problem, "Pass one of them")


class Limits(Group, panel="Limits"):
    """Limits on errors."""

    fail_above: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME=VALUE UNIT'",
            help="End with exit code 5 if A of an output over all structures is above "
            "a value, such as 'energy=1 meV'; may be given several times.",
            show_default=False,
        ),
    ] = None
    reach: Reach = None
