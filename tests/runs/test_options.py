"""Options that are impossible, and what follows from those that are not."""

import dataclasses

import jax
import pytest

from symjax.errors import ArgumentError, GridError
from symjax.runs import Options

OPTIONS = Options(max_degree=1, dtype="float64")


class TestOptions:
    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"max_degree": -1}, ArgumentError),
            ({"turn": "O"}, ArgumentError),
            ({"grid": 1}, GridError),
            ({"grid": -4}, GridError),
            ({"grid": 0, "max_degree": 0}, GridError),
            ({"grid": "fine"}, ArgumentError),
            ({"dtype": "float16"}, ArgumentError),
            ({"tolerance": 0.0}, ArgumentError),
            ({"tolerance": float("nan")}, ArgumentError),
            ({"memory": 0}, ArgumentError),
        ],
    )
    def test_impossible_options(self, change, error):
        with pytest.raises(error, match=next(iter(change))):
            dataclasses.replace(OPTIONS, **change).settings()

    def test_smallest_grid_that_is_allowed(self):
        assert Options(max_degree=3, grid=6).settings().degree == 6
        assert Options(max_degree=0).settings().degree == 1

    def test_float64_needs_x64(self):
        with (
            jax.enable_x64(False),
            pytest.raises(ArgumentError, match="x64 mode"),
        ):
            OPTIONS.settings()
