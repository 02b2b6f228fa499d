"""Perturbed geometries, and labelled files that survive interruption and ASE."""

import doctest
import functools
import hashlib
import inspect

import ase.build
import ase.io
import numpy as np
import pytest

from symjax.data import read_structures, read_targets
from symjax.data.conditions import spin_multiplicity, total_charge
from symjax.data.label_blocks import block_values, describe_labels, read_labels
from symjax.errors import ArgumentError, StructureError
from symjax.labels import XTBLabels
from symjax.labels import generation as module
from symjax.labels.generation import (
    LabelSettings,
    label_structure,
    perturbed,
    write_labels,
)

FAST = LabelSettings(polarizability=False, density=False)


@pytest.fixture
def extra():
    pytest.importorskip("tblite", reason="needs the extra [data]")
    pytest.importorskip("pyscf", reason="needs the extra [data]")


def molecules():
    return [ase.build.molecule(name) for name in ("H2O", "CH4", "NH3")]


def test_perturbed_is_a_function_of_seed_and_number():
    few, many = perturbed(molecules(), 4, 7), perturbed(molecules(), 9, 7)
    for one, two in zip(few, many, strict=False):
        assert one == two
        assert one.info == two.info
    other = perturbed(molecules(), 4, 8)
    assert any(a != b for a, b in zip(few, other, strict=True))
    # Every structure once before any is drawn again.
    sources = [atoms.info["source"] for atoms in many]
    assert [sorted(sources[k : k + 3]) for k in (0, 3, 6)] == [[0, 1, 2]] * 3


def test_perturbed_has_the_amplitude_asked_for():
    methane = ase.build.molecule("CH4")
    drawn = perturbed([methane], 400, 0, amplitude=0.05)
    moves = np.stack([atoms.positions for atoms in drawn]) - methane.positions
    # 6000 normal numbers: a standard error of 0.9 per cent; five of them.
    assert np.std(moves) == pytest.approx(0.05, rel=0.05)
    assert len(np.unique(moves.round(6), axis=0)) == 400
    # As many digits as the file has.
    np.testing.assert_array_equal(drawn[0].positions, drawn[0].positions.round(8))


def test_perturbed_keeps_charge_and_nothing_else():
    water = ase.build.molecule("H2O")
    water.info |= {"charge": -1, "spin_multiplicity": 2, "energy": 3.0}
    water.arrays["forces"] = np.ones((3, 3))
    (drawn,) = perturbed([water], 1, 0, amplitude=0.0)
    assert drawn.info == {"charge": -1, "spin_multiplicity": 2, "source": 0}
    assert "forces" not in drawn.arrays
    np.testing.assert_allclose(drawn.positions, water.positions, atol=1e-8)


def test_charges_and_spins_under_other_keys_are_not_lost(tmp_path, monkeypatch):
    """The labels would be those of the neutral molecule."""
    seen = []

    def labels(atoms, **options):
        seen.append((total_charge(atoms), spin_multiplicity(atoms)))
        zero = np.zeros((3, 3))
        return XTBLabels(0.0, np.zeros((len(atoms), 3)), zero[0], zero, None)

    monkeypatch.setattr(module, "xtb_labels", labels)
    ion = ase.build.molecule("H2O")
    ion.info |= {"total_charge": 1, "multiplicity": 2}
    (drawn,) = perturbed([ion], 1, 0)
    assert total_charge(label_structure(drawn, FAST)) == 1
    assert seen == [(1, 2)]
    write = functools.partial(write_labels, tmp_path / "labels.xyz", settings=FAST)
    assert write(structures=[ion, ion], report=lambda done, total: True) is not None
    for lost in ({"net_charge": 1}, {"uhf": 1}):
        ion.info = lost
        for read in (label_structure, lambda one, _: perturbed([one], 1, 0)):
            with pytest.raises(StructureError, match=next(iter(lost))):
                read(ion, FAST)
    ion.info = {}
    ion.set_initial_charges([1.0, 0, 0])
    with pytest.raises(StructureError, match="a sum of 1 e"):
        label_structure(ion, FAST)


def test_perturbed_keeps_atoms_apart():
    drawn = perturbed(molecules(), 60, 3, amplitude=0.2)
    assert min(module._closest(atoms) for atoms in drawn) >= 0.6
    close = ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.1]])
    with pytest.raises(
        ArgumentError, match=r"amplitude=0.01.*Pass a smaller amplitude"
    ):
        perturbed([close], 1, 0, amplitude=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": -1, "seed": 0}, "num=-1"),
        ({"num": 1, "seed": -1}, "seed=-1"),
        ({"num": 1, "seed": 0, "amplitude": float("nan")}, "amplitude=nan"),
    ],
)
def test_perturbed_refuses(options, message):
    with pytest.raises(ArgumentError, match=message):
        perturbed(molecules(), **options)
    with pytest.raises(ArgumentError, match="is empty"):
        perturbed([], 1, 0)
    with pytest.raises(StructureError, match=r"structures\[0\].pbc"):
        perturbed([ase.build.bulk("Cu")], 1, 0)


def test_settings_refuse_nothing_and_half_things():
    with pytest.raises(ArgumentError, match="leaves no labels"):
        LabelSettings(moments=False, polarizability=False, density=False)
    with pytest.raises(ArgumentError, match="only together with the moments"):
        LabelSettings(moments=False)


def test_labels_survive_the_file(extra, tmp_path):
    """All of them, under the same names, also where ASE has calculators for them."""
    drawn = perturbed(molecules(), 2, 0)
    path = tmp_path / "labels.xyz"
    checksum = write_labels(path, drawn)
    assert checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [p.name for p in tmp_path.iterdir()] == ["labels.xyz"]
    numbers = [atoms.numbers for atoms in drawn]
    channels = module.density_channels(np.unique(np.concatenate(numbers)).tolist())
    read = read_labels(path)
    for number, (atoms, before) in enumerate(zip(read, drawn, strict=True)):
        expected = label_structure(before, channels=channels)
        assert atoms == before
        assert atoms.info.keys() == expected.info.keys()
        assert atoms.arrays.keys() == expected.arrays.keys()
        for key in expected.info:
            np.testing.assert_allclose(atoms.info[key], expected.info[key], atol=2e-8)
        for key in expected.arrays:
            np.testing.assert_allclose(
                atoms.arrays[key], expected.arrays[key], atol=2e-8, err_msg=key
            )
        plain = read_structures(path)[number]
        assert plain.info["polarizability"].shape == (9,)
        targets = read_targets(plain)
        assert targets.energies[0] == atoms.info["energy"]
        np.testing.assert_array_equal(targets.forces, atoms.arrays["forces"])


def test_description_restores_shapes(extra, tmp_path):
    path = tmp_path / "labels.xyz"
    write_labels(path, perturbed(molecules(), 3, 0))
    structures = read_labels(path)
    blocks = {block.column: block for block in describe_labels(structures)}
    assert {name: block.shape for name, block in blocks.items()} == {
        "energy": (1,),
        "forces": (3, 1),
        "dipole_moment": (3, 1),
        "quadrupole_moment": (3, 3, 1),
        "polarizability": (3, 3, 1),
        "hartree_fock_energy": (1,),
        "density_l0": (1, 6),
        "density_l1": (3, 4),
        "density_l2": (5, 3),
        "density_l3": (7, 1),
        "density_l4": (9, 1),
    }
    block = blocks["density_l1"]
    values = block_values(structures[0], block)
    assert values.shape == (len(structures[0]), 3, 4)
    direct = module.density_labels(structures[0], channels=(6, 4, 3, 1, 1))
    np.testing.assert_allclose(values, direct.coefficients[1], atol=1e-7)
    assert (block.target, block.key, block.kind) == ("density", "1+", "1+")


def test_a_run_goes_on_where_it_was_interrupted(extra, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STRUCTURES_PER_PART", 2)
    drawn = perturbed(molecules(), 5, 0)
    whole = write_labels(tmp_path / "whole.xyz", drawn, FAST)

    calls = []
    label = module.label_structure

    def interrupted(atoms, settings, *, channels, index):
        calls.append(index)
        if calls.count(3) == 1 and index == 3:
            raise KeyboardInterrupt
        return label(atoms, settings, channels=channels, index=index)

    monkeypatch.setattr(module, "label_structure", interrupted)
    path = tmp_path / "labels.xyz"
    with pytest.raises(KeyboardInterrupt):
        write_labels(path, drawn, FAST)
    assert not path.exists()
    # What is there is not calculated again.
    assert write_labels(path, drawn, FAST) == whole
    assert calls == [0, 1, 2, 3, 2, 3, 4]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.xyz", "whole.xyz"]
    with pytest.raises(ArgumentError, match="exists already"):
        write_labels(path, drawn, FAST)


def test_parts_of_another_run_are_not_mixed_in(extra, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STRUCTURES_PER_PART", 1)
    path = tmp_path / "labels.xyz"
    ended = write_labels(path, molecules(), FAST, report=lambda done, total: True)
    assert ended is None
    other = LabelSettings(density=False)
    with pytest.raises(ArgumentError, match="differs in settings"):
        write_labels(path, molecules(), other)
    with pytest.raises(ArgumentError, match="differs in structures"):
        write_labels(path, molecules()[:2], FAST)
    record = tmp_path / "labels.xyz.parts" / "run.json"
    written = record.read_text()
    for damaged in (written[:-9], written.replace('"part": 1', '"part": "1"')):
        record.write_text(damaged)
        with pytest.raises(ArgumentError, match=r"run\.json cannot be read"):
            write_labels(path, molecules(), FAST)
    record.write_text(written)
    assert write_labels(path, molecules(), FAST) is not None


def test_failures_end_the_run_or_are_left_out(extra, tmp_path):
    far = ase.build.molecule("CH3")
    far.positions *= 3
    far.info["spin_multiplicity"] = 2
    structures = [*molecules(), far]
    path = tmp_path / "labels.xyz"
    with pytest.raises(StructureError, match=r"structures\[3\]"):
        write_labels(path, structures, FAST)
    with pytest.warns(UserWarning, match=r"left out: structures\[3\]"):
        write_labels(path, structures, FAST, skip_failures=True)
    assert len(read_labels(path)) == 3
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(StructureError, match="none of these"),
    ):
        write_labels(tmp_path / "none.xyz", [far], FAST, skip_failures=True)


@pytest.mark.slow
def test_all_of_the_small_molecules_can_be_labelled(extra, shared, tmp_path):
    frames = read_structures(shared / "data" / "qm9_reduced_100.xyz")
    write_labels(tmp_path / "labels.xyz", perturbed(frames, 100, 0))
    structures = read_labels(tmp_path / "labels.xyz")
    assert len(structures) == 100
    assert len(describe_labels(structures)) == 11


@pytest.mark.parametrize("function", [label_structure, write_labels])
def test_examples_that_need_the_extra(extra, function, tmp_path, monkeypatch):
    """Doctests leave them out, as the extra may be missing."""
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(function).replace("# doctest: +SKIP", "")
    test = doctest.DocTestParser().get_doctest(text, {}, function.__name__, None, 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0
