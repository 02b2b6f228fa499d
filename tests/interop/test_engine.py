"""Neighbors as an engine gives them to a metatomic model."""

import ase
import ase.build
import numpy as np
import pytest

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("metatomic.torch", reason="needs the extra [torch]")
import metatomic.torch  # noqa: E402
from torch_closed import energy  # noqa: E402

from symjax.interop._engine import _neighbors  # noqa: E402


def test_a_cutoff_is_in_the_unit_of_the_model():
    water = ase.build.molecule("H2O")
    distances = water.get_all_distances()
    expected = np.sum((distances / 2.0) ** 2)  # all pairs are within 2 angstrom
    for unit, cutoff in (("angstrom", 2.0), ("nm", 0.2), ("bohr", 2 / 0.52917721)):
        assert energy(water, cutoff, unit) == pytest.approx(expected, rel=1e-6)


def test_atoms_far_apart_end_nothing():
    far = ase.Atoms("H2", [[0, 0, 0], [2000, 2000, 0]])
    assert energy(far, cutoff=4.5) == 0.0
    slab = ase.Atoms("H", cell=[3000, 3000, 0], pbc=(True, True, False))
    assert energy(slab, cutoff=4.5) == 0.0


@pytest.mark.parametrize(
    "atoms",
    [
        ase.Atoms("CO", [[0, 0, 0], [2000.0, 0, 0]]),
        ase.Atoms("CO", [[0, 0, 0], [0, 0, 2900.0]], cell=[3, 3, 3000], pbc=[1, 1, 0]),
        ase.Atoms("C", cell=[0.02, 3000, 3000], pbc=True),
    ],
    ids=["far apart", "slab", "thin"],
)
def test_structures_that_end_a_process_in_vesin(atoms):
    for full in (True, False):
        request = metatomic.torch.NeighborListOptions(0.5, full, True)
        _, samples, first, second, shifts = _neighbors(atoms, request)
        assert len(samples) == len(first) == len(second) == len(shifts)
        assert np.all(np.diff(first) >= 0)
        assert len(first) == (48 if full else 24) * (len(atoms) == 1)
