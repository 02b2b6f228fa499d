"""What the page of a report needs to draw convergence curves: data for its script."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from symjax.metrics.convergence import band_limit, tail_ratio
from symjax.report.formats import with_symbols
from symjax.report.leaves import Leaf
from symjax.report.schema import Report, Settings


def curve_data(report: Report, names: Sequence[str], most: int) -> dict[str, Any]:
    """Curves of all structures together, and of each if these are not many.

    Args:
      report: The report.
      names: Names of the leaves, in the order of the page.
      most: Largest number of structures of which each is listed.

    Returns:
      ``sets``, each with a label and one entry for each name: None where no coarser
      rule is known, else ``degrees`` of the rules, ``error`` A, ``relative`` error
      and ``content`` B(l) under each, ``sectors`` B(l, sigma) as they are reported,
      and the extrapolated ``tail``.
    """

    def values(leaves: dict[str, Leaf]) -> list[dict[str, Any] | None]:
        return [
            _values(leaves[name], report.settings) if name in leaves else None
            for name in names
        ]

    together = report.aggregate()
    sets = [{"label": "all", "values": values(together)}]
    if 1 < len(report.measured) <= most:
        for structure in report.measured:
            leaves = {leaf.name: leaf for leaf in structure.leaves}
            sets.append({"label": structure.label, "values": values(leaves)})
    units = [with_symbols(together[name].unit) for name in names]
    return {"rows": list(names), "units": units, "sets": sets}


def _values(leaf: Leaf, settings: Settings) -> dict[str, Any] | None:
    points = leaf.curve(settings)
    if not points:
        return None
    # Sectors that a climb did not project are stored as 0, which is no measurement.
    certificate = leaf.certificate
    end = None if certificate is None else certificate.projected_degree + 1
    content = leaf.totals.content[:end]
    sums = content.sum(axis=1)
    ratio = tail_ratio(sums)
    tail = None
    if ratio is not None:
        # A degree more than needed, so that the line crosses the tolerance.
        last = band_limit(sums, ratio, settings.tolerance) + 1
        last = min(max(last, len(sums) + 1), 2 * settings.degree)
        degrees = np.arange(len(sums) - 1, last + 1)
        tail = {
            "degrees": degrees.tolist(),
            "content": (sums[-1] * ratio ** (degrees - degrees[0])).tolist(),
        }
    return {
        "degrees": [point.degree for point in points],
        "error": [point.totals.equivariance_error for point in points],
        "relative": [point.totals.relative_error for point in points],
        "content": [
            point.totals.content[:end].sum(axis=1).tolist() for point in points
        ],
        "sectors": content.tolist(),
        "tail": tail,
    }
