"""What a run fits: outputs in the units of the model, then forces and stress."""

import dataclasses

from small_models import TINY
from water_runs import TARGETS

from symjax.data import Target
from symjax.models.pet import PETConfig
from symjax.training.fitted import labels_of
from symjax.training.sections import TargetSection

SECTIONS = {
    "energy": TargetSection(
        **TARGETS["energy"], forces_weight=2.0, stress="stress", loss="absolute"
    ),
    "dipole_moment": TargetSection(**TARGETS["dipole_moment"], weight=3.0),
    "shielding": TargetSection(**TARGETS["shielding"]),
}
CONFIG = PETConfig(
    (1, 7, 8), tuple(s.target(name) for name, s in SECTIONS.items()), **TINY
)


def test_what_is_fitted():
    found = {label.name: label for label in labels_of(SECTIONS, CONFIG)}
    assert [*found] == ["energy", "dipole_moment", "shielding", "forces", "stress"]
    shapes = {name: label.representation.shape for name, label in found.items()}
    assert shapes == {
        "energy": (),
        "dipole_moment": (3,),
        "shielding": (5,),
        "forces": (3,),
        "stress": (3, 3),
    }
    assert all(label.representation.has_channels for label in found.values())
    assert {name for name in found if found[name].per_atom} == {"shielding", "forces"}
    # Errors of what grows with the number of atoms are divided by it.
    assert {name for name in found if found[name].divide_by_atoms} == {"energy"}
    assert {name: label.weight for name, label in found.items()} == {
        "energy": 1.0,
        "dipole_moment": 3.0,
        "shielding": 1.0,
        "forces": 2.0,
        "stress": 1.0,
    }
    assert found["forces"].loss == found["stress"].loss == "absolute"
    assert found["forces"].differentiated == found["stress"].differentiated == "energy"
    assert found["dipole_moment"].differentiated is None


def test_units_are_those_of_the_model():
    """Of a target without one in the model, the run's."""
    targets = (
        Target("energy", "kcal/mol"),
        dataclasses.replace(CONFIG.targets[1], unit=""),
        CONFIG.targets[2],
    )
    config = dataclasses.replace(CONFIG, targets=targets)
    units = {label.name: label.unit for label in labels_of(SECTIONS, config)}
    assert units == {
        "energy": "kcal/mol",
        "dipole_moment": "e*angstrom",
        "shielding": "",
        "forces": "kcal/mol/angstrom",
        "stress": "kcal/mol/angstrom^3",
    }
