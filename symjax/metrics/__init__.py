"""Equivariance errors and symmetry content of functions, by integration over O(3)."""

from symjax.metrics.adaptive import Adaptive
from symjax.metrics.averaging import (
    cheapest,
    frontier,
    held_out,
    optimised,
    response_spectra,
)
from symjax.metrics.errors_on_labels import LabelErrors, add_label_errors, label_errors
from symjax.metrics.finite import FiniteLeaf, FiniteMeasurement
from symjax.metrics.forecast import Estimate, estimate
from symjax.metrics.functions import HostFunction
from symjax.metrics.gathering import pool
from symjax.metrics.grid import Grid
from symjax.metrics.groups import Groups
from symjax.metrics.interventions import Trace, trace
from symjax.metrics.measuring import measure
from symjax.metrics.pooling import Interval, Pool, Sampled
from symjax.metrics.probes import Decoded, Probes, probe
from symjax.metrics.problem import Execution, Output, Problem
from symjax.metrics.response_spectrum import (
    AveragedError,
    ResponseSpectrum,
    add_spectra,
)
from symjax.metrics.results import (
    LeafMeasurement,
    Measurement,
    RuleTotals,
    Totals,
    add_totals,
)
from symjax.metrics.sampled import HaarSamples
from symjax.metrics.shapley import SectorShares, sector_shares
from symjax.metrics.staged_forces import with_forces
from symjax.metrics.stages import StagedProblem
from symjax.metrics.survey import Survey, Surveyed, measure_many
from symjax.metrics.turn_averages import SampledResponse
from symjax.metrics.verdicts import Certificate, Convergence, RandomCheck
from symjax.so3.sample_symmetry import SampleSymmetry

__all__ = [
    "Adaptive", "AveragedError", "Certificate", "Convergence", "Decoded",
    "Estimate", "Execution", "FiniteLeaf", "FiniteMeasurement", "Grid", "Groups",
    "HaarSamples", "HostFunction", "Interval", "LabelErrors", "LeafMeasurement",
    "Measurement",
    "Output", "Pool", "Probes", "Problem", "RandomCheck", "ResponseSpectrum",
    "RuleTotals", "SampleSymmetry", "Sampled", "SampledResponse", "SectorShares",
    "StagedProblem", "Survey", "Surveyed", "Totals", "Trace", "add_label_errors",
    "add_spectra", "add_totals", "cheapest", "estimate", "frontier", "held_out",
    "label_errors", "measure", "measure_many", "optimised", "pool", "probe",
    "response_spectra", "sector_shares", "trace", "with_forces",
]  # fmt: skip
