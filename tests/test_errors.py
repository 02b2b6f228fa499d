"""Errors say what to change, in the words of Python and of the command line."""

import ast
import pathlib
import pickle
import re

import pytest

import symjax
from symjax.cli.application import options_as_typed
from symjax.errors import GridError, ModelError, needs_extra
from symjax.runs import Destination, Options
from symjax.runs.folder import check_folder

ROOT = pathlib.Path(symjax.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]+")


def test_a_pair_reads_as_python_and_as_options():
    with pytest.raises(GridError) as caught:
        Options(max_degree=6, grid=3).settings()
    assert caught.value.remedy == "Use grid=13, or max_degree=1"
    # Workers send errors to the process that reports them.
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    names = {"grid": "--grid", "max_degree": "--max-degree"}
    for error in (caught.value, again):
        with pytest.raises(GridError) as typed, options_as_typed(names):
            raise error
        assert typed.value.argument == "--grid"
        assert typed.value.remedy == "Use --grid 13, or --max-degree 1"


def test_a_switch_has_no_value_on_the_command_line(tmp_path):
    into = Destination(tmp_path, resume=True, overwrite=True)
    with pytest.raises(symjax.errors.SymjaxError) as caught:
        check_folder(into)
    assert "resume=True" in caught.value.remedy
    with pytest.raises(symjax.errors.SymjaxError) as typed, options_as_typed({}):
        raise caught.value
    assert re.search(r"Pass --resume to .* --overwrite to", typed.value.remedy)


def test_the_library_names_no_options():
    """Only the command line knows how its options are called."""
    for path in ROOT.rglob("*.py"):
        if path.is_relative_to(ROOT / "cli") or path.name == "__main__.py":
            continue
        source = path.read_text("utf-8")
        if not OPTION.search(source):
            continue
        tree = ast.parse(source)
        docstrings = {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else ""
            # Commands of other programs, and custom properties of style sheets.
            if node in docstrings or not isinstance(text, str) or "var(--" in text:
                continue
            found = OPTION.findall(text)
            assert set(found) <= {"--upgrade", "--formats"}, (path, text)


def test_a_missing_package_names_its_extra():
    missing = pytest.raises(ModelError, match=r"needs nowhere,.*symjax\[torch\]")
    with missing, needs_extra("torch", "path", "a.pt"):
        import nowhere  # noqa: F401
