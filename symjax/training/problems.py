"""Data and models of a run on atoms or on events, for :mod:`symjax.training.runs`."""

import functools
import hashlib
import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase
import jax
import numpy as np

import symjax
from symjax._files import file_digest
from symjax.data.digests import event_digest, structure_digest
from symjax.data.graph import graph_shape
from symjax.data.point_clouds import (
    SMALL,
    PointCloud,
    find_events,
    generate_event,
)
from symjax.data.reading import read_structures
from symjax.errors import ArgumentError, ModelError, StructureError
from symjax.interop.metatensor_targets import read_metatensor_targets
from symjax.metrics import Survey
from symjax.metrics.packs import free_threads
from symjax.models import fingerprint, load_model
from symjax.models.biases import Biases
from symjax.models.io import Model
from symjax.models.pet.inject import inject_biases
from symjax.models.pet.model import PETModel, without_uncertainties
from symjax.models.pet.orbits import orbit_problem
from symjax.models.pet.packing import Prepared
from symjax.models.pointmae.config import PointMAEConfig
from symjax.models.pointmae.inputs import seen_points
from symjax.models.pointmae.model import PointMAEModel, init_pointmae
from symjax.models.pointmae.orbits import event_problem
from symjax.training.atomistic import atomistic_task, real_type
from symjax.training.baselines import (
    energy_of,
    fresh_model,
    loss_units,
    subtract_baselines,
    warn_of_intensive,
)
from symjax.training.batches import (
    AtomicBatch,
    AtomicData,
    check_labelled,
    collate,
    prepare_data,
    without_labels,
)
from symjax.training.configuration import AtomsRun, EventsData, EventsRun, Run
from symjax.training.event_scores import event_errors
from symjax.training.fine_tuning import check_targets, start_from
from symjax.training.fitted import FORCES, STRESS, Label, labels_of
from symjax.training.loader import BatchPlan, Parts, batch_shape, stack_parts
from symjax.training.masked import (
    Augmentation,
    masked_task,
    prepare_events,
    whole_parameters,
)
from symjax.training.monitor import Probe, SurveyProbe
from symjax.training.optimisation import Task
from symjax.training.partial import whole_network
from symjax.training.validation import validation_errors

HELD_OUT_SEED = 1_000_000
"""First seed of generated validation events, far beyond those for training."""
# For the monitor; the same elements each time.
_SURVEY = Survey(16)


class Problem(NamedTuple):
    """Data and functions of a run for the training loop.

    Attributes:
      task: What is fitted.
      plan: Indices of the structures (or events) of each step.
      collate: Function from these to the batch, on the host.
      names: Name of each structure, for messages.
      num_atoms: Number of atoms of each structure, or of points of each event.
      digest: Digest of the data and of the initial model, checked when a run is
        resumed.
      validate: Function from parameters and statistics to errors by name; the model
        with the smallest ``score`` is the best. Empty without validation data.
      model: Function from parameters and statistics to a model that can be saved.
      probes: What the monitor measures.
    """

    task: Task
    plan: BatchPlan
    collate: Callable[[Parts], Any]
    names: Sequence[str]
    num_atoms: np.ndarray
    digest: str
    validate: Callable[[Any, Any], dict[str, float]]
    model: Callable[[Any, Any], Any]
    probes: Sequence[Probe | SurveyProbe]

    def batch(self, step: int) -> Any:
        """The batch of a step."""
        return self.collate(self.plan[step])

    def origins(self, step: int) -> list[str]:
        """Names of the structures of a step."""
        return [self.names[index] for part in self.plan[step] for index in part]

    def sizes(self, step: int) -> tuple[int, int]:
        """Numbers of structures and atoms (or events and points) of a step."""
        parts = np.concatenate(self.plan[step])
        return len(parts), int(self.num_atoms[parts].sum())


def _read_frames(path: str, zip_targets: tuple[str, ...] = ()) -> list[ase.Atoms]:
    """Structures with labels: any file that ASE reads, or a zip of metatensor."""
    if Path(path).suffix == ".zip":
        return list(read_metatensor_targets(path, zip_targets or None).structures)
    return read_structures(path)


def split(num: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random indices of structures for training and for validation, each ascending.

    Args:
      num: Number of structures.
      fraction: Fraction to hold out for validation. At least one structure is held out
        unless it is 0, and at least one is kept for training.
      seed: Seed of the draw.

    Example:
      >>> from symjax.training.problems import split
      >>> training, validation = split(10, 0.2, seed=0)
      >>> len(training), len(validation)
      (8, 2)
    """
    held_out = min(max(round(fraction * num), int(fraction > 0)), num - 1)
    order = np.random.default_rng([seed, num]).permutation(num)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _initial(run: Run, kind: type, problem: str, remedy: str) -> Any:
    """The model to fine-tune, or None for a fresh one."""
    if run.model.initial is None:
        return None
    model = load_model(run.model.initial)
    if not isinstance(model, kind):
        raise ModelError("model.initial", run.model.initial, problem, remedy)
    return model


def atoms_problem(run: AtomsRun) -> Problem:
    """Reads the data of a run on atoms and builds its model.

    Raises:
      ModelError: The initial model is no PET, or does not fit the targets.
      StructureError: A file, a structure or a label cannot be used.
      ArgumentError: A label is missing, has another unit or another energy reference.
    """
    frames, held_out = _frames(run)
    files = filter(None, (run.data.training, run.data.validation))
    initial = _initial(run, PETModel, "is no PET", "Name a PET for atoms")
    digest = _digest([file_digest(Path(file)) for file in files], initial)
    species = {z for atoms in (*frames, *held_out) for z in atoms.numbers.tolist()}
    if initial is None:
        config = run.pet_config(tuple(sorted(species)))
    else:
        # Training changes the parameters to which the uncertainties belong.
        initial = without_uncertainties(initial)
        if run.model.biases:
            biases = Biases.from_json(run.model.biases)
            initial = inject_biases(initial, biases, jax.random.key(run.seed))
        config = check_targets(initial, run, species)

    labels = labels_of(run.targets, config)

    def prepared(frames: list[ase.Atoms], source: str) -> AtomicData:
        return prepare_data(frames, run.targets, config, source=source)

    data = prepared(frames, "training")
    known = () if initial is None else initial.config.species
    check_labelled(labels, data, species.difference(known))
    if initial is None:
        warn_of_intensive(config, data)
        model = fresh_model(config, labels, data, run.seed, "pet")
    else:
        model = start_from(initial, config, labels, data, run)
    baselines, network = model.parameters["baseline"], model.parameters["network"]
    data = subtract_baselines(config, data, baselines)
    size = loss_units(labels, data)

    shapes = [graph_shape(graph) for graph in data.graphs]
    num_atoms = np.array([shape.num_atoms for shape in shapes])

    def collated(parts: Parts) -> AtomicBatch:
        shape, dtype = batch_shape(parts, shapes, run.batch), real_type(run.precision)
        each = [collate(labels, data, part, shape, dtype) for part in parts]
        return stack_parts(each, run.batch)

    checked = None
    if held_out:
        checked = subtract_baselines(
            config, prepared(held_out, "validation"), baselines
        )

    def validate(params: Any, statistics: Any) -> dict[str, float]:
        if checked is None:
            return {}
        parameters = {**model.parameters, "network": whole_network(network, params)}
        return validation_errors(config, labels, parameters, checked, size, run)

    def current(params: Any, statistics: Any) -> PETModel:
        found = whole_network(network, jax.device_get(params))
        parameters = {**model.parameters, "network": jax.tree.map(np.asarray, found)}
        return PETModel(model.name, config, parameters, model.card)

    return Problem(
        task=atomistic_task(
            model,
            labels,
            size,
            augmentation=run.augmentation,
            precision=run.precision,
            penalty=run.penalty,
            trainable=run.model.trainable,
        ),
        plan=BatchPlan(num_atoms, run.batch, run.seed),
        collate=collated,
        names=data.origins,
        num_atoms=num_atoms,
        digest=digest,
        validate=validate,
        model=current,
        probes=_probes(run, model, labels, frames, held_out),
    )


def _digest(data: Iterable[str], initial: Model | None) -> str:
    """Digest of data, given by their digests, and of the initial model."""
    known = [*data, *([] if initial is None else [fingerprint(initial)])]
    return hashlib.sha256(" ".join(known).encode()).hexdigest()


def _probes(
    run: AtomsRun,
    model: PETModel,
    labels: tuple[Label, ...],
    frames: Sequence[ase.Atoms],
    held_out: Sequence[ase.Atoms],
) -> list[Probe | SurveyProbe]:
    """What the monitor measures: single structures, and a survey of several."""
    if run.monitor is None:
        return []
    fitted_names = {label.name for label in labels}
    outputs = [
        target.name
        for target in model.config.targets
        if fitted_names & dict(target.outputs).keys()
    ]
    outputs += [name for name in (FORCES, STRESS) if name in fitted_names]
    source = "validation" if held_out else "training"
    measured = held_out or frames
    named = {f"{source}[{index}]": atoms for index, atoms in enumerate(measured)}
    probes: list[Probe | SurveyProbe] = []
    for name in list(named)[: run.monitor.structures]:
        problem = functools.partial(
            orbit_problem,
            atoms=named[name],
            layers=run.monitor.layers,
            outputs=outputs,
            energy=energy_of(labels),
        )
        probes.append(Probe(name, problem))
    if run.monitor.survey:
        packing = Prepared.of(
            model,
            {name: named[name] for name in list(named)[: run.monitor.survey]},
            num_elements=_SURVEY.num,
            outputs=tuple(outputs),
            energy=energy_of(labels),
        )
        threads = free_threads()
        probes.append(SurveyProbe(source, packing.packs, _SURVEY, threads))
    return probes


def _frames(run: AtomsRun) -> tuple[list[ase.Atoms], list[ase.Atoms]]:
    """Structures for training and for validation."""
    frames = _read_frames(run.data.training, run.data.zip_targets)
    if run.data.validation is not None:
        held_out = _read_frames(run.data.validation, run.data.zip_targets)
    else:
        training, validation = split(
            len(frames), run.data.validation_fraction, run.seed
        )
        held_out = [frames[i] for i in validation]
        frames = [frames[i] for i in training]
    num = run.data.num_training
    if num is not None:
        if num > len(frames):
            raise ArgumentError(
                "data.num_training",
                num,
                f"there are {len(frames)} structures to train on",
                "Reduce it, or leave it out for all",
            )
        chosen = np.random.default_rng([run.seed, 1]).permutation(len(frames))[:num]
        frames = [frames[i] for i in np.sort(chosen)]
    digests = (
        [structure_digest(without_labels(atoms)) for atoms in each]
        for each in (frames, held_out)
    )
    _warn_of_overlap("structures", *digests)
    return frames, held_out


def _warn_of_overlap(
    kind: str, training: Sequence[str], validation: Sequence[str]
) -> None:
    """Warns of structures or events, by their digests, that are in both sets."""
    known = set(training)
    again = sum(digest in known for digest in validation)
    if again:
        warnings.warn(
            f"{again} of {len(validation)} {kind} for validation are also used for "
            f"training: errors on them say little about new {kind}",
            stacklevel=3,
        )


def events_problem(run: EventsRun) -> Problem:
    """Reads or generates the events of a run and builds its model.

    Raises:
      ModelError: The initial model is no Point-MAE, or lacks what is fitted.
      StructureError: A file cannot be read, or labels do not fit the model.
      ArgumentError: No event is within the limits.
    """
    initial = _initial(run, PointMAEModel, "is no Point-MAE", "Name one for events")
    if initial is None:
        config = PointMAEConfig.from_json(
            {"detector_size": SMALL.size, **run.model.hyperparameters}
        )
        model = init_pointmae(config, jax.random.key(run.seed), "pointmae")
    else:
        model, config = initial, initial.config
    data, size = run.data, run.data.num_points
    clouds = events_of(data.training, data.num_training, 0, data, config)
    held_out = events_of(
        data.validation, data.num_validation, HELD_OUT_SEED, data, config
    )
    digests = [[event_digest(cloud) for cloud in each] for each in (clouds, held_out)]
    _warn_of_overlap("events", *digests)
    samples = prepare_events(config, clouds, size)
    checked = prepare_events(config, held_out, size)

    def collated(parts: Parts) -> Any:
        each = [jax.tree.map(lambda leaf, i=part: leaf[i], samples) for part in parts]
        return stack_parts(each, run.batch)

    def current(params: Any, statistics: Any) -> PointMAEModel:
        params = whole_parameters(model, params)
        parameters = {"params": params, "batch_stats": statistics}
        parameters = jax.tree.map(np.asarray, jax.device_get(parameters))
        return PointMAEModel(model.name, config, parameters, model.card)

    def validate(params: Any, statistics: Any) -> dict[str, float]:
        return event_errors(current(params, statistics), checked, run.losses, run.seed)

    # Events are counted as one atom each: their number alone is limited.
    limited = run.batch.model_copy(update={"max_atoms": run.batch.max_structures})
    probes = []
    if run.monitor is not None:
        for index, cloud in enumerate(held_out[: run.monitor.structures]):
            problem = functools.partial(
                event_problem, cloud=cloud, layers=run.monitor.layers
            )
            probes.append(Probe(f"validation[{index}]", problem))
    return Problem(
        task=masked_task(
            model,
            samples,
            run.losses,
            augmentation=Augmentation(run.augmentation, run.turn == "batch"),
            penalty=run.penalty,
            freeze_encoder=run.freeze_encoder,
        ),
        plan=BatchPlan(np.ones(len(clouds), int), limited, run.seed),
        collate=collated,
        names=[f"training[{index}]" for index in range(len(clouds))],
        num_atoms=np.array([cloud.num_points for cloud in clouds]),
        digest=_digest([*digests[0], *digests[1]], initial),
        validate=validate,
        model=current,
        probes=probes,
    )


def events_of(
    path: str | None, num: int, seed: int, limits: EventsData, config: PointMAEConfig
) -> list[PointCloud]:
    """Reads or generates events within limits.

    Events without a point above the threshold of the model are left out, too.

    Args:
      path: HDF5 file of PILArNet-M, a folder of such files or a pattern; None to
        generate events.
      num: Largest number of events.
      seed: First seed of generated events.
      limits: Smallest and largest number of points.
      config: Hyperparameters of the model, which define the points that it sees.

    Returns:
      The first ``num`` of these events, with the points that the model sees.

    Raises:
      ArgumentError: No event is within the limits.
    """
    source = (
        (generate_event(n, SMALL) for n in itertools.count(seed))
        if path is None
        else find_events(path).events.values()
    )
    clouds = list(itertools.islice(_within(source, limits, config), num))
    if not clouds:
        raise ArgumentError(
            "data.num_points",
            limits.num_points,
            "every event has more points, or none above the threshold, or fewer than "
            f"min_points={limits.min_points}",
            "Increase it, or pass another file",
        )
    return clouds


def _within(
    events: Iterable[PointCloud], limits: EventsData, config: PointMAEConfig
) -> Iterator[PointCloud]:
    for event in events:
        if event.num_points < limits.min_points:
            continue
        try:
            cloud = seen_points(config, event)
        except StructureError:
            continue  # no point is above the threshold
        if cloud.num_points <= limits.num_points:
            yield cloud


def card_of(run: Run, step: int, errors: dict[str, float]) -> dict[str, Any]:
    """Model card of a run after some steps, with the errors of its last validation."""
    return {
        "description": f"Trained by 'symjax train' with augmentation "
        f"{run.augmentation}",
        "data": run.data.training or "generated events",
        "steps": step,
        "run": run.model_dump(mode="json"),
        "errors_validation": errors,
        "software": f"symjax {symjax.__version__}",
        "date": time.strftime("%Y-%m-%d"),
    }
