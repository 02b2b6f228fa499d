"""Reports with made-up but valid content, for tests that need no measurement."""

import numpy as np

from symjax.metrics import Convergence, RuleTotals, Totals
from symjax.metrics.consistency import LabelConsistency
from symjax.report import Leaf, schema
from symjax.report.event_schema import Breaking, EventPoints
from symjax.report.storage import to_json

DIMENSIONS = {"scalar": (1,), "vector": (3,), "matrix": (1, 3, 5), "feature": (1,)}
IRREPS = {
    "scalar": ("0+",),
    "vector": ("1+",),
    "matrix": ("0+", "1-", "2+"),
    "feature": ("0+",),
}


def totals(rng, representation, samples, max_degree=2):
    size = np.array(DIMENSIONS[representation], float)
    norm = rng.uniform(1, 2, len(size)) * size * samples
    power = rng.dirichlet(np.ones(2 * max_degree + 3), len(size))[:, :-1]
    power = power.reshape(len(size), max_degree + 1, 2) * norm[:, None, None]
    return Totals(norm * rng.uniform(1e-6, 1e-2), norm, power, size * samples)


def coarser(rng, whole, max_degree):
    """Under a rule of degree 3 a larger variance, and the content through l = 1."""
    power = whole.power[:, : min(max_degree, 1) + 1] * rng.uniform(0.5, 0.9)
    totals = whole._replace(variance=1.5 * whole.variance, power=power)
    return (RuleTotals(3, 48, totals),)


def leaf(rng, name, kind, unit, representation, resolved=True, max_degree=2):
    whole = totals(rng, representation, 9, max_degree)
    return Leaf(
        name,
        kind,
        unit,
        representation,
        IRREPS[representation],
        1,
        whole,
        {"H": totals(rng, representation, 6, max_degree)} if kind != "edge" else {},
        Convergence(
            resolved,
            0.01,
            0.02,
            whole.remainder,
            5 if resolved else 11,
            "" if resolved else "content changes by 0.3",
            0.001,
            excluded=0.19,
        ),
        coarser(rng, whole, max_degree),
    )


def report(seed=0, layers=2, structures=2, failed=0, resolved=True, max_degree=2):
    rng = np.random.default_rng(seed)
    measured = []
    for index in range(structures):
        leaves = [
            leaf(rng, "energy", "output", "eV", "scalar", resolved, max_degree),
            leaf(rng, "forces", "output", "eV/angstrom", "vector", True, max_degree),
            leaf(rng, "stress", "output", "eV/angstrom^3", "matrix", True, max_degree),
        ]
        for number in range(layers):
            kind = ("node", "edge")[number % 2]
            name = f"gnn_layers.{number // 2}.trans.layers.1_{kind}"
            leaves.append(leaf(rng, name, kind, "", "feature", resolved, max_degree))
        measured.append(
            schema.StructureReport(
                f"water:{index}",
                "H2O",
                3,
                f"{index:064x}",
                tuple(leaves),
                schema.Timing(1.5, 0.25),
                atoms=schema.AtomErrors(
                    (8, 1, 1),
                    np.array([[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]]),
                    np.zeros((3, 3)),
                    {"forces": rng.uniform(1e-3, 1e-1, 3)},
                ),
            )
        )
    measured += [
        schema.StructureReport(
            f"bad:{index}",
            "SiH4",
            5,
            "f" * 64,
            failure=schema.Failure("StructureError", "atoms='Si': unknown. Leave out."),
        )
        for index in range(failed)
    ]
    return schema.Report(
        schema.Software("0.1.0", "0.10.2", "cpu"),
        schema.ModelInfo("pet-ethanol", "a" * 64),
        schema.Settings(
            max_degree, "lebedev 5 x 6", 5, 168, "all", "float32", 0.05, energy="energy"
        ),
        tuple(measured),
    )


def event(label, size, variance, sources=()):
    """An event whose class probabilities have a variance, summed over points."""

    def sums(variance, norm, count):
        power = np.array([[[norm - variance, 0.0], [variance, 0.0]]])
        return Totals(np.array([variance]), np.array([norm]), power, np.array([count]))

    part = sums(variance / 2, size, 2.0 * size)
    leaf = Leaf(
        *("class_probabilities", "output", "", "feature", ("0+",), 4),
        sums(variance, 2 * size, 4.0 * size),
        {"track": part},
        None,
        particles={"muon": part},
    )
    positions = np.arange(3.0 * size).reshape(size, 3)
    errors = {"class_probabilities": np.full(size, 0.25)}
    changes = np.linspace(0, 1, size)
    return schema.StructureReport(
        *(label, "event", size, ""),
        leaves=(leaf,),
        timing=schema.Timing(1.0, 2.0),
        points=EventPoints(
            *(positions, np.ones(size), np.zeros(size, int), errors),
            *(np.zeros(size, int), changes),
        ),
        breaking=sources,
    )


def breaking(group, points, size, accuracy):
    """Sources of symmetry breaking of a size."""
    labels = LabelConsistency(
        *(0.2, 0.1, accuracy, (accuracy, accuracy), accuracy, np.zeros((0, 0)), 48)
    )
    sources = (size, size / 2, size / 3, 1.2 * size)
    return Breaking(group, 48, points, points, *sources, {}, labels, labels)


def event_report(*events):
    return schema.Report(
        schema.Software("0.1.0", "0.10.2", "cpu"),
        schema.ModelInfo("polarmae-events", "a" * 64),
        schema.Settings(
            *(1, "lebedev 3 x 4", 3, 48, "none", "float32", 0.05), points="all points"
        ),
        events,
    )


def totals_of(report):
    """Everything but the wall-clock times."""
    value = to_json(report)
    for structure in value["structures"]:
        structure.pop("timing")
    return value
