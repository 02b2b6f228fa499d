"""From what the network predicts of atoms to targets: scales, baselines, sums."""

import dataclasses

import jax
import numpy as np
from pet_models import CONFIG, copper, drawn, ethanol, model, roomy, run
from small_models import TINY

from symjax.data.quantities import Block, Target
from symjax.models.pet import Evaluation, PETConfig, evaluate, layer_names, predict


def changed(**parts):
    """Outputs with other scales or baselines; the program is that of ``run``."""
    made = model()
    other = dataclasses.replace(made, parameters={**made.parameters, **parts})
    layers = layer_names(CONFIG)
    return predict(other, GRAPH, forces=True, stress=True, layers=layers)


GRAPH = roomy([ethanol(), copper()])


def test_baselines_count_atoms_and_move_nothing():
    """1, 2, 3 and 4 for H, C, O and Cu: 6 + 4 + 3 in ethanol, 16 in copper."""
    parameters = model().parameters["baseline"]
    out, bare = run(GRAPH), changed(baseline=jax.tree.map(np.zeros_like, parameters))
    np.testing.assert_allclose(out["energy"] - bare["energy"], [13, 16], rtol=1e-12)
    added = np.asarray(out["density/0+"] - bare["density/0+"])[:9, 0]
    expected = 1 + np.searchsorted(CONFIG.species, GRAPH.species[:9])
    np.testing.assert_allclose(added[:, 0], expected, rtol=1e-6)
    for name in ("forces", "stress", "dipole", "density/2+"):
        np.testing.assert_array_equal(out[name], bare[name])


def test_scales_are_of_species():
    """Doubled for copper alone."""
    scales = jax.tree.map(np.array, model().parameters["scale"])
    scales["energy"]["scalar"][-1] *= 2
    scales["density"]["2+"][-1] *= 2
    out, other = run(GRAPH), changed(scale=scales)
    np.testing.assert_array_equal(other["energy"][0], out["energy"][0])
    expected = 2 * (out["energy"][1] - 16) + 16
    np.testing.assert_allclose(other["energy"][1], expected, rtol=1e-12)
    np.testing.assert_allclose(other["forces"][9:13], 2 * out["forces"][9:13])
    factors = np.where(GRAPH.species == 29, 2, 1)[:, None, None]
    np.testing.assert_allclose(other["density/2+"], factors * out["density/2+"])
    np.testing.assert_array_equal(other["dipole"], out["dipole"])


def test_padding_is_nothing():
    out = run(GRAPH)
    assert not np.asarray(out["density/2+"])[13:].any()
    assert not np.asarray(out["forces"])[13:].any()


def test_a_direct_stress_is_symmetric_and_over_the_volume():
    """As in metatrain; 0 without a cell."""
    names = ("non_conservative_stress", "virial")
    targets = tuple(Target(name, blocks=(Block("m", "matrix"),)) for name in names)
    made = drawn(PETConfig((1, 6, 8, 29), targets, cutoff=3.2, **TINY))
    made.parameters["network"]["targets_1"] = made.parameters["network"]["targets_0"]
    out = jax.jit(
        lambda graph: evaluate(Evaluation(made.config), made.parameters, graph)
    )(GRAPH)
    stress, virial = (np.asarray(out[name]) for name in names)
    assert np.abs(virial).max() > 1e-3
    np.testing.assert_array_equal(stress[0], 0)
    expected = (virial[1] + virial[1].T) / 2 / copper().get_volume()
    np.testing.assert_allclose(stress[1], expected, atol=1e-12)
