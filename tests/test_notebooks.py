"""Every notebook runs from its first cell to its last, without Jupyter."""

import ast
import contextlib
import importlib.util
import io
import json
import os
import pathlib
import re
import subprocess
import sys

import jax
import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from small_models import drawn_pet

from symjax.models import save_model

FOLDER = pathlib.Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# Those that need the extra [torch].
TORCH = {"your_model"}
# Those that train or compile for long run outside CI.
SLOW = {"repair", "cure", "learning", "event"}
# Those that need a process of their own: one chooses devices before JAX starts.
ALONE = SLOW if jax.device_count() > 1 else {"many_devices", *SLOW}


def parameters():
    for path in NOTEBOOKS:
        marks = [pytest.mark.torch] if path.stem in TORCH else []
        marks += [pytest.mark.slow] if path.stem in SLOW else []
        yield pytest.param(path, id=path.stem, marks=marks)


def test_there_is_a_notebook():
    # An empty list of parameters would pass the other tests by skipping them.
    assert NOTEBOOKS
    assert {path.stem for path in NOTEBOOKS} >= TORCH


def code(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", list(parameters()))
def test_cells_run_in_order(path, tmp_path, monkeypatch):
    if path.stem in TORCH and importlib.util.find_spec("metatrain") is None:
        pytest.skip("needs the extra [torch]")
    text = "\n\n".join("".join(cell["source"]) for cell in code(path))
    if path.stem not in SLOW:
        # With the layers that notebooks name, and compiled in a third of the time.
        model = tmp_path / "model"
        save_model(drawn_pet((1, 6, 8), num_attention_layers=2), model)
        text = text.replace('load_model("pet-ethanol")', f"load_model({str(model)!r})")
    run = run_alone if path.stem in ALONE else run_here
    assert words(run(text, tmp_path, monkeypatch)) == words(stored(path))


def run_here(text, folder, monkeypatch):
    """What a program prints, with the precision that users have."""
    monkeypatch.chdir(folder)
    mpl.use("agg")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), jax.enable_x64(False):
        exec(compile(text, "notebook", "exec"), {"__name__": "__main__"})
    plt.close("all")
    return printed.getvalue()


def run_alone(text, folder, monkeypatch):
    """What a program prints in a process of its own."""
    # Options of XLA that a notebook chooses come beside those of the tests.
    flags = os.environ["XLA_FLAGS"]
    script = folder / "notebook.py"
    script.write_text(text.replace('"--xla', f'"{flags} --xla'), encoding="utf-8")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    # Compiling takes most of the time. Results change by rounding.
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    command = [sys.executable, script.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stored(path):
    outputs = [output for cell in code(path) for output in cell["outputs"]]
    texts = [output["text"] for output in outputs if output.get("name") == "stdout"]
    return "".join(map("".join, texts))


def words(text):
    """Without numbers, which rounding changes, and the line breaks that they move."""
    return re.sub(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", "#", text).split()


def test_other_words_are_noticed():
    assert words("A = -1.5e-3 eV,\n 12 of 3") == words("A = 0.2 eV, 1 of 40")
    assert words("Nothing was found.") != words("1. SYMMETRY NOT LEARNED, critical")


@pytest.mark.parametrize("name", sorted(SLOW))
def test_what_slow_ones_import_exists(name):
    source = "\n".join(
        "".join(cell["source"]) for cell in code(FOLDER / f"{name}.ipynb")
    )
    imports = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert imports
    exec("\n".join(map(ast.unparse, imports)), {})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_of_one_run(path):
    """Executed in order, without errors or warnings, and with a figure."""
    cells = code(path)
    counts = [cell["execution_count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in outputs)
    assert all(output.get("name") != "stderr" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)
