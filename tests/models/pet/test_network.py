"""The network without PyTorch: what must not change its predictions does not."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pet_models import CONFIG, CUTOFF, copper, ethanol, roomy, run

from symjax.data import build_graph
from symjax.models.pet import layer_names

# Positions in float64: what remains is the round-off of some thousand operations.
EXACT = 1e-11


@settings(max_examples=5)
@given(st.permutations(range(9)))
def test_order_of_atoms(order):
    out = run(build_graph(ethanol(), CUTOFF))
    moved = run(build_graph(ethanol()[list(order)], CUTOFF))
    np.testing.assert_allclose(moved["energy"], out["energy"], rtol=EXACT)
    expected = np.asarray(out["forces"])[list(order)]
    np.testing.assert_allclose(moved["forces"], expected, atol=1e-10)


def test_padding():
    """Padding is masked exactly: not a small weight, none."""
    atoms = ethanol()
    graph = build_graph(atoms, CUTOFF)
    shape = graph.neighbors.shape
    out, more = run(graph), run(roomy(atoms))
    np.testing.assert_allclose(more["energy"][:1], out["energy"], rtol=EXACT)
    np.testing.assert_allclose(more["stress"][:1], out["stress"], atol=1e-10)
    for key in ("forces", "density/2+", *layer_names(CONFIG)):
        mine = np.asarray(more[key])[: shape[0]]
        if mine.ndim == 3 and key not in ("density/2+",):
            mine = mine[:, : shape[1]]
            real = graph.edge_mask
            mine, expected = mine[real], np.asarray(out[key])[real]
        else:
            expected = np.asarray(out[key])
        np.testing.assert_allclose(mine, expected, atol=1e-10, err_msg=key)
    assert not np.asarray(more["forces"])[shape[0] :].any()


def test_two_structures_in_one_graph():
    both, alone = run(roomy([ethanol(0), ethanol(1)])), run(roomy(ethanol(1)))
    np.testing.assert_allclose(both["energy"][1], alone["energy"][0], rtol=EXACT)
    np.testing.assert_allclose(both["forces"][9:], alone["forces"][:9], atol=1e-10)


def test_supercell():
    one, two = run(roomy(copper())), run(roomy(copper() * (2, 1, 1)))
    np.testing.assert_allclose(two["energy"][0], 2 * one["energy"][0], rtol=EXACT)


def test_float32_follows_float64():
    out = run(build_graph(ethanol(), CUTOFF))
    low = run(build_graph(ethanol(), CUTOFF, dtype="float32"))
    assert low["forces"].dtype == jnp.float32
    scale = np.abs(out["forces"]).max()
    # 2^-24 times the amplification of some ten layers
    np.testing.assert_allclose(low["forces"], out["forces"], atol=3e-5 * scale)
