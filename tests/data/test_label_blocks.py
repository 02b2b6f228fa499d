"""Descriptions of labels, their shapes, and files that others wrote."""

import ase.build
import ase.io
import numpy as np
import pytest

from symjax.data.label_blocks import (
    LabelBlock,
    block_values,
    describe_labels,
    read_labels,
)
from symjax.errors import ArgumentError, StructureError
from symjax.so3.representations import check_array


@pytest.mark.parametrize("properties", [1, 3])
@pytest.mark.parametrize("per_atom", [False, True])
@pytest.mark.parametrize("kind", ["scalar", "vector", "matrix", "0-", "2+", "6+"])
def test_flattened_labels_come_back_in_shape(tmp_path, kind, per_atom, properties):
    """Nine numbers too, which ASE makes a transposed matrix under some names."""
    block = LabelBlock("_", kind, properties, column="label", per_atom=per_atom)
    structures = [ase.build.molecule("H2O"), ase.build.molecule("CH4")]
    expected = []
    for number, atoms in enumerate(structures):
        shape = (len(atoms), *block.shape) if per_atom else block.shape
        values = np.random.default_rng(number).normal(size=shape).round(8)
        holder = atoms.arrays if per_atom else atoms.info
        holder["label"] = values.reshape(len(atoms) if per_atom else 1, -1)
        if not per_atom:
            atoms.info["label"] = atoms.info["label"][0]
        expected.append(values)
        check_array(block.with_channels, values.shape, "values")
    ase.io.write(tmp_path / "file.xyz", structures, format="extxyz")
    for atoms, values in zip(read_labels(tmp_path / "file.xyz"), expected, strict=True):
        np.testing.assert_array_equal(block_values(atoms, block), values)


def test_results_of_calculators_are_labels_again(tmp_path):
    """Including vectors of a structure of three atoms."""
    water = ase.build.molecule("H2O")
    water.info |= {"energy": -14.0, "dipole": np.arange(3.0)}
    water.arrays |= {"forces": np.ones((3, 3)), "charges": np.array([-2.0, 1, 1])}
    ase.io.write(tmp_path / "file.xyz", water, format="extxyz")
    (atoms,) = read_labels(tmp_path / "file.xyz")
    assert atoms.calc is None
    assert atoms.info["energy"] == -14
    np.testing.assert_array_equal(atoms.info["dipole"], [0, 1, 2])
    np.testing.assert_array_equal(atoms.arrays["forces"], np.ones((3, 3)))
    np.testing.assert_array_equal(atoms.arrays["charges"], [-2, 1, 1])


def test_missing_and_misshapen_labels_are_named():
    one, two = ase.build.molecule("H2O"), ase.build.molecule("H2O")
    one.info["polarizability"] = np.zeros(9)
    with pytest.raises(StructureError, match=r"structures\[1\].info\['polarizability'"):
        describe_labels([one, two])
    with pytest.raises(StructureError, match=r"structures\[0\].info\['polarizability'"):
        describe_labels([two, one])
    two.info["polarizability"] = np.zeros(6)
    with pytest.raises(StructureError, match="must have 9 values"):
        describe_labels([one, two])
    with pytest.raises(ArgumentError, match="is empty"):
        describe_labels([])
    assert describe_labels([ase.build.molecule("H2O")]) == ()
