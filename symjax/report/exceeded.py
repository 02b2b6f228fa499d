"""Which outputs of a report lie above the errors that a pipeline admits."""

from symjax.data.limits import Limit
from symjax.errors import ArgumentError
from symjax.report.schema import Report


def exceeded(report: Report, limits: list[Limit]) -> list[str]:
    """One line for each output that lies above its limit, over all structures."""
    leaves = report.aggregate()
    lines = []
    for limit in limits:
        if limit.name not in leaves:
            raise ArgumentError(
                "fail_above",
                limit.name,
                "is no output of this report",
                f"Use {', '.join(n for n, leaf in leaves.items() if leaf.unit)}",
            )
        leaf = leaves[limit.name]
        error, most = leaf.totals.equivariance_error, limit.within(leaf.unit)
        # Not "error > most": NaN is above every limit.
        if not error <= most:
            lines.append(
                f"{limit.name}: A = {error:.3g} {leaf.unit} is above "
                f"{most:.3g} {leaf.unit}"
            )
    return lines
