"""Which bias helps a small Point-MAE that labels the points of events.

    python benchmarks/experiments/event_biases.py --out runs/event_biases
    python benchmarks/experiments/event_biases.py --out runs/event_biases --cost

Generated events of at most 256 points, segmentation from scratch with O(3)
augmentation, three seeds (of parameters, batches and elements). Averages over O and
O_h are taken of the models without bias. All is measured over the same held-out
events, tokens being found anew in each orientation: labels over the 48 elements of
O_h, and the equivariance error of the class probabilities over O_h and over random
elements of O(3). The cost of a step (``--cost``) is the time of a gradient over that of
no bias, that of a prediction its time over that of one without average, all in turn.
"""

import argparse
import functools
import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import keep, run_once, spread, write_table

from symjax.data.point_clouds import SMALL, PointCloud, pad_cloud, voxel_length
from symjax.metrics.consistency import summarise_labels
from symjax.models import load_model
from symjax.models.pointmae import (
    PointMAEConfig,
    PointMAEModel,
    averaged_problem,
    event_problem,
)
from symjax.so3.finite_groups import finite_group
from symjax.training import parse_run
from symjax.training.augmentation import random_elements
from symjax.training.configuration import EventsData
from symjax.training.problems import (
    HELD_OUT_SEED,
    events_of,
    events_problem,
)

POINTS = 256
HYPERPARAMETERS = {
    "detector_size": SMALL.size,
    "group_radius": 4 * voxel_length(SMALL.size),
    "context_length": 64,
    "group_points": 12,
    "snap_distances": True,
    "pointnet_widths": [24, 32, 48],
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 4,
    "decoder_depth": 0,
    "num_classes": 4,
    "fetch_layers": [0, 1],
    "seg_head_dim": 32,
}
# Weight of the penalty at two elements; 0 shows what the second element does alone.
PENALTIES = {"two orientations": 0.0, "penalty": 10.0}
VARIANTS = ("none", "harmonics", *PENALTIES)
AVERAGES = ("O", "Oh")
QUANTITIES = ("accuracy", "F1", "changing", "error Oh", "error O(3)")


def settings(variant: str, steps: int, seed: int) -> dict[str, Any]:
    """One run."""
    hyperparameters: dict[str, Any] = dict(HYPERPARAMETERS)
    if variant == "harmonics":
        hyperparameters["edge_harmonics"] = 4
    run = {
        "kind": "events",
        "steps": steps,
        "seed": seed,
        "log_every": 100,
        "validate_every": steps,
        "checkpoint_every": steps,
        "data": {"num_training": 300, "num_validation": 20, "num_points": POINTS},
        "model": {"hyperparameters": hyperparameters},
        "losses": {"reconstruction": 0.0, "segmentation": 1.0},
        "optimizer": {"learning_rate": 4e-3, "warmup": 30, "average": 0.98},
        "batch": {"max_structures": 8},
    }
    if variant in PENALTIES:
        run["penalty"] = {"weight": PENALTIES[variant], "elements": 2}
    return run


@functools.partial(jax.jit, static_argnums=0)
def responses(
    function: Callable[..., dict[str, Any]], elements: Any, x: Any, args: Any
) -> Any:
    """Class probabilities at each element."""

    def one(element: Any) -> Any:
        moved = jnp.matmul(x, element.T, precision="highest")
        return function(moved, *args)["class_probabilities"]

    return jax.lax.map(one, elements, batch_size=16)


def relative(values: np.ndarray, ddof: int) -> tuple[float, float]:
    """Sums over points and classes of variance, and of mean square, over elements."""
    variance = values.var(axis=0, ddof=ddof).sum()
    return float(variance), float(np.mean(values**2, axis=0).sum())


def measured(
    model: PointMAEModel, clouds: list[PointCloud], turns: int
) -> dict[str, dict[str, float]]:
    """Quantities of a model as it is, and averaged over O and over O_h."""
    cube = finite_group("Oh").elements
    cube = cube[np.argsort(-np.linalg.det(cube), kind="stable")]
    # Every turn is followed by all of O_h: of its responses averages are made.
    drawn = random_elements(jax.random.key(0), turns, inversion=True)
    turned = np.concatenate([[np.eye(3)], np.asarray(drawn)])
    elements = jnp.asarray(np.einsum("hij,tjk->thik", cube, turned), jnp.float32)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("none", *AVERAGES)}
    for cloud in clouds:
        problem = event_problem(model, cloud, tokens="regrouped", layers="none")
        flat = responses(
            problem.function, elements.reshape(-1, 3, 3), problem.x, problem.args
        )
        assert np.isfinite(flat).all(), "the context is too short for some orientation"
        mask = problem.outputs["class_probabilities"].mask
        found = np.asarray(flat, np.float64)[:, mask]
        found = found.reshape(len(turned), 2, 24, *found.shape[1:])
        truth = np.asarray(cloud.semantic)[mask]
        kinds = {
            "none": found,
            "O": found.mean(axis=2, keepdims=True),
            "Oh": found.mean(axis=(1, 2), keepdims=True),
        }
        for name, own in kinds.items():
            own = own.reshape(len(turned), -1, *own.shape[3:])
            rows[name].append(
                {
                    "labels": own[0].argmax(-1),
                    "truth": truth,
                    "Oh": relative(own[0], 0),
                    # One element of each turn: independent ones.
                    "O(3)": relative(own[1:, 0], 1),
                }
            )
    return {name: summary(parts) for name, parts in rows.items()}


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Quantities of all events together."""
    labels = np.concatenate([row["labels"] for row in rows], axis=1)
    truth = np.concatenate([row["truth"] for row in rows])
    stable = summarise_labels(labels, 4, truth, np.ones(len(truth), bool))
    scores = [
        2
        * np.sum((labels == n) & (truth == n))
        / max(np.sum(labels == n) + len(labels) * np.sum(truth == n), 1)
        for n in range(4)
    ]
    errors = {}
    for group in ("Oh", "O(3)"):
        variance, square = np.sum([row[group] for row in rows], axis=0)
        errors[f"error {group}"] = float(np.sqrt(variance / square))
    return {
        "accuracy": stable.accuracy,
        "F1": float(np.mean(scores)),
        "changing": stable.changing,
        **errors,
    }


def in_turn(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list]:
    """Times of calls over that of the first, all in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - start)
    base = next(iter(times.values()))
    return {
        name: [own / first for own, first in zip(each, base, strict=True)]
        for name, each in times.items()
    }


def costs(model: PointMAEModel, cloud: PointCloud) -> dict[str, list[float]]:
    """Times of steps, and of averaged predictions."""
    steps: dict[str, Callable[[], Any]] = {}
    for name in VARIANTS:
        problem = events_problem(parse_run(settings(name, 100, 0)))
        task, batch = problem.task, jax.tree.map(lambda x: x[0, 0], problem.batch(0))

        def loss(params, batch, key, task=task):
            return task.loss(params, task.statistics, batch, key, task.totals(batch))[0]

        compiled = jax.jit(jax.value_and_grad(loss))
        arguments = task.params, batch, jax.random.key(0)
        steps[name] = lambda c=compiled, a=arguments: c(*a)
    predictions: dict[str, Callable[[], Any]] = {}
    for name in ("none", *AVERAGES):
        if name == "none":
            one = event_problem(model, cloud, tokens="regrouped", layers="none")
        else:
            one = averaged_problem(model, cloud, name)
        compiled = jax.jit(one.function)
        predictions[name] = lambda c=compiled, p=one: c(p.x, *p.args)
    found = {f"step, {name}": t for name, t in in_turn(steps, 15).items()}
    found |= {f"prediction, {n}": t for n, t in in_turn(predictions, 15).items()}
    return found


def main() -> None:
    """Trains and measures what is not there yet, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--events", type=int, default=40, help="held out")
    parser.add_argument("--turns", type=int, default=12, help="random elements")
    parser.add_argument("--cost", action="store_true", help="time steps only")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    limits = EventsData(num_points=POINTS)
    clouds = [
        pad_cloud(cloud, POINTS)
        for cloud in events_of(
            None, options.events, HELD_OUT_SEED, limits, PointMAEConfig()
        )
    ]
    if options.cost:
        run_once(settings("none", options.steps, 0), options.out / "none_0")
        model = load_model(options.out / "none_0" / "model")
        rows = [
            [name, f"{statistics.median(r):.2f} ({min(r):.2f}-{max(r):.2f})"]
            for name, r in costs(model, clouds[0]).items()
        ]
        write_table(options.out / "cost.md", ["cost", "ratio"], rows)
        return
    kept: dict[str, list[dict[str, float]]] = {}
    for seed in range(options.seeds):
        for variant in VARIANTS:
            folder = options.out / f"{variant.replace(' ', '_')}_{seed}"
            run_once(settings(variant, options.steps, seed), folder)
            path = folder / f"measured_{options.events}_{options.turns}.json"
            if not path.exists():
                model = load_model(folder / "model")
                keep(path, measured(model, clouds, options.turns))
            found = json.loads(path.read_text())
            kept.setdefault(variant, []).append(found["none"])
            if variant == "none":
                for name in AVERAGES:
                    kept.setdefault(f"none, averaged over {name}", []).append(
                        found[name]
                    )
        keep(options.out / "measured.json", kept)
    truth = np.concatenate([c.semantic[np.asarray(c.mask)] for c in clouds])
    print("largest class:", np.bincount(truth[truth >= 0]).max() / sum(truth >= 0))
    rows = [
        [name, *(spread([each[q] for each in found]) for q in QUANTITIES)]
        for name, found in kept.items()
    ]
    write_table(options.out / "biases.md", ["bias", *QUANTITIES], rows)


if __name__ == "__main__":
    main()
