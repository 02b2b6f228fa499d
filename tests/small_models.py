"""The small models of all tests: one shape of each, so that they are compiled once.

Those whose numbers no test needs to know are drawn.
"""

import dataclasses
import functools

import flax.traverse_util
import jax
import numpy as np

from symjax.data import Target
from symjax.data.point_clouds import SMALL, voxel_length
from symjax.models._paths import unflatten
from symjax.models.pet import PETConfig, PETModel, init_pet
from symjax.models.pet import model as pet
from symjax.models.pointmae import PointMAEConfig, PointMAEModel
from symjax.models.pointmae import model as pointmae

ENERGY = (Target("energy", "eV"),)

TINY = {
    "d_pet": 4,
    "d_node": 4,
    "d_head": 4,
    "d_feedforward": 4,
    "num_heads": 1,
    "num_gnn_layers": 1,
    "num_attention_layers": 1,
}
# For events of the settings SMALL.
POINT_MAE = {
    "group_radius": 5 * voxel_length(SMALL.size),
    "context_length": 32,
    "group_points": 6,
    "pointnet_widths": (8, 8, 8),
    "embed_dim": 16,
    "depth": 1,
    "num_heads": 2,
    "decoder_depth": 1,
    "num_classes": 4,
    "fetch_layers": (0,),
    "seg_head_dim": 8,
}
EVENT_CONFIG = PointMAEConfig(detector_size=SMALL.size, **POINT_MAE)


@functools.cache
def small_pet():
    """Energies and forces of H, C and O, by random weights.

    As a trained model it feels directions weakly, so that small grids resolve it.
    """
    config = PETConfig((1, 6, 8), ENERGY, **TINY)
    model = init_pet(config, jax.random.key(0))
    flat = flax.traverse_util.flatten_dict(model.parameters, sep="/")
    for path, leaf in flat.items():
        if path.endswith("edge_embedder/kernel"):
            # Rows x, y, z and the length.
            flat[path] = leaf * np.float32([[0.05]] * 3 + [[1.0]])
    parameters = flax.traverse_util.unflatten_dict(flat, sep="/")
    return dataclasses.replace(model, parameters=parameters)


def drawn(shapes, seed=0, directions=0.05, biases=0.0):
    """Weights as a fresh network has, by NumPy: nothing is compiled to draw them.

    Directions are felt weakly, as by a trained model, so that small grids resolve them;
    with 1 they are felt as by a network that has not been trained. ``biases`` is the
    standard deviation of biases, and of the scales of norms from 1.
    """
    random = np.random.default_rng(seed)

    def weights(path, shape):
        first, *_, last = path.split("/")
        if first in ("scale", "baseline"):
            return np.full(shape, first == "scale", np.float32)
        mean = {"bias": 0, "beta": 0, "mean": 0, "scale": 1, "gamma": 1, "var": 1}
        if last in mean:
            error = biases * random.normal(size=shape) if biases else np.zeros(shape)
            return (mean[last] + error).astype(np.float32)
        size = 1.0 if last in ("embedding", "table") else shape[0] ** -0.5
        if "blocks_" in path or last == "mask_token":
            size = 0.02
        values = size * random.normal(size=shape)
        if path.endswith("edge_embedder/kernel"):
            values[:3] *= directions  # rows x, y, z; the last is the length
        return values.astype(np.float32)

    return unflatten({path: weights(path, shape) for path, shape in shapes.items()})


def drawn_pet(species, targets=ENERGY, directions=0.05, **sizes):
    """A PET of the smallest sizes, but for those that are given."""
    config = PETConfig(species, targets, **(TINY | sizes))
    weights = drawn(pet.parameter_shapes(config), directions=directions)
    return PETModel("small", config, weights)


def drawn_pointmae():
    """Classes of points, and what a decoder makes of hidden groups."""
    shapes = pointmae.parameter_shapes(EVENT_CONFIG)
    return PointMAEModel("tiny", EVENT_CONFIG, drawn(shapes))


def random_parameters(module, *inputs):
    """Random numbers for a module of Flax, none of which its initialisers draw.

    These would be compiled anew for every shape.
    """
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)
