"""Targets of a run, as a model and the data name them."""

import pytest

from symjax.training.sections import BlockSection, OptimizerSection, TargetSection


def test_a_target_of_several_blocks():
    blocks = (
        BlockSection(key="l1", kind="1+", properties=3),
        BlockSection(key="l2", kind="2+", field="quadrupoles"),
    )
    section = TargetSection(blocks=blocks, per_atom=True, unit="e", field="rho")
    assert section.fields("density") == {"l1": "rho_l1", "l2": "quadrupoles"}
    target = section.target("density")
    assert (target.name, target.unit, target.per_atom) == ("density", "e", True)
    assert [block.shape for block in target.blocks] == [(3, 3), (5, 1)]


def test_an_energy_is_in_electronvolts():
    """Whatever the unit of the data, into which labels are converted."""
    section = TargetSection(energy_unit="kcal/mol", field="U")
    assert section.target("energy").unit == "eV"
    assert section.fields("energy") == {"scalar": "U"}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"forces": "forces"}, "need an energy: set energy_unit"),
        ({"energy_unit": "bohr"}, "no unit of energy"),
        ({"energy_unit": "eV", "kind": "vector"}, "one scalar for each structure"),
        ({"energy_unit": "eV", "unit": "kJ/mol"}, "unit of an energy is eV"),
        (
            {"energy_unit": "eV", "forces": "f", "length_unit": "eV"},
            "no unit of length",
        ),
        ({"energy_unit": "eV", "length_unit": "bohr"}, "length_unit has nothing to"),
        ({"forces_weight": 2.0}, "forces_weight has nothing to act on"),
    ],
)
def test_what_contradicts_itself_is_refused(fields, problem):
    with pytest.raises(ValueError, match=problem):
        TargetSection(**fields)


def test_sections_are_known_by_what_they_say():
    """A compiled step is found again by them."""
    one, same = OptimizerSection(warmup=3), OptimizerSection(warmup=3)
    assert (one, hash(one)) == (same, hash(same))
    assert one != OptimizerSection(warmup=4)
