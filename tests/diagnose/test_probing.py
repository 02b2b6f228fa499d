"""Probes of the layers of a network: what products of features can make of them."""

import ase.build

from symjax.diagnose.probing import probe_layers
from symjax.models import load_model


def test_products_raise_a_known_ceiling():
    """Edge embeddings summed over neighbors: a linear map of one vector u per atom.

    From it 1+ can be read, from products u u as well, 2+; no 3+, and as u x u = 0 no
    pseudotensor, though these molecules are chiral as they were rattled.
    """
    frames = {}
    for seed in range(12):
        frames[str(seed)] = atoms = ase.build.molecule("CH3OH")
        atoms.rattle(0.1, seed=seed)
    name = "gnn_layers.0.edge_embedder"
    found, failed = probe_layers(
        load_model("pet-ethanol"), frames, layers=name, max_degree=3, products=True
    )
    assert not failed
    assert found.comparisons == 2 * 8
    assert [found.largest(name, sigma) for sigma in (1, -1)] == [1, None]
    read = [found.largest(name, sigma, products=True) for sigma in (1, -1)]
    assert read == [2, None]
