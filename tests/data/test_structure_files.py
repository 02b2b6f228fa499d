"""What ASE guesses, drops or cannot read is read right, or refused by name."""

import ase.io
import numpy as np
import pytest

from symjax.data import read_structures
from symjax.errors import StructureError

CIF = """data_po
_cell_length_a 4.0
_cell_length_b 4.0
_cell_length_c 4.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P 1'
loop_
_space_group_symop_operation_xyz
'x, y, z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
{sites}
"""
CELL = '"3.6 0 0 0 3.6 0 0 0 9.6"'
DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 10
0 10
0 10
ITEM: ATOMS id type {column} x y z
1 1 {first} 0 0 0
2 2 {second} 1 1 1
"""


def xyz(comment, species="Cu"):
    return f"2\n{comment} Properties=species:S:1:pos:R:3\nCu 0 0 0\n{species} 1 1 1\n"


def dump(column, first, second):
    return DUMP.format(column=column, first=first, second=second)


BAD = {
    "shared.cif": (
        CIF.format(sites="C1 C 0 0 0 0.5\nO1 O 0 0 0 0.5"),
        r"partial occupancies in frame 0 \((C 0.5, O 0.5|O 0.5, C 0.5) on one site\)",
    ),
    "vacant.cif": (CIF.format(sites="H1 H 0.5 0.5 0.5 0.3"), "H 0.3 on one site"),
    "lattice.xyz": (xyz(f"lattice={CELL}"), "'lattice' in frame 0.*Write Lattice="),
    "upper.xyz": (xyz(f'LATTICE={CELL} pbc="T T T"'), "'LATTICE'.*Write Lattice="),
    "pbc.xyz": (xyz(f'Lattice={CELL} PBC="T T F"'), "'PBC'.*Write pbc="),
    "joined.xyz": (
        xyz(f'Lattice={CELL} pbc="TTF"'),
        'pbc="TTF" in line 2.*Write three values with spaces',
    ),
    "bare.xyz": (xyz(f"Lattice={CELL} pbc=T T F energy=1.0"), "pbc=T T F in line 2"),
    "nested.xyz": (xyz(f"Lattice={CELL} pbc=[[T,T,F]]"), r"pbc=\[\[T,T,F"),
    "words.xyz": (xyz(f'Lattice={CELL} pbc="yes yes no"'), 'pbc="yes yes no"'),
    "label.xyz": (xyz("", "O1"), "'O1' in line 4.*such as O"),
    "number.xyz": (xyz("", "8"), "'8' in line 4.*such as O, or the numbers.*Z:I:1"),
    "types.lammpstrj": (dump("q", 0, 0), "does not name the elements"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name, tmp_path):
    text, match = BAD[name]
    (tmp_path / name).write_text(text)
    format = "lammps-dump-text" if name.endswith("trj") else None
    with pytest.raises(StructureError, match=match) as caught:
        read_structures(tmp_path / name, format=format)
    assert str(caught.value).startswith("path=")


def test_full_sites_are_read(tmp_path):
    path = tmp_path / "full.cif"
    path.write_text(CIF.format(sites="C1 C 0 0 0 1.0\nO1 O 0.5 0 0 1"))
    (atoms,) = read_structures(path)
    assert str(atoms.symbols) == "CO"


def test_elements_of_a_dump_are_read(tmp_path):
    path = tmp_path / "named.lammpstrj"
    path.write_text(dump("element", "Cu", "O"))
    (atoms,) = read_structures(path, format="lammps-dump-text")
    assert str(atoms.symbols) == "CuO"


@pytest.mark.parametrize("value", ['"T T F"', '"True True False"', '"1 1 0"'])
def test_periodicity_is_read(value, tmp_path):
    path = tmp_path / "slab.xyz"
    path.write_text(xyz(f"Lattice={CELL} pbc={value}"))
    (atoms,) = read_structures(path)
    expected = [True, True, False]
    if value == '"1 1 0"':
        expected = ase.io.read(path).pbc.tolist()
    assert atoms.pbc.tolist() == expected


def test_isotopes_are_hydrogen_with_their_mass(tmp_path):
    path = tmp_path / "heavy.xyz"
    frame = "3\nProperties=pos:R:3:species:S:1\n0 0 0 {}\n0 0 1 {}\n0 1 0 {}\n"
    path.write_text(frame.format("O", "H", "H") + frame.format("O", "D", "T"))
    light, heavy = read_structures(path)
    assert str(light.symbols) == str(heavy.symbols) == "OH2"
    np.testing.assert_allclose(light.get_masses()[1:], 1.008)
    np.testing.assert_allclose(heavy.get_masses()[1:], [2.014, 3.016], atol=1e-3)
    (last,) = read_structures(path, index=-1)
    np.testing.assert_array_equal(last.get_masses(), heavy.get_masses())
