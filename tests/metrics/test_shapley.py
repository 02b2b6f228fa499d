"""Sectors of a stage share out what they change."""

import jax
import jax.numpy as jnp
import pytest
from planted_causes import CUBIC, X, network

from symjax.metrics import (
    Output,
    Problem,
    StagedProblem,
    sector_shares,
    trace,
)
from symjax.so3 import SCALAR


def test_sectors_share_out_what_they_change():
    """Two sectors that multiply: alone each takes all away; they share it evenly."""

    def function(x, shifts):
        a, b = x[0] / jnp.linalg.norm(x[0]), x[1] / jnp.linalg.norm(x[1])
        features = {"h": jnp.stack([a[0], b[0] * b[1], 0.2 * a[2]])}
        seen = features["h"] + shifts.get("h", 0.0)
        return {"y": seen[0] * seen[1] + seen[2]}, features

    problem = Problem(lambda x: function(x, {})[0], X, {"y": Output(SCALAR)})
    staged = StagedProblem(problem, (("h",),), function)
    with jax.enable_x64(True):
        found = trace(staged, max_degree=2, sectors=True, rule=9)
        shares = sector_shares(staged, 0, max_degree=2, rule=9, orders=64)
    whole = found.errors["y"][0] ** 2
    product = whole - 0.04 / 3
    by_name = dict(zip(map(str, shares.sectors), shares.values["y"], strict=True))
    assert by_name["2+"] == pytest.approx(product / 2, rel=0.2)
    assert by_name["1+"] == pytest.approx(product / 2 + 0.04 / 3, rel=0.2)
    assert sum(by_name.values()) + shares.left["y"] == pytest.approx(whole)
    # of orders and their reverses each sector comes first in exactly half
    assert by_name["2+"] == pytest.approx(product / 2, rel=1e-6)
    assert abs(by_name["2-"]) + abs(by_name["None"]) + shares.left["y"] < 1e-12
    # alone, 1+ takes all and 2+ the product: more than there is
    assert found.interactions("y")[0] == pytest.approx(-product)


def test_all_orders_of_few_sectors_are_tried():
    with jax.enable_x64(True):
        shares = sector_shares(network((0.7, 0.1, 0.0, 0.0)), 0, max_degree=1, rule=9)
    assert len(shares.sectors) == 4
    assert not shares.errors["y"].any()
    # of degree 3, so above these
    assert shares.values["y"][-1] == pytest.approx(0.49 * CUBIC)
