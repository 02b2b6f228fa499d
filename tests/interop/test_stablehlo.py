"""The compiled function gives what the model gives, and NaN where it gives nothing.

float64 to 1e-12 of the largest entry: the same operations in another order of pairs.
"""

import dataclasses
import pathlib
import re
import subprocess
import sys

import ase.build
import ase.io
import jax
import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from jax import export
from small_models import ENERGY, EVENT_CONFIG, drawn_pet
from typer.testing import CliRunner

from symjax.cli import app
from symjax.data.graph import GraphShape, graph_shape, pad_graph
from symjax.data.quantities import Block, Target
from symjax.errors import ModelError
from symjax.interop import SymjaxCalculator
from symjax.interop.stablehlo import Arguments, export_function
from symjax.models import save_model
from symjax.models.pet import pet_graph, predict
from symjax.models.pet.long_range import LongRange
from symjax.models.pointmae import PointMAEModel

pytest.importorskip("flatbuffers", reason="needs the extra [export]")

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "metatrain.md"
DOUBLE = {"dtype": "float64", "platforms": ["cpu"]}
TARGETS = (
    Target("energy", "eV"),
    Target("mtt::p", "e*A", False, (Block("1+", "1+", 1),)),
    Target("mtt::q", "", True, (Block("2+", "2+", 2), Block("0-", "0-", 1))),
)


def model_of(targets=TARGETS, **changes):
    return drawn_pet((1, 6, 8, 29), targets, directions=1.0, **changes)


def arguments(atoms, cutoff, dtype="f8", **sizes):
    """All pairs in a random order, with some that are too long and some padding.

    Args:
      atoms: The structure.
      cutoff: Of the model.
      dtype: Of vectors and cell.
      **sizes: Of the arrays; by default no larger than needed, but for three pairs.
    """
    i, j, shifts, vectors = neighbor_list("ijSD", atoms, cutoff + 0.5)
    slots = sizes.get("num_slots", np.bincount(i, minlength=len(atoms)).max())
    pairs = np.stack([i, j], axis=1)
    order = np.random.default_rng(0).permutation(len(i))
    added = sizes.get("num_pairs", len(i) + 3) - len(i)
    assert added > 0

    def pad(array, value):
        filling = np.full((added, array.shape[1]), value, array.dtype)
        return np.concatenate([array[order], filling])

    more_atoms = sizes.get("num_atoms", len(atoms)) - len(atoms)
    return Arguments(
        np.pad(atoms.numbers.astype("i4"), (0, more_atoms)),
        pad(pairs.astype("i4"), -1),
        pad(shifts.astype("i4"), 0),
        pad(vectors.astype(dtype), 1.0),
        atoms.cell[:].astype(dtype),
        np.array(atoms.pbc),
        np.int32(atoms.info.get("charge", 0)),
        np.int32(atoms.info.get("spin_multiplicity", 1)),
        np.zeros(slots, "i4"),
        np.zeros(sizes.get("num_edges", slots), "i4"),
    )


def structures():
    ethanol = ase.build.molecule("CH3CH2OH")
    ethanol.info.update(charge=-1, spin_multiplicity=2)
    crystal = ase.build.bulk("Cu") * (2, 1, 1)
    crystal.rattle(0.05, seed=2)
    slab = ase.build.fcc111("Cu", (1, 1, 2), a=3.6, vacuum=3.0)
    slab.rattle(0.05, seed=3)
    molecule_in_a_box = ase.build.molecule("H2O", vacuum=4.0)
    return [ethanol, crystal, slab, molecule_in_a_box]


def loaded(exported):
    """Through the file and back; compiled once for each size."""
    return jax.jit(export.deserialize(exported.serialize()).call)


def assert_same(theirs, ours, num_atoms):
    """To the model, for what each of its outputs is of; padding is 0."""
    assert set(theirs) == set(ours)
    for name, value in ours.items():
        per_atom = name == "forces" or name.startswith("mtt::q")
        value = np.asarray(value)
        value = value[:num_atoms] if per_atom else value[0]
        found = np.asarray(theirs[name])
        if per_atom:
            assert not found[num_atoms:].any()
            found = found[:num_atoms]
        scale = max(np.abs(value).max(), 1e-3)
        assert found.shape == value.shape
        assert np.abs(found - value).max() < 1e-12 * scale, name


def test_the_same_as_the_model():
    """On four structures, padded to one size on both sides."""
    model = model_of(
        TARGETS[:2],
        num_neighbors_adaptive=5,
        adaptive_cutoff_method="grid",
        zbl=True,
        system_conditioning=True,
    )
    run = loaded(export_function(model, **DOUBLE))
    graphs = [pet_graph(model.config, atoms) for atoms in structures()]
    shape = GraphShape(*np.max([graph_shape(graph) for graph in graphs], axis=0))
    sizes = {"num_atoms": 11, "num_pairs": 120, "num_slots": 60, "num_edges": 14}
    for atoms, graph in zip(structures(), graphs, strict=True):
        padded = pad_graph(graph, shape)
        ours = predict(model, padded, forces=True, stress=True)
        theirs = run(*arguments(atoms, model.config.cutoff, **sizes))
        assert {"energy", "forces", "stress"} < set(theirs)
        assert_same(theirs, ours, len(atoms))
        stressed = bool(np.any(atoms.pbc))
        assert np.any(np.asarray(theirs["stress"])) == stressed


def test_an_average_is_that_of_the_calculator():
    model = model_of(ENERGY)
    run = loaded(export_function(model, average="D2", **DOUBLE))
    ethanol = ase.build.molecule("CH3CH2OH")
    ethanol.rattle(0.05, seed=1)
    theirs = run(*arguments(ethanol, model.config.cutoff))
    ethanol.calc = SymjaxCalculator(model, average="D2", dtype="float64")
    assert theirs["energy"] == pytest.approx(ethanol.get_potential_energy(), rel=1e-12)
    np.testing.assert_allclose(theirs["forces"], ethanol.get_forces(), atol=1e-10)
    assert ethanol.calc.results["energy_rotational_std"] > 1e-3
    # It commutes with the group, as the model alone does not.
    turned = ethanol.copy()
    turned.positions = ethanol.positions * [-1, -1, 1]
    again = run(*arguments(turned, model.config.cutoff))
    assert again["energy"] == pytest.approx(float(theirs["energy"]), rel=1e-12)


def is_nan(run, given):
    return {bool(np.isnan(value).all()) for value in run(*given).values()} == {True}


def test_what_it_cannot_compute_is_nan_and_padding_is_nothing():
    """Of outputs that are no energy, which has no part in what is refused.

    An atom of benzene has up to 11 neighbors, of which the cutoff keeps up to 7.
    """
    model = model_of(
        TARGETS[2:],
        num_neighbors_adaptive=5,
        system_conditioning=True,
        max_charge=2,
    )
    run = loaded(export_function(model, **DOUBLE))
    sizes = {"num_atoms": 13, "num_pairs": 150, "num_slots": 11, "num_edges": 7}

    def padded(atoms):
        return arguments(atoms, model.config.cutoff, **sizes)

    benzene = ase.build.molecule("C6H6")
    benzene.info.update(charge=-1, spin_multiplicity=2)
    good = padded(benzene)
    expected = predict(model, pet_graph(model.config, benzene))
    assert set(expected) == {"mtt::q/2+", "mtt::q/0-"}
    assert_same(run(*good), expected, len(benzene))
    # One atom with 12 neighbors, of which at most 6 are kept; 8 of which 8 are kept.
    line = ase.Atoms("H13", [[0.7 * number, 0, 0] for number in range(13)])
    for atoms, slots in ((line, (12, 6)), (structures()[0], (8, 8))):
        shape = graph_shape(pet_graph(model.config, atoms))
        assert (shape.num_surroundings, shape.num_neighbors) == slots
        assert is_nan(run, padded(atoms))
    assert is_nan(run, good._replace(charge=np.int32(3)))
    assert is_nan(run, good._replace(spin_multiplicity=np.int32(0)))
    assert is_nan(run, good._replace(numbers=good.numbers + 1))
    # A pair without its reverse.
    near = np.argmin(np.linalg.norm(good.vectors, axis=1))
    cut = good.pairs.copy()
    cut[near] = -1
    assert is_nan(run, good._replace(pairs=cut))
    # One that is there twice, in the place of padding, and one of an atom that is not.
    twice = [field.copy() for field in good[1:4]]
    for field in twice:
        field[-1] = field[near]
    again = good._replace(pairs=twice[0], shifts=twice[1], vectors=twice[2])
    assert is_nan(run, again)
    outside = np.where(good.pairs == 2, 99, good.pairs)
    assert is_nan(run, good._replace(pairs=outside.astype("i4")))


def test_refusals():
    with pytest.raises(ModelError, match="is no PET"):
        export_function(PointMAEModel("events", EVENT_CONFIG, {}))
    model = model_of()
    with pytest.raises(ModelError, match="average"):
        export_function(model, average="nonsense")
    biases = dataclasses.replace(model.config.biases, output_average="O")
    config = dataclasses.replace(model.config, biases=biases)
    with pytest.raises(ModelError, match="is averaged over O already"):
        export_function(dataclasses.replace(model, config=config), average="Oh")
    config = dataclasses.replace(model.config, long_range=LongRange())
    with pytest.raises(ModelError, match="long-range"):
        export_function(dataclasses.replace(model, config=config))


def test_the_page_runs_without_symjax(tmp_path):
    """The block of the documentation, on what the command line writes, in float32."""
    model = model_of(ENERGY)
    save_model(model, tmp_path / "model")
    command = ["export", str(tmp_path / "model"), "--stablehlo"]
    command += ["-o", str(tmp_path / "model.stablehlo")]
    with jax.enable_x64(False):
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "4.5 angstrom" in result.output
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 2
    assert "--overwrite" in again.output
    ethanol = ase.build.molecule("CH3CH2OH")
    ase.io.write(tmp_path / "frames.xyz", ethanol)
    section = PAGE.read_text("utf-8").partition("## Back to where")[2]
    block = re.search(r"```python\n(import jax\n.*?)```", section, re.DOTALL)
    check = "\nimport sys\nassert 'symjax' not in sys.modules\nprint(results['energy'])"
    done = subprocess.run(
        [sys.executable, "-c", block[1] + check],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected = float(predict(model, pet_graph(model.config, ethanol))["energy"][0])
    scale = max(abs(expected), 1.0)
    assert float(done.stdout.split()[-1]) == pytest.approx(expected, abs=1e-5 * scale)
