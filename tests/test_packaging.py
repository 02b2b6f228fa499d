"""What an installation says about itself."""

import importlib.metadata
import pathlib
import tomllib

import yaml

import symjax

ROOT = pathlib.Path(__file__).parent.parent


def test_version_stands_in_one_place():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" not in settings["project"]
    attribute = settings["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert attribute == "symjax.__version__"
    assert importlib.metadata.version("symjax") == symjax.__version__
    first = (ROOT / "CHANGELOG.md").read_text("utf-8").split("\n## ")[1]
    assert first.startswith(symjax.__version__)


def test_citation_names_version_licence_and_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == symjax.__version__
    assert citation["license"] == "BSD-3-Clause"
    paper = citation["preferred-citation"]
    names = [author["family-names"] for author in paper["authors"]]
    assert names == ["Domina", "Abbott", "Pegolo", "Bigi", "Ceriotti"]
    assert paper["url"].endswith("2603.24638")


def test_type_information_is_shipped():
    assert (pathlib.Path(symjax.__file__).parent / "py.typed").is_file()
