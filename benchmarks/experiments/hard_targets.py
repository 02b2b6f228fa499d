"""Which targets are hard to learn: rising degree l, both parities.

    python benchmarks/experiments/hard_targets.py --data ethanol_reduced_100.xyz \
        --out runs/targets [--density labels.xyz]

One small PET for all analytic targets of an atom's surroundings (multipoles to l = 8,
pseudotensors to l = 4, :mod:`symjax.labels.analytic`), and with ``--density`` one for
the coefficients of the electron density to l = 4, which ``symjax label
ethanol_reduced_100.xyz -o labels.xyz --no-moments --no-polarizability`` makes. Errors
are over 20 % of the frames, as they stand, in units of the root mean square of the
target in the training data (1 is what zero would reach); A in the same units and B of
the target's own sector are measured on one frame.
"""

import argparse
import pathlib

import ase.io
import numpy as np
from common import SMALL, keep, last, run_once, sector, write_table

from symjax.data import read_structures
from symjax.data.label_blocks import describe_labels, read_labels
from symjax.labels.analytic import label_analytically
from symjax.training.logs import TRAJECTORY, VALIDATION
from symjax.training.problems import split


def settings(data: pathlib.Path, targets: dict, steps: int, degree: int) -> dict:
    """One run on some targets of atoms."""
    return {
        "steps": steps,
        "log_every": 100,
        "validate_every": 500,
        "checkpoint_every": 500,
        "data": {"training": str(data), "validation_fraction": 0.2},
        "model": {"hyperparameters": SMALL},
        "targets": targets,
        "optimizer": {"learning_rate": 2e-3, "warmup": 50, "average": 0.99},
        "batch": {"max_structures": 8, "max_atoms": 72},
        "monitor": {
            "every": steps,
            "structures": 1,
            "max_degree": degree,
            "grid": 2 * degree + 1,
            "max_share": 1.0,
        },
    }


def size_of(frames: list[ase.Atoms], target: str, irrep: str) -> float:
    """Root mean square of a target, of invariants about the mean of each species."""
    values = np.concatenate(
        [atoms.arrays[target].reshape(len(atoms), -1) for atoms in frames]
    )
    species = np.concatenate([atoms.numbers for atoms in frames])
    if irrep == "0+":
        for number in np.unique(species):
            own = species == number
            values[own] -= values[own].mean(axis=0)
    return float(np.sqrt(np.nanmean(values**2)))


def table(name: str, out: pathlib.Path, run: dict, irreps: dict[str, str]) -> dict:
    """Trains, prints the table and returns its numbers."""
    tables = run_once(run, out / name)
    frames = read_structures(run["data"]["training"])
    chosen, _ = split(len(frames), 0.2, 0)
    kept, rows = {}, []
    training = [frames[i] for i in chosen]
    for target, irrep in irreps.items():
        size = size_of(training, target, irrep)
        kept[target] = {
            "error": float(tables[VALIDATION][f"{target}_rmse"][-1]) / size,
            "equivariance_error": last(tables[TRAJECTORY], target, "A") / size,
            "relative": last(tables[TRAJECTORY], target, "relative"),
            "content": sector(tables[TRAJECTORY], target, irrep),
        }
        row = kept[target]
        rows.append([target, irrep, *(f"{value:.3g}" for value in row.values())])
    head = ["target", "irrep", "error", "A", "A over response", "B of the irrep"]
    write_table(out / f"{name}.md", head, rows)
    keep(out / f"{name}.json", kept)
    return kept


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--density", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    labelled = options.out / "analytic.xyz"
    ase.io.write(labelled, label_analytically(read_structures(options.data), 8))
    irreps = {f"multipole_l{degree}": f"{degree}+" for degree in range(9)}
    irreps |= {f"pseudo_l{degree}": f"{degree}-" for degree in range(5)}
    targets = {
        name: {"kind": irrep, "per_atom": True} for name, irrep in irreps.items()
    }
    run = settings(labelled.absolute(), targets, options.steps, 8)
    table("analytic", options.out, run, irreps)
    if options.density is not None:
        frames = read_labels(options.density)
        blocks = [b for b in describe_labels(frames) if b.target == "density"]
        # Functions that an element's basis lacks have no coefficient: 0, so that the
        # network is asked for it, and A does not count what nobody has trained.
        for atoms in frames:
            for block in blocks:
                atoms.arrays[block.column] = np.nan_to_num(atoms.arrays[block.column])
        filled = options.out / "density.xyz"
        ase.io.write(filled, frames, format="extxyz")
        targets = {
            block.column: {
                "kind": block.kind,
                "per_atom": True,
                "properties": block.properties,
            }
            for block in blocks
        }
        run = settings(filled.absolute(), targets, options.steps, 5)
        table("density", options.out, run, {b.column: b.kind for b in blocks})


if __name__ == "__main__":
    main()
