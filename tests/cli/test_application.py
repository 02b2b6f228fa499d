"""The program itself: its process, help and exit codes."""

import os
import subprocess
import sys

import symjax
from symjax import cli


def test_unknown_command(invoke):
    result = invoke("repotr")
    assert result.exit_code == cli.BAD_INPUT
    assert "repotr" in result.output


class TestProcess:
    """What only a process of its own can show."""

    def run(self, *args, **environment):
        return subprocess.run(
            [sys.executable, *args],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, **environment},
        )

    def test_module_and_version(self):
        result = self.run("-m", "symjax", "--version")
        assert result.returncode == cli.OK
        assert result.stdout == f"symjax {symjax.__version__}\n"

    def test_help_imports_nothing_heavy(self):
        code = (
            "import sys\n"
            "from typer.testing import CliRunner\n"
            "from symjax import cli\n"
            "result = CliRunner().invoke(cli.app, ['report', '--help'])\n"
            "assert result.exit_code == 0, result.output\n"
            "heavy = ('jax', 'numpy', 'ase', 'matplotlib', 'torch', 'rich', 'asyncio',"
            " 'filelock', 'sqlite3')\n"
            "print([m for m in heavy if m in sys.modules])\n"
        )
        result = self.run("-c", code)
        assert result.stdout == "[]\n", result.stderr

    def test_bad_input_from_the_shell(self):
        options = ["--calculator-options", '{"a": 1}']
        result = self.run("-m", "symjax", "stability", "H2O", *options)
        assert result.returncode == cli.BAD_INPUT
        assert result.stdout == ""
        assert result.stderr.startswith("Error: --calculator-options=")


def test_help_explains_every_option(invoke):
    result = invoke("report", "--help")
    assert result.exit_code == cli.OK
    for option in (
        "--model",
        "--max-degree",
        "--grid",
        "--layers",
        "--output",
        "--resume",
        "--overwrite",
        "--dtype",
        "--tolerance",
        "--frames",
        "--memory",
        "--no-figures",
        "--no-html",
        "--figure-format",
        "--no-compile-cache",
        "--debug",
    ):
        assert option in result.output
    for code in (cli.OK, cli.INTERNAL, cli.BAD_INPUT, cli.UNRESOLVED, cli.FAILED, 130):
        assert f" {code}  " in result.output


def test_documentation_lists_options_and_codes(request):
    text = (request.config.rootpath / "docs" / "cli.md").read_text("utf-8")
    command = {c.name: c for c in _click().commands.values()}["report"]
    for parameter in command.params:
        names = [*parameter.opts, *parameter.secondary_opts]
        if parameter.name not in ("target", "help"):
            assert any(f"`{name}" in text for name in names), names
    for code in (0, 1, 2, 3, 4, 130):
        assert f"| {code} |" in text


def _click():
    import typer

    return typer.main.get_command(cli.app)


def test_shell_completion_is_offered(invoke):
    assert "--install-completion" in invoke("--help").output
