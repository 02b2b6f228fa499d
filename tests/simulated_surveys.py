"""Simulated sums of many structures, whose A is known, for tests of intervals."""

import numpy as np

from symjax.metrics import Groups, Pool
from symjax.metrics.groups import Strata
from symjax.metrics.pooling import Sums


def simulated(random, num, outliers, noise=0.7):
    """V of structures, 1 % of them 100 times as large, and estimates with noise."""
    truth = random.gamma(2.0, 0.5, num)
    if outliers:
        truth[random.random(num) < 0.01] *= 100
    estimates = truth * (1 + noise * random.standard_normal(num))
    values = np.stack([estimates, 10 + 0 * truth], axis=1)
    squares = np.stack([(noise * truth) ** 2, 0 * truth], axis=1)
    return truth, Sums(values, squares, 0 * squares, np.ones(num))


def pooled(columns, total=None, clusters=None, strata=None):
    num = len(columns.count)
    if strata is None:
        strata = Strata(np.zeros(num, int), np.array([total or num]))
    return Pool(("",) * num, np.ones(num), {("f", 0): columns}, strata, clusters)


MEANS, SHARES = np.array([0.2, 1.0, 5.0]), np.array([0.5, 0.3, 0.2])


def of_kinds(random, num):
    """Structures of three kinds with V of their own, and one that is rare."""
    kinds = random.choice(3, num, p=SHARES)
    truth = MEANS[kinds] * random.gamma(4.0, 0.25, num)
    noisy = truth * (1 + 0.5 * random.standard_normal(num))
    values = np.stack([noisy, 10 + 0 * truth], axis=1)
    squares = np.stack([(0.5 * truth) ** 2, 0 * truth], axis=1)
    columns = Sums(values, squares, 0 * squares, np.ones(num))
    labels = [str(number) for number in range(num)]
    return (
        labels,
        Groups(dict(zip(labels, kinds.tolist(), strict=True))),
        truth,
        columns,
    )


def some_of(columns, labels, order, groups):
    chosen = Sums(*(array[order] for array in columns))
    strata = groups.strata_of([labels[index] for index in order], labels)
    return pooled(chosen, strata=strata)
