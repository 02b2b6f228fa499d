"""A model without a network: closed forms with known symmetry, compiled in no time.

It is a source of runs of its own.
"""

import dataclasses
import types
from typing import Any

import ase.build
import jax.numpy as jnp
import numpy as np

import symjax.models
from symjax.data import build_graph, pad_graph
from symjax.data.quantities import Target
from symjax.metrics import Output, Problem
from symjax.models.pet.energies import choose_energy
from symjax.models.pet.source import padded_shapes
from symjax.so3 import FEATURE, SCALAR, VECTOR

# Options of a report that takes no time.
FAST = ["--model", "fake", "--max-degree", "1", "--no-laws", "--no-figures"]
# Forces get a part 0.1 |x| n, n a fixed axis: not equivariant, exactly invariant.
BREAKING = 0.1


def molecules(*names):
    """Molecules by their names."""
    return {name: ase.build.molecule(name) for name in names}


@dataclasses.dataclass(frozen=True)
class FakeModel:
    """Energy sum |x|^2 (invariant), forces x + 0.1 |x| n, features (x, |x|^2)."""

    name: str = "fake"
    note: str = ""
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

    def settings(self, options):
        return {"energy": choose_energy(self.config, options.energy) or ""}

    def sizes(self, items):
        return padded_shapes(items, self.config)

    def prepare(self, label, item, size):
        return item, size

    def breaking(self, item, options):
        return None

    def problem(self, item, size, options):
        pad_graph(build_graph(item, self.config.cutoff), size)
        padding = size.num_atoms - len(item)
        # Around a point outside, so that no atom lies at the origin.
        x = np.pad(item.positions + 0.5, ((0, padding), (0, 0))).astype(options.dtype)
        mask = np.arange(size.num_atoms) < len(item)
        species = np.pad(item.numbers, (0, padding))
        function = rough if self.rough else outputs_only
        outputs = {
            "energy": Output(SCALAR, "eV"),
            "forces": Output(VECTOR, "eV/angstrom", mask=mask, samples=species),
        }
        if options.layers != "none":
            function = with_layer
            outputs["a_layer_node"] = Output(FEATURE, "", "node", mask, species)
        return Problem(function, x, outputs, args=(mask,))


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


def offer(monkeypatch, model):
    """A model by the name "fake"; other names reach the real reader."""
    real = symjax.models.load_model
    monkeypatch.setattr(
        "symjax.models.load_model",
        lambda name: model if str(name) == "fake" else real(name),
    )
