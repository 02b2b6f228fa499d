"""Models, their predictions and their files."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from symjax.errors import ModelError
from symjax.models.io import (
    METADATA_FILE,
    architecture_of,
    fingerprint,
    save_model,
)
from symjax.models.loading import load_model
from symjax.models.pointmae import (
    event_problem,
    init_pointmae,
    layer_names,
    make_event,
    predict,
    tokenise,
)
from symjax.models.pointmae.model import parameter_shapes, select_layers


def test_prediction(model, event):
    out = predict(model, event, hide=0)
    real = np.asarray(event.mask)
    np.testing.assert_allclose(out.probabilities.sum(-1), 1, atol=1e-5)
    assert (np.asarray(out.labels)[~real] == -1).all()
    assert set(np.asarray(out.labels)[real].tolist()) <= set(range(4))
    assert predict(model, event).reconstruction is None


def test_float64_without_x64_is_refused(model, event):
    """It would be computed in float32."""
    with jax.enable_x64(False):
        for function in (predict, event_problem):
            with pytest.raises(ModelError, match="jax_enable_x64"):
                function(model, event, dtype="float64")


def test_files(model, tmp_path):
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.config == model.config
    assert again.name == "tiny"
    assert fingerprint(again) == fingerprint(model)
    assert architecture_of(again) == "pointmae"
    jax.tree.map(np.testing.assert_array_equal, again.parameters, model.parameters)
    path = tmp_path / METADATA_FILE
    metadata = json.loads(path.read_text())
    metadata["architecture"] = "mystery"
    path.write_text(json.dumps(metadata))
    with pytest.raises(ModelError, match="'pet', 'pointmae'"):
        load_model(tmp_path)


def test_files_of_another_configuration(model, tmp_path):
    save_model(model, tmp_path)
    path = tmp_path / METADATA_FILE
    metadata = json.loads(path.read_text())
    metadata["config"]["depth"] = 3
    path.write_text(json.dumps(metadata))
    with pytest.raises(ModelError, match="missing"):
        load_model(tmp_path)


def test_shapes_do_not_depend_on_the_context(config):
    longer = dataclasses.replace(config, context_length=99)
    assert parameter_shapes(config) == parameter_shapes(longer)


def test_keys_make_different_models(config):
    one, other = (init_pointmae(config, jax.random.key(seed)) for seed in range(2))
    assert fingerprint(other) != fingerprint(one)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(other.parameters))


def test_layers(config):
    names = layer_names(config)
    assert len(set(names)) == len(names)
    assert select_layers(config, "all") == names
    assert select_layers(config, "none") == ()
    deeper = dataclasses.replace(config, depth=2)
    assert select_layers(deeper, r"encoder\.transformer\.blocks\.\d") == (
        "encoder.transformer.blocks.0",
        "encoder.transformer.blocks.1",
    )
    with pytest.raises(ModelError, match="matches no layer"):
        select_layers(config, "nothing")
    with pytest.raises(ModelError, match="regular expression"):
        select_layers(config, "(")


def test_all_tokens_are_kept(config, model, event):
    """Whatever the length of the context, which is no parameter."""
    short = dataclasses.replace(config, context_length=2)
    made = make_event(config, event, np.float32)
    one, other = tokenise(config, made), tokenise(short, made)
    assert int(one.mask.sum()) == int(other.mask.sum()) > 2
    np.testing.assert_array_equal(one.neighbors, other.neighbors)
    expected = predict(model, event).probabilities
    shortened = dataclasses.replace(model, config=short)
    out = predict(shortened, event).probabilities
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_an_event_of_another_detector_is_refused(model, event):
    """Its points would be read at other distances, and get labels all the same."""
    far = event._replace(positions=4 * np.asarray(event.positions))
    for read in (predict, event_problem):
        with pytest.raises(ModelError, match="outside the detector"):
            read(model, far)


def test_nan_is_no_label(config, model, event):
    nothing = event._replace(mask=np.zeros_like(event.mask))
    with pytest.raises(ModelError, match="no token"):
        predict(model, nothing)
    parameters = jax.tree.map(np.array, model.parameters)
    parameters["params"]["seg_head"]["conv3"]["bias"][1] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        predict(dataclasses.replace(model, parameters=parameters), event)
    lost = event._replace(energies=np.where(event.mask, np.nan, 0))
    with pytest.raises(ModelError, match="not finite"):
        predict(model, lost)


def test_foreign_models():
    with pytest.raises(ModelError, match="is not a model of symjax"):
        architecture_of(3)


def test_harmonics_add_parameters_and_change_no_others(config):
    seeing = dataclasses.replace(config, edge_harmonics=2)
    new = set(parameter_shapes(seeing)) - set(parameter_shapes(config))
    assert new
    assert all("harmonic_embedding" in name for name in new)
