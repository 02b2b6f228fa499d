"""Sums of structures on disk."""

import tracemalloc

import numpy as np

from symjax.metrics.gathering import Gathered
from symjax.metrics.pooling import Sampled, Sums


def test_memory_does_not_grow_with_the_structures():
    """Of 100 layers 39 kB a structure would be held; 1 kB is allowed."""
    random = np.random.default_rng(0)
    gathered = Gathered(120)
    sizes = []
    tracemalloc.start()
    for number in range(120):
        gathered.add(
            [
                Sampled(
                    str(number),
                    9,
                    {
                        (f"layer {layer}", 0): Sums(*random.normal(size=(3, 16)), 1.0)
                        for layer in range(100)
                    },
                )
            ]
        )
        sizes.append(tracemalloc.get_traced_memory()[0])
    before = tracemalloc.get_traced_memory()[0]
    pooled = gathered.pool()
    assert len(pooled.columns) == 100
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sizes[-1] - sizes[49] < 70 * 1000
    assert after - before < 120 * 1000
    last = pooled.columns["layer 99", 0].values[-1]
    assert np.isfinite(last).all()
    assert (last != 0).all()
