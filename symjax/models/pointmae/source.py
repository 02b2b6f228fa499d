"""A Point-MAE as a run over many events uses it.

Events come one after another, and none is kept. Each is padded to one of few sizes, so
that compiled programs are found again whatever the other events are.
"""

from collections.abc import Mapping
from typing import Any

from symjax.data.point_clouds import PointCloud, pad_cloud
from symjax.errors import ArgumentError, ModelError, SymjaxError
from symjax.metrics.problem import Problem
from symjax.models._network_source import NetworkSource
from symjax.models.pointmae.inputs import check_inside, seen_points
from symjax.models.pointmae.model import select_layers
from symjax.models.pointmae.orbits import breaking_problem, event_problem

_SMALLEST = 64


class PointMAESource(NetworkSource):
    """A Point-MAE as a source.

    Spectra of layers, probabilities and reconstructions are those of the network, with
    tokens frozen at the given orientation; for models with segmentation, ``breaking``
    compares with tokens and voxels that are found anew.
    """

    def settings(self, options: Any) -> dict[str, Any]:
        """Which points of events are read, as a text for the report.

        Raises:
          ArgumentError: Point groups, forces, or a grid for each event, are asked for.
          ModelError: There is no such layer.
        """
        options.check_fixed("a measurement of events")
        if options.symmetry:
            raise ArgumentError(
                "symmetry",
                True,
                "is for structures: point groups of events are not looked for",
                "Leave it out",
            )
        if options.energy is not None:
            raise ArgumentError(
                "energy",
                options.energy,
                "events have no forces",
                "Leave it out for events",
            )
        select_layers(self.model.config, options.layers)
        return {"points": selection_line(self.model)}

    def sizes(
        self, items: Mapping[str, PointCloud]
    ) -> tuple[dict[str, None], dict[str, SymjaxError]]:
        """Nothing for each, and no errors: no event is read before its turn."""
        return dict.fromkeys(items), {}

    def prepare(
        self, label: str, item: PointCloud, size: None
    ) -> tuple[PointCloud, int]:
        """The padded points that are read (:func:`prepare_cloud`), and their number."""
        cloud = prepare_cloud(self.model, label, item)
        return cloud, len(cloud.mask)

    def problem(self, item: PointCloud, size: int, options: Any) -> Problem:
        """Outputs and layers on the orbit of a prepared event."""
        return event_problem(
            self.model, item, layers=options.layers, dtype=options.dtype
        )

    def breaking(self, item: PointCloud, options: Any) -> Problem | None:
        """Probabilities split by what breaks symmetry; None without segmentation."""
        if not self.model.config.num_classes:
            return None
        return breaking_problem(self.model, item, dtype=options.dtype)


def padded_size(num_points: int) -> int:
    """Number of points that an event is padded to: 64, 96, 128, 192, 256, 384, ..."""
    size = _SMALLEST
    while size < num_points:
        if 3 * size // 2 >= num_points:
            return 3 * size // 2
        size *= 2
    return size


def prepare_cloud(model: Any, label: str, cloud: PointCloud) -> PointCloud:
    """Selects the points that a model reads, one for each voxel, and pads the event.

    Raises:
      ModelError: It is no event, or lies outside the detector of the model.
      StructureError: No point is left of it.
    """
    if not isinstance(cloud, PointCloud):
        raise ModelError(
            "model",
            model.name,
            f"cannot be measured on {label}, which is not an event",
            "Use a model of structures; see 'symjax models'",
        )
    check_inside(model.config, cloud, label)
    selected = seen_points(model.config, cloud)
    return pad_cloud(selected, padded_size(selected.num_points))


def selection_line(model: Any) -> str:
    """Which points of an event a model reads, as a text for the report."""
    config = model.config
    energy = (
        f" above {config.energy_threshold:g} MeV" if config.energy_threshold else ""
    )
    removed = {
        "label": ", without those labelled as low-energy deposits",
        "first cluster": ", without the first cluster",
        "keep": "",
    }
    return f"voxels{energy or ' of any energy'}{removed[config.low_energy]}"
