"""The time that JAX spends on compiling, apart from what it computes."""

import threading

import ase.build
import jax

from symjax.runs import Options, measure_items
from symjax.runs.timing import compile_seconds

OPTIONS = Options(max_degree=1, dtype="float64")


def test_timing_separates_compilation(model, tmp_path):
    # no other test has structures of 5 atoms, so nothing is compiled yet
    frames = {str(k): ase.build.molecule("CH4") for k in range(2)}
    frames["1"].rattle(0.01)
    report = measure_items(model, frames, OPTIONS, tmp_path / "out")
    first, second = (structure.timing for structure in report.structures)
    assert first.compile_seconds > 0
    # The second frame finds compiled code. Both are measured on one machine in
    # one process, and compiling takes hundreds of times longer than tracing.
    assert second.compile_seconds < first.compile_seconds


def test_only_compilation_of_this_thread_counts():
    with compile_seconds() as spent:
        other = threading.Thread(target=jax.jit(lambda x: x + 0.37), args=(1.0,))
        other.start()
        other.join()
        assert spent() == 0
        function = jax.jit(lambda x: x * 0.37)
        function(1.0)
        once = spent()
        assert once > 0
        function(2.0)
        assert spent() == once
    jax.jit(lambda x: x - 0.37)(1.0)
    assert spent() == once
