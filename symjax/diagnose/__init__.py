"""Diagnosis of the failure modes of a model from its report."""

from symjax.diagnose.diagnosing import diagnose
from symjax.diagnose.findings import (
    Check,
    Diagnosis,
    Figure,
    Finding,
    Kind,
    Severity,
)
from symjax.diagnose.projection import allowed_dimension, forbidden_part
from symjax.diagnose.recommendations import Recommendation, recommend
from symjax.diagnose.text import to_text
from symjax.diagnose.traps import symmetry_traps
from symjax.diagnose.traps_of_structures import report_traps, structure_traps

__all__ = [
    "Check",
    "Diagnosis",
    "Figure",
    "Finding",
    "Kind",
    "Recommendation",
    "Severity",
    "allowed_dimension",
    "diagnose",
    "forbidden_part",
    "recommend",
    "report_traps",
    "structure_traps",
    "symmetry_traps",
    "to_text",
]
