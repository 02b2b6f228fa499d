"""Point-MAE and PoLAr-MAE on decorated point clouds, in Flax."""

from symjax.models.pointmae.average import averaged_problem, predict_averaged
from symjax.models.pointmae.centers import (
    centrality_nms,
    farthest_point_sampling,
    squared_distances,
)
from symjax.models.pointmae.config import PointMAEConfig
from symjax.models.pointmae.grouping import (
    Assignment,
    Groups,
    assign_groups,
    ball_query,
    gather_groups,
    nearest_neighbors,
)
from symjax.models.pointmae.inputs import (
    make_event,
    seen_points,
    tokenise,
)
from symjax.models.pointmae.losses import (
    chamfer_distance,
    chamfer_loss,
    energy_infilling_loss,
    focal_loss,
    random_hidden,
)
from symjax.models.pointmae.model import (
    PointMAEModel,
    Prediction,
    init_pointmae,
    layer_names,
    predict,
)
from symjax.models.pointmae.modules import PointMAE, Reconstruction
from symjax.models.pointmae.orbit_problem import (
    breaking_problem,
    event_problem,
)

__all__ = [
    "Assignment",
    "Groups",
    "PointMAE",
    "PointMAEConfig",
    "PointMAEModel",
    "Prediction",
    "Reconstruction",
    "assign_groups",
    "averaged_problem",
    "ball_query",
    "breaking_problem",
    "centrality_nms",
    "chamfer_distance",
    "chamfer_loss",
    "energy_infilling_loss",
    "event_problem",
    "farthest_point_sampling",
    "focal_loss",
    "gather_groups",
    "init_pointmae",
    "layer_names",
    "make_event",
    "nearest_neighbors",
    "predict",
    "predict_averaged",
    "random_hidden",
    "seen_points",
    "squared_distances",
    "tokenise",
]
