"""Coarser rules on a subset of the nodes."""

import numpy as np
import pytest
from sphere_sums import largest_sums

from symjax.errors import GridError
from symjax.so3.quadratures import nested, nested_rules, quadrature


def test_nested_rules_are_useful():
    # 60 % of the nodes could at best carry sqrt(0.6) of the degree; symmetric
    # subsets reach about half of it.
    for degree in (13, 24, 25, 27, 31):
        assert nested(quadrature(degree))[0] >= degree // 3


def test_a_single_node_has_no_nested_rule():
    with pytest.raises(GridError, match="single sphere node"):
        nested(quadrature(0, "gauss"))


@pytest.mark.parametrize("kind", ["lebedev", "gauss"])
@pytest.mark.parametrize(
    "degree", [1, 3, 9, 13, pytest.param(29, marks=pytest.mark.slow)]
)
def test_nested_rules_are_exact_and_nested(degree, kind):
    rule = quadrature(degree, kind)
    kept = np.ones(len(rule.alpha), bool)
    before = degree
    for number, (coarse, weights) in enumerate(nested_rules(rule)):
        assert coarse < before
        assert number == 0 or coarse >= 3
        used = weights > 0
        assert (weights >= 0).all()
        assert not (used & ~kept).any()
        assert used.sum() <= max(0.6 * kept.sum(), 1)
        sums = largest_sums(rule.points, weights, coarse)
        assert sums[1:].max(initial=0) < 1e-11
        assert weights.sum() == pytest.approx(1, abs=1e-12)
        kept, before = used, coarse
