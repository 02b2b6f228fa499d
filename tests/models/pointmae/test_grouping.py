"""Tokens against scipy's KD-tree and the published algorithm, step by step."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial
from hypothesis import given
from hypothesis import strategies as st

from symjax.data.point_clouds import (
    SMALL,
    generate_event,
    make_cloud,
    pad_cloud,
    select_points,
    voxel_length,
)
from symjax.models.pointmae import PointMAEConfig, make_event
from symjax.models.pointmae.centers import farthest_point_sampling
from symjax.models.pointmae.grouping import (
    assign_groups,
    ball_query,
    first_true,
    gather_groups,
    nearest_neighbors,
)
from symjax.models.pointmae.orbits import _onto_voxels
from symjax.so3 import haar

SIZE, NUM = 40, 8
SEEDS = st.integers(0, 2**32 - 1)
gathered = jax.jit(gather_groups, static_argnums=0)
first_of = jax.jit(first_true, static_argnums=1)
CONFIG = PointMAEConfig(
    context_length=24, group_points=5, group_radius=0.9, num_upsampling_neighbors=3
)

# Means as centres change no member.
BY_ENERGY = dataclasses.replace(CONFIG, reduction="energy", mean_centers=True)


def points(seed, size=SIZE):
    return np.random.default_rng(seed).standard_normal((size, 3))


def energies(seed, size=SIZE):
    return np.random.default_rng(seed + 1).uniform(-1, 1, size)


@given(st.lists(st.booleans(), min_size=10, max_size=10), st.sampled_from([1, 4, 10]))
def test_first_true(flags, num):
    out = first_of(np.array(flags), num).tolist()
    expected = np.flatnonzero(flags)[:num].tolist()
    assert out == expected + [-1] * (num - len(expected))


@given(SEEDS, st.floats(0.3, 2.0), st.sampled_from([1, SIZE]), st.integers(1, SIZE))
def test_ball_query_against_a_tree(seed, radius, num, real):
    x, mask = points(seed), np.arange(SIZE) < real
    out = np.asarray(ball_query(x[:5], x, mask, radius, num))
    tree = scipy.spatial.cKDTree(x[:real])
    for row, center in zip(out, x[:5], strict=True):
        inside = sorted(tree.query_ball_point(center, radius))[:num]
        assert row[row >= 0].tolist() == inside
        assert (row[len(inside) :] == -1).all()


def test_points_on_the_surface_are_outside():
    x = np.array([[0.0, 0, 0], [3, 4, 0]])
    assert ball_query(x[:1], x, np.ones(2, bool), 5.0, 2).tolist() == [[0, -1]]


@given(SEEDS, st.sampled_from([1, 3, 20]), st.integers(1, SIZE))
def test_nearest_neighbors_against_a_tree(seed, num, real):
    x, mask = points(seed), np.arange(SIZE) < real
    queries = points(seed + 7, 6)
    out = np.asarray(nearest_neighbors(queries, x, mask, num))
    _, expected = scipy.spatial.cKDTree(x[:real]).query(queries, k=range(1, num + 1))
    np.testing.assert_array_equal(out, np.where(expected < real, expected, -1))


def test_more_neighbors_than_points():
    x = points(0, 2)
    out = nearest_neighbors(x, x, np.ones(2, bool), 4)
    assert out.tolist() == [[0, 1, -1, -1], [1, 0, -1, -1]]


def published(x, e, config):
    """Suppression, ball, reduction, each written out for one event."""
    near = ((x[:, None] - x[None]) ** 2).sum(-1)
    count = (near < config.suppression_radius**2).sum(1)
    keep = np.ones(len(x), bool)
    for i in sorted(range(len(x)), key=lambda i: (-count[i], i)):
        if keep[i]:
            keep[near[i] < config.suppression_radius**2] = False
            keep[i] = True
    groups = []
    for center in np.flatnonzero(keep):
        inside = np.flatnonzero(near[center] < config.group_radius**2)
        if config.reduction == "energy":
            inside = inside[np.argsort(-e[inside], kind="stable")]
            inside = inside[: config.group_points]
        else:
            # All points with a mask: one program for any number of members.
            real = np.isin(np.arange(len(x)), inside)
            order = farthest_point_sampling(x, real, config.group_points, inside[0])
            inside = np.array([i for i in order.tolist() if i >= 0])
        groups.append((int(center), inside.tolist()))
    return groups


@pytest.mark.parametrize("reduction", ["fps", "energy"])
@pytest.mark.parametrize("seed", range(4))
def test_groups_against_the_published_algorithm(seed, reduction):
    config = {"fps": CONFIG, "energy": BY_ENERGY}[reduction]
    x, e = points(seed), energies(seed)
    out = assign_groups(config, x, e, np.ones(SIZE, bool))
    found = [
        (int(center), [i for i in row if i >= 0])
        for center, row in zip(out.centers, out.members.tolist(), strict=True)
        if center >= 0
    ]
    assert found == published(x, e, config)
    assert int(out.num_found) == len(found) == int(out.mask.sum())


@given(SEEDS, st.integers(0, 30))
def test_padding_changes_nothing(seed, extra):
    x, e = points(seed), energies(seed)
    wide = np.pad(x, ((0, 30), (0, 0)), constant_values=0.1)
    plain = assign_groups(CONFIG, x, e, np.ones(SIZE, bool))
    mask = np.arange(SIZE + 30) < SIZE
    padded = assign_groups(CONFIG, wide, np.pad(e, (0, 30)), mask)
    for name in ("centers", "members", "mask", "num_found"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(padded, name))
    whole = np.asarray(padded.neighbors)
    np.testing.assert_array_equal(plain.neighbors, whole[:SIZE])


@given(SEEDS)
def test_order_of_points_changes_only_the_order_of_tokens(seed):
    """With the energies as the criterion, no first point is singled out."""
    config = BY_ENERGY
    generator = np.random.default_rng(seed)
    order = generator.permutation(SIZE)
    # Ties of the number of neighbours go by index: make the counts distinct enough
    # by comparing only events in which no tie decides.
    x, e = points(seed), energies(seed)
    near = ((x[:, None] - x[None]) ** 2).sum(-1) < config.suppression_radius**2
    counts = near.sum(1)
    tied = near & (counts[:, None] == counts[None]) & ~np.eye(SIZE, dtype=bool)
    if tied.any():
        counts_matter = published(x, e, config)
        shuffled = published(x[order], e[order], config)
        back = sorted((order[c], sorted(order[m])) for c, m in shuffled)
        if back != sorted((c, sorted(m)) for c, m in counts_matter):
            return
    one = assign_groups(config, x, e, np.ones(SIZE, bool))
    other = assign_groups(config, x[order], e[order], np.ones(SIZE, bool))

    def tokens(out, names):
        return sorted(
            (int(names[c]), sorted(int(names[i]) for i in row if i >= 0))
            for c, row in zip(out.centers, out.members.tolist(), strict=True)
            if c >= 0
        )

    assert tokens(one, np.arange(SIZE)) == tokens(other, order)


@given(SEEDS)
def test_coordinates_in_a_token_rotate(seed):
    x, e = points(seed), energies(seed)
    rotation = -np.asarray(haar(jax.random.key(seed % 1000), 1))[0]
    assignment = assign_groups(CONFIG, x, e, np.ones(SIZE, bool))
    gather = functools.partial(gathered, CONFIG, assignment)
    one, other = jax.tree.map(np.asarray, (gather(x, e), gather(x @ rotation.T, e)))
    np.testing.assert_allclose(
        one.points[..., :3] @ rotation.T, other.points[..., :3], atol=1e-12
    )
    np.testing.assert_allclose(one.centers @ rotation.T, other.centers, atol=1e-12)
    np.testing.assert_array_equal(one.points[..., 3], other.points[..., 3])
    again = assign_groups(CONFIG, x @ rotation.T, e, np.ones(SIZE, bool))
    for before, after in zip(assignment, again, strict=True):
        np.testing.assert_array_equal(before, after)


def test_coordinates_in_a_token():
    x, e, real = np.zeros((SIZE, 3)), np.zeros(SIZE), np.arange(SIZE) < 3
    x[1, 0], x[2, 0], e[1] = 0.45, 9, 1
    out = assign_groups(CONFIG, x, e, real)
    groups = jax.tree.map(np.asarray, gathered(CONFIG, out, x, e))
    # In units of the radius, 0.9.
    np.testing.assert_allclose(groups.points[0, :2], [[0, 0, 0, 0], [0.5, 0, 0, 1]])
    # padding repeats the first member; unused tokens vanish
    np.testing.assert_allclose(groups.points[0, 2:], 0)
    assert groups.mask.tolist() == [True, True] + [False] * 22
    assert not groups.points[2].any()


def test_mean_centers():
    x, e = points(3), energies(3)
    out = assign_groups(BY_ENERGY, x, e, np.ones(SIZE, bool))
    out, groups = jax.tree.map(np.asarray, (out, gathered(BY_ENERGY, out, x, e)))
    for center, row, used in zip(groups.centers, out.members, out.mask, strict=True):
        if used:
            np.testing.assert_allclose(center, x[row[row >= 0]].mean(0))


def test_nearest_points_instead_of_balls():
    """Point-MAE: farthest points and their nearest neighbours."""
    config = PointMAEConfig(
        context_length=NUM,
        group_points=5,
        group_radius=None,
        overlap_factor=None,
        num_seeds=NUM,
    )
    x = points(2)
    out = assign_groups(config, x, energies(2), np.ones(SIZE, bool))
    seeds = farthest_point_sampling(x, np.ones(SIZE, bool), NUM)
    np.testing.assert_array_equal(out.centers, seeds)
    _, expected = scipy.spatial.cKDTree(x).query(x[np.asarray(seeds)], k=5)
    np.testing.assert_array_equal(np.sort(out.members), np.sort(expected))


def test_a_context_too_short_is_counted():
    config = dataclasses.replace(CONFIG, context_length=2)
    out = assign_groups(config, points(0), energies(0), np.ones(SIZE, bool))
    assert int(out.num_found) > 2


def test_members_lie_in_their_ball_whatever_is_compiled_together():
    """Points exactly on the surface may be in or out, but take nobody's place."""
    unit = voxel_length(SMALL.size)
    config = PointMAEConfig(
        detector_size=SMALL.size,
        group_radius=4 * unit,
        context_length=64,
        group_points=64,
    )
    cloud = select_points(generate_event(1_000_000, SMALL))

    @jax.jit
    def assign(positions, energies, mask):
        event, _ = _onto_voxels(config, positions, energies, mask)
        return event.positions, assign_groups(config, *event)

    event = make_event(config, cloud, np.float32)
    x, out = assign(event.positions, jnp.asarray(cloud.energies), event.mask)
    x, members = np.asarray(x, float) / unit, np.asarray(out.members)
    for center, row in zip(out.centers, members, strict=True):
        if center >= 0:
            squares = ((x - x[center]) ** 2).sum(1).round(3)
            assert (squares[row[row >= 0]] <= 16).all()
            assert set(np.flatnonzero(squares < 16)) <= set(row.tolist())


def kernels(x, config):
    """Members of every token as the CPU kernels of the original find them, in float32.

    Written after sample_farthest_points_cpu.cpp and ball_query_cpu.cpp of PyTorch3D and
    greedy_reduction_cpu.cpp of cnms, whose products are rounded before they are added.
    """

    def squares(point):
        d = x - point
        return (d[:, 0] * d[:, 0] + d[:, 1] * d[:, 1]) + d[:, 2] * d[:, 2]

    def ball(point, radius, most):
        return np.flatnonzero(squares(point) < np.float32(radius) ** 2)[:most].tolist()

    lists = [
        ball(point, config.suppression_radius, config.max_neighbors) for point in x
    ]
    keep = np.ones(len(x), bool)
    for i in sorted(range(len(x)), key=lambda i: (-len(lists[i]), i)):
        if keep[i]:
            keep[[j for j in lists[i] if j != i]] = False
    tokens = []
    for center in np.flatnonzero(keep):
        inside = ball(x[center], config.group_radius, config.upscale_points)
        nearest, picked = np.full(len(inside), np.inf, np.float32), [0]
        while len(picked) < min(len(inside), config.group_points):
            nearest = np.minimum(nearest, squares(x[inside[picked[-1]]])[inside])
            picked.append(int(np.argmax(nearest)))
        tokens.append((int(center), [inside[i] for i in picked]))
    return tokens


@pytest.mark.parametrize("cloud", ["block", "doubled"])
def test_ties_and_duplicates_as_the_kernels_of_the_original(cloud):
    """On a lattice round-off decides between equal distances: the same way."""
    generator = np.random.default_rng(0)
    if cloud == "block":
        corner = np.indices((9, 9, 9)).reshape(3, -1).T + 300.0
    else:
        corner = generator.integers(350, 368, (200, 3)).astype(float)
        corner[:60] = corner[100:160]
    config = PointMAEConfig.named("vit_tiny", 5, context_length=64)
    given = pad_cloud(make_cloud(corner, np.ones(len(corner))), 9**3)
    made = make_event(config, given, np.float32)
    out = jax.tree.map(np.asarray, assign_groups(config, *made))
    found = [
        (int(center), [i for i in row if i >= 0])
        for center, row in zip(out.centers, out.members.tolist(), strict=True)
        if center >= 0
    ]
    expected = kernels(np.asarray(made.positions)[: len(corner)], config)
    assert found == expected
    repeats = any(len(set(row)) < len(row) for _, row in expected)
    assert repeats == (cloud == "doubled")


def test_few_points_are_padded_as_in_the_original():
    """Missing nearest points are the first one; missing seeds are too."""
    config = PointMAEConfig(
        context_length=6,
        group_points=4,
        group_radius=None,
        overlap_factor=None,
        num_seeds=5,
        repeat_first=True,
    )
    x = np.array([[0.0, 0, 0], [1, 0, 0]])
    out = assign_groups(config, x, np.ones(2), np.ones(2, bool))
    assert out.centers.tolist() == [0, 1, 0, 0, 0, -1]
    assert out.mask.tolist() == [True] * 5 + [False]
    assert out.members[1].tolist() == [1, 0, 1, 1]
