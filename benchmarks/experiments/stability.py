"""Stability as users meet it: dynamics, relaxations and normal modes, before and after.

    python benchmarks/experiments/stability.py --data ethanol_reduced_100.xyz \
        --out runs/stability --averages none O "frames 16" "haar 5" \
        --models runs/biases/energies/none_*/model pet-ethanol

For each model and each average of its predictions: molecular dynamics of ethanol (1 ps
in steps of 0.5 fs, from a held-out frame, with momenta of 300 K), BFGS from twelve
random orientations of that frame, and normal modes of methane, relaxed with its
symmetry, in three random orientations. In float64, so that only the model breaks
symmetry. Folders ``NAME_SEED/model`` are seeds of one model; tables hold medians over
them. Results are kept in one file for each model and average, and not calculated again.
``--cost`` times
force calls instead, all averages in turn.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import re
import statistics
import time
from collections.abc import Sequence

import ase
import ase.build
import jax
import numpy as np
from ase.optimize import BFGS
from common import keep, write_table

from symjax.data import read_structures
from symjax.interop import SymjaxCalculator
from symjax.models import load_model
from symjax.models.biases import Biases
from symjax.models.pet import PETModel
from symjax.so3 import haar
from symjax.stability import normal_modes, relax_rotated, run_nve
from symjax.training.problems import split

# Columns of the tables: title, and name of the result.
TABLES = {
    "dynamics": (
        ("energy drift (meV/atom/ps)", "energy_drift"),
        ("largest change of L (hbar)", "angular_momentum_drift"),
        ("mean torque (eV)", "mean_torque"),
        ("largest torque (eV)", "largest_torque"),
        ("largest net force (eV/Å)", "largest_net_force"),
    ),
    "relaxation": (
        ("spread of energies (meV)", "spread"),
        ("minima", "minima"),
        ("converged of 12", "converged"),
        ("steps, median", "steps"),
        ("steps, most", "most_steps"),
    ),
    "modes": (
        ("largest splitting, E (1/cm)", "splitting_E"),
        ("largest splitting, T2 (1/cm)", "splitting_T2"),
        ("largest wavenumber of a rotation (1/cm)", "rotation"),
    ),
}


def label_of(name: str) -> str:
    """What seeds of one model share."""
    path = pathlib.Path(name)
    return re.sub(r"_\d+$", "", path.parent.name if path.name == "model" else name)


def calculator(
    model: PETModel, average: str, symmetrize: bool = False
) -> SymjaxCalculator:
    """A calculator in float64 with an average by its name, as in ``Biases``."""
    rule: int | str | None = None
    if average.startswith("frames"):
        biases = Biases(output_average=average)
        config = dataclasses.replace(model.config, biases=biases)
        model = dataclasses.replace(model, config=config)
    elif average.startswith("haar"):
        rule = int(average.split()[1])
    elif average != "none":
        rule = average
    return SymjaxCalculator(model, average=rule, symmetrize=symmetrize, dtype="float64")


def dynamics(model: PETModel, average: str, start: ase.Atoms, steps: int) -> dict:
    """Conservation over a trajectory."""
    atoms = start.copy()
    atoms.calc = calculator(model, average)
    return run_nve(atoms, steps).numbers()


def relaxation(model: PETModel, average: str, start: ase.Atoms) -> dict:
    """Spread over orientations."""
    atoms = start.copy()
    atoms.calc = calculator(model, average)
    found = relax_rotated(atoms, np.asarray(haar(jax.random.key(0), 12)))
    numbers = found.numbers()
    return numbers | {
        "spread": found.spread * 1e3,
        "steps": numbers.pop("median_steps"),
        "most_steps": int(found.steps.max()),
    }


def modes(model: PETModel, average: str) -> dict:
    """Splittings of methane, medians over orientations."""
    kept: dict[str, list[float]] = {}
    for rotation in np.asarray(haar(jax.random.key(1), 3)):
        atoms = ase.build.molecule("CH4")
        atoms.positions = atoms.positions @ rotation.T
        atoms.calc = calculator(model, average, symmetrize=True)
        if not BFGS(atoms, logfile=None).run(fmax=1e-5, steps=200):
            raise RuntimeError("methane did not relax")
        atoms.calc = calculator(model, average)
        found = normal_modes(atoms)
        sizes = np.bincount(found.sets)
        several = sizes[sizes > 1]
        for size, name in ((2, "splitting_E"), (3, "splitting_T2")):
            largest = found.splittings[several == size].max()
            kept.setdefault(name, []).append(float(largest))
        kept.setdefault("rotation", []).append(float(np.abs(found.rotations).max()))
        means = [found.wavenumbers[found.sets == k].mean() for k in range(len(sizes))]
        kept.setdefault("means", []).append(means)
    medians = {k: statistics.median(v) for k, v in kept.items() if k != "means"}
    return {**medians, "means": kept["means"]}


def costs(models: Sequence[str], averages: Sequence[str], start: ase.Atoms) -> list:
    """Times of a force call over that without an average, all in turn."""
    rows = []
    for name in models:
        model, all_atoms = load_model(name), {}
        for average in averages:
            atoms = start.copy()
            atoms.calc = calculator(model, average)
            atoms.get_forces()
            all_atoms[average] = atoms
        times: dict[str, list[float]] = {average: [] for average in averages}
        for _ in range(15):
            for average, atoms in all_atoms.items():
                # Small enough for the list of neighbors to stay.
                atoms.positions[0, 0] += 1e-4
                begin = time.perf_counter()
                atoms.get_forces()
                times[average].append(time.perf_counter() - begin)
        for average in averages:
            own = times[average]
            ratios = [t / u for t, u in zip(own, times["none"], strict=True)]
            copies = len(all_atoms[average].calc.rotations.elements)
            if average.startswith("frames"):
                copies = 2 * int(average.split()[1])
            rows.append(
                [
                    label_of(name),
                    average,
                    str(copies),
                    f"{1e3 * statistics.median(own):.1f}",
                    f"{statistics.median(ratios):.1f}",
                ]
            )
    return rows


def tables(out: pathlib.Path) -> None:
    """Medians of all that is kept."""
    for study, columns in TABLES.items():
        found: dict[tuple[str, str], list[dict]] = {}
        for path in sorted(out.glob("*.json")):
            one = json.loads(path.read_text())
            if study in one:
                key = label_of(one["model"]), one["average"]
                found.setdefault(key, []).append(one[study])
        rows = [
            [
                *key,
                str(len(runs)),
                *(f"{statistics.median(r[c] for r in runs):.2g}" for _, c in columns),
            ]
            for key, runs in sorted(found.items())
        ]
        header = ["model", "average", "seeds", *(title for title, _ in columns)]
        write_table(out / f"{study}.md", header, rows)


def main() -> None:
    """Calculates what is not there yet, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--averages", nargs="+", default=["none"])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--only", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--cost", action="store_true", help="time force calls only")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    options.out.mkdir(parents=True, exist_ok=True)
    frames = read_structures(options.data)
    if options.cost:
        rows = costs(options.models, options.averages, frames[4])
        header = ["model", "average", "copies", "force call (ms)", "ratio"]
        write_table(options.out / "cost.md", header, rows)
        return
    for average in options.averages:
        for name in options.models:
            # Training of pet-ethanol left out every fifth frame.
            held_out, seed = 4, re.search(r"_(\d+)/model$", name)
            if seed:
                held_out = int(split(len(frames), 0.2, int(seed[1]))[1][0])
            start, model = frames[held_out], load_model(name)
            path = options.out / f"{name.strip('/')}_{average}.json".replace("/", "_")
            kept = json.loads(path.read_text()) if path.exists() else {}
            kept |= {"model": name, "average": average}
            studies = {
                "modes": functools.partial(modes, model, average),
                "dynamics": functools.partial(
                    dynamics, model, average, start, options.steps
                ),
                "relaxation": functools.partial(relaxation, model, average, start),
            }
            for study, run in studies.items():
                if study in options.only and study not in kept:
                    begin = time.perf_counter()
                    kept[study] = run()
                    seconds = time.perf_counter() - begin
                    keep(path, kept)
                    print(f"{name} {average} {study} {seconds:.0f} s", flush=True)
    tables(options.out)


if __name__ == "__main__":
    main()
