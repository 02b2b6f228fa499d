"""``symjax train``: what is refused before data are read or a step is compiled."""

import json

import numpy as np
from water_runs import ENERGY, settings

from symjax import cli
from symjax.training import parse_run
from symjax.training.logs import Checkpoints
from symjax.training.optimisation import TrainState


def test_the_command_line_names_its_option(invoke, tmp_path):
    """A schedule that depends on the number of steps follows another one if asked."""
    folder = tmp_path / "run"
    folder.mkdir()
    run = parse_run(settings("frames.xyz", steps=4, targets=ENERGY))
    before = run.model_dump(mode="json")
    (folder / "run.json").write_text(json.dumps({"run": before}))
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(TrainState(np.array(2), {}, {}, {}, {}, np.array(-1)), [])
    checkpoints.close()
    (tmp_path / "run.yaml").write_text(json.dumps({**before, "steps": 9}))
    result = invoke("train", "run.yaml", "-o", folder, "--resume")
    assert result.exit_code == cli.BAD_INPUT
    said = " ".join(result.output.split())
    assert "steps=9: the run was started with 4" in said
    assert "Pass --extend to let it follow" in said
