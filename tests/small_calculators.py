"""A calculator of a small PET that no average makes trivial, and structures for it."""

import dataclasses

import ase.build
import numpy as np
from small_models import drawn_pet

from symjax.data.quantities import Block, Target
from symjax.interop import SymjaxCalculator
from symjax.models.pet import PETConfig

TARGETS = (
    Target("energy", "eV"),
    Target("dipole", "Debye", blocks=(Block("vector", "vector"),)),
)


CONFIG = PETConfig(
    species=(1, 6, 8, 11, 17),
    targets=TARGETS,
    cutoff=3.2,
    cutoff_width=1.0,
    d_pet=8,
    d_node=8,
    d_head=8,
    d_feedforward=8,
    num_heads=2,
    num_gnn_layers=1,
    num_attention_layers=1,
)


_FIELDS = dataclasses.fields(CONFIG)


def small_model(**changes):
    """Random weights: far from equivariant, so that no average is trivial."""
    config = {field.name: getattr(CONFIG, field.name) for field in _FIELDS}
    model = drawn_pet(directions=1.0, **(config | changes))
    baseline = model.parameters["baseline"]["energy"]["scalar"]
    baseline += -1000.0 * np.arange(1, 6, dtype=np.float32)[:, None]
    return model


MODEL = small_model()


def calculator(model=MODEL, *, room=True, **options):
    """In float64, seven rotated copies at once, or one without an average.

    With room for the crystal, one program of each serves all structures of eight atoms.
    """
    options = {"dtype": "float64", "batch_size": 7} | options
    made = SymjaxCalculator(model, **options)
    if room:
        made.calculate(salt())
    return made


def salt(rattle=0.1):
    atoms = ase.build.bulk("NaCl", "rocksalt", a=4.4, cubic=True)
    atoms.rattle(rattle, seed=0)
    return atoms


def acid():
    """A molecule with as many atoms as the crystal."""
    return ase.build.molecule("CH3COOH")
