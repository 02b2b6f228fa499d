"""Other laws are checked of the smallest structure of each periodicity."""

import ase.build
import pytest
from interrupted import interrupted_by_jax

from symjax.errors import StructureError
from symjax.runs.checked_items import Checks, choose_checks


def laws(atoms):
    """Stands for checks: which structure they were asked of."""
    if len(atoms) == 1:
        raise StructureError("atoms", 1, "is one atom", "Pass two or more")
    return (atoms.get_chemical_formula(),)


def test_the_smallest_of_each_periodicity():
    items = {
        "large": ase.build.molecule("C2H6"),
        "small": ase.build.molecule("CO"),
        "crystal": ase.build.bulk("Cu", cubic=True),
        "cell": ase.build.bulk("NaCl", "rocksalt", 5.6),
        "slab": ase.build.fcc111("Al", (1, 1, 2), vacuum=5.0),
        "event": object(),
    }
    checks = choose_checks(laws, items)
    assert checks.labels == {"small", "cell", "slab"}
    assert checks("small", items["small"]) == ("CO",)
    assert checks("large", items["large"]) == ()
    assert choose_checks(None, items)("small", items["small"]) == ()


def test_a_check_that_fails_leaves_what_was_measured(caplog):
    atom = ase.Atoms("H")
    assert Checks(laws, frozenset(["a"]))("a", atom) == ()
    assert "a: other laws were not checked: atoms=1: is one atom" in caplog.text


def test_an_interruption_is_not_an_error_of_a_check():
    with pytest.raises(KeyboardInterrupt):
        Checks(interrupted_by_jax, frozenset(["a"]))("a", ase.Atoms("H"))
