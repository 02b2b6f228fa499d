"""Which bias repairs what: each alone, and the combination that is recommended.

    python benchmarks/experiments/biases.py analytic --data ethanol_reduced_100.xyz \
        --out runs/biases
    python benchmarks/experiments/biases.py energies --data ethanol_reduced_100.xyz \
        --out runs/biases
    python benchmarks/experiments/biases.py labels --data labels.xyz --out runs/biases

One small PET, three seeds (which also draw the held-out fifth of the frames).
``analytic`` learns multipoles of every atom's surroundings (l = 2, 4, 6, 8) and
pseudotensors (l = 0, 1, 3); ``energies`` energies and forces; ``labels`` what
``symjax label ethanol_reduced_100.xyz -o labels.xyz``
has calculated. Errors are over the held-out frames as they stand, in units of the root
mean square of the training data (1 is what zero would reach); A, in the same units, and
B of the target's own sector are measured on one held-out frame at the end. The cost of
a step (``--cost``) is its time over that of no bias, all in turn.
"""

import argparse
import functools
import pathlib
import statistics
import time

import ase.io
import jax
import numpy as np
from common import SMALL, keep, last, run_once, sector, spread, write_table
from hard_targets import size_of

from symjax.data import read_structures
from symjax.data.label_blocks import LabelBlock, describe_labels, read_labels
from symjax.labels.analytic import label_analytically
from symjax.training import parse_run
from symjax.training.logs import TRAJECTORY, VALIDATION
from symjax.training.optimisation import make_step, place, start
from symjax.training.problems import atoms_problem, split

TENSORS = {
    "none": {},
    "edge harmonics": {"edge_harmonics": 8},
    "pseudotensors": {"pseudotensors": 3},
    "readout, sum": {"readout": "sum"},
    "readout, equivariant": {"readout": "equivariant"},
    "canonical frame": {"canonical_frame": True},
    "penalty": {},
    "readout and pseudotensors": {"readout": "sum", "pseudotensors": 0},
}
ENERGIES = {
    "none": {},
    "edge harmonics": {"edge_harmonics": 3},
    "pseudotensors": {"pseudotensors": 0},
    "canonical frame": {"canonical_frame": True},
    "heads averaged over D2": {
        "symmetrized_layers": ["node_heads.*", "edge_heads.*"],
        "symmetrized_group": "D2",
    },
    "penalty": {},
}


def settings(
    data: pathlib.Path,
    targets: dict,
    bias: str,
    biases: dict,
    steps: int,
    seed: int,
    sizes: dict[str, int] = SMALL,
) -> dict:
    """One run."""
    run = {
        "steps": steps,
        "seed": seed,
        "log_every": 100,
        "validate_every": steps,
        "checkpoint_every": steps,
        "data": {"training": str(data), "validation_fraction": 0.2},
        "model": {"hyperparameters": sizes, "biases": biases},
        "targets": targets,
        "optimizer": {"learning_rate": 2e-3, "warmup": 50, "average": 0.99},
        "batch": {"max_structures": 8, "max_atoms": 72},
        "monitor": {
            "every": steps,
            "structures": 1,
            "max_degree": 8,
            "grid": 17,
            "max_share": 1.0,
        },
    }
    if bias == "penalty":
        run["penalty"] = {"weight": 1.0, "elements": 2}
    return run


def analytic_targets(data: pathlib.Path, out: pathlib.Path) -> tuple:
    """Frames with analytic labels, and the targets' irreps."""
    path = out / "analytic.xyz"
    frames = label_analytically(read_structures(data), 8)
    ase.io.write(path, frames)
    irreps = {f"multipole_l{degree}": f"{degree}+" for degree in (2, 4, 6, 8)}
    irreps |= {f"pseudo_l{degree}": f"{degree}-" for degree in (0, 1, 3)}
    targets = {n: {"kind": irrep, "per_atom": True} for n, irrep in irreps.items()}
    sizes = {
        n: functools.partial(size_of, target=n, irrep=i) for n, i in irreps.items()
    }
    return path, frames, targets, irreps, sizes


def root_mean_square(frames: list[ase.Atoms], block: LabelBlock) -> float:
    """Of a label of atoms or structures."""
    held = [(a.arrays if block.per_atom else a.info)[block.column] for a in frames]
    return float(np.sqrt(np.mean(np.concatenate([np.ravel(h) for h in held]) ** 2)))


def label_targets(data: pathlib.Path, out: pathlib.Path) -> tuple:
    """Frames with calculated labels, and their irreps; invariants left out."""
    path = out / "labels.xyz"
    frames = read_labels(data)
    blocks = [b for b in describe_labels(frames) if b.kind not in ("0+", "scalar")]
    targets, irreps, sizes = {}, {}, {}
    for block in blocks:
        for atoms in frames:
            if block.per_atom:
                # Functions that an element's basis lacks have the coefficient 0.
                values = atoms.arrays[block.column]
                atoms.arrays[block.column] = np.nan_to_num(values)
        targets[block.column] = {
            "kind": block.kind,
            "per_atom": block.per_atom,
            "properties": block.properties,
        }
        # Of a symmetric matrix, the part that an invariant cannot hold.
        named = {"vector": "1+", "matrix": "2+"}
        irreps[block.column] = named.get(block.kind, block.kind)

        sizes[block.column] = functools.partial(root_mean_square, block=block)
    ase.io.write(path, frames, format="extxyz")
    return path, frames, targets, irreps, sizes


def energy_targets(data: pathlib.Path, out: pathlib.Path) -> tuple:
    """Energies and forces in their own units."""
    frames = read_structures(data)
    targets = {"energy": {"energy_unit": "kcal/mol", "forces": "forces"}}
    irreps = {"energy": "0+", "forces": "1+"}
    return data.absolute(), frames, targets, irreps, {}


def costs(runs: dict[str, dict], repeats: int) -> dict[str, list[float]]:
    """Times of a step over that of no bias, all variants in turn."""
    steps, states, times = {}, {}, {name: [] for name in runs}
    for name, settings in runs.items():
        run = parse_run({**settings, "monitor": None})
        problem = atoms_problem(run)
        step = make_step(problem.task, run.optimizer, run.steps, run.seed, None)
        steps[name] = functools.partial(step, batch=place(problem.batch(0), None))
        states[name] = start(problem.task, run.optimizer)
        states[name], _ = jax.block_until_ready(steps[name](states[name]))
    for _ in range(repeats):
        for name, step in steps.items():
            begun = time.perf_counter()
            states[name], _ = jax.block_until_ready(step(states[name]))
            times[name].append(time.perf_counter() - begun)
    base = times["none"]
    print(f"none: {1e3 * statistics.median(base):.1f} ms")
    return {
        name: [own / other for own, other in zip(times[name], base, strict=True)]
        for name in runs
    }


def main() -> None:
    """Trains what is not there yet, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", choices=("analytic", "energies", "labels"))
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="variants")
    parser.add_argument("--cost", action="store_true", help="time the steps only")
    parser.add_argument("--default-size", action="store_true", help="for --cost")
    parser.add_argument("--repeats", type=int, default=30, help="for --cost")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    prepare = {
        "analytic": analytic_targets,
        "energies": energy_targets,
        "labels": label_targets,
    }[options.study]
    path, frames, targets, irreps, sizes = prepare(options.data, options.out)
    variants = ENERGIES if options.study == "energies" else TENSORS
    variants = {
        n: b for n, b in variants.items() if not options.only or n in options.only
    }

    def run_of(name: str, seed: int) -> dict:
        return settings(
            path.absolute(),
            targets,
            name,
            variants[name],
            options.steps,
            seed,
            {} if options.default_size else SMALL,
        )

    if options.cost:
        runs = {name: run_of(name, 0) for name in variants}
        found = costs(runs, options.repeats)
        rows = [
            [name, f"{statistics.median(r):.2f} ({min(r):.2f}-{max(r):.2f})"]
            for name, r in found.items()
        ]
        write_table(options.out / f"{options.study}_cost.md", ["bias", "step"], rows)
        return

    kept: dict[str, dict[str, list[dict[str, float]]]] = {name: {} for name in variants}
    for seed in range(options.seeds):
        training, _ = split(len(frames), 0.2, seed)
        chosen = [frames[i] for i in training]
        for name in variants:
            folder = options.out / options.study / f"{name.replace(' ', '_')}_{seed}"
            tables = run_once(run_of(name, seed), folder)
            for target, irrep in irreps.items():
                size = sizes[target](chosen) if sizes else 1.0
                kept[name].setdefault(target, []).append(
                    {
                        "error": float(tables[VALIDATION][f"{target}_rmse"][-1]) / size,
                        "A": last(tables[TRAJECTORY], target, "A") / size,
                        "B": sector(tables[TRAJECTORY], target, irrep),
                    }
                )
        keep(options.out / f"{options.study}.json", kept)
    for quantity in ("error", "A", "B"):
        rows = [
            [name, *(spread([s[quantity] for s in kept[name][t]]) for t in irreps)]
            for name in variants
        ]
        print(quantity)
        write_table(
            options.out / f"{options.study}_{quantity}.md", ["bias", *irreps], rows
        )


if __name__ == "__main__":
    main()
