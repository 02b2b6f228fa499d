"""Orientations a second of many events, beside the original's forward pass.

    python benchmarks/events.py [--original FOLDER] [--events 1000] [--points 2000]

Events of about --points points go through a model of the published size (ViT-small,
tokens of 5 voxels) at --orientations random elements of O(3) each: with tokens frozen,
as spectra are measured, and with tokens, and voxels, found anew. --original names a
clone of github.com/DeepLearnPhysics/PoLAr-MAE whose extensions (cnms, pytorch3d) are
installed; its own forward pass, which finds tokens anew, then evaluates the same events
in PyTorch, one orientation after another, and both are compared. Its weights, random
with a seed, are imported from its checkpoint. Without --original the model is random.

Times are of the evaluation, after one event of the same size has compiled the program;
reading and padding are a row of their own. The last line says what a report of --events
events takes, of which --measured are measured here.
"""

import argparse
import dataclasses
import pathlib
import statistics
import sys
import tempfile
import time

import jax
import numpy as np

from symjax.data.point_clouds import (
    EventSettings,
    find_events,
    generate_event,
    select_points,
    write_events,
)
from symjax.metrics import functions, orbit
from symjax.metrics.consistency import sampled_elements
from symjax.models import load_model
from symjax.models.pointmae import PointMAEConfig, event_problem, init_pointmae
from symjax.models.pointmae.source import prepare_cloud

TOKENS = ("frozen", "regrouped", "voxelised")
HYPERPARAMETERS = {
    "num_classes": 4,
    "encoder": {
        "class_path": "polarmae.layers.encoder.TransformerEncoder",
        "init_args": {
            "num_channels": 4,
            "arch": "vit_small",
            "voxel_size": 5,
            "masking_ratio": 0.6,
            "masking_type": "rand",
            "apply_relative_position_bias": False,
            "transformer_kwargs": {"postnorm": False, "add_pos_at_every_layer": True},
        },
    },
    "seg_decoder": None,
    "condition_global_features": True,
    "seg_head_fetch_layers": [3, 7, 11],
    "seg_head_dim": 512,
    "loss_func": "focal",
}


def large_events(folder, number, points):
    """A file with generated events that have three quarters of the points or more."""
    path = pathlib.Path(folder) / "events.h5"
    settings = EventSettings(max_points=points)
    found, seed = [], 0
    while len(found) < number:
        event = generate_event(seed, settings)
        seed += 1
        if select_points(event).num_points >= 0.75 * points:
            found.append(event)
    write_events(path, found)
    return path


def original_model(folder, path):
    """The original with random weights, and its checkpoint."""
    import torch

    sys.path.insert(0, folder)
    from polarmae.models.finetune.semantic_segmentation import SemanticSegmentation
    from polarmae.utils.checkpoint import _recursive_resolve

    torch.manual_seed(0)
    model = SemanticSegmentation(**_recursive_resolve(HYPERPARAMETERS)).eval()
    torch.save(
        {
            "state_dict": model.state_dict(),
            "hyper_parameters": HYPERPARAMETERS,
            "pytorch-lightning_version": "2.5.0",
        },
        path,
    )

    @torch.no_grad()
    def forward(x, energies):
        scale = np.log10(energies + 0.13), np.log10(0.13), np.log10(20.13)
        e = 2 * (scale[0] - scale[1]) / (scale[2] - scale[1]) - 1
        batch = np.concatenate([x, e[:, None]], axis=1)[None].astype(np.float32)
        points = model.val_transformations(torch.from_numpy(batch))
        out = model(points, torch.tensor([len(x)]), return_logits=True)["x"][0]
        return torch.softmax(out, -1).numpy()

    return forward


def responses(problem, elements):
    """Class probabilities at all elements, ``(elements, points, classes)``."""
    (out,) = orbit.respond(
        problem.function,
        functions.as_action(problem.action),
        problem.x,
        elements,
        args=problem.args,
        keep=(0,),
        batch_size=min(len(elements), 8),
    )
    return np.asarray(out)


def main():
    """Measures and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--original", metavar="FOLDER")
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--measured", type=int, default=20)
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--orientations", type=int, default=16)
    parser.add_argument("--arch", default="vit_small")
    options = parser.parse_args()
    elements = sampled_elements(options.orientations)
    with tempfile.TemporaryDirectory() as folder:
        forward = None
        if options.original:
            path = pathlib.Path(folder) / "model.ckpt"
            forward = original_model(options.original, path)
            model = load_model(str(path))
        else:
            config = PointMAEConfig.named(
                options.arch, 5, num_classes=4, decoder_depth=0
            )
            model = init_pointmae(config, jax.random.key(0))
        model = dataclasses.replace(model, name="published size")
        number = min(options.measured, options.events)
        events = find_events(large_events(folder, number, options.points)).events
        seconds = {name: [] for name in ("reading", *TOKENS, "original")}
        differences, compiled, points = [], set(), []
        for label in events:
            start = time.perf_counter()
            cloud = prepare_cloud(model, label, events[label])
            seconds["reading"].append(time.perf_counter() - start)
            real = np.asarray(cloud.mask)
            points.append(cloud.num_points)
            for tokens in TOKENS:
                problem = event_problem(model, cloud, tokens=tokens, layers="none")
                program = (problem.function, len(cloud.mask))
                if program not in compiled:
                    responses(problem, elements)
                    compiled.add(program)
                start = time.perf_counter()
                out = responses(problem, elements)
                each = (time.perf_counter() - start) / len(elements)
                seconds[tokens].append(each)
                if tokens == "regrouped":
                    regrouped = out[:, real]
            if forward is not None:
                x, e = np.asarray(cloud.positions)[real], np.asarray(cloud.energies)
                middle = np.asarray(model.config.middle)
                turned = [(x - middle) @ g.T + middle for g in elements]
                forward(turned[0], e[real])
                start = time.perf_counter()
                theirs = [forward(y, e[real]) for y in turned]
                each = (time.perf_counter() - start) / len(elements)
                seconds["original"].append(each)
                differences.append(np.abs(np.stack(theirs) - regrouped).mean())
    print(
        f"{number} events of {min(points)} to {max(points)} points, "
        f"{len(elements)} orientations, JAX {jax.__version__}"
    )
    print(f"{'':<12}{'s an orientation, median (range)':>36}{'original / it':>16}")
    base = statistics.median(seconds["original"]) if forward else float("nan")
    for name, times in seconds.items():
        if times:
            middle = statistics.median(times)
            spread = f"{middle:.4f} ({min(times):.4f}-{max(times):.4f})"
            ratio = "" if name == "reading" else f"{base / middle:.2f}"
            print(f"{name:<12}{spread:>36}{ratio:>16}")
    if differences:
        print(f"mean difference of probabilities: {np.mean(differences):.1e}")
    # Spectra through degree 1 take 48 elements, sources 48 of O_h and 48 random ones.
    middle = {
        name: statistics.median(times) for name, times in seconds.items() if times
    }
    chain = middle["frozen"] + middle["regrouped"] + middle["voxelised"]
    event = middle["reading"] + 48 * middle["frozen"] + 96 * chain
    print(
        f"a report of {options.events:,} events (--max-degree 1): "
        f"{event * options.events / 3600:.1f} h of evaluation"
    )


if __name__ == "__main__":
    main()
