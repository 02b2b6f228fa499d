"""Sphinx configuration; the site builds with warnings as errors."""

from sphinx.application import Sphinx

import symjax

project = "symjax"
author = "The symjax developers"
release = symjax.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    # Brings myst_parser for the pages in Markdown.
    "myst_nb",
]
myst_enable_extensions = ["dollarmath"]
# Links to the sections of a page.
myst_heading_anchors = 2
# Notebooks are stored with their outputs, which tests/test_notebooks.py checks.
nb_execution_mode = "off"
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
html_theme = "furo"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_use_ivar = True
napoleon_numpy_docstring = False


def copy_notebooks(app: Sphinx) -> None:
    """Copies ``notebooks/`` to where Sphinx finds pages, and turns their links.

    What has not changed is not written, so that Sphinx need not read it again.

    Args:
      app: The application, whose source folder is ``docs/``.
    """
    source = app.srcdir.parent / "notebooks"
    target = app.srcdir / "notebooks"
    target.mkdir(exist_ok=True)
    for path in target.glob("*.ipynb"):
        if not (source / path.name).exists():
            path.unlink()
    for path in source.glob("*.ipynb"):
        copy = target / path.name
        # The copies are one folder nearer to the pages.
        text = path.read_text("utf-8").replace("](../docs/", "](../")
        if not copy.exists() or copy.read_text("utf-8") != text:
            copy.write_text(text, "utf-8")


def setup(app: Sphinx) -> None:
    """Registers what happens before pages are looked for.

    Args:
      app: The application.
    """
    app.connect("builder-inited", copy_notebooks)
