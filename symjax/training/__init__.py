"""Training of PET and Point-MAE, with random elements of O(3) as augmentation."""

from symjax.training.augmentation import random_elements
from symjax.training.configuration import AtomsRun, EventsRun, parse_run, read_run
from symjax.training.logs import read_table
from symjax.training.runs import Trained, TrainingError, train

__all__ = [
    "AtomsRun",
    "EventsRun",
    "Trained",
    "TrainingError",
    "parse_run",
    "random_elements",
    "read_run",
    "read_table",
    "train",
]
