"""The monitor keeps to its share of the time; figures show what it wrote."""

import numpy as np
import pytest

from symjax.metrics import Output, Problem, Survey, measure_many
from symjax.metrics.packs import Pack
from symjax.so3 import VECTOR
from symjax.training.configuration import MonitorSection
from symjax.training.monitor import Monitor, SurveyProbe


class Clock:
    """Time that passes as a test says."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_measurements_keep_to_their_share_of_the_time():
    clock = Clock()

    class Slow:
        def rows(self, model, config, step):
            clock.now += 2.0
            return [{"step": step, "quantity": "A", "value": 1.0}]

    monitor = Monitor([Slow()], MonitorSection(max_share=0.1), clock)
    made = []
    for step in range(100):
        made.append(monitor.rows(None, step)[0]["quantity"] == "A")
        clock.now += 1.0
    assert made[0]
    assert made[1]
    # two seconds of every twenty
    assert sum(made[1:]) * 2.0 <= 0.1 * clock.now + 2.0
    assert sum(made) >= 5


def test_a_survey_of_many_structures_by_the_same_estimator():
    """What a loop writes is what ``measure_many`` finds of the same structures."""
    x = np.random.default_rng(0).normal(size=(50, 3))

    def packs(scale):
        def respond(elements):
            turned = np.einsum("gnij,nj->gni", elements, x)
            return {"v": turned + scale * turned**3}

        labels = tuple(map(str, range(50)))
        outputs = {"v": Output(VECTOR, unit="D")}
        yield Pack(labels, (1,) * 50, respond, outputs, {"v": np.arange(50)})

    probe = SurveyProbe("validation", packs, Survey(16))
    monitor = Monitor([probe], MonitorSection())
    found = {}
    for scale in (0.0, 0.1):
        for row in monitor.rows(scale, 7):
            assert (row["step"], row["structure"], row["name"]) == (
                7,
                "validation",
                "v",
            )
            found[scale, row["quantity"]] = row["value"]
    assert found[0.0, "survey_A"] < 1e-12
    problems = {
        str(number): Problem(
            lambda x: x + 0.1 * x**3, each[None], {"output": Output(VECTOR)}
        )
        for number, each in enumerate(x)
    }
    other = measure_many(problems, over=Survey(16), max_degree=0).pool.error(
        "output", of="data"
    )
    assert found[0.1, "survey_A"] == pytest.approx(other.value)
    assert found[0.1, "survey_low"] == pytest.approx(other.low)
    assert found[0.1, "survey_high"] == pytest.approx(other.high)
    assert 0 < found[0.1, "survey_relative"] < 1


def test_only_multiples_are_due():
    monitor = Monitor([], MonitorSection(every=10))
    assert [step for step in range(31) if monitor.is_due(step)] == [0, 10, 20, 30]
