"""Sums of structures on disk."""

import tracemalloc

import numpy as np

from symjax.metrics import (
    Pool,
)
from symjax.metrics.gathering import Gathered
from symjax.metrics.groups import Strata
from symjax.metrics.pooling import Sampled, Sums


def pooled(columns, total=None, clusters=None, strata=None):
    num = len(columns.count)
    if strata is None:
        strata = Strata(np.zeros(num, int), np.array([total or num]))
    return Pool(("",) * num, np.ones(num), {("f", 0): columns}, strata, clusters)


def test_memory_does_not_grow_with_the_structures():
    """Of 200 layers 78 kB a structure would be held; 1 kB is allowed."""
    random = np.random.default_rng(0)
    gathered = Gathered(400)
    sizes = []
    tracemalloc.start()
    for number in range(400):
        gathered.add(
            [
                Sampled(
                    str(number),
                    9,
                    {
                        (f"layer {layer}", 0): Sums(*random.normal(size=(3, 16)), 1.0)
                        for layer in range(200)
                    },
                )
            ]
        )
        sizes.append(tracemalloc.get_traced_memory()[0])
    before = tracemalloc.get_traced_memory()[0]
    pooled = gathered.pool()
    assert len(pooled.columns) == 200
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sizes[-1] - sizes[99] < 300 * 1000
    assert after - before < 400 * 1000
    last = pooled.columns["layer 199", 0].values[-1]
    assert np.isfinite(last).all()
    assert (last != 0).all()
