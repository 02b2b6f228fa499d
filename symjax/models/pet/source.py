"""A PET as the model of a run over many structures."""

from collections.abc import Mapping
from typing import Any

import ase

from symjax.data import GraphShape, bucket_shape, graph_shape
from symjax.data.point_clouds import PointCloud
from symjax.errors import ModelError, SymjaxError
from symjax.metrics import Problem
from symjax.models._network_source import NetworkSource
from symjax.models.pet.config import PETConfig
from symjax.models.pet.energies import choose_energy
from symjax.models.pet.graphs import pet_graph
from symjax.models.pet.orbits import orbit_problem, select_layers


class PETSource(NetworkSource):
    """A PET as the model of a run."""

    def settings(self, options: Any) -> dict[str, Any]:
        """Settings for the report: the energy that forces and stress are derived from.

        It is the empty string if the model has no energy.

        Raises:
          ModelError: There is no such energy or layer, or there are several energies
            and none was named.
        """
        select_layers(self.model.config, options.layers)
        return {"energy": choose_energy(self.model.config, options.energy) or ""}

    def sizes(
        self, items: Mapping[str, ase.Atoms]
    ) -> tuple[dict[str, GraphShape], dict[str, SymjaxError]]:
        """Sizes to pad structures to, and errors, see :func:`padded_shapes`.

        Raises:
          ModelError: An item is an event.
        """
        for label, item in items.items():
            if isinstance(item, PointCloud):
                raise ModelError(
                    "model",
                    self.name,
                    f"cannot be measured on {label}, which is an event",
                    "Use a model of events; see 'symjax models'",
                )
        return padded_shapes(items, self.model.config)

    def prepare(
        self, label: str, item: ase.Atoms, size: GraphShape
    ) -> tuple[ase.Atoms, GraphShape]:
        """Returns the structure and its size unchanged."""
        return item, size

    def problem(self, item: ase.Atoms, size: GraphShape, options: Any) -> Problem:
        """The problem of a structure, see :func:`orbit_problem`."""
        return orbit_problem(
            self.model,
            item,
            layers=options.layers,
            energy=options.energy,
            dtype=options.dtype,
            shape=size,
            symmetry="auto" if options.symmetry else None,
        )

    def breaking(self, item: ase.Atoms, options: Any) -> None:
        """None: only the network can break the symmetry."""


def padded_shapes(
    structures: Mapping[str, ase.Atoms], config: PETConfig
) -> tuple[dict[str, GraphShape], dict[str, SymjaxError]]:
    """Sizes to pad structures to, so that they share compiled programs.

    Structures in the same bucket (:func:`symjax.data.bucket_shape`) are padded to the
    largest of them rather than to the upper end of the bucket.

    Args:
      structures: Structures by label.
      config: Hyperparameters of the model.

    Returns:
      Sizes by label; and the errors of structures that cannot be used, by label.
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
