"""What holds for a process: where compiled code is kept, and how it ends."""

import subprocess
import sys

import jax
import pytest

from symjax import cli
from symjax.cli import environment


class TestCompileCache:
    @pytest.fixture
    def updates(self, monkeypatch):
        changed = {}
        monkeypatch.setattr(jax.config, "update", changed.__setitem__)
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        return changed

    def test_is_in_the_users_cache_folder(self, updates, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        environment.configure_jax(False, True)
        assert updates["jax_compilation_cache_dir"] == str(tmp_path / "symjax" / "jax")
        assert "jax_enable_x64" not in updates

    def test_can_be_turned_off(self, updates):
        environment.configure_jax(True, False)
        assert updates == {"jax_enable_x64": True}

    def test_choice_of_the_user_goes_first(self, updates, monkeypatch, tmp_path):
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
        environment.configure_jax(False, True)
        assert updates == {}


def test_an_interrupted_process_ends_before_jax_does():
    """JAX clears its devices at exit, and crashes where XLA still compiles for them."""
    code = """
import atexit, os, signal, sys
from symjax import cli
from symjax.cli.environment import configure_jax

def wait():
    atexit.register(os.abort)  # stands for JAX
    configure_jax(False, False)
    atexit.register(print, "closed by a model")
    signal.raise_signal(signal.SIGTERM)

cli.app.command("wait")(cli.guarded(wait))
sys.argv = ["symjax", "wait"]
cli.main()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == cli.INTERRUPTED, done.stderr
    assert (done.stdout, done.stderr) == ("closed by a model\n", "Interrupted.\n")
