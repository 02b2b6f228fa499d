"""Runs: many items, measured with one model into one folder."""

from symjax.runs.options import Options
from symjax.runs.run import Progress, estimate_structures, measure_structures
from symjax.runs.sources import Source, as_source

__all__ = [
    "Options",
    "Progress",
    "Source",
    "as_source",
    "estimate_structures",
    "measure_structures",
]
