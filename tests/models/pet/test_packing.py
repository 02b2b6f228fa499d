"""Packs of structures: each as if it were alone, in few shapes."""

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import drawn_pet

from symjax.data import GraphShape, graph_shape
from symjax.errors import StructureError
from symjax.metrics import Survey, measure_many, pool
from symjax.metrics.packs import in_order, measure_packs
from symjax.models.pet import orbit_problem
from symjax.models.pet.packing import Packing

LAYERS = "node_heads.energy.0"


@pytest.fixture(scope="module")
def model():
    return drawn_pet((1, 6, 8))


def molecules():
    """In packs of eight atoms two packs, of one shape."""
    structures = {name: ase.build.molecule(name) for name in ("H2", "H2O", "CO2")}
    for atoms in structures.values():
        atoms.rattle(0.05, seed=0)
    return structures


def test_every_structure_is_as_alone(model):
    """Float32 sums in another order: relative 1e-3 of V, which is 1e-6 of the norm."""
    structures = molecules()
    structures["diamond"] = ase.build.bulk("C")
    structures["graphene"] = ase.build.graphene(vacuum=6.0)
    structures["graphene"].rattle(0.05, seed=0)
    over = Survey(8, seed=4)
    packing = Packing(model, 8, layers=LAYERS, num_atoms=8)
    packs = packing.packs(structures)
    together = pool(item for items in measure_packs(packs, over, 2) for item in items)
    assert sorted(together.labels) == sorted(structures)
    items = [packing.item(name, atoms) for name, atoms in structures.items()]
    # One program for all molecules, and one for those that have a stress.
    shapes = {
        some: GraphShape(
            *np.max([graph_shape(i.graph) for i in items if i.has_stress == some], 0)
        )
        for some in (False, True)
    }
    problems = {
        name: orbit_problem(
            model, atoms, layers=LAYERS, shape=shapes[bool(atoms.pbc.any())]
        )
        for name, atoms in structures.items()
    }
    alone = measure_many(problems, over=over, max_degree=2).pool
    order = [together.labels.index(label) for label in alone.labels]
    assert set(together.columns) == set(alone.columns)
    for key, column in alone.columns.items():
        other = together.columns[key]
        np.testing.assert_array_equal(other.count[order], column.count)
        scale = column.values[:, 1:2]
        error = np.abs(other.values[order] - column.values)
        # Forces that cancel, as in diamond, keep the round-off of their terms.
        bound = 1e-5 * scale + 1e-3 * np.abs(column.values) + 1e-7
        assert (error <= bound).all(), key
    # The crystal and the sheet have a stress.
    assert np.count_nonzero(together.columns["stress", 0].count) == 2
    assert together.columns["forces", 6].count.sum() == 3 * sum(
        int((atoms.numbers == 6).sum()) for atoms in structures.values()
    )


def test_mixed_sizes_make_few_shapes(model):
    """Molecules of 3 to 24 atoms: as many programs as rungs of numbers of neighbors."""
    random = np.random.default_rng(0)
    structures = {}
    for number in range(120):
        size = int(random.integers(3, 25))
        grid = random.permutation(64)[:size]
        positions = 1.3 * np.stack([grid % 4, grid // 4 % 4, grid // 16], axis=1)
        structures[str(number)] = ase.Atoms(
            numbers=random.choice([1, 6, 8], size),
            positions=positions + 0.1 * random.random((size, 3)),
        )
    packing = Packing(model, 16)
    items = [packing.item(label, atoms) for label, atoms in structures.items()]
    packs = packing.join(items)
    shapes = {packing.shape([item.graph for item in pack]) for pack in packs}
    assert len(shapes) <= 7
    assert sorted(item.label for pack in packs for item in pack) == sorted(structures)
    for pack in packs:
        shape = packing.shape([item.graph for item in pack])
        assert sum(graph_shape(item.graph).num_atoms for item in pack) <= (
            shape.num_atoms
        )
        assert len(pack) <= shape.num_structures


def test_a_structure_larger_than_a_pack(model):
    big = ase.build.bulk("C", cubic=True) * (2, 2, 2)
    packing = Packing(model, 512)
    (pack,) = packing.packs({"big": big})
    assert pack.labels == ("big",)


def test_structures_that_cannot_be_read_are_refused(model):
    with pytest.raises(StructureError, match="U"):
        Packing(model, 8).packs({"bad": ase.Atoms("U")})


def test_threads_change_no_bit_and_no_order(model):
    """Contexts of JAX hold for one thread; those of the caller hold in all."""
    packing = Packing(model, 8, layers=LAYERS, num_atoms=8)
    packs = list(packing.packs(molecules()))
    assert len(packs) > 1
    one, two = (
        pool(
            item for items in measure_packs(packs, Survey(8), 2, 0, n) for item in items
        )
        for n in (1, 2)
    )
    assert one.labels == two.labels
    for key, column in one.columns.items():
        np.testing.assert_array_equal(two.columns[key].values, column.values)
    with jax.enable_x64(True), jax.default_matmul_precision("float32"):
        seen = list(in_order(lambda _: jnp.zeros(0, float).dtype, range(3), 2))
    assert set(map(str, seen)) == {"float64"}
