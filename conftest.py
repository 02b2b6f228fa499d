"""What tests and examples in docstrings share."""

import gc
import itertools
import os
import pathlib
import subprocess
import sys

# Compilation takes most of the time of the tests, and their arrays are small. Read when
# JAX is imported, also by the processes that tests start.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Lines of the source, of which a compiled program would keep a trace for each of its
# operations, are told by the exceptions of tracing anyway.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# Workers of the tests share the cores; threads of linear algebra would wait for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# XLA's older way to emit loops takes a third less of the time of all; set XLA_FLAGS, to
# nothing if need be, to test with what users run. An unknown flag ends the process, so
# that one of its own tries it, once for all workers. Code that is not split to be
# compiled by many threads takes a tenth less.
if "XLA_FLAGS" not in os.environ:
    quick = ("use_fusion_emitters=false", "parallel_codegen_split_count=1")
    flags = {"XLA_FLAGS": " ".join(f"--xla_cpu_{option}" for option in quick)}
    trial = [sys.executable, "-c", "import jax; jax.devices()"]
    known = subprocess.run(trial, env={**os.environ, **flags}, capture_output=True)
    os.environ.update(flags if known.returncode == 0 else {"XLA_FLAGS": ""})

import jax
import pytest

# What runs on several devices needs no process of its own.
jax.config.update("jax_num_cpu_devices", 2)

# Tracing makes millions of objects that live on; walking them took a sixth of the time.
gc.set_threshold(100_000, 20, 100)


def pytest_sessionfinish():
    """Spares the searches for garbage at the end, each of which takes seconds."""
    gc.freeze()


_MAPS = pathlib.Path("/proc/self/maps")
_MOST = 50_000
_ended = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def _release_compiled_code():
    """Drops compiled functions before the process runs out of memory mappings.

    Linux grants 65,530. A process that has compiled thousands of functions needs more,
    and the compiler crashes. The cache on disk keeps those that took long. Counting
    takes up to a tenth of a second, and eight files of tests add a few thousand.
    """
    yield
    if next(_ended) % 8 or not _MAPS.is_file():
        return
    if _MAPS.read_bytes().count(b"\n") > _MOST:
        jax.clear_caches()
        gc.collect()
