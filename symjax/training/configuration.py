"""The configuration of a run: one TOML or YAML file, checked before it starts."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import yaml
from pydantic import Field, model_validator

from symjax._declared import refusal
from symjax._files import check_readable
from symjax.errors import ArgumentError
from symjax.models.biases.config import Biases
from symjax.models.pet.config import PETConfig
from symjax.so3.irreps import Irrep
from symjax.training.sections import (
    Count,
    CountFromZero,
    Fraction,
    Made,
    OptimizerSection,
    Section,
    TargetSection,
)

_LARGEST_FILE = 2**20


class AtomsData(Section):
    """``[data]`` of a run on atoms.

    Attributes:
      training: File that ASE reads, or a zip of metatensor targets.
      validation: The same; None to hold out structures of ``training``.
      validation_fraction: Fraction of ``training`` to hold out if there is no
        ``validation``; at least one structure unless it is 0.
      num_training: Number of structures to train on, drawn at random; None for all.
      zip_targets: Targets to read from a zip, such as ``"mtt::dipole_moment"``; by
        default all that it holds.
    """

    training: str
    validation: str | None = None
    validation_fraction: Fraction = 0.1
    num_training: Count | None = None
    zip_targets: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _read(self) -> Self:
        own = type(self).model_fields["validation_fraction"].default
        if self.validation is not None and self.validation_fraction != own:
            raise ValueError(
                "validation_fraction is held out of training, but validation is given"
            )
        files = (self.training, self.validation or "")
        if self.zip_targets and not any(Path(file).suffix == ".zip" for file in files):
            raise ValueError("zip_targets are read from a zip, but no file is one")
        return self


class EventsData(Section):
    """``[data]`` of a run on events.

    Attributes:
      training: HDF5 file of PILArNet-M, a folder of such files or a pattern; None to
        generate events.
      validation: The same; required with ``training``.
      num_training: Number of events to read or generate for training.
      num_validation: Number of events to read or generate for validation.
      num_points: Number of points to pad events to; larger events are left out.
      min_points: Smallest number of points of an event, counted before points below
        the threshold are dropped; smaller events are left out. PoLAr-MAE uses 1024.
    """

    training: str | None = None
    validation: str | None = None
    num_training: Made = 100
    num_validation: Made = 20
    num_points: Made = 512
    min_points: CountFromZero = 0


class ModelSection(Section):
    """``[model]``: which model to train.

    Attributes:
      initial: Model to fine-tune: a folder, a checkpoint or a name, as
        ``symjax.models.load_model`` reads them. None for a fresh model.
      hyperparameters: Hyperparameters of a fresh model, as in its configuration.
      biases: Symmetry to build into the model (:class:`symjax.models.biases.Biases`).
        A bias that adds to predictions of an initial model adds zero at first.
      refit_baselines: Whether to fit the constants per species of the initial model
        again, to the labels minus the predictions of its network. By default labels
        with another energy reference than the model's are refused; with ``False`` the
        network has to learn the difference.
      trainable: Modules or layers of the initial model to train, by names or regular
        expressions such as ``"gnn_layers.1"`` or ``"node_heads.*"``; all others are
        frozen. None to train all.
    """

    initial: str | None = None
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    biases: dict[str, Any] = Field(default_factory=dict)
    refit_baselines: bool | None = None
    trainable: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.initial is not None and self.hyperparameters:
            raise ValueError("hyperparameters are those of the initial model")
        if self.initial is None and self.refit_baselines is not None:
            raise ValueError(
                "refit_baselines is about an initial model; those of a fresh one are "
                "always fitted"
            )
        if self.initial is None and self.trainable is not None:
            raise ValueError(
                "trainable is about an initial model; what is not trained of a fresh "
                "one stays random"
            )
        return self


class PenaltySection(Section):
    """``[penalty]``: a penalty on predictions or features that break the symmetry.

    Attributes:
      weight: Factor of the penalty in the loss.
      elements: Number of group elements by which each structure (or event) of a step is
        transformed, at least 2; the cost of a step is proportional to it.
      layers: Layers of a PET, by names or regular expressions, whose content B is
        penalised instead of predictions.
      sectors: Sectors of that content, such as ``"2+"``; by default all but 0+.
    """

    weight: Annotated[float, Field(ge=0)] = 1.0
    elements: Annotated[int, Field(ge=2)] = 2
    layers: tuple[str, ...] = ()
    sectors: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.sectors and not self.layers:
            raise ValueError("sectors are of features: name layers too")
        for label in self.sectors:
            if Irrep.parse(label) == Irrep(0, 1):
                raise ValueError("0+ is the invariant part: leave it out")
        return self


class BatchSection(Section):
    """``[batch]``: how much one step sees.

    Attributes:
      max_atoms: Largest number of atoms in one micro-batch on one device; structures
        are added until the next one would not fit. Not for events.
      max_structures: Largest number of structures in one micro-batch on one device; the
        exact number of events.
      accumulate: Number of micro-batches whose gradients are added up in a step.
      devices: Number of devices that share a step.
    """

    max_atoms: Count = 256
    max_structures: Count = 16
    accumulate: Annotated[int, Field(ge=1, le=2**16)] = 1
    devices: Annotated[int, Field(ge=1, le=2**10)] = 1


class MonitorSection(Section):
    """``[monitor]``: equivariance error and symmetry content during training.

    Attributes:
      every: Number of steps between two measurements.
      structures: Number of structures (or events) of the validation set to measure, or
        of the training set if nothing is held out.
      layers: Layers to measure, as in ``symjax report``.
      max_degree: Largest degree of the content.
      grid: Degree of the quadrature, at least twice ``max_degree``.
      max_share: Largest fraction of the run's time for measurements; those that would
        exceed it are skipped, which ``trajectory.csv`` records.
      survey: Number of structures of the validation set to survey each time, with 16
        elements of O(3) each; 0 for none. For atoms only.
    """

    every: Count = 500
    structures: Count = 2
    layers: str = "none"
    max_degree: CountFromZero = 3
    grid: Count = 7
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    survey: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _resolved(self) -> Self:
        if self.grid < 2 * self.max_degree:
            raise ValueError("grid is below twice max_degree, which it cannot resolve")
        return self


class EventLosses(Section):
    """``[losses]`` of a run on events.

    Attributes:
      reconstruction: Weight of the Chamfer distance and energy loss of masked tokens.
      segmentation: Weight of the focal loss of the labels; 0 for pretraining.
      classes: Weights of the classes: ``"data"`` for the inverse square root of their
        frequency in the training events, ``"published"`` for those of PoLAr-MAE, the
        inverse frequency in PILArNet-M, or ``"equal"``.
    """

    reconstruction: Annotated[float, Field(ge=0)] = 1.0
    segmentation: Annotated[float, Field(ge=0)] = 0.0
    classes: Literal["data", "published", "equal"] = "data"

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.reconstruction == self.segmentation == 0:
            raise ValueError("nothing is fitted: give one loss a weight")
        return self


class _Run(Section):
    """Settings of all runs.

    Attributes:
      steps: Number of steps.
      seed: Seed of initial parameters, batches, group elements and masks.
      log_every: Number of steps between two lines of metrics, each a mean over them.
      validate_every: Number of steps between two validations; 0 for a last one only.
      checkpoint_every: Number of steps between two checkpoints.
      augmentation: Group from which random elements are drawn for augmentation.
      penalty: A penalty on the equivariance error; None for none.
    """

    steps: Count
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    log_every: Count = 50
    validate_every: CountFromZero = 500
    checkpoint_every: Count = 500
    model: ModelSection = ModelSection()
    optimizer: OptimizerSection = OptimizerSection()
    batch: BatchSection = BatchSection()
    monitor: MonitorSection | None = None
    augmentation: str = "O(3)"
    penalty: PenaltySection | None = None

    @model_validator(mode="after")
    def _turned(self) -> Self:
        if self.penalty is not None and self.augmentation == "none":
            raise ValueError("penalty compares random orientations: set augmentation")
        return self


class AtomsRun(_Run):
    """A run that fits PET to properties of atomic structures.

    Attributes:
      kind: ``"atoms"``.
      augmentation: ``"O(3)"``, ``"SO(3)"`` or ``"none"``: the group from which a
        Haar-random element is drawn for each structure in each step.
      precision: Type in which the network computes: ``"float32"``, ``"bfloat16"``
        (parameters, scales, losses and validation stay in float32), or ``"float64"``.
      data: The structures.
      targets: What is learnt, by name.

    Example:
      >>> from symjax.training.configuration import AtomsRun
      >>> run = AtomsRun.model_validate({
      ...     "steps": 10, "data": {"training": "frames.xyz"},
      ...     "targets": {"energy": {"energy_unit": "eV"}}})
      >>> run.batch.max_atoms
      256
    """

    kind: Literal["atoms"] = "atoms"
    augmentation: Literal["O(3)", "SO(3)", "none"] = "O(3)"
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    data: AtomsData
    targets: dict[str, TargetSection] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name, section in self.targets.items():
            energy = section.target(name).is_energy and not section.per_atom
            if energy and section.energy_unit is None:
                raise ValueError(f"targets.{name} is an energy: set energy_unit")
        if not any(
            section.weight
            or (section.forces and section.forces_weight)
            or (section.stress and section.stress_weight)
            for section in self.targets.values()
        ):
            raise ValueError("nothing is fitted: give one target a weight")
        derived = [n for n, t in self.targets.items() if t.forces or t.stress]
        if len(derived) > 1:
            raise ValueError(f"targets: forces belong to one energy, not to {derived}")
        sectors = self.penalty is not None and self.penalty.sectors
        if sectors and self.augmentation != "O(3)":
            raise ValueError(
                "penalty.sectors distinguishes parities: set augmentation to O(3)"
            )
        Biases.from_json(self.model.biases)
        if self.model.initial is None:
            # So that impossible hyperparameters are found before data are read.
            self.pet_config((1,))
        return self

    def pet_config(self, species: tuple[int, ...]) -> PETConfig:
        """Configuration of a fresh model.

        Args:
          species: Atomic numbers of the data.

        Raises:
          ModelError: A hyperparameter is unknown or impossible.
        """
        targets = [section.target(name) for name, section in self.targets.items()]
        plain = PETConfig(species=species, targets=tuple(targets)).to_json()
        own = {"biases": self.model.biases} if self.model.biases else {}
        return PETConfig.from_json({**plain, **self.model.hyperparameters, **own})


class EventsRun(_Run):
    """A run that fits Point-MAE to events.

    Attributes:
      kind: ``"events"``.
      augmentation: ``"O(3)"``, ``"SO(3)"``, ``"none"``, or ``"Euler angles"`` that are
        uniform about x, y and z, as in PoLAr-MAE
        (:func:`~symjax.training.augmentation.euler_elements`).
      turn: Whether one element is drawn for each ``"event"``, or for the whole
        ``"batch"`` as in PoLAr-MAE.
      freeze_encoder: Whether the parameters of the encoder are frozen (PEFT in
        PoLAr-MAE); its batch norms still follow the data, and dropout still acts.
      data: The events.
      losses: Weights of the losses.
      penalty: A penalty on class probabilities that depend on the orientation.

    Example:
      >>> from symjax.training.configuration import EventsRun
      >>> EventsRun.model_validate({"kind": "events", "steps": 10}).losses.segmentation
      0.0
    """

    kind: Literal["events"]
    augmentation: Literal["O(3)", "SO(3)", "Euler angles", "none"] = "O(3)"
    turn: Literal["event", "batch"] = "event"
    freeze_encoder: bool = False
    data: EventsData = EventsData()
    losses: EventLosses = EventLosses()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.batch.max_atoms != BatchSection().max_atoms:
            raise ValueError(
                "batch.max_atoms is for atoms; events have batch.max_structures and "
                "data.num_points"
            )
        if self.data.training is not None and self.data.validation is None:
            raise ValueError(
                "data.validation is missing: events of data.training would be "
                "validated on generated ones"
            )
        if self.model.biases:
            raise ValueError(
                "model.biases is for PET; events have "
                "model.hyperparameters.edge_harmonics"
            )
        if self.model.refit_baselines is not None:
            raise ValueError(
                "model.refit_baselines is for PET; events have no baselines"
            )
        if self.model.trainable is not None:
            raise ValueError("model.trainable is for PET; events have freeze_encoder")
        if self.monitor is not None and self.monitor.survey:
            raise ValueError(
                "monitor.survey is for PET; events have monitor.structures"
            )
        if self.penalty is not None and self.penalty.layers:
            raise ValueError("penalty.layers is for PET: leave it out for events")
        if self.penalty is not None and not self.losses.segmentation:
            raise ValueError(
                "penalty compares class probabilities: set losses.segmentation"
            )
        return self


Run = AtomsRun | EventsRun


class _WithoutAliases(yaml.SafeLoader):
    """Refuses references, with which a few lines can expand to billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references (*name) are not read; write values out")
        return super().compose_node(parent, index)


def read_run(path: str | Path) -> Run:
    r"""Reads the configuration of a run.

    Args:
      path: A file with the extension ``.toml``, ``.yaml`` or ``.yml``.

    Returns:
      The configuration.

    Raises:
      ArgumentError: The file cannot be read, or a key is unknown, missing or has an
        impossible value; the message names it.
      ModelError: A hyperparameter or the kind of a target is unknown or impossible.

    Example:
      >>> import pathlib, tempfile
      >>> from symjax.errors import ArgumentError
      >>> from symjax.training import read_run
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "run.toml"
      ...     _ = path.write_text("steps = 10\noptimizer.learning_rate = -1.0")
      ...     try:
      ...         read_run(path)
      ...     except ArgumentError as error:
      ...         print(error.argument)
      optimizer.learning_rate
    """
    path = Path(path)
    try:
        check_readable(path, _LARGEST_FILE)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(
            "path", str(path), f"cannot be read: {error}", "Pass a TOML or YAML file"
        ) from error
    if path.suffix not in (".toml", ".yaml", ".yml"):
        remedy = "Use .toml, .yaml or .yml"
        raise ArgumentError("path", str(path), "has an unknown extension", remedy)
    try:
        toml = path.suffix == ".toml"
        data = tomllib.loads(text) if toml else yaml.load(text, _WithoutAliases)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ArgumentError(
            "path", str(path), f"is not well-formed: {error}", "Correct the file"
        ) from error
    return parse_run(data)


def parse_run(data: Mapping[str, Any]) -> Run:
    """Checks the configuration of a run.

    Args:
      data: Its sections and values, as a TOML or YAML file holds them.

    Returns:
      The configuration.

    Raises:
      ArgumentError: A key is unknown, missing or has an impossible value.
      ModelError: A hyperparameter or the kind of a target is unknown or impossible.

    Example:
      >>> from symjax.training import parse_run
      >>> parse_run({"kind": "events", "steps": 5}).steps
      5
    """
    if not isinstance(data, Mapping):
        raise ArgumentError(
            "run", data, "is no table of keys", "Write keys and sections"
        )
    kind = data.get("kind", "atoms")
    if kind not in ("atoms", "events"):
        raise ArgumentError("kind", kind, "is unknown", "Use 'atoms' or 'events'")
    chosen = AtomsRun if kind == "atoms" else EventsRun
    try:
        # Lists of TOML and YAML stand for tuples, and integers for numbers.
        return chosen.model_validate_json(json.dumps(data))
    except pydantic.ValidationError as error:
        raise refusal(error) from error
    except TypeError as error:
        raise ArgumentError(
            "run", data, f"holds a value of no use: {error}", "Use numbers and strings"
        ) from error
