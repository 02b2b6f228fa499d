"""Training beside metatrain's trainer: structures per second on the same data and size.

    python benchmarks/training_throughput.py --data ethanol_reduced_100.xyz [--small]

Needs the extra ``[torch]``. Both trainers fit energies and forces of 80 frames of
ethanol with metatrain's default PET (2.9 million parameters) or with the small one of
the experiments (42 thousand), in float32, with random rotations and inversions and the
same number of frames in a step, each as the command line starts it, in a process of
its own. A short and a long run are timed in turn: the difference is the time of the
steps between them, without start-up, compilation and the last validation; the short one
is the price of starting. metatrain validates once an epoch, here on one frame.

The floor is the count of operations of a step, by XLA, over the rate of a matrix
product of the model's main shape in the same process.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import ase.io
import numpy as np
from experiments.common import SMALL
from train_ethanol_metatrain import OPTIONS, prepare

FRAMES = 80


def metatrain(
    folder: pathlib.Path, epochs: int, batch_size: int, model: dict[str, int]
) -> float:
    """Wall time of a run of metatrain."""
    options = OPTIONS.format(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=3e-4,
        checkpoint_interval=10_000,
    ).replace("log_interval: 10", "log_interval: 10000")
    if model:
        options = options.replace("  name: pet\n", f"  name: pet\n  model: {model}\n")
    (folder / "options.yaml").write_text(options)
    mtt = pathlib.Path(sys.executable).parent / "mtt"
    return timed([str(mtt), "train", "options.yaml", "-o", "final.pt"], folder)


def symjax(
    folder: pathlib.Path, epochs: int, batch_size: int, model: dict[str, int]
) -> float:
    """Wall time of a run of symjax."""
    run = {
        "steps": epochs * FRAMES // batch_size,
        "log_every": 100_000,
        "validate_every": 0,
        "checkpoint_every": 100_000,
        "data": {"training": "train.xyz", "validation": "validation.xyz"},
        "targets": {"energy": {"energy_unit": "eV", "forces": "forces"}},
        "optimizer": {"learning_rate": 3e-4},
        "batch": {"max_structures": batch_size},
        "model": {"hyperparameters": model},
    }
    (folder / "run.yaml").write_text(json.dumps(run))
    command = [sys.executable, "-m", "symjax", "train", "run.yaml", "--overwrite"]
    return timed(command, folder)


def timed(command: list[str], folder: pathlib.Path) -> float:
    """Wall time of a command."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - start


def floor(
    folder: pathlib.Path, batch_size: int, model: dict[str, int]
) -> tuple[float, float]:
    """Operations of one step, and the least time that they can take."""
    import jax

    from symjax.training import parse_run
    from symjax.training.optimisation import make_step, start
    from symjax.training.problems import atoms_problem

    run = parse_run(
        {
            "steps": 10,
            "data": {"training": str(folder / "train.xyz")},
            "targets": {"energy": {"energy_unit": "eV", "forces": "forces"}},
            "batch": {"max_structures": batch_size},
            "model": {"hyperparameters": model},
        }
    )
    problem = atoms_problem(run)
    step = make_step(problem.task, run.optimizer, run.steps, 0)
    state = start(problem.task, run.optimizer)
    compiled = jax.jit(step).lower(state, problem.batch(0)).compile()
    flops = compiled.cost_analysis()["flops"]
    product = jax.jit(lambda a, b: a @ b)
    a, b = np.ones((2048, 128), np.float32), np.ones((128, 512), np.float32)
    product(a, b).block_until_ready()
    rates = []
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(50):
            product(a, b).block_until_ready()
        rates.append(50 * 2 * a.size * b.shape[1] / (time.perf_counter() - begun))
    return flops, flops / max(rates)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--epochs", type=int, nargs=2, default=(2, 12))
    parser.add_argument("--small", action="store_true", help="a PET of width 24")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    short, long = options.epochs
    model = SMALL if options.small else {}
    frames = (long - short) * FRAMES
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prepare(options.data, folder)
        one = ase.io.read(folder / "validation.xyz", index=":1")
        ase.io.write(folder / "validation.xyz", one, format="extxyz")
        rates: dict[str, list[float]] = {"metatrain": [], "symjax": []}
        starts: dict[str, list[float]] = {"metatrain": [], "symjax": []}
        for _ in range(options.repeats):
            for run in (metatrain, symjax):
                first = run(folder, short, options.batch_size, model)
                last = run(folder, long, options.batch_size, model)
                rates[run.__name__].append(frames / (last - first))
                starts[run.__name__].append(first)
        flops, least = floor(folder, options.batch_size, model)
    print(f"{options.batch_size} frames in a step, {flops / 1e9:.1f} GFLOP")
    print(f"{'':<12}{'structures/s':>14}{'range':>18}{'atoms/s':>10}{'first run':>12}")
    for trainer, values in rates.items():
        median = statistics.median(values)
        span = f"{min(values):.1f}-{max(values):.1f}"
        begun = statistics.median(starts[trainer])
        print(
            f"{trainer:<12}{median:>14.1f}{span:>18}{9 * median:>10.0f}{begun:>10.1f} s"
        )
    print(f"{'floor':<12}{options.batch_size / least:>14.1f}")
    pairs = [b / a for a, b in zip(rates["metatrain"], rates["symjax"], strict=True)]
    print(
        f"ratio {statistics.median(pairs):.2f} ({min(pairs):.2f}-{max(pairs):.2f}), "
        f"of pairs of runs one after the other"
    )


if __name__ == "__main__":
    main()
