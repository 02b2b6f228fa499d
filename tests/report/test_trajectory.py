"""Figures of a training: means over structures, and what is refused."""

import numpy as np
import pytest

from symjax.errors import ArgumentError
from symjax.report.trajectory import (
    error_figure,
    read_trajectory,
    save_trajectory,
    trajectory_figure,
)
from symjax.training.logs import read_table

HEADER = "step,structure,name,kind,quantity,degree,sigma,value\n"
ROWS = (
    "0,a,energy,output,relative,,,0.5\n0,a,energy,output,B,0,1,0.25\n"
    "0,b,energy,output,B,0,1,0.75\n10,a,energy,output,B,0,1,0.9\n"
    "20,,,,skipped,,,\n0,a,layer,node,B,1,-1,0.5\n"
)


def test_figures_show_the_mean_over_structures(tmp_path):
    path = tmp_path / "trajectory.csv"
    path.write_text(HEADER + ROWS)
    trajectory = read_trajectory(path)
    assert trajectory["energy", "B", 0, 1] == {0: 0.5, 10: 0.9}
    figure = trajectory_figure(trajectory)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["energy", "layer"]
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(line.get_ydata(), [0.5, 0.9])
    assert figure.axes[1].lines[0].get_linestyle() == "--"
    assert len(error_figure(trajectory).axes[0].lines) == 1
    for written in save_trajectory(path, tmp_path):
        assert written.stat().st_size > 1000


def test_files_without_measurements_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="does not exist"):
        read_trajectory(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text(HEADER)
    with pytest.raises(ArgumentError, match="holds no measurement"):
        read_trajectory(tmp_path / "empty.csv")
    with pytest.raises(ArgumentError, match="does not exist"):
        read_table(tmp_path / "none.csv")
