"""A training step of PoLAr-MAE's segmentation against the original's, on the CPU.

    python benchmarks/events_training.py --original FOLDER

FOLDER is a clone of github.com/DeepLearnPhysics/PoLAr-MAE (commit 2fd3b80); its own
classes run, with PyTorch3D and its cnms built for the CPU, and pytorch_lightning,
torchmetrics and scikit-learn installed. Published size: vit_small, tokens of 5 voxels,
focal loss with the published class weights, drop path 0.25, attention dropout 0.05,
head dropout 0.5, one rotation a batch, gradients clipped at 3, AdamW, float32. A step
is everything from a batch of padded events to new parameters. The original finds its
tokens anew in every step; symjax finds them once, before the training, and what that
takes is a line of its own. Both run in turn in one process on all cores.
"""

import argparse
import dataclasses
import math
import statistics
import sys
import time

import jax
import numpy as np
import torch

from symjax.data.point_clouds import generate_event
from symjax.models.pointmae import PointMAEConfig, init_pointmae
from symjax.models.pointmae.inputs import seen_points
from symjax.training.configuration import EventLosses, OptimizerSection
from symjax.training.masked import Augmentation, masked_task, prepare_events
from symjax.training.optimisation import make_step, start

LEARNING_RATE, DECAY, CLIP = 1e-4, 0.05, 3.0
TRANSFORMER = {
    "postnorm": False,
    "add_pos_at_every_layer": True,
    "attn_drop_rate": 0.05,
    "drop_path_rate": 0.25,
}


def arguments():
    """What is typed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--original", required=True, help="clone of PoLAr-MAE")
    parser.add_argument("--arch", default="vit_small", help="size of the encoder")
    parser.add_argument("--events", type=int, default=4, help="events of a batch")
    parser.add_argument("--points", type=int, default=2000, help="points of an event")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each")
    return parser.parse_args()


def events_of(config, num, points):
    """Generated events about as large as asked for."""
    found, seed = [], 0
    while len(found) < num:
        cloud = seen_points(config, generate_event(seed))
        if 0.9 * points < cloud.num_points <= 1.1 * points:
            found.append(cloud)
        seed += 1
    return found


def symjax_step(config, clouds):
    """A step as a function of nothing, and the seconds that finding tokens took."""
    begun = time.perf_counter()
    samples = prepare_events(config, clouds)
    seconds = time.perf_counter() - begun
    model = init_pointmae(config, jax.random.key(0))
    task = masked_task(
        model,
        samples,
        EventLosses(reconstruction=0.0, segmentation=1.0, classes="published"),
        augmentation=Augmentation("Euler angles", together=True),
    )
    optimizer = OptimizerSection(
        learning_rate=LEARNING_RATE, weight_decay=DECAY, gradient_clip=CLIP, warmup=0
    )
    step = make_step(task, optimizer, 100, 0)
    state = start(task, optimizer)
    batch = jax.tree.map(lambda leaf: np.asarray(leaf)[None, None], samples)

    def run():
        nonlocal state
        state, metrics = step(state, batch)
        return float(metrics["loss"])

    return run, seconds


def original_step(options, config, clouds):
    """A step of the original's own classes as a function of nothing."""
    sys.path.insert(0, options.original)
    from polarmae.datasets.PILArNet import PILArNetDataModule
    from polarmae.layers.encoder import TransformerEncoder
    from polarmae.models.finetune import SemanticSegmentation

    encoder = TransformerEncoder(
        arch=options.arch, voxel_size=5, transformer_kwargs=TRANSFORMER
    )
    half = config.detector_size / 2
    model = SemanticSegmentation(
        encoder,
        None,
        num_classes=4,
        condition_global_features=True,
        loss_func="focal",
        transformation_center=[half] * 3,
        transformation_scale_factor=1 / (half * math.sqrt(3)),
    ).train()
    data = PILArNetDataModule("", dataset_kwargs={"remove_low_energy_scatters": True})
    data.train_dataset = argparse.Namespace(remove_low_energy_scatters=True)
    model.loss_func.weight.copy_(data.class_weights)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=DECAY
    )
    longest = max(cloud.num_points for cloud in clouds)
    points = np.zeros((len(clouds), longest, 4), np.float32)
    labels = np.full((len(clouds), longest, 1), -1)
    offset, maximum = config.energy_offset, config.energy_maximum
    for row, label, cloud in zip(points, labels, clouds, strict=True):
        row[: cloud.num_points, :3] = cloud.positions
        scaled = np.log1p(cloud.energies / offset) / math.log1p(maximum / offset)
        row[: cloud.num_points, 3] = 2 * scaled - 1
        label[: cloud.num_points, 0] = cloud.semantic
    lengths = torch.tensor([cloud.num_points for cloud in clouds])

    def run():
        optimizer.zero_grad()
        turned = model.train_transformations(torch.from_numpy(points.copy()))
        losses, _ = model.compute_loss(turned, lengths, torch.from_numpy(labels))
        losses["focal"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return float(losses["focal"].detach())

    return run


def main():
    """Prints one table."""
    options = arguments()
    config = dataclasses.replace(
        PointMAEConfig.named(options.arch, 5), decoder_depth=0, num_classes=4
    )
    clouds = events_of(config, options.events, options.points)
    ours, tokens = symjax_step(config, clouds)
    theirs = original_step(options, config, clouds)
    seconds = {"symjax": [], "original": []}
    for number in range(options.repeats + 1):
        for name, step in (("symjax", ours), ("original", theirs)):
            begun = time.perf_counter()
            step()
            if number:  # the first one compiles
                seconds[name].append(time.perf_counter() - begun)
    sizes = ", ".join(str(cloud.num_points) for cloud in clouds)
    print(f"{options.arch}, {options.events} events of {sizes} points")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; float32")
    print(f"{'':<10}{'seconds a step: median (range)':>34}")
    for name, times in seconds.items():
        spread = f"({min(times):.2f}-{max(times):.2f})"
        print(f"{name:<10}{statistics.median(times):>22.2f} {spread:>11}")
    ratio = statistics.median(seconds["original"]) / statistics.median(
        seconds["symjax"]
    )
    print(f"original / symjax: {ratio:.2f}")
    print(f"tokens of all events, once, compiling included: {tokens:.2f} s")


if __name__ == "__main__":
    main()
