"""Every code block of the README and of docs/ runs, in the order of its page.

Python blocks of a page share their names, as a reader's session does. Commands of
symjax run where their inputs can be made here, with smaller degrees; the others (hosts,
models that are downloaded) are parsed, so that their options exist. TOML blocks are
read as runs.
"""

import contextlib
import importlib.util
import io
import pathlib
import re
import shlex
import shutil
import tomllib

import ase.build
import ase.io
import matplotlib as mpl
import pytest
import typer
import water_runs
import yaml
from small_models import drawn_pet, drawn_pointmae
from typer.testing import CliRunner

from symjax import cli
from symjax.data.point_clouds import SMALL, generate_events, write_events
from symjax.metrics import Grid
from symjax.models import save_model
from symjax.runs import Options, measure_items
from symjax.training.configuration import read_run

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)

# What a page asks of a machine, in the place of which less is asked here.
SMALLER = (
    ("max_degree=6)", "max_degree=1, over=Grid(3, on_aliasing='report'))"),
    ("Adaptive(1e-3, 1e-2)", "Adaptive(0.5, 0.5, limit=5, on_aliasing='report')"),
    (
        "devices=jax.devices())",
        "devices=jax.devices()[:1], max_degree=1, over=Grid(3, on_aliasing='report'))",
    ),
    ("average=7", "average=1"),
    ("Options()", "Options(max_degree=1)"),
    ("jobs=4", "jobs=1"),
    ('molecule("CH3CH2OH"', 'molecule("H2O"'),
    ('molecule("CH4"', 'molecule("H2O"'),
    ('("H2O", "CH4", "CH3OH")', '("H2O", "CO2", "HCO")'),
    ('("CH3CH2OH", "CH4")', '("H2O", "CO2")'),
    ('("CH3CH2OH", "H2O")', '("H2O",)'),
)
# Models of a layer instead of those that ship.
STAND_INS = {"pet-ethanol": "pet/", "polarmae-events": "pointmae/"}
SPECIES = (1, 6, 8)
PLACEHOLDERS = {
    *("TARGET", "REPORT", "CHECKPOINT", "MODEL", "RUN", "NAME", "[options]"),
}
# Options that take the place of those of a page, and those that are left out.
FEWER = ["--max-degree", "1", "--grid", "3", "--no-figures", "--overwrite"]
REPLACED = {"--max-degree", "--grid", "--jobs", "--tolerance"}
# Beyond this test: a cluster, what must be downloaded, training to the end, more
# structures than there are here.
PARSED_ONLY = (
    *("--scheduler", "pet-mad", "@", "symjax train", "symjax label", "--average"),
    *("--probe", "--structures"),
)
# Pages whose blocks need what only the extras [torch] and [data] install.
EXTRAS = {"metatrain.md": ("metatrain",), "labels.md": ("tblite", "metatensor")}


def blocks(page):
    return [(m[1], m[2]) for m in BLOCK.finditer(page.read_text("utf-8"))]


def commands(text):
    """The commands of symjax in a block for a shell, as lists of words."""
    text = text.replace("\\\n", " ")
    for line in text.splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            names = [pathlib.Path(word).name for word in words]
            if "symjax" in names[:2] and "pip" not in names:
                yield words[names.index("symjax") + 1 :]


def is_example(words):
    """Whether words are typed as they are; some pages show what a command takes."""
    return words and PLACEHOLDERS.isdisjoint(words)


def parse(words):
    """Raises where a command or an option does not exist; runs nothing."""
    group = typer.main.get_command(cli.app)
    if words[0] not in group.commands:
        assert words in (["--version"], ["--help"]), words
        return
    with contextlib.suppress(typer.Exit):
        group.commands[words[0]].make_context(words[0], list(words[1:]))


def smaller(words):
    """The same command with less to do."""
    reads = words[0] in ("report", "averages")
    if reads and not {"--model", "--calculator"} & set(words):
        words = [*words, "--model", "pet-ethanol"]
    kept, skip = [], False
    for word in words:
        if skip or word in {"--overwrite", "--resume"}:
            skip = False
        elif word in REPLACED:
            skip = True
        else:
            word = word.replace("CH3CH2OH", "H2O").replace("CH4", "H2O")
            kept.append(STAND_INS.get(word, word))
    if "event.h5" in words:
        kept += ["--layers", "none"]
    if "--survey" in words:
        kept += ["--max-degree", "1", "--overwrite"]
    elif words[0] == "report":
        # Those of a front page check other laws too.
        kept += [*FEWER, *([] if "--layers" in words else ["--no-laws"])]
    elif words[0] == "stability":
        kept += ["--steps", "2", "--orientations", "1"]
    return kept


def water(number):
    """In a cell, as what stands in a CIF file is: all have one compiled program."""
    atoms = ase.build.molecule("H2O", vacuum=4.0, pbc=True)
    atoms.rattle(0.02, seed=number)
    return atoms


@pytest.fixture(scope="module")
def report_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "report"
    options = Options(max_degree=1, layers="all")
    measure_items(
        drawn_pet(SPECIES), {"H2O": ase.build.molecule("H2O")}, options, folder
    )
    return folder


@pytest.fixture
def inputs(tmp_path, monkeypatch, report_folder):
    """A folder with everything that the pages name."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("frames.xyz", [water(number) for number in range(2)])
    pathlib.Path("data").mkdir()
    ase.io.write("data/water.xyz", water(0))
    ase.io.write("data/ice.cif", water(1))
    shutil.copytree(report_folder, "report")
    shutil.copy("report/report.json", "report.json")
    ase.io.write("ethanol.xyz", water_runs.frames())
    shutil.copy("ethanol.xyz", "labels.xyz")
    write_events("event.h5", generate_events(1, seed=12, settings=SMALL))
    save_model(drawn_pet(SPECIES), STAND_INS["pet-ethanol"])
    save_model(drawn_pointmae(), STAND_INS["polarmae-events"])
    return tmp_path


def add_checkpoint():
    """A checkpoint of metatrain and its export, with all that the page names."""
    import torch
    from torch_pet import energy, make_torch_model, make_wrapper

    names = ("energy", "energy/pbe")
    model = make_torch_model(
        {}, targets=lambda: {name: energy(name=name) for name in names}
    )
    wrapper = make_wrapper(model, {"energy": 3}, names)
    torch.save(wrapper.get_checkpoint(), "model.ckpt")
    wrapper.export().save("model.pt")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.torch] * (page.name in EXTRAS))
        for page in PAGES
        if any(
            kind in ("python", "toml") or "symjax" in text
            for kind, text in blocks(page)
        )
    ],
    ids=lambda page: page.name,
)
def test_blocks_run_in_order(page, inputs, request):
    for package in EXTRAS.get(page.name, ()):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    added = page.name == "metatrain.md"
    if added:
        add_checkpoint()
    if page.name == "labels.md":
        shared = request.getfixturevalue("shared")
        shutil.copy(shared / "data" / "spherical_targets_unrotated.zip", "dataset.zip")
    mpl.use("agg")
    # What the smaller blocks need beside what a page imports.
    names = {"__name__": "__main__", "Grid": Grid}
    runner, done_before = CliRunner(), []
    for kind, text in blocks(page):
        if "import torch" in text and importlib.util.find_spec("torch") is None:
            continue
        # Takes seconds to import, and runs in tests/report/test_columns_file.py.
        if "import xarray" in text:
            continue
        if kind == "python":
            for old, new in SMALLER:
                text = text.replace(old, new)
            for old, new in STAND_INS.items():
                text = text.replace(f'"{old}"', f'"{new}"')
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(text, page.name, "exec"), names)
        elif kind == "toml":
            check_run(text)
        elif kind == "sh":
            for words in filter(is_example, commands(text)):
                typed = " ".join(["symjax", *words])
                parse(words)
                absent = "model.ckpt" in words and not added
                if absent or any(part in typed for part in PARSED_ONLY):
                    continue
                command = smaller(words)
                if command in done_before:
                    continue
                done_before.append(command)
                done = runner.invoke(cli.app, command)
                # 3: the small grid need not resolve the model; 4: a bad structure.
                assert done.exit_code in (0, 3, 4), (typed, done.output)


def check_run(text):
    """A block that is a whole run, or a section of one, has keys that exist."""
    table = tomllib.loads(text)
    whole = water_runs.settings("ethanol.xyz")
    if "data" not in table:
        table = {**whole, **table}
    path = pathlib.Path("page.yaml")
    path.write_text(yaml.safe_dump(table))
    read_run(path)


def test_the_runner_sees_blocks_and_commands():
    found = [kind for page in PAGES for kind, _ in blocks(page)]
    assert {"python", "sh", "toml"} <= set(found)
    text = "python3 -m venv .venv && .venv/bin/symjax report CH4 \\\n  -o out  # why\n"
    assert list(commands(text)) == [["report", "CH4", "-o", "out"]]
    assert smaller(["report", "x", "--grid", "9", "-o", "y"])[:4] == [
        *("report", "x", "-o", "y"),
    ]
    with pytest.raises(Exception, match="No such option"):
        parse(["report", "x", "--no-such-option"])
