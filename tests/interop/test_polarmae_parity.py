"""Whole events through an imported model, against what the original code gave for them.

``polarmae-tiny-seg.npz`` holds the output of the original's own classes with the CPU
kernels of PyTorch3D and cnms. Features and logits differ by the order of float32 sums:
1e-7 of the largest for each of some hundred terms, more for logits, which cancel.
"""

import gzip

import jax
import numpy as np
import pytest

from symjax.data.point_clouds import make_cloud
from symjax.interop.polarmae import load_polarmae
from symjax.models.pointmae import make_event, predict, tokenise
from symjax.models.pointmae.model import evaluate_heads

MOST_POINTS = 3500
FIRST, LAST = (f"encoder.transformer.blocks.{n}" for n in (0, 11))


@pytest.fixture(scope="module")
def model(shared, tmp_path_factory):
    pytest.importorskip("torch")
    packed = shared / "checkpoints" / "polarmae-tiny-seg.ckpt.gz"
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return load_polarmae(path)


@pytest.fixture(scope="module")
def evaluate(model):
    return jax.jit(
        lambda event, assignment: evaluate_heads(
            model.config, model.parameters, event, assignment, layers=(FIRST, LAST)
        )
    )


@pytest.mark.torch
@pytest.mark.parametrize("number", [0, 1, 3])
def test_events_through_the_original(model, evaluate, shared, number):
    with np.load(shared / "checkpoints" / "polarmae-tiny-seg.npz") as file:
        right = {key.split("/")[1]: file[key] for key in file if key[0] == str(number)}
    # Padded, so that all events have one program.
    cloud = make_cloud(right["positions"], right["energies"], num_points=MOST_POINTS)
    event = make_event(model.config, cloud, "float32")
    assignment = tokenise(model.config, event)
    logits, _, groups, features = evaluate(event, assignment)
    used = np.asarray(groups.mask)
    assert used.sum() == right["num_tokens"]
    np.testing.assert_array_equal(np.asarray(groups.centers)[used], right["centers"])
    counts = np.asarray(groups.point_mask).sum(1)[used]
    np.testing.assert_array_equal(counts, right["points_of_token"])
    for name, key, tolerance in ((FIRST, "block.0", 3e-6), (LAST, "block.11", 3e-6)):
        ours, theirs = np.asarray(features[name])[used], right[key]
        np.testing.assert_allclose(ours, theirs, atol=tolerance * abs(theirs).max())
    there = len(right["logits"])
    scale = abs(right["logits"]).max()
    np.testing.assert_allclose(logits[:there], right["logits"], atol=1e-4 * scale)
    # No label differs where the two likeliest classes differ by more than round-off.
    first, second = np.sort(right["logits"])[:, [-1, -2]].T
    clear = first - second > 2e-4 * scale
    labels = np.asarray(predict(model, cloud).labels)[:there]
    np.testing.assert_array_equal(labels[clear], right["logits"].argmax(1)[clear])
    assert clear.mean() > 0.9
