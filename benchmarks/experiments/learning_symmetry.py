"""How fast is symmetry learned: against the step, data, width and augmentation.

    python benchmarks/experiments/learning_symmetry.py --data ethanol_reduced_100.xyz \
        --out runs/symmetry

Trains small PETs on energies and forces of ethanol. Of 100 frames 20 are held out. The
equivariance error A is measured on two of them by a rule of degree 9, the errors on
all, as they stand. What is done is kept, so that an interrupted call goes on.
``gpu_learning_symmetry.toml`` is one of these runs at the size for a GPU.
"""

import argparse
import pathlib

from common import at, keep, last, run_once, spread, widened, write_table

from symjax.training.logs import TRAJECTORY, VALIDATION

STEPS = 1500
MARKS = (0, 100, 300, 900, 1500)


def settings(
    data: pathlib.Path, augmentation: str, num: int, width: int, seed: int, steps: int
) -> dict:
    """One run."""
    return {
        "steps": steps,
        "seed": seed,
        "augmentation": augmentation,
        "log_every": 100,
        "validate_every": 0,
        "checkpoint_every": 500,
        "data": {
            "training": str(data),
            "validation_fraction": 0.2,
            "num_training": num,
        },
        "model": {"hyperparameters": widened(width)},
        "targets": {"energy": {"energy_unit": "kcal/mol", "forces": "forces"}},
        "optimizer": {"learning_rate": 2e-3, "warmup": 50, "average": 0.99},
        "batch": {"max_structures": 8, "max_atoms": 72},
        "monitor": {
            "every": 100,
            "structures": 2,
            "max_degree": 4,
            "grid": 9,
            "max_share": 1.0,
        },
    }


def main() -> None:
    """Prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    cases = [(group, 80, 24) for group in ("none", "SO(3)", "O(3)")]
    cases += [("O(3)", num, 24) for num in (10, 20, 40)]
    cases += [("O(3)", 80, width) for width in (12, 48)]
    rows, course, kept = [], [], {}
    for group, num, width in cases:
        found = []
        for seed in range(options.seeds):
            name = f"{group}-{num}-{width}-{seed}"
            config = settings(
                options.data.absolute(), group, num, width, seed, options.steps
            )
            tables = run_once(config, options.out / name)
            found.append((tables[VALIDATION], tables[TRAJECTORY]))
        kept[f"{group}-{num}-{width}"] = [
            {
                "force_rmse": float(validation["forces_rmse"][-1]),
                "force_error": last(trajectory, "forces", "A"),
                "energy_rmse": 9 * float(validation["energy_rmse"][-1]),
                "energy_error": last(trajectory, "energy", "A"),
            }
            for validation, trajectory in found
        ]
        results = kept[f"{group}-{num}-{width}"]
        rows.append(
            [
                group,
                str(num),
                str(width),
                *(spread([result[key] for result in results]) for key in results[0]),
            ]
        )
        if num == 80 and width == 24:
            errors = [
                spread([at(t, "forces", "relative", step) for _, t in found])
                for step in MARKS
                if step <= options.steps
            ]
            course.append([group, *errors])
        print(rows[-1], flush=True)
    head = ["augmentation", "frames", "width"]
    head += ["force RMSE (eV/Å)", "force A (eV/Å)", "energy RMSE (eV)", "energy A (eV)"]
    write_table(options.out / "table.md", head, rows)
    marks = [f"step {step}" for step in MARKS if step <= options.steps]
    write_table(options.out / "course.md", ["augmentation", *marks], course)
    keep(options.out / "numbers.json", kept)


if __name__ == "__main__":
    main()
