"""metatrain's datasets on disk: what they hold turns as the description says."""

import io
import json
import sys
import zipfile

import numpy as np
import pytest

from symjax.data.label_blocks import block_values
from symjax.errors import ArgumentError, StructureError
from symjax.interop.metatensor_targets import read_metatensor_targets
from symjax.so3 import act

metatensor = pytest.importorskip("metatensor", reason="needs the extra [torch]")
if not hasattr(metatensor, "TensorMap"):
    pytest.skip("needs metatensor of the extra [torch]", allow_module_level=True)

READABLE = (
    "mtt::dipole_moment",
    "mtt::electron_density_basis_projs",
    "mtt::hamiltonian_nodes",
)


@pytest.fixture
def path(shared):
    return shared / "data" / "spherical_targets_unrotated.zip"


def write(path, systems):
    """A dataset of structures with maps of targets, as metatrain lays it out."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, (atoms, targets) in enumerate(systems):
            system = io.BytesIO()
            with zipfile.ZipFile(system, "w") as inner:
                for name, values in (
                    ("positions", atoms.positions),
                    ("cell", atoms.cell.array),
                    ("types", atoms.numbers.astype(np.int32)),
                    ("pbc", atoms.pbc),
                ):
                    buffer = io.BytesIO()
                    np.save(buffer, values)
                    inner.writestr(f"{name}.npy", buffer.getvalue())
            archive.writestr(f"{number}/system.mta", system.getvalue())
            for target, tensor in targets.items():
                buffer = io.BytesIO()
                metatensor.save(buffer, tensor)
                archive.writestr(f"{number}/{target}.mts", buffer.getvalue())


def labels(**columns):
    values = np.stack([np.atleast_1d(v) for v in columns.values()], axis=1)
    return metatensor.Labels(list(columns), values.astype(np.int32))


def tensor(values, samples, components, key=None, gradient=False):
    block = metatensor.TensorBlock(
        values, samples, components, labels(n=np.arange(values.shape[-1]))
    )
    if gradient:
        block.add_gradient(
            "positions",
            metatensor.TensorBlock(
                np.zeros((1, 3, *values.shape[1:])),
                labels(sample=0, system=0, atom=0),
                [labels(xyz=np.arange(3)), *components],
                block.properties,
            ),
        )
    return metatensor.TensorMap(labels(_=0) if key is None else key, [block])


def water():
    ase_build = pytest.importorskip("ase.build")
    return ase_build.molecule("H2O")


def test_dipole_points_from_oxygen_to_the_hydrogens(path):
    """Spherical, hence (y, z, x); the molecule lies in the plane z = 0, O at 0."""
    result = read_metatensor_targets(path, READABLE[:1])
    (block,) = result.blocks
    assert (block.kind, block.properties, block.per_atom) == ("1+", 1, False)
    for atoms in result.structures:
        assert atoms.get_chemical_formula() == "H2O"
        y, z, x = block_values(atoms, block)[:, 0]
        bisector = np.sum(atoms.positions - atoms.positions[0], axis=0)
        ratio = np.dot([x, y, z], bisector) / np.dot(bisector, bisector)
        assert ratio > 0
        np.testing.assert_allclose([x, y, z], ratio * bisector, atol=1e-8)


def test_labels_have_the_symmetry_of_the_molecule(path):
    """Two mirrors: that of the molecular plane and the one that swaps hydrogens."""
    result = read_metatensor_targets(path, READABLE)
    across = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert len(result.blocks) == 15
    for atoms in result.structures:
        for rotation, order in (
            (np.diag([1.0, 1, -1]), [0, 1, 2]),
            (across, [0, 2, 1]),
        ):
            moved = atoms.positions @ rotation.T
            np.testing.assert_allclose(moved, atoms.positions[order], atol=1e-12)
            for block in result.blocks:
                values = block_values(atoms, block)
                turned = np.asarray(act(block.with_channels, rotation, values))
                expected = values[order] if block.per_atom else values
                np.testing.assert_allclose(
                    turned, expected, rtol=0, atol=1e-8, err_msg=block.column
                )


def test_blocks_of_an_element_leave_the_others_unlabelled(path):
    result = read_metatensor_targets(path, ["mtt::hamiltonian_nodes"])
    blocks = {block.column: block for block in result.blocks}
    for column, covered in (
        ("hamiltonian_nodes_l2_O", [True, False, False]),
        ("hamiltonian_nodes_l2_H", [False, True, True]),
    ):
        values = result.structures[0].arrays[column]
        assert values.shape == (3, 5 * blocks[column].properties)
        np.testing.assert_array_equal(np.isfinite(values).all(axis=1), covered)
        np.testing.assert_array_equal(np.isnan(values).all(axis=1), ~np.array(covered))
    assert blocks["hamiltonian_nodes_l6_O"].kind == "6+"
    assert blocks["hamiltonian_nodes_l2_O"].key == "2+_O"


def test_values_are_those_of_metatensor(path):
    result = read_metatensor_targets(path, ["mtt::electron_density_basis_projs"])
    with zipfile.ZipFile(path) as archive:
        data = archive.read("1/mtt::electron_density_basis_projs.mts")
    expected = metatensor.load(io.BytesIO(data))
    assert len(result.blocks) == len(expected.keys)
    for block, values in zip(result.blocks, expected.blocks(), strict=True):
        found = block_values(result.structures[1], block)
        np.testing.assert_array_equal(found, values.values)


def test_what_does_not_fit_is_refused_by_name(path):
    with pytest.raises(
        ArgumentError, match=r"hamiltonian_nodes_uncoupled.*o3_lambda_1=0.*o3_mu_2"
    ):
        read_metatensor_targets(path)
    with pytest.raises(ArgumentError, match=r"'energy': is not in the file"):
        read_metatensor_targets(path, ["energy"])


def test_cartesian_targets_and_partial_coverage(tmp_path):
    atoms = water()
    stress = np.arange(9.0).reshape(1, 3, 3, 1)
    axes = [labels(xyz_1=np.arange(3)), labels(xyz_2=np.arange(3))]
    forces = np.arange(12.0).reshape(2, 3, 2)
    some = labels(system=[0, 0], atom=[2, 0])
    axial = labels(o3_lambda=1, o3_sigma=-1)
    systems = [
        (
            atoms,
            {
                "charge": tensor(np.array([[2.0]]), labels(system=0), []),
                "alpha": tensor(stress, labels(system=0), axes),
                "mtt::moves": tensor(forces, some, [labels(xyz=np.arange(3))]),
                "axial": tensor(
                    forces, some, [labels(o3_mu=np.arange(-1, 2))], key=axial
                ),
            },
        ),
        (atoms, {"charge": tensor(np.array([[0.0]]), labels(system=1), [])}),
    ]
    write(tmp_path / "data.zip", systems)
    result = read_metatensor_targets(tmp_path / "data.zip")
    blocks = {block.column: block for block in result.blocks}
    kinds = {name: (block.kind, block.per_atom) for name, block in blocks.items()}
    assert kinds == {
        "charge": ("scalar", False),
        "alpha": ("matrix", False),
        "moves": ("vector", True),
        "axial_l1_pseudo": ("1-", True),
    }
    one, two = result.structures
    assert (one.info["charge"], two.info["charge"]) == (2, 0)
    np.testing.assert_array_equal(one.info["alpha"], np.arange(9))
    assert np.isnan(two.info["alpha"]).all()
    np.testing.assert_array_equal(one.arrays["moves"][[2, 0]], forces.reshape(2, 6))
    assert np.isnan(one.arrays["moves"][1]).all()
    assert np.isnan(two.arrays["moves"]).all()
    assert block_values(two, blocks["moves"]).shape == (3, 3, 2)
    json.dumps(kinds)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: tensor(np.ones((1, 1)), labels(system=0), [], gradient=True),
            r"'energy': its block with _=0 has gradients \['positions'\]",
        ),
        (
            lambda: tensor(
                np.ones((1, 1)), labels(system=0, first_atom=0, second_atom=1), []
            ),
            "has samples .*first_atom",
        ),
        (
            lambda: tensor(np.ones((2, 1)), labels(system=[0, 1]), []),
            "has 2 samples for one structure",
        ),
        (
            lambda: tensor(
                np.ones((1, 3, 1)), labels(system=0), [labels(xyz=[1, 2, 0])]
            ),
            "components out of order",
        ),
    ],
)
def test_other_layouts_are_refused(tmp_path, make, message):
    write(tmp_path / "data.zip", [(water(), {"energy": make()})])
    with pytest.raises(ArgumentError, match=message):
        read_metatensor_targets(tmp_path / "data.zip")


def test_systems_must_agree(tmp_path):
    one = tensor(np.ones((1, 1)), labels(system=0), [])
    two = tensor(np.ones((1, 2)), labels(system=0), [])
    write(tmp_path / "data.zip", [(water(), {"e": one}), (water(), {"e": two})])
    with pytest.raises(StructureError, match=r"structures\[1\].e"):
        read_metatensor_targets(tmp_path / "data.zip")
    write(tmp_path / "data.zip", [(water(), {"mtt::e": one, "e": one})])
    with pytest.raises(ArgumentError, match="the same column as"):
        read_metatensor_targets(tmp_path / "data.zip")


def test_atoms_must_exist(tmp_path):
    beyond = tensor(np.ones((1, 1)), labels(system=0, atom=3), [])
    write(tmp_path / "data.zip", [(water(), {"e": beyond})])
    with pytest.raises(StructureError, match="not the index of an atom; there are 3"):
        read_metatensor_targets(tmp_path / "data.zip")


def test_damaged_files_are_refused(path, tmp_path):
    data = path.read_bytes()
    for number, content in enumerate((b"", b"no zip", data[:5000], data[:-40])):
        damaged = tmp_path / f"{number}.zip"
        damaged.write_bytes(content)
        with pytest.raises(StructureError, match="Pass a zip file"):
            read_metatensor_targets(damaged)
    with zipfile.ZipFile(tmp_path / "damaged.zip", "w") as archive:
        with zipfile.ZipFile(path) as source:
            archive.writestr("0/system.mta", source.read("0/system.mta"))
            content = source.read("0/mtt::dipole_moment.mts")
        archive.writestr("0/dipole.mts", content[: len(content) // 2])
    with pytest.raises(StructureError, match="cannot be read"):
        read_metatensor_targets(tmp_path / "damaged.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(StructureError, match="no folders"):
        read_metatensor_targets(tmp_path / "empty.zip")


def test_without_metatensor_the_extra_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "metatensor", None)
    with pytest.raises(ArgumentError, match=r"Install symjax\[torch\]"):
        read_metatensor_targets(path, READABLE[:1])
