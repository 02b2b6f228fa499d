"""The findings of arXiv:2603.24638, figure by figure, from runs that fit a laptop.

    python benchmarks/paper.py --data ethanol_reduced_100.xyz --out runs/paper

Trains a PET on energies and forces with and without augmentation, the same PET on
tensors of rising degree with and without an equivariant readout, and a Point-MAE on the
labels of generated events with and without augmentation; measures A and B along the
training, layer by layer; asks by probes what can be read from each layer at the end;
asks what averages over groups leave of A; and draws five figures for docs/paper.md.
Sizes are those of ``paper.toml``; ``--config benchmarks/paper_gpu.toml`` has those for
a GPU. What is done is kept, so that an interrupted call goes on.
"""

import argparse
import pathlib
import sys
import tomllib
from collections.abc import Mapping
from typing import Any

import ase.io
import matplotlib
import numpy as np
from matplotlib.figure import Figure

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "experiments"))

from common import at, keep, last, run_once, sector  # noqa: E402
from hard_targets import size_of  # noqa: E402

from symjax.data import read_structures  # noqa: E402
from symjax.data.point_clouds import SMALL  # noqa: E402
from symjax.diagnose.probing import probe_layers, save_probes  # noqa: E402
from symjax.labels.analytic import label_analytically  # noqa: E402
from symjax.metrics import AveragedError, frontier, response_spectra  # noqa: E402
from symjax.models import load_model  # noqa: E402
from symjax.models.pet.layers import distinct_layers  # noqa: E402
from symjax.models.pointmae.model import layer_names  # noqa: E402
from symjax.report.figures import STYLE  # noqa: E402
from symjax.training import parse_run  # noqa: E402
from symjax.training.logs import TRAJECTORY, VALIDATION  # noqa: E402
from symjax.training.problems import (  # noqa: E402
    atoms_problem,
    events_problem,
    split,
)

AUGMENTATIONS = ("none", "SO(3)", "O(3)")
COLORS = {"none": "#b2182b", "SO(3)": "#e08214", "O(3)": "#2166ac"}
# Above it responses count as left whole by every average.
AVERAGED_DEGREE = 6
READOUTS = {"none": {}, "readout in a sum": {"readout": "sum"}}


def common(sizes: Mapping[str, Any], seed: int, **changes: Any) -> dict[str, Any]:
    """What all runs share."""
    every = sizes["steps"] // sizes.get("measurements", 1)
    return {
        "steps": sizes["steps"],
        "seed": seed,
        "log_every": 100,
        "validate_every": every,
        "checkpoint_every": sizes["steps"],
        "optimizer": {
            "learning_rate": sizes["learning_rate"],
            "warmup": 50,
            "average": 0.99,
        },
        "monitor": {
            "every": every,
            "structures": 1,
            "layers": changes.pop("layers", "none"),
            "max_degree": sizes["max_degree"],
            "grid": sizes["grid"],
            "max_share": 1.0,
        },
        **changes,
    }


def atoms_run(
    data: pathlib.Path, sizes: Mapping[str, Any], augmentation: str, seed: int
) -> dict[str, Any]:
    """Energies and forces."""
    return common(
        sizes,
        seed,
        layers="all" if augmentation == "O(3)" else "none",
        augmentation=augmentation,
        data={
            "training": str(data),
            "validation_fraction": 0.2,
            "num_training": sizes["training"],
        },
        model={"hyperparameters": sizes["hyperparameters"]},
        targets={"energy": {"energy_unit": "kcal/mol", "forces": "forces"}},
        batch=sizes["batch"],
    )


def tensors_run(
    data: pathlib.Path,
    config: Mapping[str, Any],
    irreps: Mapping[str, str],
    biases: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Tensors of the surroundings of atoms."""
    degree = max(config["tensors"]["degrees"])
    sizes = {**config["atoms"], **config["tensors"], "measurements": 1}
    sizes |= {"max_degree": degree, "grid": 2 * degree + 1}
    return common(
        sizes,
        seed,
        data={"training": str(data), "validation_fraction": 0.2},
        model={"hyperparameters": sizes["hyperparameters"], "biases": dict(biases)},
        targets={n: {"kind": kind, "per_atom": True} for n, kind in irreps.items()},
        batch=sizes["batch"],
    )


def events_run(
    sizes: Mapping[str, Any], augmentation: str, seed: int
) -> dict[str, Any]:
    """Labels of the points of generated events."""
    return common(
        sizes,
        seed,
        kind="events",
        layers="all" if augmentation == "O(3)" else "none",
        augmentation=augmentation,
        data={
            "num_training": sizes["training"],
            "num_validation": 20,
            "num_points": 256,
        },
        model={
            "hyperparameters": {"detector_size": SMALL.size, **sizes["hyperparameters"]}
        },
        losses={"reconstruction": 0.0, "segmentation": 1.0},
        batch={"max_structures": 8},
    )


def course(
    runs: Mapping[str, list[dict]], name: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Steps, and the relative error of an output there, mean over the seeds."""
    found = {}
    for label, seeds in runs.items():
        steps = np.unique(seeds[0][TRAJECTORY]["step"])
        errors = [
            [at(tables[TRAJECTORY], name, "relative", step) for step in steps]
            for tables in seeds
        ]
        found[label] = (steps, np.mean(errors, axis=0))
    return found


def augmentation_figure(
    atoms: Mapping[str, list[dict]], events: Mapping[str, list[dict]]
) -> tuple[Figure, dict[str, Any]]:
    """Relative equivariance error against the step, for both models."""
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    panels = figure.subplots(1, 2)
    numbers: dict[str, Any] = {}
    for axis, runs, name, title in (
        (panels[0], atoms, "forces", "PET: forces of ethanol"),
        (panels[1], events, "class_probabilities", "Point-MAE: labels of points"),
    ):
        for label, (steps, errors) in course(runs, name).items():
            axis.plot(steps, errors, "o-", ms=3, color=COLORS[label], label=label)
            numbers[f"{name}, {label}"] = dict(
                zip(steps.tolist(), errors.tolist(), strict=True)
            )
        axis.set(yscale="log", xlabel="step", title=title)
        axis.grid(axis="y", color="0.9", lw=0.6)
    panels[0].set_ylabel("A / RMS of the response")
    panels[0].legend(title="augmentation", frameon=False)
    return figure, numbers


def layers_figure(
    runs: Mapping[str, dict], names: Mapping[str, tuple[str, ...]]
) -> tuple[Figure, dict[str, Any]]:
    """How invariant each layer is, step by step, above what it holds at the end."""
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    panels = figure.subplots(2, len(runs))
    numbers: dict[str, Any] = {}
    for column, (title, tables) in enumerate(runs.items()):
        trajectory = tables[TRAJECTORY]
        layers = [name for name in names[title] if name in trajectory["name"]]
        steps = np.unique(trajectory["step"])
        errors = np.array(
            [[at(trajectory, n, "relative", step) for step in steps] for n in layers]
        )
        top, bottom = panels[:, column]
        shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(steps)))
        for step, values, color in zip(steps, errors.T, shades, strict=True):
            top.plot(values, color=color, lw=1, label=f"{step:.0f}")
        top.set(ylim=(0, 1), title=title)
        top.set_xticks([])
        chosen = (trajectory["quantity"] == "B") & (trajectory["step"] == steps[-1])
        degrees = np.unique(trajectory["degree"][chosen])
        content = np.zeros((2 * len(degrees), len(layers)))
        for index, name in enumerate(layers):
            own = chosen & (trajectory["name"] == name)
            for number, degree in enumerate(degrees):
                for half, sigma in enumerate((1, -1)):
                    here = own & (trajectory["degree"] == degree)
                    here &= trajectory["sigma"] == sigma
                    row = number + half * len(degrees)
                    content[row, index] = np.mean(trajectory["value"][here])
        image = bottom.imshow(
            np.clip(content, 1e-6, 1),
            norm=matplotlib.colors.LogNorm(1e-6, 1),
            aspect="auto",
            cmap="viridis",
        )
        labels = [f"{int(d)}{sign}" for sign in "+-" for d in degrees]
        bottom.set_yticks(range(len(labels)), labels)
        bottom.set_xticks(range(len(layers)), layers, rotation=90, fontsize=4.5)
        numbers[title] = {
            name: {"relative": errors[i].tolist(), "B": content[:, i].tolist()}
            for i, name in enumerate(layers)
        }
    panels[0, 0].set_ylabel("A / RMS of the features")
    panels[0, 0].legend(title="step", frameon=False, fontsize=5, ncols=2)
    panels[1, 0].set_ylabel("sector")
    figure.colorbar(image, ax=panels[1].tolist(), label="B at the end", pad=0.01)
    return figure, numbers


def spectral_figure(
    found: Mapping[str, Mapping[str, list[dict[str, float]]]], irreps: Mapping[str, str]
) -> Figure:
    """Error, and content in the target's own sector, by its irrep."""
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True)
    places = np.arange(len(irreps))
    for number, (name, targets) in enumerate(found.items()):
        for axis, key in zip(panels, ("error", "B"), strict=True):
            values = [np.mean([one[key] for one in targets[t]]) for t in irreps]
            axis.bar(places + 0.4 * number - 0.2, values, 0.38, label=name)
    for axis in panels:
        axis.set_xticks(places, irreps.values())
        axis.set_xlabel("irrep of the target")
        axis.set_yscale("log")
    panels[0].set_ylabel("error / RMS of the target")
    panels[1].set_ylabel("B of the target's irrep")
    panels[0].legend(title="bias", frameon=False, fontsize=6)
    return figure


def averages_figure(
    found: Mapping[str, tuple[AveragedError, ...]],
) -> tuple[Figure, dict[str, Any]]:
    """What averages of predictions leave of A at most, by the evaluations they take."""
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    numbers: dict[str, Any] = {}
    for axis, (title, errors) in zip(
        figure.subplots(1, len(found)), found.items(), strict=True
    ):
        cost = [one.num_elements for one in errors]
        left = [one.largest / errors[0].largest for one in errors]
        axis.plot(cost, left, "o-", ms=3, color=COLORS["O(3)"])
        for one, x, y in zip(errors, cost, left, strict=True):
            axis.annotate(one.average, (x, y), fontsize=6, rotation=45)
        axis.set(xscale="log", yscale="log", xlabel="evaluations", title=title)
        axis.grid(axis="y", color="0.9", lw=0.6)
        axis.margins(0.3, 0.12)
        numbers[title] = {
            one.average: [one.num_elements, y]
            for one, y in zip(errors, left, strict=True)
        }
        if axis.get_subplotspec().is_first_col():
            axis.set_ylabel("A after the average / A")
    return figure, numbers


def main() -> None:
    """Trains what is not there yet, and draws the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--config", type=pathlib.Path, default=HERE / "paper.toml")
    options = parser.parse_args()
    config = tomllib.loads(options.config.read_text())
    out, data = options.out, options.data.absolute()
    out.mkdir(parents=True, exist_ok=True)
    seeds = range(config["seeds"])

    def save(figure: Figure, name: str) -> None:
        with matplotlib.rc_context(STYLE):
            figure.savefig(out / f"{name}.svg", metadata={"Date": None})

    def trained(name: str, run: dict[str, Any]) -> dict:
        print(name, flush=True)
        return run_once(run, out / name)

    atoms = {
        group: [
            trained(
                f"atoms-{group}-{seed}", atoms_run(data, config["atoms"], group, seed)
            )
            for seed in seeds
        ]
        for group in AUGMENTATIONS
    }
    events = {
        group: [
            trained(f"events-{group}-{seed}", events_run(config["events"], group, seed))
            for seed in seeds
        ]
        for group in ("none", "O(3)")
    }
    model = load_model(out / "atoms-O(3)-0" / "model")
    labels_points = load_model(out / "events-O(3)-0" / "model")
    with matplotlib.rc_context(STYLE):
        figure, by_step = augmentation_figure(atoms, events)
        save(figure, "paper_augmentation")
        figure, by_layer = layers_figure(
            {"PET": atoms["O(3)"][0], "Point-MAE": events["O(3)"][0]},
            {
                "PET": distinct_layers(model.config),
                "Point-MAE": layer_names(labels_points.config),
            },
        )
        save(figure, "paper_layers")

    left = {}
    for title, problem_of, run, own, name in (
        (
            "PET: energy of ethanol",
            atoms_problem,
            atoms_run(data, config["atoms"], "O(3)", 0),
            model,
            "energy",
        ),
        (
            "Point-MAE: labels of points",
            events_problem,
            events_run(config["events"], "O(3)", 0),
            labels_points,
            "class_probabilities",
        ),
    ):
        monitored = problem_of(parse_run(run)).probes[0].problem(own)
        left[title] = frontier(response_spectra(monitored, AVERAGED_DEGREE)[name])
    with matplotlib.rc_context(STYLE):
        figure, by_average = averages_figure(left)
        save(figure, "paper_averages")

    frames = read_structures(data)
    held_out = [frames[i] for i in split(len(frames), 0.2, 0)[1]]
    probes, _ = probe_layers(
        model,
        {str(number): atoms for number, atoms in enumerate(held_out)},
        max_degree=config["atoms"]["max_degree"],
    )
    save_probes(probes, out / "paper_probes.svg")
    read = {
        name: [probes.largest(name, sigma) for sigma in (1, -1)]
        for name in probes.sectors
    }

    tensors = config["tensors"]
    irreps = {f"multipole_l{d}": f"{d}+" for d in tensors["degrees"]}
    irreps |= {f"pseudo_l{d}": f"{d}-" for d in tensors["pseudo"]}
    labelled = out / "analytic.xyz"
    ase.io.write(labelled, label_analytically(frames, max(tensors["degrees"])))
    frames = read_structures(labelled)
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for name, biases in READOUTS.items():
        for seed in seeds:
            run = tensors_run(labelled.absolute(), config, irreps, biases, seed)
            tables = trained(f"tensors-{name.replace(' ', '_')}-{seed}", run)
            chosen = [frames[i] for i in split(len(frames), 0.2, seed)[0]]
            for target, irrep in irreps.items():
                size = size_of(chosen, target, irrep)
                error = float(tables[VALIDATION][f"{target}_rmse"][-1])
                found.setdefault(name, {}).setdefault(target, []).append(
                    {
                        "error": error / size,
                        "A": last(tables[TRAJECTORY], target, "A") / size,
                        "B": sector(tables[TRAJECTORY], target, irrep),
                    }
                )
    with matplotlib.rc_context(STYLE):
        save(spectral_figure(found, irreps), "paper_spectra")
    rmse = {
        group: [float(tables[VALIDATION]["forces_rmse"][-1]) for tables in runs]
        for group, runs in atoms.items()
    }
    keep(
        out / "numbers.json",
        {
            "course": by_step,
            "layers": by_layer,
            "read": read,
            "averages": by_average,
            "tensors": found,
            "forces_rmse": rmse,
            "events": {
                group: [
                    {k: float(v[-1]) for k, v in tables[VALIDATION].items()}
                    for tables in runs
                ]
                for group, runs in events.items()
            },
        },
    )


if __name__ == "__main__":
    main()
