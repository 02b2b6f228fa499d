"""A run made ready: which structures are learnt from, and which are held out."""

import ase.io
import pytest
from small_models import EVENT_CONFIG, POINT_MAE
from water_runs import frames, settings

from symjax.data.point_clouds import SMALL, generate_event, write_events
from symjax.training import parse_run
from symjax.training.problems import atoms_problem, events_problem


def test_structures_on_both_sides_of_the_split_are_counted(tmp_path):
    ase.io.write(tmp_path / "frames.xyz", frames(4))
    ase.io.write(tmp_path / "others.xyz", frames(6)[3:])
    data = {"training": str(tmp_path / "frames.xyz")}
    data["validation"] = str(tmp_path / "others.xyz")
    run = parse_run(settings(tmp_path / "frames.xyz", data=data))
    with pytest.warns(UserWarning, match="1 of 3 structures for validation are also"):
        atoms_problem(run)


class StopError(Exception):
    """Of what follows once both sets have been read."""


def test_events_on_both_sides_are_counted(tmp_path, monkeypatch):
    def stop(config, *given):
        assert config == EVENT_CONFIG
        raise StopError

    monkeypatch.setattr("symjax.training.problems.prepare_events", stop)
    events = [generate_event(seed, SMALL) for seed in (12, 27, 30)]
    write_events(tmp_path / "training.h5", events[:2])
    write_events(tmp_path / "validation.h5", events[1:])
    files = {name: str(tmp_path / f"{name}.h5") for name in ("training", "validation")}
    run = parse_run(
        {
            "kind": "events",
            "steps": 1,
            "data": {**files, "num_points": 1000},
            "model": {"hyperparameters": POINT_MAE},
        }
    )
    with (
        pytest.warns(UserWarning, match="1 of 2 events for validation are also"),
        pytest.raises(StopError),
    ):
        events_problem(run)
