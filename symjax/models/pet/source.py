"""A PET as a run over many structures uses it."""

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
    """A PET as a source."""

    def settings(self, options: Any) -> dict[str, Any]:
        """The target whose derivatives are forces and stress; empty without an energy.

        Raises:
          ModelError: There are several or none of this name, or no such layers.
        """
        select_layers(self.model.config, options.layers)
        return {"energy": choose_energy(self.model.config, options.energy) or ""}

    def sizes(
        self, items: Mapping[str, ase.Atoms]
    ) -> tuple[dict[str, GraphShape], dict[str, SymjaxError]]:
        """Sizes to pad structures to, and errors, see :func:`padded_shapes`."""
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
        """The structure as it is."""
        return item, size

    def problem(self, item: ase.Atoms, size: GraphShape, options: Any) -> Problem:
        """Outputs and layers on the orbit of a structure."""
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
        """Nothing but the network breaks symmetry."""


def padded_shapes(
    structures: Mapping[str, ase.Atoms], config: PETConfig
) -> tuple[dict[str, GraphShape], dict[str, SymjaxError]]:
    """Sizes to pad structures to, so that one compiled program serves many.

    Structures in one bucket of the ladder of sizes (:func:`symjax.data.bucket_shape`)
    are padded to the largest of them, not to the bucket's upper end: as few programs,
    with less padding. By label, with the errors of structures that cannot be used.
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
