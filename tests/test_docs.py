"""The public names, their docstrings and the page that lists them."""

import importlib
import pathlib
import re

import pytest

PACKAGES = (
    "symjax.so3",
    "symjax.metrics",
    "symjax.data",
    "symjax.models",
    "symjax.data.point_clouds",
    "symjax.models.pet",
    "symjax.models.pointmae",
    "symjax.training",
    "symjax.labels",
    "symjax.stability",
    "symjax.interop",
    "symjax.report",
    "symjax.diagnose",
    "symjax.errors",
)
PAGE = pathlib.Path(__file__).parent.parent / "docs" / "api.md"
DIRECTIVE = re.compile(r"^\.\. auto(\w+):: ([\w.]+)\n((?:   :.*\n)*)", re.MULTILINE)


def resolve(path):
    """The object behind a dotted path of a directive."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def is_documentable(value):
    """Functions, compiled ones too, and classes; not constants."""
    return callable(value) and hasattr(value, "__qualname__")


def described(package):
    """Names in ``__all__`` whose kind is a function or class, and the constants."""
    module = importlib.import_module(package)
    names = {name: getattr(module, name) for name in module.__all__}
    functions = {name for name, value in names.items() if is_documentable(value)}
    return names, functions


def directives():
    found = [match.groups() for match in DIRECTIVE.finditer(PAGE.read_text("utf-8"))]
    assert found, "the page has no directive that this test can read"
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_on_the_page(package):
    """Modules bring their functions and classes; constants are named one by one."""
    names, functions = described(package)
    listed = set()
    for kind, path, options in directives():
        if kind == "module":
            if path == package and ":members:" in options:
                listed |= functions
        else:
            value = resolve(path)
            listed |= {n for n in names if names[n] is value and path.endswith(f".{n}")}
    assert sorted(set(names) - listed) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_an_example(package):
    names, functions = described(package)
    assert functions
    without = [
        name
        for name in sorted(functions)
        if not re.search(r"Example:\n\s+>>> ", names[name].__doc__ or "")
    ]
    assert without == []


def test_every_page_is_reachable():
    """Sphinx refuses pages outside the table of contents; so does this, faster."""
    index = (PAGE.parent / "index.md").read_text("utf-8")
    trees = re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL)
    listed = [word for tree in trees for word in tree.split()]
    pages = {path.stem for path in PAGE.parent.glob("*.md")} - {"index"}
    assert pages <= set(listed)


def test_every_notebook_is_on_the_first_page():
    """With a link, a download, and a place in the table of contents."""
    index = (PAGE.parent / "index.md").read_text("utf-8")
    names = {path.stem for path in PAGE.parent.parent.glob("notebooks/*.ipynb")}
    assert names
    for pattern in (r"\]\(notebooks/(\w+)\.ipynb\)", r"<../notebooks/(\w+)\.ipynb>"):
        assert set(re.findall(pattern, index)) == names
    assert set(re.findall(r"^notebooks/(\w+)$", index, re.MULTILINE)) == names


def test_links_of_notebooks_lead_to_pages():
    """In the source as they stand; the site turns those that begin so."""
    linked = 0
    for path in PAGE.parent.parent.glob("notebooks/*.ipynb"):
        for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text("utf-8")):
            if target.endswith(".md"):
                assert target.startswith("../docs/"), (path.name, target)
                assert (path.parent / target).exists(), (path.name, target)
                linked += 1
    assert linked
