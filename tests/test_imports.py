"""Modules import downward only, and PyTorch is never imported unasked."""

import ast
import functools
import os
import pathlib
import subprocess
import sys

import pytest

import symjax

ROOT = pathlib.Path(symjax.__file__).parent

# What each part may import besides itself.
ALLOWED = {
    "__init__": set(),
    "errors": {"_text"},
    "_declared": {"errors"},
    "_files": {"errors"},
    "_signals": set(),
    "_arrays": set(),
    "_text": set(),
    "_patterns": set(),
    "so3": {"errors", "_arrays"},
    "metrics": {"errors", "_arrays", "so3"},
    "data": {"errors", "_declared", "_files", "_text", "so3"},
    "models": {
        *("errors", "_arrays", "_declared", "_files", "_text", "_patterns"),
        *("so3", "data", "metrics"),
    },
    "training": {
        *("errors", "_arrays", "_declared", "_files", "_signals", "_text"),
        *("so3", "data", "metrics", "models", "interop"),
    },
    "interop": {
        *("errors", "_files", "_patterns", "_signals", "_text"),
        *("so3", "data", "metrics", "models"),
    },
    "labels": {"errors", "_declared", "_files", "so3", "data"},
    "stability": {"errors", "_declared", "data", "so3"},
    "report": {"errors", "_declared", "_files", "_text", "so3", "data", "metrics"},
    "runs": {
        *("errors", "_files", "_signals", "so3", "data", "metrics", "models", "report"),
    },
    "diagnose": {
        *("errors", "_text", "so3", "data", "metrics", "models", "report", "labels"),
    },
    "cli": {
        *("errors", "_files", "_signals", "_text", "so3", "data", "metrics", "models"),
        *("interop", "report", "runs", "training", "diagnose", "labels", "stability"),
    },
    "testing": {"errors", "so3", "metrics", "interop"},
    "__main__": {"cli"},
}
MODULES = sorted(ROOT.rglob("*.py"))


@functools.cache
def nodes_of(path):
    """All nodes of the syntax of a file, which several tests look at."""
    return list(ast.walk(ast.parse(path.read_text("utf-8"))))


def part_of(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported_parts(nodes):
    """Parts of symjax that a module imports, inside functions as well."""
    parts = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports escape this test"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, *rest = name.split(".")
            if package == "symjax" and rest and rest[0] in ALLOWED:
                parts.add(rest[0])
    return parts


def test_the_reader_sees_all_forms_of_import():
    source = (
        "import symjax.data.graph\n"
        "from symjax import report, __version__\n"
        "def f():\n"
        "    from symjax.models.io import load_model\n"
    )
    assert imported_parts(ast.walk(ast.parse(source))) == {"data", "report", "models"}


def test_every_part_has_a_rule():
    assert {part_of(path) for path in MODULES} == set(ALLOWED)


@pytest.mark.parametrize("part", ALLOWED)
def test_no_module_imports_upward(part):
    for path in MODULES:
        if part_of(path) == part:
            parts = imported_parts(nodes_of(path)) - {part}
            assert parts <= ALLOWED[part], path


# What only the extras install, or what installs where it can: imported where needed.
OPTIONAL = {
    *("torch", "metatensor", "metatomic", "metatrain", "torchpme", "jaxpme", "vesin"),
    *("equinox", "huggingface_hub", "chemiscope", "distributed", "cloudpickle"),
    "tensorboardX",  # imports PyTorch where it is installed
}


@pytest.mark.parametrize("part", sorted(set(ALLOWED) - {"cli"}))
def test_imports_stand_at_the_top(part):
    """But for optional packages, and for the commands, whose help must start fast."""
    for path in (path for path in MODULES if part_of(path) == part):
        functions = [
            node for node in nodes_of(path) if isinstance(node, ast.FunctionDef)
        ]
        names = set()
        for node in (node for function in functions for node in ast.walk(function)):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add((node.module or "").partition(".")[0])
        assert names <= OPTIONAL, path


def test_extras_are_not_imported(tmp_path):
    """Stand-ins make an import succeed, and show, where PyTorch is not installed."""
    heavy = ("torch", "metatensor", "metatomic", "metatrain", "tblite", "pyscf")
    for name in heavy:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    code = (
        "import sys, symjax, symjax.cli, symjax.interop, symjax.report\n"
        "import symjax.report.figures, symjax.report.tables, symjax.training\n"
        "import symjax.labels, symjax.stability, symjax.interop.metatensor_targets\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
        "import torch\n"
        "print(torch.__file__)\n"
    )
    search = os.pathsep.join([str(tmp_path), str(ROOT.parent)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=True,
    )
    imported, stand_in = done.stdout.splitlines()
    assert imported == "[]"
    # The stand-ins were there to be found.
    assert stand_in == str(tmp_path / "torch" / "__init__.py")


# Lines of a file, and what may be longer.
LONGEST = 500
LONGER: set[str] = set()


def test_no_file_is_long():
    found = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in MODULES
    }
    long = {name for name, lines in found.items() if lines > LONGEST}
    assert long <= LONGER, {name: found[name] for name in long - LONGER}


def test_private_functions_have_at_most_eight_parameters():
    for path in MODULES:
        for node in nodes_of(path):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("_"):
                given = node.args
                names = [*given.posonlyargs, *given.args, *given.kwonlyargs]
                own = [name for name in names if name.arg not in ("self", "cls")]
                assert len(own) <= 8 or node.name == "__init__", (path, node.name)


def test_names_of_files_occur_once():
    """But for those of the models, which are parallel, and of the commands."""
    seen = {}
    for path in MODULES:
        name = path.relative_to(ROOT)
        if path.name == "__init__.py" or name.parts[0] == "cli":
            continue
        # models/pet/source.py and models/pointmae/source.py are one name.
        where = "models" if len(name.parts) == 3 and name.parts[0] == "models" else name
        seen.setdefault(path.name, set()).add(where)
    assert {name: found for name, found in seen.items() if len(found) > 1} == {}


def test_modules_have_a_file_of_tests():
    """``tests/room/test_name.py`` for ``symjax/room/name.py``, if it does anything."""
    tests = pathlib.Path(__file__).parent
    missing = set()
    for path in MODULES:
        name = path.relative_to(ROOT)
        own = tests / name.parent / f"test_{name.name.lstrip('_')}"
        if path.name == "__init__.py" or own.is_file():
            continue
        if any(isinstance(node, ast.FunctionDef) for node in nodes_of(path)):
            missing.add(name.as_posix())
    assert missing == set()
