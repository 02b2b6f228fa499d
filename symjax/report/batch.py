"""Measures many structures into one report; interruptible and resumable."""

import contextlib
import dataclasses
import functools
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase
import jax
import numpy as np
from ase.data import chemical_symbols

import symjax
from symjax.data import (
    periodic_cell,
)
from symjax.errors import ArgumentError, GridError, StructureError, SymjaxError
from symjax.metrics import (
    Adaptive,
    Convergence,
    Estimate,
    Grid,
    LeafMeasurement,
    Measurement,
    Output,
    estimate,
    measure,
)
from symjax.metrics.planning import DEFAULT_MEMORY
from symjax.metrics.streaming import CHECK_SEED
from symjax.models.precision import matmul_precision
from symjax.report import hosts, schema
from symjax.report.folder import (
    REPORT_FILE,
    Journal,
    check_folder,
    clear_folder,
    journal_files,
)
from symjax.report.results import RESULTS_FILE, write_results
from symjax.report.scales import forbidden_samples, spread_of, usable_symmetry
from symjax.report.schema import ReportError, StructureReport
from symjax.report.sources import Source, as_source
from symjax.report.workers import in_processes, on_devices
from symjax.so3.quadrature import LARGEST_DEGREE, quadrature

DTYPES = ("float32", "float64")
AUTO = "auto"
"""The grid that is chosen for each structure by its accuracy."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How to measure; the same for all structures of a report.

    Attributes:
      max_degree: Largest degree L of the projected sectors.
      grid: Degree of the quadrature; None for ``2 * max_degree + 1``, ``"auto"`` to
        climb for each structure until a certificate is reached
        (:class:`symjax.metrics.Adaptive`).
      layers: ``"all"``, ``"none"``, or names or regular expressions with commas.
      dtype: ``"float32"`` or ``"float64"``, which needs JAX's x64 mode.
      tolerance: Change of B above which a response counts as not resolved; not used
        with ``"auto"``.
      memory: Budget in bytes for responses and coefficients.
      symmetry: Whether to use the point group of each structure.
      energy: Name of the target whose derivatives are forces and stress, see
        :func:`symjax.models.pet.choose_energy`.

    Example:
      >>> from symjax.report import Options
      >>> Options(max_degree=8, layers="all").settings().degree
      17
    """

    max_degree: int = 6
    grid: int | str | None = None
    layers: str = "none"
    dtype: str = "float32"
    tolerance: float = 0.05
    memory: int = DEFAULT_MEMORY
    symmetry: bool = False
    energy: str | None = None

    def settings(self) -> schema.Settings:
        """The settings that a report stores, after checking them.

        Returns:
          The settings, with the quadrature rule they stand for.

        Raises:
          ArgumentError: An option has an impossible value.
          GridError: The grid is too coarse for ``max_degree``.

        Example:
          >>> from symjax.report import Options
          >>> Options(max_degree=6).settings().grid
          'icosahedral 14 x 14'
        """
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
        climbs = self._climbs
        degree = needed + 1 if climbs or self.grid is None else self.grid
        assert isinstance(degree, int)
        if degree < 1:
            raise GridError(
                "grid", degree, "is not a degree of a grid", f"Use grid={needed + 1}"
            )
        if degree > LARGEST_DEGREE:
            raise GridError(
                "grid",
                degree,
                f"is beyond degree {LARGEST_DEGREE}, the largest of a grid",
                f"Use grid={needed + 1}",
            )
        if degree < needed:
            remedy = f"Use grid={needed + 1}"
            if degree > 1:
                remedy += f", or max_degree={degree // 2}"
            raise GridError(
                "grid",
                degree,
                f"is too coarse to project to max_degree={self.max_degree}: products "
                f"of two such sectors have degree {needed}",
                remedy,
            )
        if self.dtype not in DTYPES:
            raise ArgumentError(
                "dtype", self.dtype, "is unknown", f"Use one of {', '.join(DTYPES)}"
            )
        if self.dtype == "float64" and not jax.config.read("jax_enable_x64"):
            raise ArgumentError(
                "dtype",
                self.dtype,
                "needs the x64 mode of JAX, or it would become float32",
                "Call jax.config.update('jax_enable_x64', True) first",
            )
        if not 0 < self.tolerance < 1:
            raise ArgumentError(
                "tolerance",
                self.tolerance,
                "is not between 0 and 1",
                "Use for instance 0.05",
            )
        if not self.memory > 0:
            raise ArgumentError(
                "memory",
                self.memory,
                "is not a positive amount of memory",
                "Allow 4 GiB, for instance",
            )
        common: dict[str, Any] = {
            "max_degree": self.max_degree,
            "layers": self.layers,
            "dtype": self.dtype,
            "symmetry": self.symmetry,
            "matmul_precision": matmul_precision(),
        }
        if climbs:
            rule = self.over
            assert isinstance(rule, Adaptive)
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
        fixed = quadrature(degree)
        return schema.Settings(
            grid=fixed.name,
            degree=fixed.degree,
            num_elements=2 * fixed.num_rotations,
            tolerance=self.tolerance,
            seed=CHECK_SEED,
            **common,
        )

    @property
    def over(self) -> Grid | Adaptive:
        """What :func:`symjax.metrics.measure` integrates over.

        Raises:
          ArgumentError: The grid is a text other than ``"auto"``.

        Example:
          >>> from symjax.report import Options
          >>> Options(grid="auto").over.limit
          59
        """
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
                f"Use grid={2 * max(self.max_degree, 0) + 1}, or grid='auto'",
            )
        return self.grid == AUTO

    def check_fixed(self, why: str) -> None:
        """Raises if each structure would have a grid of its own.

        Args:
          why: What needs a fixed one.

        Raises:
          ArgumentError: The grid is ``"auto"``.

        Example:
          >>> from symjax.report import Options
          >>> Options(grid=13).check_fixed("an estimate")
        """
        if self._climbs:
            raise ArgumentError(
                "grid",
                self.grid,
                f"{why} needs a fixed grid",
                f"Use grid={2 * self.max_degree + 1}, for instance",
            )


class Progress(NamedTuple):
    """Where a run stands.

    Attributes:
      label: Structure that is being measured.
      position: Its position among all structures, from 1.
      num_structures: Number of structures.
      done: Group elements evaluated for it.
      num_elements: Group elements to be evaluated for it.
      finished: The structure, once it is finished.
      kept: Whether it was completed by the run that is resumed.

    Example:
      >>> from symjax.report import Progress
      >>> step = Progress("water", 1, 2, done=84, num_elements=168)
      >>> step.done / step.num_elements
      0.5
    """

    label: str
    position: int
    num_structures: int
    done: int
    num_elements: int
    finished: StructureReport | None = None
    kept: bool = False


Watch = Callable[[Progress], None]


def structure_digest(atoms: ase.Atoms) -> str:
    """SHA-256 of all that a model can read of a structure.

    Args:
      atoms: The structure.

    Returns:
      64 hexadecimal digits.

    Example:
      >>> import ase.build
      >>> from symjax.report.batch import structure_digest
      >>> water = ase.build.molecule("H2O")
      >>> moved = water.copy()
      >>> moved.positions += 1e-9
      >>> structure_digest(water) == structure_digest(moved)
      False
    """
    digest = hashlib.sha256()
    for array, dtype in (
        (atoms.numbers, "<i8"),
        (atoms.positions, "<f8"),
        (atoms.cell[:], "<f8"),
        (atoms.pbc, "<i8"),
    ):
        digest.update(np.ascontiguousarray(array, dtype).tobytes())
    for key in ("charge", "spin_multiplicity"):
        digest.update(f"{key} {atoms.info.get(key)}".encode())
    for key in ("total_charge", "multiplicity"):
        if key in atoms.info:
            digest.update(f"{key} {atoms.info[key]}".encode())
    return digest.hexdigest()


def measure_structures(
    model: Any,
    structures: Mapping[str, ase.Atoms],
    options: Options,
    folder: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    jobs: int = 1,
    devices: Sequence[jax.Device] = (),
    unreadable: Mapping[str, SymjaxError] | None = None,
    watch: Watch | None = None,
    command: str = "",
) -> schema.Report:
    """Measures structures and writes ``report.json`` and ``results.h5``.

    Every finished structure is appended to ``structures.jsonl`` at once, so that an
    interrupted run can be resumed. A structure that cannot be measured is recorded
    as failed, and the run goes on.

    Where ``jax.distributed`` has been initialised, each process measures its share:
    call the function in all of them with the same arguments and a folder that all of
    them see. The first process joins the shares and returns the report of all
    structures, the others return that of their share.

    Args:
      model: A PET of ``symjax.models``, or any
        :class:`~symjax.report.sources.Source`.
      structures: The structures by label.
      options: How to measure.
      folder: The output folder.
      resume: Whether to continue the report in it: completed structures are not
        measured again, failed ones are.
      overwrite: Whether to replace a report in it.
      jobs: Number of worker processes, each of which measures one structure at a
        time. A script that asks for more than one needs ``if __name__ ==
        "__main__":`` about what it does.
      devices: Devices that measure one structure each at a time; by default JAX's
        default device.
      unreadable: Errors by label of what could not be read as structures; recorded
        as failed.
      watch: Called with the progress.
      command: What was typed to measure them, for the report.

    Returns:
      The report.

    Raises:
      SymjaxError: An option is impossible, the folder cannot be used, or the only
        structure cannot be measured. Then nothing is left behind. Or a worker process
        has died.

    Example:
      >>> import ase.build
      >>> from symjax.report import Options, measure_structures
      >>> measure_structures(None, {}, Options(max_degree=-1), "out")
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: max_degree=-1: is not a degree. Pass an integer...
    """
    folder = Path(folder)
    settings = options.settings()
    check_folder(folder, resume=resume, overwrite=overwrite)
    _check_workers(jobs, devices)
    source = as_source(model)
    errors = dict(unreadable or {})
    labels = [*structures, *errors]
    if not labels:
        raise StructureError(
            "structures", {}, "there is none to measure", "Pass one structure or more"
        )
    shapes, unusable = source.shapes(structures)
    errors |= unusable
    if len(labels) == 1 and errors:
        raise next(iter(errors.values()))
    # A selection that no structure can satisfy is refused before anything is written.
    source.check_layers(options.layers)
    settings = dataclasses.replace(settings, energy=source.energy(options.energy))

    software = schema.Software(
        symjax.__version__, jax.__version__, jax.default_backend()
    )
    info = schema.ModelInfo(source.name, source.digest)
    part, parts = hosts.process()
    _prepare_together(folder, part, resume)
    share = labels[part::parts]
    # The first process takes the folder, and removes what a killed run has left in it,
    # before the others write.
    if part > 0:
        hosts.meet("taken")
    with Journal(
        folder,
        software,
        info,
        settings,
        resume=resume,
        overwrite=overwrite,
        part=part if parts > 1 else None,
    ) as journal:
        if part == 0:
            hosts.meet("taken")
        _check_completed(journal, structures)
        count = _Count(journal, len(share), settings.num_elements, watch)
        for label in share:
            if label in journal.completed:
                count.finish(journal.completed[label], kept=True)
        rest = [label for label in share if label not in journal.completed]
        for label in [label for label in rest if label in errors]:
            count.finish(_failed(label, structures.get(label), errors[label]))
        items = [
            (label, structures[label], shapes[label])
            for label in rest
            if label not in errors
        ]
        _measure_all(
            *(source, options, items, count),
            jobs=jobs,
            devices=devices,
            alone=len(labels) == 1,
        )
        # Read now: the first process joins the journals as soon as all are finished.
        own = tuple(journal.structures(share)) if part > 0 else ()
        if parts > 1:
            hosts.finish(folder)
        if part > 0:
            return schema.Report(software, info, settings, own, command)
        if len(journal_files(folder)) > 1:
            journal.join(labels)
        results = journal.structures(labels)
    report = schema.Report(software, info, settings, results, command)
    schema.write_report(report, folder / REPORT_FILE)
    write_results(report, folder / RESULTS_FILE)
    return report


def _measure_all(
    source: Source,
    options: Options,
    items: list[tuple[str, ase.Atoms, Any]],
    count: "_Count",
    *,
    jobs: int,
    devices: Sequence[jax.Device],
    alone: bool,
) -> None:
    """Measures structures, one after another or several at once."""
    if len(items) > 1 and max(jobs, len(devices)) > 1:
        task = functools.partial(_measured_or_failed, source, options)
        finished = (
            in_processes(task, items, jobs, functools.partial(_lost, jobs))
            if jobs > 1
            else on_devices(task, items, devices)
        )
        with contextlib.closing(finished):
            for result in finished:
                count.finish(result)
        return
    here = jax.default_device(devices[0]) if devices else contextlib.nullcontext()
    with here:
        for label, atoms, shape in items:
            where = count.start(label)
            try:
                result = _measure_one(
                    *(source, options, label, atoms, shape, where, count.watch)
                )
            except EXPECTED_ERRORS as error:
                reason = as_symjax_error(error, options)
                if alone:
                    count.journal.discard()
                if alone or reason is None:
                    raise (reason or error) from error
                result = _failed(label, atoms, reason)
            count.finish(result)


def _check_workers(jobs: int, devices: Sequence[jax.Device]) -> None:
    if jobs < 1:
        raise ArgumentError(
            "jobs", jobs, "is not a number of processes", "Pass 1 or more"
        )
    if jobs > 1 and len(devices) > 1:
        raise ArgumentError(
            "jobs",
            jobs,
            "cannot be combined with several devices: processes do not share them",
            "Use jobs on a machine without accelerators, devices on one with several",
        )


def _prepare_together(folder: Path, part: int, resume: bool) -> None:
    """Clears the folder if several processes are about to write into it."""
    # No process changes the folder before all have checked it.
    hosts.meet("checked")
    if part == 0 and hosts.process() != (0, 1):
        if not resume:
            clear_folder(folder)
        hosts.remove_marks(folder)
    hosts.meet("cleared")


class _Count:
    """Puts structures into the journal as they are finished, and counts them."""

    def __init__(
        self, journal: Journal, total: int, num_elements: int, watch: Watch | None
    ):
        self.journal, self.watch = journal, watch
        self._total, self._num_elements = total, num_elements
        self._finished = 0

    def start(self, label: str) -> Progress:
        where = Progress(label, self._finished + 1, self._total, 0, self._num_elements)
        if self.watch is not None:
            self.watch(where)
        return where

    def finish(self, result: StructureReport, kept: bool = False) -> None:
        if not kept:
            self.journal.append(result)
        self._finished += 1
        if self.watch is not None:
            elements = self._num_elements
            self.watch(
                Progress(
                    *(result.label, self._finished, self._total, elements, elements),
                    finished=result,
                    kept=kept,
                )
            )


def estimate_structures(
    model: Any, structures: Mapping[str, ase.Atoms], options: Options
) -> Iterator[tuple[str, Estimate | SymjaxError]]:
    """What :func:`measure_structures` will cost, without measuring anything.

    Args:
      model: A PET of ``symjax.models``, or any
        :class:`~symjax.report.sources.Source`.
      structures: The structures by label.
      options: How to measure; symmetry would need fewer evaluations.

    Yields:
      For each structure its label and the estimate, or the error where it cannot be
      measured.

    Raises:
      SymjaxError: An option is impossible.

    Example:
      >>> import ase.build
      >>> from symjax.models import load_model
      >>> from symjax.report import Options, estimate_structures
      >>> water = {"water": ase.build.molecule("H2O")}
      >>> options = Options(max_degree=1)
      >>> (label, cost), = estimate_structures(
      ...     load_model("pet-ethanol"), water, options)
      >>> label, cost.num_elements
      ('water', 48)
    """
    options.settings()
    options.check_fixed("an estimate")
    source = as_source(model)
    shapes, errors = source.shapes(structures)
    for label, atoms in structures.items():
        if label in errors:
            yield label, errors[label]
            continue
        problem = source.problem(atoms, shapes[label], options)
        yield (
            label,
            estimate(
                problem,
                over=options.over,  # type: ignore[arg-type]
                max_degree=options.max_degree,
                memory=options.memory,
            ),
        )


def _check_completed(journal: Journal, structures: Mapping[str, ase.Atoms]) -> None:
    """Completed structures must be among those asked for, and unchanged."""
    for label, done in journal.completed.items():
        if label not in structures:
            raise ReportError(
                "structures",
                label,
                f"is in {str(journal.path)!r} but not among the structures of this run",
                "Resume with the same file and frames, or more of them; or pass "
                "--overwrite to start again",
            )
        if done.digest != structure_digest(structures[label]):
            raise ReportError(
                "structures",
                label,
                f"has changed since it was measured for {str(journal.path)!r}",
                "Restore the structure, or pass --overwrite to start again",
            )


EXPECTED_ERRORS = (SymjaxError, MemoryError, jax.errors.JaxRuntimeError)
"""Errors of one structure, which do not end the run unless they show a bug."""


def _measured_or_failed(
    source: Source, options: Options, label: str, atoms: ase.Atoms, shape: Any
) -> StructureReport:
    """What a worker does."""
    try:
        return _measure_one(source, options, label, atoms, shape)
    except EXPECTED_ERRORS as error:
        reason = as_symjax_error(error, options)
        if reason is None:
            raise
        return _failed(label, atoms, reason)


def _measure_one(
    source: Source,
    options: Options,
    label: str,
    atoms: ase.Atoms,
    shape: Any,
    where: Progress | None = None,
    watch: Watch | None = None,
) -> StructureReport:
    def progress(done: int, total: int) -> None:
        if watch is not None and where is not None:
            watch(where._replace(done=done, num_elements=total))

    start = time.perf_counter()
    with _compile_seconds() as compile_seconds:
        problem = source.problem(atoms, shape, options)
        measurement = measure(
            problem,
            over=options.over,
            max_degree=options.max_degree,
            memory=options.memory,
            progress=progress,
        )
    elapsed = time.perf_counter() - start
    compiling = min(compile_seconds(), elapsed)
    return StructureReport(
        label=label,
        formula=atoms.get_chemical_formula(),
        num_atoms=len(atoms),
        digest=structure_digest(atoms),
        leaves=leaves_of(measurement, problem.outputs, chemical_symbols, atoms),
        timing=schema.Timing(compiling, elapsed - compiling),
        point_group=problem.symmetry.name if problem.symmetry else "",
        num_elements=measurement.num_elements,
        grid=measurement.grid if options.grid == AUTO else "",
        atoms=atom_errors(measurement, problem.outputs, atoms),
    )


def as_symjax_error(error: Exception, options: Options) -> SymjaxError | None:
    """The error with a remedy; None if the input is not to blame.

    Args:
      error: One of :data:`EXPECTED_ERRORS`.
      options: How it was measured.

    Returns:
      The error.

    Example:
      >>> from symjax.report.batch import Options, as_symjax_error
      >>> as_symjax_error(MemoryError(), Options()).argument
      'memory'
    """
    if isinstance(error, SymjaxError):
        return error
    text = str(error)
    spent = re.search("RESOURCE_EXHAUSTED|out of memory|bad_alloc", text, re.IGNORECASE)
    if isinstance(error, MemoryError) or spent:
        first = (text.splitlines() or ["no details"])[0]
        return ArgumentError(
            "memory",
            options.memory,
            f"the machine has less memory than was needed ({first})",
            "Lower memory, measure fewer layers or a smaller structure",
        )
    return None


def _lost(jobs: int, label: str, atoms: ase.Atoms, shape: Any) -> StructureReport:
    """A structure that ends the process which measures it, also alone."""
    error = ArgumentError(
        "jobs",
        jobs,
        "the process that measured this structure died, and died again when it "
        "measured nothing else; the system may have ended it for want of memory",
        "Lower memory, measure fewer layers or a smaller structure",
    )
    return _failed(label, atoms, error)


def _failed(label: str, atoms: ase.Atoms | None, error: SymjaxError) -> StructureReport:
    """A structure that cannot be measured; without atoms if it could not be read."""
    return StructureReport(
        label=label,
        formula="" if atoms is None else atoms.get_chemical_formula(),
        num_atoms=0 if atoms is None else len(atoms),
        digest="" if atoms is None else structure_digest(atoms),
        failure=schema.Failure(type(error).__name__, str(error)),
    )


def leaves_of(
    measurement: Measurement,
    outputs: Mapping[str, Output],
    names: Sequence[str],
    atoms: ase.Atoms | None = None,
) -> tuple[schema.Leaf, ...]:
    """What a report stores of a measurement.

    Args:
      measurement: The measurement.
      outputs: What is known about each output.
      names: Names of what ``samples`` number: elements, or classes of points.
      atoms: The structure; None for events.

    Returns:
      The leaves with additive totals, in the order of ``outputs``: JAX sorts the
      outputs of a function by name, a report keeps the order of the network.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from ase.data import chemical_symbols
      >>> from symjax.metrics import Grid, Output, Problem, measure
      >>> from symjax.report.batch import leaves_of
      >>> from symjax.so3 import VECTOR
      >>> outputs = {"output": Output(VECTOR, "eV/A", samples=np.array([8, 1, 1]))}
      >>> problem = Problem(lambda x: x, jnp.eye(3), outputs)
      >>> result = measure(problem, over=Grid(3), max_degree=1)
      >>> leaf, = leaves_of(result, outputs, chemical_symbols)
      >>> leaf.unit, {symbol: float(t.count[0]) for symbol, t in leaf.species.items()}
      ('eV/A', {'H': 6.0, 'O': 3.0})
    """
    symmetry = None if atoms is None else usable_symmetry(atoms)
    return tuple(
        schema.Leaf(
            name=name,
            kind=output.kind,
            unit=output.unit,
            representation=str(leaf.representation),
            irreps=tuple(str(irrep) for irrep in leaf.representation.irreps),
            channels=leaf.channels,
            totals=leaf.totals(),
            species=(
                {} if output.kind == "edge" else _by_sample(leaf, output.samples, names)
            ),
            convergence=_verdict(leaf),
            coarser=leaf.coarser,
            certificate=leaf.certificate,
            spread=(
                spread_of(leaf, output.unit, 0 if atoms is None else len(atoms))
                if output.kind == "output"
                else None
            ),
            forbidden=(
                ()
                if atoms is None or symmetry is None
                else forbidden_samples(leaf, output, symmetry, atoms.numbers)
            ),
        )
        for name, output in outputs.items()
        if (leaf := measurement.get(name)) is not None
    )


def _verdict(leaf: LeafMeasurement) -> Convergence | None:
    """The verdict; of a climb, whether its result is certified."""
    certificate, verdict = leaf.certificate, leaf.convergence
    if certificate is None or verdict is None:
        return verdict
    return dataclasses.replace(
        verdict,
        resolved=certificate.certified,
        degree_to_try=certificate.degree_to_try,
        reason=certificate.reason,
    )


def atom_errors(
    measurement: Measurement, outputs: Mapping[str, Output], atoms: ase.Atoms
) -> schema.AtomErrors:
    """The equivariance error of every atom, A_i = sqrt(V_i / number of components).

    Args:
      measurement: The measurement.
      outputs: What is known about each output.
      atoms: The structure; its atoms are the first samples.

    Returns:
      Errors of the outputs of atoms, with the positions of the atoms.

    Example:
      >>> import ase.build
      >>> from symjax.metrics import Grid, Output, Problem, measure
      >>> from symjax.report.batch import atom_errors
      >>> from symjax.so3 import VECTOR
      >>> water = ase.build.molecule("H2O")
      >>> outputs = {"output": Output(VECTOR, samples=water.numbers)}
      >>> problem = Problem(lambda x: x, water.positions, outputs)
      >>> result = measure(problem, over=Grid(3), max_degree=1)
      >>> bool((atom_errors(result, outputs, water).errors["output"] < 1e-6).all())
      True
    """
    errors = {}
    for name, output in outputs.items():
        if output.kind != "output" or output.samples is None or name not in measurement:
            continue
        leaf = measurement[name]
        count = leaf.representation.dimension * leaf.channels
        variance = leaf.variance[: len(atoms)].sum(axis=-1)
        errors[name] = np.sqrt(np.maximum(variance, 0) / count)
    return schema.AtomErrors(
        tuple(atoms.numbers.tolist()),
        atoms.positions.astype(float),
        periodic_cell(atoms),
        errors,
    )


def _by_sample(
    leaf: LeafMeasurement, samples: np.ndarray | None, names: Sequence[str]
) -> dict[str, Any]:
    """Totals of the samples of each kind; negative numbers stand for none."""
    if samples is None:
        return {}
    samples = np.broadcast_to(samples, leaf.mask.shape)
    present = [number for number in np.unique(samples[leaf.mask]) if number >= 0]
    return {names[number]: leaf.totals(samples == number) for number in present}


@contextlib.contextmanager
def _compile_seconds() -> Iterator[Callable[[], float]]:
    """Measures the time that JAX spends on tracing and compiling.

    Events of nested functions overlap; what counts is the union of their intervals.
    """
    intervals: list[tuple[float, float]] = []
    active = True
    # Other threads may measure other structures.
    thread = threading.get_ident()

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        here = active and threading.get_ident() == thread
        if here and "/compile/" in event:
            now = time.perf_counter()
            intervals.append((now - duration_secs, now))

    def union() -> float:
        total, end = 0.0, float("-inf")
        for first, last in sorted(intervals):
            total += max(last - max(first, end), 0.0)
            end = max(end, last)
        return total

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield union
    finally:
        active = False
        # Older releases of JAX cannot take a listener back; it stays idle there.
        remove = getattr(jax.monitoring, "unregister_event_duration_listener", None)
        if remove is not None:
            remove(listen)
