"""Small data and a small model, the same in all tests so that code is compiled once."""

import ase.build
import flax.traverse_util
import numpy as np
from small_models import TINY

from symjax.data import Target
from symjax.models import save_model
from symjax.models.pet import PETConfig
from symjax.models.pet.model import PETModel, parameter_shapes

TARGETS = {
    "energy": {"energy_unit": "eV", "forces": "forces"},
    "dipole_moment": {"kind": "vector", "unit": "e*angstrom"},
    "shielding": {"kind": "2+", "per_atom": True, "properties": 2},
}
# Without forces, whose gradients take long to compile.
ENERGY = {"energy": {"energy_unit": "eV"}}


def frames(num=12):
    """Water and ammonia with made-up labels that depend on the geometry."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(num):
        atoms = ase.build.molecule(("H2O", "NH3")[index % 2])
        atoms.rattle(0.05, seed=index)
        atoms.info["energy"] = -10.0 * len(atoms) + rng.normal()
        atoms.info["dipole_moment"] = atoms.positions.sum(axis=0)
        atoms.arrays["forces"] = rng.normal(size=(len(atoms), 3))
        atoms.arrays["shielding"] = rng.normal(size=(len(atoms), 10))
        made.append(atoms)
    return made


def settings(path, **changes):
    """Configuration of a short run."""
    return {
        "steps": 6,
        "log_every": 3,
        "validate_every": 4,
        "checkpoint_every": 2,
        "data": {"training": str(path), "validation_fraction": 0.25},
        "model": {"hyperparameters": TINY},
        "targets": TARGETS,
        "batch": {"max_structures": 3, "max_atoms": 12},
        "optimizer": {"warmup": 2, "learning_rate": 1e-2},
        **changes,
    }


def save_smallest_model(path):
    """A model of two numbers a layer, drawn without compiling anything."""
    config = PETConfig(
        species=(1, 8),
        # no energy, hence no gradient to compile
        targets=(Target("hardness", "eV"),),
        **dict.fromkeys(("d_pet", "d_node", "d_head", "d_feedforward"), 2),
        **dict.fromkeys(("num_heads", "num_gnn_layers", "num_attention_layers"), 1),
    )
    rng = np.random.default_rng(0)
    flat = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in parameter_shapes(config).items()
    }
    parameters = flax.traverse_util.unflatten_dict(flat, sep="/")
    save_model(PETModel("tiny", config, parameters, {}), path)


HOST_MODEL = """
import time
from symjax.metrics import HostFunction, Output, Problem
from symjax.so3 import VECTOR


def problem(atoms):
    def forces(x):
        time.sleep(PAUSE)
        return {"forces": x * x[:, 2:]}

    outputs = {"forces": Output(VECTOR, "eV/angstrom")}
    return Problem(HostFunction(forces), atoms.positions, outputs)
"""


def write_host_model(path, pause=0.0):
    """A model for ``--model FILE:problem`` in plain Python, whose calls take a time."""
    path.write_text(HOST_MODEL.replace("PAUSE", str(pause)))


def rattled_waters(number):
    """Molecules of water, each displaced in its own way."""
    waters = [ase.build.molecule("H2O") for _ in range(number)]
    for seed, water in enumerate(waters):
        water.rattle(0.02, seed=seed)
    return waters
