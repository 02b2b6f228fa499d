"""Files that a run writes: tables that spreadsheets and resumed runs read."""

import numpy as np

from symjax.training.logs import Table, read_table


def test_tables_drop_what_came_after_a_checkpoint(tmp_path):
    path = tmp_path / "metrics.csv"
    table = Table(path, ("step", "loss"))
    table.add([{"step": step, "loss": 0.1 * step} for step in (1, 2, 3)])
    with open(path, "a") as file:
        file.write("4")  # killed in the middle of a line
    Table(path, ("step", "loss"), after=2)
    np.testing.assert_array_equal(read_table(path)["step"], [1, 2])


def test_a_row_before_the_first_step_is_kept(tmp_path):
    path = tmp_path / "trajectory.csv"
    Table(path, ("step", "value")).add([{"step": 0, "value": 1}, {"step": 1}])
    Table(path, ("step", "value"), after=0)
    np.testing.assert_array_equal(read_table(path)["step"], [0])
    Table(path, ("step", "value"))
    assert read_table(path) == {}


def test_a_name_is_no_formula(tmp_path):
    """Spreadsheets calculate what starts with =, +, - or @."""
    path = tmp_path / "metrics.csv"
    table = Table(path, ("step", "=1+1", "@x\ny"))
    table.add([{"step": 1, "=1+1": 0.5}])
    Table(path, ("step", "=1+1", "@x\ny"), after=1).add([{"step": 2, "=1+1": -0.5}])
    lines = path.read_text().splitlines()
    assert lines == [r"step,'=1+1,'@x\ny", "1,0.5,", "2,-0.5,"]
    assert read_table(path)["'=1+1"].tolist() == [0.5, -0.5]
