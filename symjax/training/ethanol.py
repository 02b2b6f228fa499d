"""Trains the model that ships with the package, ``pet-ethanol``.

    python -m symjax.training.ethanol --data ethanol_reduced_100.xyz --out pet-ethanol

The data are 100 frames of ethanol from MD17 (Chmiela et al., Sci. Adv. 3, e1603015
(2017)) with energies in kcal/mol and forces in kcal/mol/angstrom. Every fifth frame
is held out. A run that was interrupted goes on from its last interval.
"""

import dataclasses
import pathlib
from typing import Annotated, Any

import flax.serialization
import jax
import numpy as np
import typer

from symjax._files import replace_atomically
from symjax.data import (
    GraphShape,
    graph_shape,
    pad_graph,
    read_structures,
    read_targets,
)
from symjax.metrics import Grid, measure
from symjax.models.io import save_model
from symjax.models.pet.config import PETConfig
from symjax.models.pet.graphs import pet_graph
from symjax.models.pet.model import PETModel, init_pet
from symjax.models.pet.orbit import orbit_problem
from symjax.training.fit import Samples, Settings, State, evaluate, fit, stack_samples
from symjax.training.fit import start as start_state

CONFIG = PETConfig(
    species=(1, 6, 8),
    cutoff=4.5,
    d_pet=48,
    d_node=64,
    d_head=48,
    d_feedforward=96,
    num_heads=4,
)
SETTINGS = Settings(steps=24_000, batch_size=8, learning_rate=7e-4, energy_weight=2.0)


def _load(path: pathlib.Path) -> tuple[list[Any], np.ndarray, list[np.ndarray]]:
    frames = read_structures(path)
    targets = read_targets(frames, energy_unit="kcal/mol")
    assert targets.energies is not None
    assert targets.forces is not None
    splits = np.cumsum([len(frame) for frame in frames])[:-1]
    return frames, targets.energies, np.split(targets.forces, splits)


def _samples(
    frames: list[Any], energies: np.ndarray, forces: list[np.ndarray], pick: np.ndarray
) -> Samples:
    graphs = [pet_graph(CONFIG, frame) for frame in frames]
    shape = GraphShape(*np.max([graph_shape(graph) for graph in graphs], axis=0))
    graphs = [pad_graph(graphs[index], shape) for index in pick]
    return stack_samples(graphs, energies[pick], [forces[index] for index in pick])


def _errors(
    model: PETModel, samples: Samples, energies: np.ndarray
) -> dict[str, float]:
    """RMSE and MAE of forces, and of energies in float64 from the baseline up."""
    # The baseline of thousands of eV would round the energy in float32.
    free = {
        **model.parameters,
        "baseline": jax.tree.map(np.zeros_like, model.parameters["baseline"]),
    }
    predicted, forces = evaluate(model.config, "energy", free, samples)
    offset = _baseline(model, samples)
    energy = np.asarray(predicted, float) + offset - energies
    force = np.asarray(forces, float) - np.asarray(samples.forces, float)
    return {
        "energy_rmse_eV": float(np.sqrt(np.mean(energy**2))),
        "energy_mae_eV": float(np.mean(np.abs(energy))),
        "force_rmse_eV_per_angstrom": float(np.sqrt(np.mean(force**2))),
        "force_mae_eV_per_angstrom": float(np.mean(np.abs(force))),
    }


def _baseline(model: PETModel, samples: Samples) -> np.ndarray:
    index = {z: i for i, z in enumerate(model.config.species)}
    weights = np.asarray(model.parameters["baseline"]["energy"]["scalar"], float)[:, 0]
    species = np.asarray(samples.graphs.species)
    return np.array(
        [sum(weights[index[z]] for z in row if z) for row in species.tolist()]
    )


def main(
    data: Annotated[pathlib.Path, typer.Option(help="The extended XYZ file.")],
    out: Annotated[pathlib.Path, typer.Option(help="Folder of the model.")],
    steps: Annotated[int, typer.Option(help="Optimisation steps.")] = SETTINGS.steps,
) -> None:
    """Trains the model, measures it, and writes it with its model card."""
    settings = dataclasses.replace(SETTINGS, steps=steps)
    frames, energies, forces = _load(data)
    held_out = np.arange(len(frames)) % 5 == 4
    train, test = np.flatnonzero(~held_out), np.flatnonzero(held_out)

    # One composition only: its mean energy, shared equally among the atoms, is all
    # that a baseline can say.
    mean = float(energies[train].mean())
    unit = float(np.sqrt(np.mean(np.concatenate([forces[i] for i in train]) ** 2)))
    model = init_pet(CONFIG, jax.random.key(1), "pet-ethanol")
    rows = (len(CONFIG.species), 1)
    per_atom = np.float32(mean / len(frames[0]))
    parameters = {
        **model.parameters,
        "scale": {"energy": {"scalar": np.full(rows, unit, np.float32)}},
        "baseline": {"energy": {"scalar": np.full(rows, per_atom, np.float32)}},
    }
    model = dataclasses.replace(model, parameters=parameters)
    # Energies enter the fit relative to the baseline, which float32 cannot resolve.
    relative = dataclasses.replace(
        model,
        parameters={
            **parameters,
            "baseline": {"energy": {"scalar": np.zeros(rows, np.float32)}},
        },
    )
    everything = _samples(frames, energies, forces, np.arange(len(frames)))
    offsets = _baseline(model, everything)
    training = _samples(frames, energies - offsets, forces, train)

    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "training.msgpack"
    state: State | None = None
    if checkpoint.is_file():
        state = flax.serialization.from_bytes(
            start_state(relative, settings), checkpoint.read_bytes()
        )
        print(f"going on from step {int(state.step)}")

    def report(state: State, loss: float) -> None:
        data = flax.serialization.to_bytes(jax.device_get(state))
        replace_atomically(checkpoint, lambda part: part.write_bytes(data))
        print(f"step {int(state.step):6d}  loss {loss:.5f}", flush=True)

    fitted = fit(relative, training, settings, state=state, interval=500, report=report)
    model = dataclasses.replace(
        model, parameters={**parameters, "network": fitted.parameters["network"]}
    )

    def error(pick: np.ndarray) -> dict[str, float]:
        return _errors(model, _samples(frames, energies, forces, pick), energies[pick])

    reference = np.concatenate([forces[index] for index in test])
    card = {
        "description": "Small PET for ethanol, trained with O(3) augmentation",
        "data": "MD17 ethanol, 100 frames (Chmiela et al., Sci. Adv. 3, e1603015, "
        "2017); energies and forces converted from kcal/mol to eV",
        "license": "BSD-3-Clause; data as in MD17, cited above",
        "split": f"{len(train)} frames for training; held out: every fifth frame, "
        f"{len(test)} of them",
        "command": "python -m symjax.training.ethanol --data ethanol_reduced_100.xyz "
        f"--out pet-ethanol --steps {steps}",
        "settings": dataclasses.asdict(settings),
        "errors_train": error(train),
        "errors_held_out": error(test),
        "errors_held_out_trivial_baseline": {
            "energy_rmse_eV": float(np.sqrt(np.mean((energies[test] - mean) ** 2))),
            "energy_mae_eV": float(np.mean(np.abs(energies[test] - mean))),
            "force_rmse_eV_per_angstrom": float(np.sqrt(np.mean(reference**2))),
            "force_mae_eV_per_angstrom": float(np.mean(np.abs(reference))),
        },
        "equivariance_held_out": _equivariance(model, [frames[i] for i in test[:5]]),
        "limits": "Ethanol near 500 K only; a model to measure, not to simulate with",
    }
    save_model(dataclasses.replace(model, card=card), out)
    checkpoint.unlink(missing_ok=True)
    for key in ("errors_train", "errors_held_out", "errors_held_out_trivial_baseline"):
        print(key, card[key])
    print("equivariance_held_out", card["equivariance_held_out"])


def _equivariance(model: PETModel, frames: list[Any]) -> dict[str, float]:
    """Equivariance errors over some frames, by quadrature to degree 13."""
    variance = {"energy": 0.0, "forces": 0.0}
    count = dict(variance)
    for frame in frames:
        problem = orbit_problem(model, frame, layers="none")
        over = Grid(13, on_aliasing="report")
        result = measure(problem, over=over, max_degree=4)
        for name in variance:
            totals = result[name].totals()
            variance[name] += float(totals.variance.sum())
            count[name] += float(totals.count.sum())
    return {
        "frames": len(frames),
        "grid_degree": 13,
        "energy_A_eV": float(np.sqrt(variance["energy"] / count["energy"])),
        "force_A_eV_per_angstrom": float(np.sqrt(variance["forces"] / count["forces"])),
    }


if __name__ == "__main__":
    typer.run(main)
