"""symjax on a GPU: rates, memory, transfers, surveys, training, and beside metatomic.

    python benchmarks/device.py [--minutes 9]

Runs on one GPU of this machine, needs the extra ``[torch]`` with a CUDA build for the
peer's column, and says nothing where there is no GPU. What the minutes no longer allow
is printed as "not run". Columns of the first table, for the orbit of the energy (a
batch of rotations of one structure) of metatrain's default PET and of one of the
released size, both as initialised:

- precision: float32 without TF32, float32 with TF32 allowed (as
  ``JAX_DEFAULT_MATMUL_PRECISION=tensorfloat32``), bfloat16 in the network;
- TFLOP/s: operations that XLA counts, over the median time;
- of card: over the rate of a large product in the same precision, on the same card;
- products: share of the kernels' time that is spent in matrix products, from a trace.

The second table has whole measurements, outputs and all layers, beside metatomic's
``SymmetrizedModel`` on the same card: seconds (median of the later calls), peak memory,
copies between host and card during one call, and the ratio. Then a survey, molecules a
second, and a step of training, structures a second.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp

sys.path.insert(0, str(pathlib.Path(__file__).parent))

PRECISIONS = {
    "float32": ("highest", "float32"),
    "TF32": ("tensorfloat32", "float32"),
    "bfloat16": ("default", "bfloat16"),
}
# Model, structure, degree of the projections.
ROWS = (("default", "21 atoms", 6), ("released size", "64 atoms, periodic", 3))
BATCHES = (64, 256, 1024)
# Names that kernels of matrix products have in traces, of libraries and of compilers.
_PRODUCTS = re.compile("gemm|cutlass|cublas|xmma|wgmma|cudnn|dot", re.IGNORECASE)


class Product(NamedTuple):
    """A matrix product of a program, as its StableHLO has it.

    Attributes:
      left: Element type of the first factor.
      right: Of the second.
      result: Of the result.
      precision: Of the two factors.
    """

    left: str
    right: str
    result: str
    precision: tuple[str, ...]


def products(text: str) -> list[Product]:
    """All matrix products in the text of a StableHLO module."""
    found = []
    for line in text.splitlines():
        if "stablehlo.dot" not in line and "stablehlo.convolution" not in line:
            continue
        types = re.findall(r"tensor<(?:[0-9?]+x)*([a-z0-9]+)>", line)
        precision = re.search(r"precision = \[([A-Z, ]*)\]", line)
        words = tuple(precision[1].split(", ")) if precision else ("DEFAULT",)
        found.append(Product(*types[-3:], words))
    return found


def find_card() -> Any:
    """The GPU; ends the program where there is none."""
    device = jax.devices()[0]
    if device.platform not in ("gpu", "cuda", "rocm"):
        raise SystemExit(
            f"device.py measures GPUs, and JAX sees {device.device_kind} "
            f"({device.platform}) here: nothing was measured."
        )
    return device


def median_time(call: Callable[[], Any], repeats: int = 5) -> float:
    """Median seconds of the later calls."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def card_rates(size: int) -> dict[str, float]:
    """Operations a second of a large product, by precision."""
    rates = {}
    for name, (precision, dtype) in PRECISIONS.items():
        a = jnp.ones((size, size), dtype)
        product = jax.jit(lambda a, b, p=precision: jnp.matmul(a, b, precision=p))
        rates[name] = 2 * size**3 / median_time(lambda a=a, p=product: p(a, a))
    return rates


def orbit(model: Any, atoms: Any, dtype: str, batch: int) -> tuple[Callable, float]:
    """The energy at a batch of rotations, and its operations."""
    from symjax.data import rotate_graph
    from symjax.models.pet import Evaluation, evaluate, pet_graph
    from symjax.so3 import haar

    graph = jax.device_put(pet_graph(model.config, atoms, dtype="float32"))
    parameters = jax.device_put(model.parameters)
    turns = haar(jax.random.key(0), batch).astype(jnp.float32)

    evaluation = Evaluation(
        model.config,
        ("energy",),
        network_dtype=None if dtype == "float32" else jnp.dtype(dtype),
    )

    def energy(turn: Any, parameters: Any, graph: Any) -> Any:
        return evaluate(evaluation, parameters, rotate_graph(graph, turn))["energy"]

    program = jax.jit(jax.vmap(energy, in_axes=(0, None, None)))
    compiled = program.lower(turns, parameters, graph).compile()
    flops = compiled.cost_analysis()["flops"]
    return lambda: compiled(turns, parameters, graph), flops


def share_of_products(call: Callable[[], Any], platform: str = "/device:GPU") -> float:
    """Share of the time of kernels that matrix products take, from a trace."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(call())
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(path))
    total = matched = 0.0
    for plane in data.planes:
        if not plane.name.startswith(platform):
            continue
        for line in plane.lines:
            for event in line.events:
                total += event.duration_ns
                if _PRODUCTS.search(event.name):
                    matched += event.duration_ns
    return matched / total if total else float("nan")


@contextlib.contextmanager
def counted_copies() -> Iterator[collections.Counter]:
    """Counts copies between host and devices, which JAX's transfer guard logs."""
    found: collections.Counter = collections.Counter()
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            # "log_explicit" also logs what was asked for by device_put and device_get.
            with jax.transfer_guard("log_explicit"):
                yield found
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            for kind in re.findall(rb"(\w+-to-\w+) transfer", file.read()):
                found[kind.decode()] += 1


def measured(checkpoint: str, row: tuple[str, str, int], layers: str) -> dict[str, Any]:
    """A whole measurement with symjax: seconds, memory, copies."""
    import vs_metatomic as peer

    from symjax.interop import load_metatrain
    from symjax.metrics import Grid, measure
    from symjax.models.pet import orbit_problem
    from symjax.so3 import quadrature

    _, name, degree = row
    problem = orbit_problem(
        load_metatrain(checkpoint),
        peer.structure(name),
        layers=layers,
        outputs=["energy"],
    )
    rule = Grid(quadrature(2 * degree, "lebedev"), on_aliasing="report")

    def call() -> Any:
        return measure(problem, max_degree=degree, over=rule)

    call()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    with counted_copies() as copies:
        call()
    memory = jax.devices()[0].memory_stats() or {}
    return {
        "seconds": statistics.median(times),
        "elements": result.num_elements,
        "GiB": memory.get("peak_bytes_in_use", 0) / 2**30,
        "copies": dict(copies),
    }


def survey_rate(num: int) -> float:
    """Molecules of ethanol a second with the model that ships, 16 elements each."""
    import survey as surveys

    from symjax.metrics import Survey
    from symjax.models import load_model
    from symjax.runs import survey_structures

    model, over = load_model("pet-ethanol"), Survey(16)
    structures = surveys.ethanol(num, None)
    with tempfile.TemporaryDirectory() as folder:
        survey_structures(model, structures, over, f"{folder}/compiles")
        start = time.perf_counter()
        survey_structures(model, structures, over, f"{folder}/out")
        return num / (time.perf_counter() - start)


def training_rate(frames: int, batch: int) -> float:
    """Structures a second of a training step of metatrain's default PET."""
    import ase.io
    import survey as surveys
    from ase.calculators.emt import EMT

    from symjax.training import parse_run
    from symjax.training.optimisation import make_step, start
    from symjax.training.problems import atoms_problem

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "train.xyz"
        labelled = list(surveys.ethanol(frames, None).values())
        for atoms in labelled:
            atoms.calc = EMT()
            atoms.get_forces()
        ase.io.write(path, labelled, format="extxyz")
        run = parse_run(
            {
                "steps": 10,
                "data": {"training": str(path)},
                "targets": {"energy": {"energy_unit": "eV", "forces": "forces"}},
                "batch": {"max_structures": batch},
                "model": {"hyperparameters": {}},
            }
        )
        problem = atoms_problem(run)
        step = make_step(problem.task, run.optimizer, run.steps, 0)
        state = start(problem.task, run.optimizer)
        one = problem.batch(0)
        times = []
        for _ in range(6):
            begun = time.perf_counter()
            state, metrics = step(state, one)
            jax.block_until_ready(metrics)
            times.append(time.perf_counter() - begun)
    return batch / statistics.median(times[1:])


def peer_times(checkpoints: dict[str, str], left: float) -> dict[str, float]:
    """Seconds of metatomic on the card, from a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        words = [sys.executable, __file__, "--peer", file.name, json.dumps(checkpoints)]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(words, check=True, timeout=max(left, 1))
        lines = pathlib.Path(file.name).read_text().splitlines()
    return dict(map(json.loads, lines))


def run_peer(path: str, checkpoints: dict[str, str]) -> None:
    """Writes a line for each measurement of the peer."""
    import vs_metatomic as peer

    for model, name, degree in ROWS:
        for layers in ("none", "all"):
            row = peer.Row(name, degree, layers, 3)
            times = peer.run_peer(row, checkpoints[model], "cuda")["times"]
            with open(path, "a") as file:
                one = [f"{model} {layers}", statistics.median(times[1:])]
                file.write(json.dumps(one) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.peer:
        run_peer(options.peer[0], json.loads(options.peer[1]))
        return
    card = find_card()
    import vs_metatomic as peer
    from released import HYPERS

    from symjax.interop import load_metatrain

    end = time.monotonic() + 60 * options.minutes

    def allowed(line: str) -> bool:
        if time.monotonic() < end:
            return True
        print(f"{line} not run")
        return False

    print(f"{card.device_kind}, JAX {jax.__version__}")
    rates = card_rates(8192)
    for name, rate in rates.items():
        print(f"{name:<10}{rate / 1e12:8.1f} TFLOP/s in a large product")
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = {}
        for (model, _, _), changes in zip(ROWS, ({}, HYPERS), strict=True):
            checkpoints[model] = f"{folder}/{model.split()[0]}.ckpt"
            peer.make_checkpoint(pathlib.Path(checkpoints[model]), **changes)
        head = ("model", "precision", "batch", "ms", "TFLOP/s", "of card", "products")
        print("{:<16}{:<11}{:>7}{:>9}{:>9}{:>9}{:>10}".format(*head))
        for model, name, _ in ROWS:
            loaded = load_metatrain(checkpoints[model])
            for precision, (asked, dtype) in PRECISIONS.items():
                line = f"{model:<16}{precision:<11}"
                if not allowed(line):
                    continue
                best: tuple[float, Any, int, float] | None = None
                for batch in BATCHES:
                    with jax.default_matmul_precision(asked):
                        call, flops = orbit(loaded, peer.structure(name), dtype, batch)
                    seconds = median_time(call)
                    if best is None or flops / seconds > best[3] / best[0]:
                        best = seconds, call, batch, flops
                assert best is not None
                seconds, call, batch, flops = best
                print(
                    f"{line}{batch:>7}{1e3 * seconds:>9.1f}"
                    f"{flops / seconds / 1e12:>9.2f}"
                    f"{flops / seconds / rates[precision]:>9.0%}"
                    f"{share_of_products(call):>10.0%}",
                    flush=True,
                )
        ours = {}
        for row in ROWS:
            for layers in ("none", "all"):
                if allowed(f"{row[0]}, layers {layers}"):
                    found = measured(checkpoints[row[0]], row, layers)
                    ours[f"{row[0]} {layers}"] = found
        theirs = peer_times(checkpoints, end - time.monotonic())
        for name, found in ours.items():
            seconds = theirs.get(name)
            ratio = "not run" if seconds is None else f"{seconds:.3f} s, ratio "
            ratio += "" if seconds is None else f"{seconds / found['seconds']:.2f}"
            print(
                f"{name:<22}{found['seconds']:.3f} s, {found['elements']:,} elements, "
                f"{found['GiB']:.1f} GiB, copies {found['copies']}; metatomic {ratio}",
                flush=True,
            )
    if allowed("survey"):
        print(f"survey: {survey_rate(2000):,.0f} molecules a second", flush=True)
    if allowed("training"):
        print(f"training: {training_rate(64, 32):,.0f} structures a second")


if __name__ == "__main__":
    main()
