"""Does it help to cure a model where a trace says that its error enters?

    python benchmarks/experiments/cures.py --data ethanol_reduced_100.xyz \
        --out runs/cures

A small PET learns energies and forces of ethanol, with every frame turned at random.
On one held-out frame :func:`symjax.metrics.trace` then says which GNN layer, and which
sector of its features, the equivariance error of the energy comes from. From this model
each cure goes on at equal cost, counted in evaluations of the network: penalties with
two elements have half of the steps, a layer that is averaged over the four elements of
D2 a quarter. Errors are over the held-out fifth of the frames as they stand, A is
measured on two of them by a rule of degree 9. Averages at inference cost nothing in
training; their A is that of sixteen random elements. What is done is kept, so that an
interrupted call goes on.
"""

import argparse
import pathlib
from typing import Any

import ase
import jax
import numpy as np
from common import SMALL, keep, last, run_once, spread, write_table

from symjax.data import read_structures
from symjax.interop import SymjaxCalculator
from symjax.metrics import trace
from symjax.models import load_model
from symjax.models.pet import staged_problem
from symjax.models.pet.staged import Stage, stage_of
from symjax.so3 import haar
from symjax.training.logs import TRAJECTORY, VALIDATION
from symjax.training.problems import split

COLUMNS = {
    "energy (meV/atom)": ("energy_rmse", 1e3),
    "forces (meV/Å)": ("forces_rmse", 1e3),
    "A of energy (meV)": ("energy", 1e3),
    "A of forces (meV/Å)": ("forces", 1e3),
}
OUTPUTS = {"weight": 1.0, "elements": 2}


def settings(data: pathlib.Path, seed: int, steps: int, rate: float) -> dict[str, Any]:
    """What all runs share."""
    return {
        "steps": steps,
        "seed": seed,
        "log_every": 50,
        "validate_every": steps,
        "checkpoint_every": steps,
        "data": {"training": str(data), "validation_fraction": 0.2},
        "targets": {"energy": {"energy_unit": "kcal/mol", "forces": "forces"}},
        "optimizer": {"learning_rate": rate, "warmup": 20, "average": 0.99},
        "batch": {"max_structures": 8, "max_atoms": 72},
        "monitor": {
            "every": steps,
            "structures": 2,
            "max_degree": 4,
            "grid": 9,
            "max_share": 1.0,
        },
    }


def blame(model: Any, atoms: ase.Atoms) -> tuple[int, str, list[float]]:
    """The layer with the largest share of A^2, its worst sector, and all shares."""
    found = trace(staged_problem(model, atoms), max_degree=4, sectors=True)
    shares = found.contributions("energy") / found.errors["energy"][0] ** 2
    stage = int(np.argmax(shares[:-1]))
    without = found.without["energy"][stage]
    degree, column = np.unravel_index(np.argmin(without), without.shape)
    return stage, f"{degree}{'+-'[column]}", shares.tolist()


def cures(stage: Stage, sector: str) -> dict[str, tuple[dict, dict | None, int]]:
    """For each cure changes of ``[model]``, a penalty, and how much a step costs."""
    part = {"trainable": [*stage.modules]}
    averaged = {
        "biases": {"symmetrized_layers": [*stage.layers], "symmetrized_group": "D2"}
    }
    layer = {**OUTPUTS, "layers": [*stage.layers]}
    return {
        "more steps": ({}, None, 1),
        "more steps, this layer": (part, None, 1),
        "penalty on outputs": ({}, OUTPUTS, 2),
        "penalty on outputs, this layer": (part, OUTPUTS, 2),
        "penalty on the layer": ({}, layer, 2),
        "penalty on its sector": ({}, {**layer, "sectors": [sector]}, 2),
        "layer averaged over D2": (averaged, None, 4),
    }


def measured(tables: dict) -> dict[str, float]:
    """Errors and A at the end of a run."""
    validation, trajectory = tables[VALIDATION], tables[TRAJECTORY]
    return {
        "energy_rmse": float(validation["energy_rmse"][-1]),
        "forces_rmse": float(validation["forces_rmse"][-1]),
        "energy": last(trajectory, "energy", "A"),
        "forces": last(trajectory, "forces", "A"),
    }


def averaged(model: Any, frames: list[ase.Atoms], group: str) -> dict[str, float]:
    """The same of predictions that are averaged over a group."""
    calculator = SymjaxCalculator(model, average=group)
    turns = np.array(haar(jax.random.key(0), 16))
    turns[1::2] *= -1

    def forces_of(atoms: ase.Atoms) -> tuple[float, np.ndarray]:
        atoms = atoms.copy()
        atoms.calc = calculator
        return atoms.get_potential_energy(), atoms.get_forces()

    errors = {"energy_rmse": [], "forces_rmse": []}
    apart = {"energy": [], "forces": []}
    unit = 0.0433641153087705  # eV in a kcal/mol
    for atoms in frames:
        energy, forces = forces_of(atoms)
        label = atoms.get_potential_energy() * unit
        errors["energy_rmse"].append((energy - label) ** 2 / len(atoms) ** 2)
        errors["forces_rmse"].append(np.mean((forces - atoms.get_forces() * unit) ** 2))
    for atoms in frames[:2]:
        energies, rows = [], []
        for turn in turns:
            moved = atoms.copy()
            moved.positions = moved.positions @ turn.T
            energy, forces = forces_of(moved)
            energies.append(energy)
            rows.append(forces @ turn)
        apart["energy"].append(np.var(energies, ddof=1))
        apart["forces"].append(np.mean(np.var(rows, axis=0, ddof=1)))
    return {
        name: float(np.sqrt(np.mean(values)))
        for name, values in {**errors, **apart}.items()
    }


def main() -> None:
    """Trains what is not there yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=800, help="of the first training")
    parser.add_argument("--more", type=int, default=400, help="of a cure")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--group", default="O", help="of the average at inference")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = options.data.absolute()
    frames = read_structures(data)
    kept: dict[str, list[dict[str, float]]] = {}
    blamed = []
    for seed in range(options.seeds):
        base = options.out / f"base_{seed}"
        first = settings(data, seed, options.steps, 2e-3)
        first["model"] = {"hyperparameters": SMALL}
        kept.setdefault("as it is", []).append(measured(run_once(first, base)))
        model = load_model(base / "model")
        held_out = [frames[i] for i in split(len(frames), 0.2, seed)[1]]
        number, sector, shares = blame(model, held_out[0])
        blamed.append({"layer": number + 1, "sector": sector, "shares": shares})
        print(blamed[-1], flush=True)
        kept.setdefault(f"averaged over {options.group}", []).append(
            averaged(model, held_out, options.group)
        )
        stage = stage_of(model.config, number)
        for name, (changes, penalty, cost) in cures(stage, sector).items():
            run = settings(data, seed, options.more // cost, 1e-3)
            run["model"] = {
                "initial": str(base / "model"),
                # Short first trainings are still far from the labels.
                "refit_baselines": False,
                **changes,
            }
            if penalty is not None:
                run["penalty"] = penalty
            folder = options.out / f"{name.replace(' ', '_').replace(',', '')}_{seed}"
            kept.setdefault(name, []).append(measured(run_once(run, folder)))
            print(seed, name, kept[name][-1], flush=True)
        keep(options.out / "cures.json", {"blamed": blamed, "cures": kept})
    rows = [
        [
            name,
            *(
                spread([scale * one[key] for one in seeds])
                for key, scale in COLUMNS.values()
            ),
        ]
        for name, seeds in kept.items()
    ]
    write_table(options.out / "cures.md", ["cure", *COLUMNS], rows)


if __name__ == "__main__":
    main()
