"""Reference labels: from quantum-chemical codes, and in closed form."""

from symjax.labels.analytic import AnalyticLabels, analytic_labels, label_analytically
from symjax.labels.electronic import (
    DensityLabels,
    XTBLabels,
    density_channels,
    density_labels,
    xtb_labels,
)
from symjax.labels.generation import (
    LabelSettings,
    label_structure,
    perturbed,
    write_labels,
)

__all__ = [
    "AnalyticLabels", "DensityLabels", "LabelSettings", "XTBLabels",
    "analytic_labels", "density_channels", "density_labels", "label_analytically",
    "label_structure", "perturbed", "write_labels", "xtb_labels",
]  # fmt: skip
