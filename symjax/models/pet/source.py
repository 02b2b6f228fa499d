"""A PET as a run over many structures uses it."""

from collections.abc import Mapping
from typing import Any

import ase

from symjax.data import GraphShape, bucket_shape, graph_shape
from symjax.errors import SymjaxError
from symjax.metrics import Problem
from symjax.models import io
from symjax.models.pet import orbit
from symjax.models.pet.config import PETConfig
from symjax.models.pet.energies import choose_energy
from symjax.models.pet.graphs import pet_graph


class PETSource:
    """A PET as a source.

    Args:
      model: The model.

    Example:
      >>> from symjax.models import load_model
      >>> from symjax.models.pet.source import PETSource
      >>> PETSource(load_model("pet-ethanol")).name
      'pet-ethanol'
    """

    def __init__(self, model: Any):
        self.model = model

    @property
    def name(self) -> str:
        """The name of the model."""
        return str(self.model.name)

    @property
    def digest(self) -> str:
        """Of its configuration and parameters."""
        return io.fingerprint(self.model)

    @property
    def note(self) -> str:
        """Nothing: it is a model of symjax."""
        return ""

    def shapes(
        self, structures: Mapping[str, ase.Atoms]
    ) -> tuple[dict[str, GraphShape], dict[str, SymjaxError]]:
        """Sizes to pad structures to, see :func:`padded_shapes`.

        Args:
          structures: The structures by label.

        Returns:
          Sizes, and the errors of those that cannot be used.
        """
        return padded_shapes(structures, self.model.config)

    def check_layers(self, layers: str) -> None:
        """Raises unless the network has such layers.

        Args:
          layers: See :func:`symjax.models.pet.select_layers`.

        Raises:
          ModelError: It has not.
        """
        orbit.select_layers(self.model.config, layers)

    def energy(self, name: str | None) -> str:
        """The target whose derivatives are forces and stress.

        Args:
          name: The one that is asked for; by default the only one there is.

        Returns:
          Its name; empty if the model has no energy.

        Raises:
          ModelError: There are several, or none of this name.
        """
        return choose_energy(self.model.config, name) or ""

    def problem(self, atoms: ase.Atoms, shape: GraphShape, options: Any) -> Problem:
        """Outputs and layers on the orbit of a structure.

        Args:
          atoms: The structure.
          shape: Sizes to pad to.
          options: :class:`symjax.runs.Options`.

        Returns:
          The problem.

        Raises:
          SymjaxError: The structure cannot be used.
        """
        return orbit.orbit_problem(
            self.model,
            atoms,
            layers=options.layers,
            energy=options.energy,
            dtype=options.dtype,
            shape=shape,
            symmetry="auto" if options.symmetry else None,
        )


def padded_shapes(
    structures: Mapping[str, ase.Atoms], config: PETConfig
) -> tuple[dict[str, GraphShape], dict[str, SymjaxError]]:
    """Sizes to pad structures to, so that one compiled program serves many.

    Structures in one bucket of the ladder of sizes (:func:`symjax.data.bucket_shape`)
    are padded to the largest of them, not to the bucket's upper end: as few programs,
    with less padding.

    Args:
      structures: The structures by label.
      config: Hyperparameters of the model: its species, and which edges it sees.

    Returns:
      Sizes by label, and for structures that cannot be used the error by label.

    Example:
      >>> import ase.build
      >>> from symjax.models.pet import PETConfig
      >>> from symjax.models.pet.source import padded_shapes
      >>> pair = {name: ase.build.molecule(name) for name in ("CH3COCH3", "C3H8")}
      >>> config = PETConfig(species=(1, 6, 8), cutoff=8.0)
      >>> shapes, errors = padded_shapes(pair, config)
      >>> shapes["C3H8"][:3], shapes["CH3COCH3"] == shapes["C3H8"]
      ((11, 10, 1), True)
    """
    exact: dict[str, GraphShape] = {}
    errors: dict[str, SymjaxError] = {}
    for label, atoms in structures.items():
        try:
            graph = pet_graph(config, atoms)
        except SymjaxError as error:
            errors[label] = error
        else:
            exact[label] = graph_shape(graph)
    largest: dict[GraphShape, GraphShape] = {}
    for shape in exact.values():
        bucket = bucket_shape(shape)
        largest[bucket] = GraphShape(*map(max, shape, largest.get(bucket, shape)))
    shapes = {label: largest[bucket_shape(shape)] for label, shape in exact.items()}
    return shapes, errors
