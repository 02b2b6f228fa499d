"""A run as data: one TOML or YAML file, checked before anything is computed."""

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
      validation: The same; None to hold structures of ``training`` out.
      validation_fraction: Share of ``training`` that is held out if there is no file.
      num_training: Structures to train on, drawn at random; None for all.
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
            raise ValueError("validation_fraction is of training, and validation given")
        files = (self.training, self.validation or "")
        if self.zip_targets and not any(Path(file).suffix == ".zip" for file in files):
            raise ValueError("zip_targets are those of a zip, and no file is one")
        return self


class EventsData(Section):
    """``[data]`` of a run on events.

    Attributes:
      training: HDF5 file of PILArNet-M, a folder or a pattern of them; None to
        generate events.
      validation: The same.
      num_training: Events to read or to generate.
      num_validation: Events to hold out.
      num_points: Points to pad events to; larger events are left out.
      min_points: Points that an event has before any is dropped, at least; smaller
        events are left out. The original's value is 1024.
    """

    training: str | None = None
    validation: str | None = None
    num_training: Made = 100
    num_validation: Made = 20
    num_points: Made = 512
    min_points: CountFromZero = 0


class ModelSection(Section):
    """``[model]``.

    Attributes:
      initial: Model to fine-tune: a folder, a checkpoint or a name, as
        ``symjax.models.load_model`` reads them. None for a fresh one.
      hyperparameters: Of a fresh model, as in its configuration.
      biases: Symmetry to build in (:class:`symjax.models.biases.Biases`), in a fresh
        model or in the initial one, whose predictions stay as they are at first where
        the bias adds to them.
      refit_baselines: Whether the constants of species of the initial model are fitted
        again, to what the labels are more than its network says. By default labels on
        another reference than the model's are refused; with ``False`` the network has
        to learn the difference.
      trainable: Modules or layers of the initial model whose parameters are trained,
        by names or regular expressions such as ``"gnn_layers.1"`` or
        ``"node_heads.*"``; all others stay as they are. None for all.
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
    """``[penalty]``: on predictions, or features, that differ between orientations.

    Attributes:
      weight: Factor of the penalty in the loss.
      elements: Group elements that each structure (or event) of a step is turned by,
        at least 2; a step costs as many times more.
      layers: Layers of a PET, by names or regular expressions, whose content is
        penalised instead of predictions: the share B of what is not invariant.
      sectors: The sectors of that content, such as ``"2+"``; by default all but 0+.
    """

    weight: Annotated[float, Field(ge=0)] = 1.0
    elements: Annotated[int, Field(ge=2)] = 2
    layers: tuple[str, ...] = ()
    sectors: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.sectors and not self.layers:
            raise ValueError("sectors are those of layers: name layers too")
        for label in self.sectors:
            if Irrep.parse(label) == Irrep(0, 1):
                raise ValueError("0+ is the invariant part, and is not penalised")
        return self


class BatchSection(Section):
    """``[batch]``.

    Attributes:
      max_atoms: Atoms in one micro-batch on one device, padding included; structures
        are drawn until the next would not fit.
      max_structures: Structures (or events) in one micro-batch on one device.
      accumulate: Micro-batches whose gradients make one step.
      devices: Devices that share a step.
    """

    max_atoms: Count = 256
    max_structures: Count = 16
    accumulate: Annotated[int, Field(ge=1, le=2**16)] = 1
    devices: Annotated[int, Field(ge=1, le=2**10)] = 1


class MonitorSection(Section):
    """``[monitor]``: equivariance error and symmetry content along the training.

    Attributes:
      every: Steps between two measurements.
      structures: Structures (or events) of the validation set to measure.
      layers: As in ``symjax report``.
      max_degree: Largest degree of the content.
      grid: Degree of the quadrature, at least twice ``max_degree``.
      max_share: Share of the run's time that measurements may take; one that would
        exceed it is left out, and the file says so.
      survey: Structures of the validation set that are surveyed each time, with 16
        elements of O(3) each; 0 for none. Models of atoms only.
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
            raise ValueError("grid is below twice max_degree, and cannot resolve it")
        return self


class EventLosses(Section):
    """``[losses]`` of a run on events.

    Attributes:
      reconstruction: Weight of hidden tokens: Chamfer distance and energies.
      segmentation: Weight of the focal loss of the labels; 0 for pretraining.
      classes: Weights of the classes: ``"data"`` for the root of the inverse of their
        share in the training events, ``"published"`` for the fixed ones of the
        original, the inverse of their share in PILArNet-M, or ``"equal"``.
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
    """What runs on atoms and on events share.

    Attributes:
      steps: Number of steps.
      seed: Of initial parameters, batches, group elements and hidden tokens.
      log_every: Steps between two lines of metrics, which are means over them.
      validate_every: Steps between two validations; 0 for none but the last.
      checkpoint_every: Steps between two checkpoints.
      augmentation: Group from which elements are drawn that turn what is seen.
      penalty: A penalty on the equivariance error of the predictions.
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
            raise ValueError("penalty compares orientations: set augmentation")
        return self


class AtomsRun(_Run):
    """A run that fits PET to properties of structures of atoms.

    Attributes:
      kind: ``"atoms"``.
      augmentation: Group from which every structure of every step is turned by a
        Haar-random element.
      precision: Type in which the network computes: ``"float32"``, ``"bfloat16"``
        (parameters, scales and losses stay in float32), or ``"float64"``.
      data: Structures.
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
            raise ValueError(f"targets: forces belong to one energy, not {derived}")
        sectors = self.penalty is not None and self.penalty.sectors
        if sectors and self.augmentation != "O(3)":
            raise ValueError(
                "penalty.sectors tells parities apart: set augmentation to O(3)"
            )
        Biases.from_json(self.model.biases)
        if self.model.initial is None:
            # Checked here, so that a wrong width is found before data are read.
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
      augmentation: Group from which elements are drawn, or ``"Euler angles"``, which
        are uniform about x, y and z, as in the original
        (:func:`~symjax.training.augmentation.euler_elements`).
      turn: What is turned by one element: each ``"event"``, or the whole ``"batch"``,
        as the original.
      freeze_encoder: Whether the encoder's parameters stay as they are (the original's
        PEFT); its batch norms still follow the data, and tokens still drop out.
      data: Events.
      losses: What is fitted.
      penalty: On the equivariance error of the class probabilities.

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
                "model.biases are PET's; tokens of events see harmonics with "
                "model.hyperparameters.edge_harmonics"
            )
        if self.model.refit_baselines is not None:
            raise ValueError("model.refit_baselines is PET's; events have no baselines")
        if self.model.trainable is not None:
            raise ValueError("model.trainable is PET's; events have freeze_encoder")
        if self.monitor is not None and self.monitor.survey:
            raise ValueError("monitor.survey is PET's; events have monitor.structures")
        if self.penalty is not None and self.penalty.layers:
            raise ValueError("penalty.layers are PET's; leave them out for events")
        if self.penalty is not None and not self.losses.segmentation:
            raise ValueError(
                "penalty compares class probabilities: set losses.segmentation"
            )
        return self


Run = AtomsRun | EventsRun


class _WithoutAliases(yaml.SafeLoader):
    """Refuses references, by which a few lines can stand for billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references (*name) are not read; write values out")
        return super().compose_node(parent, index)


def read_run(path: str | Path) -> Run:
    r"""Reads the configuration of a run.

    Args:
      path: A file that ends in ``.toml``, ``.yaml`` or ``.yml``.

    Raises:
      ArgumentError: The file is missing or no TOML or YAML, or a key is unknown,
        missing or has an impossible value; the message names it.

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
    try:
        if path.suffix == ".toml":
            data = tomllib.loads(text)
        elif path.suffix in (".yaml", ".yml"):
            data = yaml.load(text, _WithoutAliases)
        else:
            raise ArgumentError(
                "path", str(path), "has an unknown ending", "Use .toml, .yaml or .yml"
            )
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(
            "path", str(path), f"is not well-formed: {error}", "Correct the file"
        ) from error
    return parse_run(data)


def parse_run(data: Mapping[str, Any]) -> Run:
    """Checks the configuration of a run.

    Args:
      data: Its sections and values.

    Raises:
      ArgumentError: A key is unknown, missing or has an impossible value.

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
        return chosen.model_validate_json(_as_json(data))
    except pydantic.ValidationError as error:
        raise refusal(error) from error


def _as_json(data: Mapping[str, Any]) -> str:
    try:
        return json.dumps(data)
    except TypeError as error:
        raise ArgumentError(
            "run", data, f"holds what no run needs: {error}", "Use numbers and strings"
        ) from error
