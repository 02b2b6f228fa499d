"""Surveys many structures into one folder; can be interrupted and resumed.

Structures are visited in a random order, in blocks. While one block is evaluated, the
edges of the next are found in a thread. Each pack of structures that are evaluated
together becomes one line of ``survey.jsonl``. A resumed survey evaluates the same packs
as an uninterrupted one, and its results are identical.
"""

import concurrent.futures
import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase
import jax

import symjax
from symjax._files import held
from symjax._signals import interruptions
from symjax.data.digests import structure_digest
from symjax.errors import StructureError, SymjaxError
from symjax.metrics.gathering import pool
from symjax.metrics.groups import Groups
from symjax.metrics.packs import (
    Pack,
    free_threads,
    in_order,
    measure_pack,
    pack_of,
)
from symjax.metrics.pooling import Sampled
from symjax.metrics.problem import Output
from symjax.metrics.survey import Survey, survey
from symjax.models.pet.packing import Packing
from symjax.models.pet.source import PETSource
from symjax.models.precision import matmul_precision
from symjax.report import schema, storage
from symjax.report.files import (
    SURVEY_CHEMISCOPE,
    SURVEY_CSV,
    SURVEY_FILE,
    SURVEY_HTML,
    SURVEY_JOURNAL,
    SURVEY_TEXT,
)
from symjax.report.survey_page import survey_html
from symjax.report.survey_tables import survey_text
from symjax.report.survey_text import (
    Described,
    SurveyReport,
    candidates,
    survey_csv,
)
from symjax.runs.folder import Destination, RunFiles, check_folder, clear_folder
from symjax.runs.options import Options
from symjax.runs.run import EXPECTED_ERRORS
from symjax.runs.sources import Source, as_source
from symjax.runs.survey_journal import SURVEY_SCHEMA, SurveyJournal

SURVEY_FILES = RunFiles(
    "survey",
    SURVEY_JOURNAL,
    (SURVEY_FILE, SURVEY_CSV, SURVEY_TEXT, SURVEY_HTML, SURVEY_CHEMISCOPE),
)

# Number of structures in a block.
STRUCTURES_PER_BLOCK = 512
# Number of the round in which the worst structures are measured again.
_AGAIN = 10_000


class SurveyProgress(NamedTuple):
    """Progress of a survey.

    Attributes:
      visited: Number of structures that were evaluated, or failed, in this round.
      total: Number of structures in the data set.
      number: Number of the round.
    """

    visited: int
    total: int
    number: int


def survey_structures(
    model: Any,
    structures: Mapping[str, ase.Atoms],
    over: Survey,
    into: Destination | str | Path,
    *,
    options: Options | None = None,
    unreadable: Mapping[str, SymjaxError] | None = None,
    groups: Groups | None = None,
    watch: Callable[[SurveyProgress], None] | None = None,
) -> SurveyReport:
    """Surveys structures and writes ``survey.json``, ``.csv``, ``.txt`` and ``.html``.

    Args:
      model: A PET of ``symjax.models``, which evaluates several structures together; or
        any :class:`~symjax.runs.Source`, which evaluates them one after another.
      structures: Structures by label.
      over: Number of elements for each structure, and when to stop.
      into: The output folder, without an earlier survey; or a :class:`Destination`,
        which says whether to resume or replace one.
      options: Largest degree, layers, precision and energy; other options are not used.
      unreadable: Errors by label of structures that could not be read.
      groups: Strata and clusters of the structures.
      watch: Function that is called with the progress.

    Returns:
      The report, whose files have been written.

    Raises:
      SymjaxError: An option is impossible, the folder cannot be used, or no structure
        can be measured.

    Example:
      >>> import tempfile
      >>> import ase.build
      >>> from symjax.interop.foreign_sources import CalculatorSource
      >>> from symjax.metrics import Survey
      >>> from symjax.runs import survey_structures
      >>> molecules = {name: ase.build.molecule(name) for name in ("H2O", "CH4")}
      >>> source = CalculatorSource("ase.calculators.emt:EMT")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     report = survey_structures(source, molecules, Survey(8), f"{folder}/out")
      >>> report.pool.error("forces").value < 1e-6
      True
    """
    into = Destination.of(into)
    folder = into.path
    options = Options() if options is None else options
    options.settings()
    source = as_source(model)
    source.settings(options)
    failed = {label: str(error) for label, error in (unreadable or {}).items()}
    if not structures:
        raise StructureError(
            "structures", {}, "there is none to measure", "Pass one structure or more"
        )
    check_folder(into, SURVEY_FILES)
    labels = list(structures)
    packing: Packing | OneByOne = OneByOne(source, options)
    if isinstance(source, PETSource):
        packing = Packing(
            *(source.model, over.num, options.layers, options.energy, options.dtype),
            num_atoms=sum(map(len, structures.values())),
        )
    head = _head(source, structures, over, options, groups)
    with contextlib.ExitStack() as stack:
        stack.enter_context(held(folder, "output"))
        if not into.resume:
            clear_folder(folder, SURVEY_FILES)
        journal = SurveyJournal(folder / SURVEY_JOURNAL, head, resume=into.resume)
        stack.enter_context(journal)
        visits = _Visits(packing, structures, labels, over, options, journal, watch)
        visits.failed.update(failed)
        found = survey(labels, visits, over, visits.outputs, groups, folder)
        chosen = candidates(found.pool, visits.outputs)
        fresh = None
        if chosen:
            index = {label: position for position, label in enumerate(labels)}
            positions = [index[label] for label in chosen]
            again = [item for some in visits(positions, _AGAIN) for item in some]
            fresh = pool(again) if again else None
    report = SurveyReport(
        software=schema.Software(
            symjax.__version__, jax.__version__, jax.default_backend()
        ),
        model=schema.ModelInfo(source.name, source.digest, source.note),
        found=found,
        outputs=visits.outputs,
        structures={
            label: _described(structures[label]) for label in found.pool.labels
        },
        failed=visits.failed,
        total=len(labels) + len(failed),
        max_degree=options.max_degree,
        fresh=fresh,
        command=into.command,
    )
    for name, text in (
        (SURVEY_FILE, storage.dumps(storage.plain(report.file)) + "\n"),
        (SURVEY_CSV, survey_csv(report)),
        (SURVEY_TEXT, survey_text(report)),
        (SURVEY_HTML, survey_html(report)),
    ):
        storage.write_atomically(
            folder / name,
            functools.partial(Path.write_text, data=text, encoding="utf-8"),
        )
    return report


def _described(atoms: ase.Atoms) -> Described:
    return Described(
        *(atoms.get_chemical_formula(), atoms.numbers.copy(), atoms.positions.copy()),
        *(atoms.cell.array.copy(), atoms.pbc.copy()),
    )


def _head(
    source: Source,
    structures: Mapping[str, ase.Atoms],
    over: Survey,
    options: Options,
    groups: Groups | None,
) -> dict[str, Any]:
    """What must agree when a survey is resumed."""
    strata = None if groups is None else groups.strata
    return {
        "schema": SURVEY_SCHEMA,
        "software": [symjax.__version__, jax.__version__, jax.default_backend()],
        "model": source.digest,
        # When it stops may change, but not what was measured.
        "survey": [over.num, over.turn, over.seed, over.minimum, over.until is None],
        "max_degree": options.max_degree,
        "layers": options.layers,
        "dtype": options.dtype,
        "matmul_precision": matmul_precision(),
        "energy": options.energy,
        "structures": _digest(
            {label: structure_digest(atoms) for label, atoms in structures.items()}
        ),
        "strata": None if strata is None else _digest(strata),
    }


def _digest(by_label: Mapping[str, object]) -> str:
    text = "".join(f"{label} {own}\n" for label, own in by_label.items())
    return hashlib.sha256(text.encode()).hexdigest()


class Single(NamedTuple):
    """A structure, as prepared by a source that evaluates one at a time."""

    label: str
    item: Any
    size: Any
    num_atoms: int


class OneByOne:
    """Packs of a single structure each, for any source."""

    def __init__(self, source: Source, options: Options):
        self._source, self._options = source, options

    def item(self, label: str, atoms: ase.Atoms) -> Single:
        """Prepares a structure.

        Raises:
          SymjaxError: It cannot be used.
        """
        sizes, errors = self._source.sizes({label: atoms})
        if label in errors:
            raise errors[label]
        item, size = self._source.prepare(label, atoms, sizes[label])
        return Single(label, item, size, len(atoms))

    def join(self, items: Sequence[Single]) -> list[list[Single]]:
        """One pack for each structure."""
        return [[item] for item in items]

    def pack(self, items: Sequence[Single]) -> Pack:
        """The problem of a structure."""
        (one,) = items
        problem = self._source.problem(one.item, one.size, self._options)
        return pack_of(one.label, problem)._replace(sizes=(one.num_atoms,))


class _Measured(NamedTuple):
    """Results of the structures of a pack."""

    packs: list[list[Sampled]]
    outputs: dict[str, Output]
    failed: dict[str, str]


class _Visits:
    """Evaluates structures block by block, or reads them from the journal."""

    def __init__(
        self,
        packing: "Packing | OneByOne",
        structures: Mapping[str, ase.Atoms],
        labels: Sequence[str],
        over: Survey,
        options: Options,
        journal: "SurveyJournal",
        watch: Callable[[SurveyProgress], None] | None,
    ):
        self.outputs: dict[str, Output] = {}
        self.failed: dict[str, str] = {}
        self._packing, self._structures, self._labels = packing, structures, labels
        self._over, self._options = over, options
        self._journal, self._watch = journal, watch
        self._visited, self._number = 0, 0
        # Functions of other sources may not be thread-safe.
        self._threads = free_threads() if isinstance(packing, Packing) else 1

    def __call__(
        self, indices: Sequence[int], number: int
    ) -> Iterator[Sequence[Sampled]]:
        """Yields the structures of a round, pack by pack."""
        if number != self._number:
            self._visited, self._number = 0, number
        size = STRUCTURES_PER_BLOCK
        blocks = [indices[i : i + size] for i in range(0, len(indices), size)]
        with concurrent.futures.ThreadPoolExecutor(1) as ahead:
            waiting = [ahead.submit(self._prepare, block) for block in blocks[:1]]
            for following in [*blocks[1:], None]:
                groups, errors = waiting.pop().result()
                if following is not None:
                    waiting.append(ahead.submit(self._prepare, following))
                self.failed.update(errors)
                self._tell(len(errors))
                yield from self._block(groups, number)

    def _prepare(self, block: Sequence[int]) -> tuple[list[Any], dict[str, str]]:
        """Finds edges, and divides structures into packs."""
        items: list[Any] = []
        errors = {}
        for index in block:
            label = self._labels[index]
            try:
                items.append(self._packing.item(label, self._structures[label]))
            except SymjaxError as error:
                errors[label] = str(error)
        return self._packing.join(items), errors

    def _block(self, groups: Sequence[Any], number: int) -> Iterator[Sequence[Sampled]]:
        missing = []
        for group in groups:
            labels = tuple(item.label for item in group)
            known = self._journal.find(number, labels)
            if known is None:
                missing.append(group)
                continue
            names = {name for item in known for name, _ in item.sums}
            if not names <= set(self.outputs):
                self.outputs.update(self._packing.pack(group).outputs)
            self._tell(len(known))
            yield known
        measured = functools.partial(self._measured, number=number)
        for packs, outputs, failed in in_order(measured, missing, self._threads):
            self.outputs.update(outputs)
            self.failed.update(failed)
            self._tell(len(failed))
            for items in packs:
                self._journal.append(number, items)
                self._tell(len(items))
                yield items

    def _measured(self, group: Any, number: int) -> _Measured:
        """Measures a pack; called in threads, so it changes no attributes."""
        try:
            pack = self._packing.pack(group)
            degree = self._options.max_degree
            with interruptions():
                items = measure_pack(pack, self._over, degree, number)
            return _Measured([items], dict(pack.outputs), {})
        except EXPECTED_ERRORS as error:
            if len(group) == 1:
                return _Measured([], {}, {group[0].label: str(error)})
        # One of them fails: each is measured on its own.
        found = _Measured([], {}, {})
        for item in group:
            packs, outputs, failed = self._measured([item], number)
            found.packs.extend(packs)
            found.outputs.update(outputs)
            found.failed.update(failed)
        return found

    def _tell(self, num: int) -> None:
        self._visited += num
        if self._watch is not None:
            self._watch(SurveyProgress(self._visited, len(self._labels), self._number))
