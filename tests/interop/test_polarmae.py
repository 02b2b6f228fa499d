"""Checkpoints of PoLAr-MAE: every leaf in its place, identical forward passes."""

import dataclasses

import jax
import numpy as np
import pytest
from polarmae_states import BASE, VARIANTS, fake_state

from symjax.data.point_clouds import (
    SMALL,
    generate_event,
    pad_cloud,
    select_points,
)
from symjax.errors import ModelError
from symjax.interop.polarmae import (
    convert_state,
    infer_config,
    load_polarmae,
    torch_name,
)
from symjax.models import load_model, save_model
from symjax.models.pointmae import PointMAEConfig, make_event, tokenise
from symjax.models.pointmae.grouping import gather_groups
from symjax.models.pointmae.losses import random_hidden
from symjax.models.pointmae.model import evaluate_heads, parameter_shapes

# What neither shapes nor published configurations tell.
KNOWN = (
    "detector_size",
    "low_energy",
    "group_radius",
    "context_length",
    "group_points",
    "upscale_points",
    "max_neighbors",
    "repeat_first",
    "num_heads",
    "mlp_ratio",
    "attention_scale",
    "position_at_every_layer",
    "decoder_heads",
    "decoder_mlp_ratio",
    "decoder_position_at_every_layer",
    "fetch_layers",
    "attention_dropout",
    "drop_path",
    "head_dropout",
)


def names(config):
    return {torch_name(path) for path in parameter_shapes(config)}


@pytest.mark.parametrize("name", VARIANTS)
def test_configuration_is_inferred(name):
    config = VARIANTS[name]
    known = {key: getattr(config, key) for key in KNOWN}
    if not config.num_classes:
        known["fetch_layers"] = BASE.fetch_layers
    found = infer_config(fake_state(config), **known)
    same = dataclasses.replace(
        found, num_classes=config.num_classes, seg_head_dim=config.seg_head_dim
    )
    assert same == config
    assert found.num_classes == config.num_classes


def test_other_refusals():
    state = fake_state(VARIANTS["segmentation"])
    with pytest.raises(ModelError, match="encoder"):
        infer_config(state, {"num_classes": 4})
    with pytest.raises(ModelError, match="object"):
        infer_config(state, {"encoder": np.zeros(1)})
    with pytest.raises(ModelError, match="augment"):
        infer_config(state, None, {"dataset_kwargs": {"augment": True}})
    with pytest.raises(ModelError, match="seg_decoder"):
        infer_config(
            state | {"seg_decoder.transformer.blocks.0.norm1.gamma": np.zeros(1)}
        )


def test_the_published_sizes_are_recognised():
    full = PointMAEConfig.named("vit_small", 5)
    found = infer_config(fake_state(full))
    assert (found.num_heads, found.depth, found.group_points) == (6, 12, 32)
    assert found.pool_padding
    assert found.repeat_first


def test_everything_that_does_not_match_is_listed():
    state = fake_state(BASE)
    state["teacher.weight"] = np.zeros(3)
    state["loss_func.weight"] = np.zeros(4)
    # A parameter of the original that it never reads.
    state["encoder.relative_position_bias.bias_table"] = np.zeros((3, 27))
    del state["mask_token"]
    state["energy_decoder.bias"] = np.zeros(5, np.float32)
    with pytest.raises(ModelError) as caught:
        convert_state(state, BASE)
    message = str(caught.value)
    assert "missing mask_token" in message
    assert "left over teacher.weight" in message
    assert "energy_decoder.bias (5,) for (8,)" in message
    assert "loss_func" not in message
    assert "bias_table" not in message


def test_foreign_files(tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="cannot be read"):
        load_polarmae(path)
    with pytest.raises(ModelError, match="no weights of the encoder"):
        infer_config({"a": np.zeros(1)})


@pytest.mark.torch
def test_code_is_not_run(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "code.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {"f": _Payload()}}, path)
    with pytest.raises(ModelError, match="unsafe"):
        load_polarmae(path)
    assert not _Payload.loaded


class _Payload:
    loaded = False

    def __setstate__(self, state):
        type(self).loaded = True

    def __getstate__(self):
        return {"a": 1}


@pytest.mark.torch
@pytest.mark.parametrize("name", VARIANTS)
def test_forward_passes_are_identical(name, tmp_path):
    torch = pytest.importorskip("torch")
    from torch_polarmae import PoLArMAE, randomise

    config = VARIANTS[name]
    theirs = randomise(PoLArMAE(config).double())
    path = tmp_path / "their.ckpt"
    torch.save({"state_dict": theirs.state_dict(), "hyper_parameters": {}}, path)
    changes = {key: getattr(config, key) for key in KNOWN}
    model = load_polarmae(path, **changes)
    ours = model.config
    # every leaf of theirs has a place, and every place is filled
    assert names(ours) == set(theirs.state_dict())

    cloud = pad_cloud(select_points(generate_event(12, SMALL)), 96)
    event = make_event(ours, cloud, np.float64)
    assignment = tokenise(ours, event)
    hidden = random_hidden(jax.random.key(1), assignment.mask, 0.5)
    groups = gather_groups(ours, assignment, event.positions, event.energies)
    evaluate = jax.jit(evaluate_heads, static_argnums=0)
    logits, filled, _, _ = evaluate(ours, model.parameters, event, assignment, hidden)

    def t(array):
        return torch.from_numpy(np.array(array))

    inputs = tuple(t(part) for part in groups)
    with torch.no_grad():
        if config.decoder_depth:
            points, energies = theirs.reconstruct(inputs, t(hidden))
            scale = float(points.abs().max())
            real = np.asarray(hidden)
            np.testing.assert_allclose(filled.points[real], points, atol=1e-11 * scale)
            if config.energy_infilling:
                np.testing.assert_allclose(filled.energies[real], energies, atol=1e-10)
            else:
                assert filled.energies is None
        if config.num_classes:
            neighbors = t(assignment.neighbors).long()
            assert (neighbors[np.asarray(event.mask)] >= 0).all()
            expected = theirs.segment(
                inputs, t(event.positions), t(event.mask), neighbors
            )
            real = np.asarray(event.mask)
            np.testing.assert_allclose(logits[real], expected[real], atol=1e-10)
    if name == "polarmae":
        save_model(model, tmp_path / "ours")
        again = load_model(tmp_path / "ours")
        assert again.config == model.config
        jax.tree.map(np.testing.assert_array_equal, again.parameters, model.parameters)
