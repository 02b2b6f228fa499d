"""A Point-MAE as the model of a run over many events.

Events are processed one after another and not kept. Each is padded to one of a few
sizes, so that compiled programs are reused whatever the other events are.
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
    """A Point-MAE as the model of a run.

    Layers, probabilities and reconstructions are measured with tokens frozen in the
    given orientation. For models with segmentation, :meth:`breaking` adds the effects
    of recomputed tokens and voxels.
    """

    def settings(self, options: Any) -> dict[str, Any]:
        """Settings for the report: which points of events are read.

        Raises:
          ArgumentError: Point groups, forces, or a grid for each event are requested.
          ModelError: There is no such layer.
        """
        options.check_fixed("a measurement of events")
        if options.symmetry:
            raise ArgumentError(
                "symmetry",
                True,
                "is for structures only: events have no point group",
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
        """No sizes and no errors: events are not read ahead."""
        return dict.fromkeys(items), {}

    def prepare(
        self, label: str, item: PointCloud, size: None
    ) -> tuple[PointCloud, int]:
        """Returns the prepared event (:func:`prepare_cloud`) and its padded size."""
        cloud = prepare_cloud(self.model, label, item)
        return cloud, len(cloud.mask)

    def problem(self, item: PointCloud, size: int, options: Any) -> Problem:
        """The problem of a prepared event, see :func:`event_problem`."""
        return event_problem(
            self.model, item, layers=options.layers, dtype=options.dtype
        )

    def breaking(self, item: PointCloud, options: Any) -> Problem | None:
        """The problem of :func:`breaking_problem`; None without segmentation."""
        if not self.model.config.num_classes:
            return None
        return breaking_problem(self.model, item, dtype=options.dtype)


def padded_size(num_points: int) -> int:
    """Size that an event is padded to: 64, 96, 128, 192, 256, 384, ..."""
    size = _SMALLEST
    while size < num_points:
        if 3 * size // 2 >= num_points:
            return 3 * size // 2
        size *= 2
    return size


def prepare_cloud(model: Any, label: str, cloud: PointCloud) -> PointCloud:
    """Selects the points of an event that a model reads, and pads the event.

    Args:
      model: The model.
      label: Name of the event, for error messages.
      cloud: The event.

    Returns:
      The padded event, with one point for each voxel.

    Raises:
      ModelError: The item is not an event, or has points outside the detector of the
        model.
      StructureError: No point is left.
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
    """Describes in words, for the report, which points of an event a model reads."""
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
