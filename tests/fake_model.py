"""A model without a network: closed forms with known symmetry, compiled in no time."""

import dataclasses
import types
from typing import Any

import jax.numpy as jnp
import numpy as np

from symjax.data import build_graph, pad_graph
from symjax.metrics import Output, Problem
from symjax.models.pet import Target
from symjax.so3 import FEATURE, SCALAR, VECTOR

# Forces get a part 0.1 |x| n, n a fixed axis: not equivariant, exactly invariant.
BREAKING = 0.1


@dataclasses.dataclass(frozen=True)
class FakeModel:
    """Energy sum |x|^2 (invariant), forces x + 0.1 |x| n, features (x, |x|^2)."""

    name: str = "fake"
    digest: str = "f" * 64
    rough: bool = False
    config: Any = dataclasses.field(
        default_factory=lambda: types.SimpleNamespace(
            cutoff=8.0,
            num_neighbors_adaptive=None,
            long_range=None,
            num_heads=1,
            species=(1, 6, 8),
            system_conditioning=False,
            targets=(Target("energy", "eV"),),
        )
    )
    parameters: Any = dataclasses.field(default_factory=lambda: {"w": np.ones(3)})
    card: Any = dataclasses.field(
        default_factory=lambda: {"test": {"rmse": 0.125}, "data": "none"}
    )


def outputs_only(x, mask):
    square = jnp.sum(x**2, axis=-1, keepdims=True)
    length = jnp.sqrt(jnp.where(mask[:, None], square, 1.0))
    forces = x + BREAKING * length * jnp.array([0.0, 0.0, 1.0])
    return {
        "energy": jnp.sum(jnp.where(mask[:, None], square, 0.0), axis=0),
        "forces": jnp.where(mask[:, None], forces, 0.0),
    }


def with_layer(x, mask):
    square = jnp.sum(x**2, axis=-1, keepdims=True)
    features = jnp.concatenate([x, square], axis=-1)
    return outputs_only(x, mask) | {"a_layer_node": features}


def rough(x, mask):
    # Content through degrees far above any grid of the tests.
    outputs = outputs_only(x, mask)
    return outputs | {"energy": jnp.cos(40 * x[:1, 2]) + outputs["energy"] * 0}


def select_layers(config, layers):
    return () if layers == "none" else ("a_layer_node",)


def orbit_problem(model, atoms, *, layers, energy, dtype, shape, symmetry):
    pad_graph(build_graph(atoms, model.config.cutoff), shape)
    num_atoms = shape.num_atoms
    size, padding = len(atoms), num_atoms - len(atoms)
    # Around a point outside, so that no atom lies at the origin.
    x = np.pad(atoms.positions + 0.5, ((0, padding), (0, 0))).astype(dtype)
    mask = np.arange(num_atoms) < size
    species = np.pad(atoms.numbers, (0, padding))
    function = rough if model.rough else outputs_only
    outputs = {
        "energy": Output(SCALAR, "eV"),
        "forces": Output(VECTOR, "eV/angstrom", mask=mask, samples=species),
    }
    if layers != "none":
        function = with_layer
        outputs["a_layer_node"] = Output(FEATURE, "", "node", mask, species)
    return Problem(function, x, outputs, args=(mask,))


def install(monkeypatch, model=None):
    """Puts the fake in place of PET; other model names still reach the real reader."""
    import symjax.models.io
    import symjax.models.pet.orbit

    model = model or FakeModel()
    real = {
        "load": symjax.models.load_model,
        "select": symjax.models.pet.orbit.select_layers,
    }

    def load(name):
        return model if str(name) == "fake" else real["load"](name)

    def select(config, layers):
        fake = isinstance(config, types.SimpleNamespace)
        return (select_layers if fake else real["select"])(config, layers)

    io, orbit = symjax.models.io, symjax.models.pet.orbit
    monkeypatch.setattr(symjax.models, "load_model", load)
    monkeypatch.setattr(io, "fingerprint", lambda model: getattr(model, "digest", "a"))
    monkeypatch.setattr(orbit, "select_layers", select)
    monkeypatch.setattr(orbit, "orbit_problem", orbit_problem)
    return model
