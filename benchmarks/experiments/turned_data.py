"""Does it matter how the training data are oriented, if they are augmented?

    python benchmarks/experiments/turned_data.py --data ethanol_reduced_100.xyz \
        --out runs/turned

The frames of ethanol share one orientation. Small PETs are trained with augmentation on
the frames as they are and on frames each turned by a random element of O(3), with their
forces; both are validated on the same held-out frames as they are. The errors should
agree within their spread over seeds.
"""

import argparse
import pathlib

import ase
import ase.io
import jax
import numpy as np
from common import SMALL, keep, run_once, spread, write_table

from symjax.data import read_structures, read_targets
from symjax.training import random_elements
from symjax.training.logs import VALIDATION
from symjax.training.problems import split


def prepare(data: pathlib.Path, out: pathlib.Path) -> None:
    """Writes training frames as they are and turned, and frames to validate on."""
    frames = read_structures(data)
    targets = read_targets(frames, energy_unit="kcal/mol")
    forces = targets.forces.reshape(len(frames), -1, 3)
    chosen, held_out = split(len(frames), 0.2, 0)
    elements = np.asarray(random_elements(jax.random.key(0), len(frames)))
    plain = np.broadcast_to(np.eye(3), elements.shape)
    for name, indices, turned in (
        ("given", chosen, plain),
        ("turned", chosen, elements),
        ("validation", held_out, plain),
    ):
        written = []
        for i in indices:
            positions = frames[i].positions @ turned[i].T
            atoms = ase.Atoms(frames[i].numbers, positions)
            atoms.info["energy"] = float(targets.energies[i])
            atoms.arrays["forces"] = forces[i] @ turned[i].T
            written.append(atoms)
        ase.io.write(out / f"{name}.xyz", written, format="extxyz")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    prepare(options.data, options.out)
    rows, kept = [], {}
    for name in ("given", "turned"):
        kept[name] = {"forces_rmse": [], "energy_rmse": []}
        for seed in range(options.seeds):
            config = {
                "steps": options.steps,
                "seed": seed,
                "log_every": 100,
                "validate_every": 0,
                "data": {
                    "training": str(options.out.absolute() / f"{name}.xyz"),
                    "validation": str(options.out.absolute() / "validation.xyz"),
                },
                "model": {"hyperparameters": SMALL},
                "targets": {"energy": {"energy_unit": "eV", "forces": "forces"}},
                "optimizer": {"learning_rate": 2e-3, "warmup": 50, "average": 0.99},
                "batch": {"max_structures": 8, "max_atoms": 72},
            }
            table = run_once(config, options.out / f"{name}-{seed}")[VALIDATION]
            for error, values in kept[name].items():
                values.append(float(table[error][-1]))
        rows.append([name, *(spread(values, 3) for values in kept[name].values())])
    head = ["training frames", "force RMSE (eV/Å)", "energy RMSE (eV/atom)"]
    write_table(options.out / "table.md", head, rows)
    keep(options.out / "numbers.json", kept)


if __name__ == "__main__":
    main()
