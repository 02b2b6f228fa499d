"""Point-MAE and PoLAr-MAE on decorated point clouds, in Flax."""

from symjax.models.pointmae.average import averaged_problem, predict_averaged
from symjax.models.pointmae.config import PointMAEConfig
from symjax.models.pointmae.inputs import make_event, tokenise
from symjax.models.pointmae.model import (
    PointMAEModel,
    Prediction,
    init_pointmae,
    layer_names,
    predict,
)
from symjax.models.pointmae.modules import PointMAE, Reconstruction
from symjax.models.pointmae.orbits import breaking_problem, event_problem

__all__ = [
    "PointMAE", "PointMAEConfig", "PointMAEModel", "Prediction", "Reconstruction",
    "averaged_problem", "breaking_problem", "event_problem", "init_pointmae",
    "layer_names", "make_event", "predict", "predict_averaged", "tokenise",
]  # fmt: skip
