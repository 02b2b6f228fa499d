"""A PET in a run: sizes that share programs, and what is refused before it starts."""

import ase
import ase.build
import pytest
from pet_models import copper, ethanol, model

from symjax.data.point_clouds import SMALL, generate_event
from symjax.errors import ModelError, StructureError
from symjax.models.pet.source import PETSource, padded_shapes
from symjax.runs import Options


def test_structures_of_a_bucket_are_padded_to_the_largest():
    """C2H5OH and CH3OCH3 have nine atoms, propene too; water fits another bucket."""
    names = ("CH3CH2OH", "CH3OCH3", "C2H6", "H2O")
    structures = {name: ase.build.molecule(name) for name in names}
    shapes, errors = padded_shapes(structures, model().config)
    assert errors == {}
    assert shapes["CH3CH2OH"] == shapes["CH3OCH3"]
    # Eight atoms are a bucket of their own, from nine on is another.
    assert shapes["C2H6"].num_atoms == 8
    assert shapes["H2O"].num_atoms == 3


def test_what_cannot_be_used_is_said_by_its_label():
    structures = {"good": copper(), "empty": ase.Atoms()}
    shapes, errors = PETSource(model()).sizes(structures)
    assert list(shapes) == ["good"]
    assert isinstance(errors["empty"], StructureError)
    with pytest.raises(ModelError, match="spill, which is an event"):
        PETSource(model()).sizes({"spill": generate_event(12, SMALL)})


def test_options_are_checked_and_the_energy_is_said():
    source = PETSource(model())
    assert source.settings(Options(layers="all")) == {"energy": "energy"}
    with pytest.raises(ModelError, match="matches no layer"):
        source.settings(Options(layers="heads"))
    with pytest.raises(ModelError, match="no such target"):
        source.settings(Options(energy="u"))


def test_a_problem_has_the_size_that_was_found():
    source, atoms = PETSource(model()), ethanol()
    shapes, _ = source.sizes({"ethanol": atoms})
    item, size = source.prepare("ethanol", atoms, shapes["ethanol"])
    problem = source.problem(item, size, Options(layers="none"))
    assert problem.x.shape[:2] == size[:2]
    assert source.breaking(item, Options()) is None
