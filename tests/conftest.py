"""Shared test configuration."""

import os
import pathlib

import jax
import pytest
from hypothesis import settings

# Tests compare at float64; what must hold in float32 passes float32 arrays
# explicitly, and the command line is tested in its own process at the default.
jax.config.update("jax_enable_x64", True)

# Compilation dominates on small machines: keep it between runs and workers.
_CACHE = pathlib.Path(__file__).parent.parent / ".jax_cache"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
# Also for processes that tests start.
_SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
os.environ.setdefault(_SHORTEST, "0")
jax.config.update(_SHORTEST.lower(), float(os.environ[_SHORTEST]))

settings.register_profile("symjax", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("symjax")

# Helpers of the comparisons with PyTorch hold no tests; collecting them would need
# the extra [torch].
collect_ignore_glob = ["torch_*.py"]

SHARED = pathlib.Path(__file__).parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """Folder with real data and checkpoints; the test skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not found: {SHARED} does not exist")
    return SHARED
