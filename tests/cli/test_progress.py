"""What is said of work that goes on, and of the time left."""

import pytest

from symjax.cli.progress import LongWork, Pace
from symjax.runs import Progress


class TestPace:
    @staticmethod
    def step(position, kept=False):
        return Progress("", position, 101, 0, 0, kept=kept)

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.5, "50 s left"),
            (1.19, "119 s left"),
            (6, "10 min left"),
            (720, "20 h left"),
        ],
    )
    def test_follows_from_the_time_of_a_structure(self, monkeypatch, seconds, text):
        times = iter([0.0, seconds])
        monkeypatch.setattr("time.monotonic", lambda: next(times))
        assert Pace().left(self.step(1)) == text

    def test_kept_structures_took_no_time(self, monkeypatch):
        times = iter([0.0, 5.0, 7.0])
        monkeypatch.setattr("time.monotonic", lambda: next(times))
        pace = Pace()
        assert pace.left(self.step(51, kept=True)) == ""
        assert pace.left(self.step(52)) == "98 s left"

    def test_nothing_is_left(self):
        assert Pace().left(self.step(101)) == ""


class TestLongWork:
    @staticmethod
    def step(done, total):
        return Progress("big\n", 1, 1, done, total)

    def test_is_announced_at_once(self):
        line = LongWork().line(self.step(0, 1_533_840))
        assert line == r"1/1 big\n: 1,533,840 evaluations"
        assert not LongWork().line(self.step(0, 2016))
        line = LongWork().line(self.step(0, 2016)._replace(size=10_000))
        assert "2,016 evaluations of 10,000 atoms or points; --estimate" in line

    def test_time_left_is_that_of_calls_behind_the_first(self, monkeypatch):
        times = iter([0.0, 30.0, 40.0, 45.0, 60.0])
        monkeypatch.setattr("time.monotonic", lambda: next(times))
        work = LongWork()
        work.line(self.step(0, 1000))
        assert not work.line(self.step(100, 1000))  # with the compilation
        assert work.line(self.step(200, 1000)).endswith(
            "200 of 1,000 evaluations; 80 s left"
        )
        assert not work.line(self.step(300, 1000))  # lines grow rarer
        assert "left" in work.line(self.step(400, 1000))
