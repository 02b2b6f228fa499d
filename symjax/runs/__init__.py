"""Runs, which measure many structures or events with one model into one folder."""

from symjax.runs.estimates import Cost, estimate_items
from symjax.runs.folder import Destination
from symjax.runs.options import Options
from symjax.runs.run import Progress, measure_items
from symjax.runs.scheduler import Scheduler
from symjax.runs.sources import Source, as_source
from symjax.runs.survey_run import survey_structures
from symjax.runs.workers import Workers

__all__ = [
    "Cost",
    "Destination",
    "Options",
    "Progress",
    "Scheduler",
    "Source",
    "Workers",
    "as_source",
    "estimate_items",
    "measure_items",
    "survey_structures",
]
