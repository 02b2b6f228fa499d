"""A survey with sums that are made up, for tests that need no measurement."""

import ase.build
import numpy as np

from symjax.metrics import Output, Sampled, Survey, pool
from symjax.metrics.pooling import Sums
from symjax.metrics.survey import Surveyed
from symjax.report import schema
from symjax.report.survey_text import Described, SurveyReport
from symjax.so3 import FEATURE, SCALAR, VECTOR

OVER = Survey(8)
OUTPUTS = {
    "energy": Output(SCALAR, "eV"),
    "forces": Output(VECTOR, "eV/angstrom"),
    "gnn_layers.0.node": Output(FEATURE, kind="node"),
}


def sampled(label, atoms, random):
    """Sums of one structure: V about 1e-4 of the norm 4 a component, B of degree 1."""

    def sums(count, scale=1.0):
        variance = 4e-4 * scale * random.uniform(0.5, 1.5)
        # V, norm, and the powers of 0+, 0-, 1+ and 1-.
        values = count * np.array([variance, 4.0, 0.1, 0.0, 3.8, 0.1])
        return Sums(values, (0.1 * values) ** 2, 0 * values, float(count))

    size = len(atoms)
    found = {(name, 0): sums(3 * size) for name in OUTPUTS} | {("energy", 0): sums(1)}
    found["forces", "Ci"] = sums(3 * size, 0.25)
    for number in np.unique(atoms.numbers).tolist():
        found["forces", number] = sums(3 * int((atoms.numbers == number).sum()))
    return Sampled(label, size, found, {"forces": random.uniform(1e-4, 5e-4, size)})


def survey(num=8, fresh=True, failed=0, over=OVER, reached=None, names=None):
    """Waters and methanes in turn; names of structures may be given."""
    random = np.random.default_rng(0)
    labels = names or [f"molecule {number}" for number in range(num)]
    structures = {
        label: ase.build.molecule(("H2O", "CH4")[number % 2])
        for number, label in enumerate(labels)
    }

    def pooled():
        return pool([sampled(name, one, random) for name, one in structures.items()])

    return SurveyReport(
        schema.Software("0.1.0", "0.10.2", "cpu"),
        schema.ModelInfo("pet", "a" * 64),
        Surveyed(pooled(), over, 1, reached),
        OUTPUTS,
        {
            label: Described(
                *(str(one.symbols), one.numbers, one.positions),
                *(one.cell.array, one.pbc),
            )
            for label, one in structures.items()
        },
        {f"bad {number}": "atoms='U': unknown" for number in range(failed)},
        len(labels) + failed,
        1,
        pooled() if fresh else None,
        "symjax <x>",
    )
