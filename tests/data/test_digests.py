"""Whatever a model can read of a structure is part of its digest."""

import ase.build
import numpy as np

from symjax.data.digests import structure_digest


def water():
    atoms = ase.build.molecule("H2O")
    atoms.info["tags"] = set("abcdefgh")
    return atoms


CHANGES = {
    "position": lambda a: a.positions.__setitem__((0, 0), 1e-12),
    "cell": lambda a: a.set_cell([9, 9, 9]),
    "pbc": lambda a: a.set_pbc((False, False, True)),
    "charges": lambda a: a.set_initial_charges([-0.8, 0.4, 0.4]),
    "magmoms": lambda a: a.set_initial_magnetic_moments([0, 1, -1]),
    "momenta": lambda a: a.set_momenta(np.eye(3)),
    "masses": lambda a: a.set_masses([16, 2, 1]),
    "tags": lambda a: a.set_tags([1, 0, 0]),
    "own array": lambda a: a.set_array("field", np.ones((3, 2))),
    "charge": lambda a: a.info.update(charge=1),
    "spin": lambda a: a.info.update(spin=3),
    "key of another package": lambda a: a.info.update(total_spin=3),
    "nested": lambda a: a.info.update(more={"x": [1, {"y": 2}]}),
    "array in info": lambda a: a.info.update(field=np.arange(2000.0)),
    "a long array, in the middle": lambda a: a.info.update(
        field=np.where(np.arange(2000) == 999, -1.0, np.arange(2000.0))
    ),
    "text": lambda a: a.info.update(head="mp"),
}


def test_every_change_is_seen():
    digests = {"": structure_digest(water())}
    for name, change in CHANGES.items():
        atoms = water()
        change(atoms)
        digests[name] = structure_digest(atoms)
    assert len(set(digests.values())) == len(digests)


def test_another_process_finds_the_same():
    """Neither the order of sets nor addresses of objects enter."""

    class Thing:
        pass

    digests, orders = set(), [[0, 8], [8, 0]]
    # Of numbers that share a slot of the table, the first comes first.
    assert [list(set(numbers)) for numbers in orders] == orders
    for numbers in orders:
        atoms = ase.build.molecule("H2O")
        atoms.info.update(tags=set(numbers), thing=Thing(), number=1.5, name="x")
        digests.add(structure_digest(atoms))
    atoms.info["number"] = np.float64(1.5)
    assert digests == {structure_digest(atoms)}
