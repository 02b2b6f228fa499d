"""Events on the orbit: which source breaks what, and what must vanish exactly."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.data.point_clouds import pad_cloud
from symjax.errors import ArgumentError, ModelError
from symjax.metrics import measure
from symjax.models.pointmae import breaking_problem, event_problem, layer_names
from symjax.models.pointmae.orbits import class_names
from symjax.so3 import haar
from symjax.so3.finite_groups import finite_group

compiled = functools.cache(jax.jit)


def run(problem, rotation):
    return compiled(problem.function)(problem.x @ rotation.T, *problem.args)


def rms(out, mask):
    return float(jnp.sqrt(jnp.mean(jnp.square(out[mask]))))


@pytest.fixture(scope="module")
def turned():
    return np.asarray(haar(jax.random.key(3), 1))[0]


@pytest.fixture(scope="module")
def snapped(model):
    """The model with ties of the lattice kept as ties."""
    config = dataclasses.replace(model.config, snap_distances=True)
    return dataclasses.replace(model, config=config)


def test_the_cube_does_not_feel_its_voxels(snapped, event):
    """O_h maps the lattice to itself, and with ties as ties its tokens too."""
    problem = breaking_problem(snapped, event, dtype="float64")
    mask = problem.outputs["network"].mask
    plain = run(problem, np.eye(3))["network"]
    for element in finite_group("Oh").elements[::5]:
        exact = run(problem, element)
        for name in ("voxelisation", "tokenisation"):
            assert rms(exact[name], mask) < 1e-9
        moved = np.abs(element - np.eye(3)).max() > 0.5
        assert (rms(exact["network"] - plain, mask) > 1e-4) == moved


def test_at_the_given_orientation_nothing_differs(snapped, event):
    """Points lie on the lattice already, so neither step changes anything."""
    problem = breaking_problem(snapped, event, dtype="float64")
    out = run(problem, np.eye(3))
    np.testing.assert_allclose(out["all"], out["network"], atol=1e-9)
    np.testing.assert_allclose(out["all"].sum(-1), 1)


def test_other_rotations_feel_the_voxels(snapped, event, turned):
    problem = breaking_problem(snapped, event, dtype="float64")
    out = run(problem, turned)
    mask = problem.outputs["network"].mask
    assert rms(out["voxelisation"], mask) > 1e-6
    total = out["network"] + out["tokenisation"] + out["voxelisation"]
    np.testing.assert_allclose(total, out["all"], atol=1e-12)


def test_round_off_decides_ties_of_the_lattice(model, snapped, event, turned):
    """A radius of whole voxels has lattice points on its sphere."""
    sizes = []
    for one in (model, snapped):
        problem = breaking_problem(one, event, dtype="float64")
        out = run(problem, turned)
        sizes.append(rms(out["tokenisation"], problem.outputs["tokenisation"].mask))
    assert sizes[0] > 1e-5
    assert sizes[1] < 1e-9


def test_padding_changes_nothing(snapped, event, turned):
    """Nor does it any of the parts, whose tokens are found in all three ways."""
    wide, real = pad_cloud(event, 120), event.num_points
    one, other = (
        run(breaking_problem(snapped, e, dtype="float64"), turned)
        for e in (event, wide)
    )
    assert set(one) == {"all", "network", "tokenisation", "voxelisation"}
    for name in one:
        np.testing.assert_allclose(one[name][:real], other[name][:real], atol=1e-9)


def test_all_layers_are_there(model, event):
    problem = event_problem(model, event)
    names = layer_names(model.config)
    assert set(names) < set(problem.outputs)
    out = run(problem, np.eye(3))
    assert set(out) == set(problem.outputs)
    for name, output in problem.outputs.items():
        mask = output.mask
        assert out[name].shape[: mask.ndim] == mask.shape
        assert np.isfinite(np.asarray(out[name])[mask]).all()
    kinds = {output.kind for output in problem.outputs.values()}
    assert kinds == {"output", "token", "point"}
    assert problem.outputs["reconstructed_positions"].unit == "voxel"
    reads = {name: one.reads for name, one in problem.outputs.items() if one.reads}
    assert reads == {
        "class_probabilities": ("seg_head.hidden",),
        "reconstructed_positions": ("decoder.transformer.norm",),
        "reconstructed_energies": ("decoder.transformer.norm",),
    }
    assert (problem.outputs["upsampler"].samples == event.semantic).all()


def test_a_network_that_reads_no_coordinates_is_invariant(model, event):
    """Without the kernels that read positions nothing depends on the orientation."""
    parameters = jax.tree.map(np.array, model.parameters)
    params = parameters["params"]
    params["encoder"]["tokenizer"]["embedding"]["first_conv_0"]["kernel"][:3] = 0
    params["encoder"]["pos_embed"]["pos_enc_0"]["kernel"][:] = 0
    params["upsampler"]["mlp_convs_0"]["kernel"][:3] = 0
    blind = dataclasses.replace(model, parameters=parameters)
    problem = event_problem(blind, event, layers="none", dtype="float64")
    name = "class_probabilities"
    only = dataclasses.replace(
        problem,
        function=lambda x, *args: {name: problem.function(x, *args)[name]},
        outputs={name: problem.outputs[name]},
    )
    out = measure(only, over=finite_group("D3"))
    assert out[name].relative_error < 1e-12
    assert out[name].content_of("A1") == pytest.approx(1)


def test_functions_are_shared_between_events(model, event):
    one, other = (event_problem(model, event, hide=n) for n in (0, 1))
    assert one.function is other.function


def test_bad_input(model, event):
    with pytest.raises(ArgumentError, match="tokens"):
        event_problem(model, event, tokens="thawed")
    with pytest.raises(ModelError, match="do not correspond"):
        event_problem(model, event, tokens="regrouped", layers="encoder.pos_embed")
    with pytest.raises(ModelError, match="matches no layer"):
        event_problem(model, event, layers="gnn.*")
    nothing = event._replace(mask=np.zeros_like(event.mask))
    with pytest.raises(ModelError, match="no token"):
        event_problem(model, nothing)
    bare = dataclasses.replace(
        model, config=dataclasses.replace(model.config, num_classes=0)
    )
    with pytest.raises(ModelError, match="no segmentation"):
        event_problem(bare, event, tokens="regrouped")
    with pytest.raises(ModelError, match="no segmentation"):
        breaking_problem(bare, event)


def test_class_names(config):
    assert class_names(config) == ("shower", "track", "michel", "delta")
    many = dataclasses.replace(config, num_classes=6)
    assert class_names(many)[-1] == "class 5"
