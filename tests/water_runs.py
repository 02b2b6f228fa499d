"""Small data and a small model, the same in all tests so that code is compiled once."""

import ase.build
import numpy as np

TINY = {
    "d_pet": 4,
    "d_node": 4,
    "d_head": 4,
    "d_feedforward": 4,
    "num_heads": 1,
    "num_gnn_layers": 1,
    "num_attention_layers": 1,
}
TARGETS = {
    "energy": {"energy_unit": "eV", "forces": "forces"},
    "dipole_moment": {"kind": "vector", "unit": "e*angstrom"},
    "shielding": {"kind": "2+", "per_atom": True, "properties": 2},
}


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
