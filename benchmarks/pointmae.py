"""Grouping and forward pass of Point-MAE against the same computation in PyTorch.

    python benchmarks/pointmae.py

One event of some two thousand points, the published tokenizer of 5 voxels, ViT-tiny.
The PyTorch side uses public operators only: grouping as it is written down (farthest
points and suppression in Python loops over tensor operations), and the forward pass
as in tests/torch_polarmae.py. Both sides get the same arrays and weights, results are
compared, and times are medians of repeated runs in one process on all cores. The
arithmetic floor is the number of multiply-adds of the matrix products over the rate
that a large product reaches on this machine.
"""

import dataclasses
import pathlib
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch

from symjax.data.point_clouds import generate_event, pad_cloud, select_points
from symjax.interop.polarmae import convert_state
from symjax.models.pointmae import PointMAEConfig, make_event
from symjax.models.pointmae.grouping import assign_groups, gather_groups
from symjax.models.pointmae.model import evaluate_heads

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))
from torch_polarmae import PoLArMAE, randomise

REPEATS = 15
CONFIG = dataclasses.replace(
    PointMAEConfig.named("vit_tiny", 5),
    decoder_depth=0,
    energy_infilling=False,
    num_classes=4,
)


def timed(function, repeats=REPEATS):
    """Seconds of each run, after two that are not counted."""
    for _ in range(2):
        function()
    out = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        out.append(time.perf_counter() - start)
    return out


@torch.no_grad()
def torch_groups(x, config):
    """Suppression, ball query and reduction by farthest points, in PyTorch.

    And the centres nearest to every point, from which its features are interpolated.
    """
    squares = ((x[:, None] - x[None]) ** 2).sum(-1)
    near = squares < config.suppression_radius**2
    near &= near.cumsum(1) <= config.max_neighbors
    order = torch.sort(near.sum(1), descending=True, stable=True).indices
    keep = torch.ones(len(x), dtype=torch.bool)
    for i in order.tolist():
        if keep[i]:
            keep[near[i]] = False
            keep[i] = True
    centers = keep.nonzero()[:, 0]
    inside = squares[centers] < config.group_radius**2
    inside &= inside.cumsum(1) <= config.upscale_points
    width = int(inside.sum(1).max())
    # Indices of the members first, then padding.
    place = torch.where(inside, torch.arange(len(x)), len(x)).sort(1).values[:, :width]
    real = place < len(x)
    local = x[place.clamp(max=len(x) - 1)]
    nearest = torch.where(real, torch.inf, -1.0)
    picked = torch.zeros(len(centers), dtype=torch.long)
    rows = torch.arange(len(centers))
    members = []
    for _ in range(config.group_points):
        members.append(picked)
        distance = ((local - local[rows, picked][:, None]) ** 2).sum(-1)
        nearest = torch.minimum(nearest, distance)
        nearest[rows, picked] = -1.0
        picked = nearest.argmax(1)
    members = place.gather(1, torch.stack(members, 1))
    count = real.sum(1, keepdim=True)
    members = torch.where(torch.arange(config.group_points) < count, members, -1)
    between = ((x[:, None] - x[centers][None]) ** 2).sum(-1)
    nearest = between.topk(config.num_upsampling_neighbors, largest=False).indices
    return centers, members, nearest


def multiply_adds(config, tokens, points):
    """Of all matrix products of encoder and segmentation, for used slots."""
    a, b, c = config.pointnet_widths
    width, size = config.embed_dim, config.group_points
    pointnet = tokens * (size * (4 * a + a * b + b * c + c * width) + b * c)
    block = tokens * 12 * width**2 + 2 * tokens**2 * width
    hidden = config.seg_head_dim
    head = points * ((2 * width + 3) * width + width * hidden + hidden**2 // 2)
    return pointnet + config.depth * block + head


def main():
    cores = torch.get_num_threads()
    cloud = next(
        cloud
        for cloud in (select_points(generate_event(seed)) for seed in range(100))
        if 1900 < cloud.num_points <= 2048
    )
    cloud = pad_cloud(cloud, 2048)
    event = make_event(CONFIG, cloud, np.float32)
    real = cloud.num_points
    x = torch.from_numpy(np.array(event.positions)[:real])

    group = jax.jit(lambda e: assign_groups(CONFIG, *e))
    assignment = jax.block_until_ready(group(event))
    found = int(assignment.num_found)
    config = dataclasses.replace(CONFIG, context_length=-(-found // 32) * 32)
    group = jax.jit(lambda e: assign_groups(config, *e))
    assignment = jax.block_until_ready(group(event))
    centers, members, nearest = torch_groups(x, config)
    same = np.array_equal(np.asarray(assignment.centers)[:found], centers.numpy())
    ours = np.asarray(assignment.members)[:found]
    agree = np.mean(
        [set(a) == set(b) for a, b in zip(ours, members.numpy(), strict=True)]
    )

    ours = np.asarray(assignment.neighbors)[:real]
    between = np.mean(
        [set(a) == set(b) for a, b in zip(ours, nearest.numpy(), strict=True)]
    )

    theirs = randomise(PoLArMAE(config)).eval()
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    variables = jax.tree.map(jnp.asarray, convert_state(state, config))
    forward = jax.jit(lambda v, e, a: evaluate_heads(config, v, e, a)[0])
    groups = gather_groups(config, assignment, event.positions, event.energies)
    inputs = [torch.from_numpy(np.array(part)) for part in groups]
    rest = [torch.from_numpy(np.array(p)) for p in (event.positions, event.mask)]
    neighbors = torch.from_numpy(np.array(assignment.neighbors)).clamp(min=0).long()

    @torch.no_grad()
    def torch_forward():
        return theirs.segment(inputs, *rest, neighbors)

    def jax_forward():
        return jax.block_until_ready(forward(variables, event, assignment))

    error = np.abs(np.asarray(jax_forward())[:real] - torch_forward().numpy()[:real])
    scale = torch_forward().abs().max().item()

    square = np.ones((1536, 1536), np.float32)
    product = jax.jit(lambda a: a @ a)
    rate = 1536**3 / min(timed(lambda: jax.block_until_ready(product(square))))
    floor = multiply_adds(config, found, real) / rate

    print(f"{real} points, {found} tokens, {cores} threads")
    print(f"same centers: {same}; tokens with the same members: {agree:.1%}")
    print(f"points with the same nearest centers: {between:.1%}")
    print(f"logits differ by {error.max() / scale:.1e} of the largest")
    print(
        f"rate {2 * rate / 1e9:.0f} Gflop/s; floor of the forward pass "
        f"{1e3 * floor:.1f} ms"
    )
    print(f"{'':<10}{'symjax ms':>22}{'torch ms':>22}{'ratio':>8}")
    for name, mine, other in (
        (
            "grouping",
            lambda: jax.block_until_ready(group(event)),
            lambda: torch_groups(x, config),
        ),
        ("forward", jax_forward, torch_forward),
    ):
        a, b = timed(mine), timed(other)
        cells = [
            f"{1e3 * statistics.median(t):.1f} [{1e3 * min(t):.1f}, {1e3 * max(t):.1f}]"
            for t in (a, b)
        ]
        ratio = statistics.median(b) / statistics.median(a)
        print(f"{name:<10}{cells[0]:>22}{cells[1]:>22}{ratio:>8.1f}")


if __name__ == "__main__":
    main()
