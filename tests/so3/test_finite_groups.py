"""Group laws and the orthogonality relations, which prove the characters."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symjax.errors import ArgumentError, GridError
from symjax.so3.finite_groups import (
    FiniteGroup,
    finite_group,
    generate,
    rotation_about,
)
from symjax.so3.point_groups import schoenflies

ORDERS = {
    "C1": 1,
    "C2": 2,
    "C3": 3,
    "C4": 4,
    "C5": 5,
    "C6": 6,
    "Ci": 2,
    "D2": 4,
    "D3": 6,
    "D4": 8,
    "D5": 10,
    "D6": 12,
    "D2h": 8,
    "D3h": 12,
    "D4h": 16,
    "D6h": 24,
    "D3d": 12,
    "D5d": 20,
    "T": 12,
    "Td": 24,
    "Th": 24,
    "O": 24,
    "Oh": 48,
    "I": 60,
    "Ih": 120,
}


@pytest.mark.parametrize("name", [name for name in ORDERS if name[-1] in "hd"])
def test_names_are_those_of_schoenflies(name):
    """The classification of point groups by their axes knows nothing of these names."""
    assert schoenflies(finite_group(name).elements) == name


def classes(group):
    """Conjugacy classes by brute force."""
    keys = {(np.round(e, 6) + 0.0).tobytes(): i for i, e in enumerate(group.elements)}
    label = -np.ones(group.order, int)
    for index in range(group.order):
        if label[index] < 0:
            for g in group.elements:
                other = g @ group.elements[index] @ g.T
                label[keys[(np.round(other, 6) + 0.0).tobytes()]] = index
    return label


@pytest.mark.parametrize("name", ORDERS)
def test_group_laws(name):
    group = finite_group(name)
    assert group.order == ORDERS[name]
    np.testing.assert_allclose(
        group.elements @ np.swapaxes(group.elements, 1, 2),
        np.broadcast_to(np.eye(3), group.elements.shape),
        atol=1e-12,
    )
    assert (
        len({(np.round(e, 6) + 0.0).tobytes() for e in group.elements}) == group.order
    )
    table = group.quotients
    # g^-1 g is the identity, and each row and column is a permutation
    assert (np.diag(table) == 0).all()
    everything = np.arange(group.order)
    np.testing.assert_array_equal(np.sort(table, axis=0).T, [everything] * group.order)
    np.testing.assert_array_equal(np.sort(table, axis=1), [everything] * group.order)


@pytest.mark.parametrize("name", ORDERS)
def test_characters(name):
    """Orthonormal class functions whose dimensions square to the order: the table."""
    group = finite_group(name)
    label = classes(group)
    total = 0
    for irrep in group.irreps:
        character = irrep.character
        assert character[0] == pytest.approx(irrep.dimension)
        for value in np.unique(label):
            assert np.ptp(character[label == value]) < 1e-9
        total += irrep.dimension**2 * (2 if irrep.paired else 1)
        for other in group.irreps:
            product = np.mean(character * other.character)
            # the real part of one of a pair of conjugates has half the norm
            expected = (0.5 if irrep.paired else 1.0) if other is irrep else 0.0
            assert product == pytest.approx(expected, abs=1e-9)
    assert total == group.order
    num = sum(2 if irrep.paired else 1 for irrep in group.irreps)
    assert num == len(np.unique(label))


@pytest.mark.parametrize("name", ["C4", "C5", "D3", "D4", "T", "Td", "Oh", "I"])
def test_projectors_resolve_the_identity(name):
    group = finite_group(name)
    projectors = [group.projector(irrep.name) for irrep in group.irreps]
    np.testing.assert_allclose(sum(projectors), np.eye(group.order), atol=1e-9)
    for p, irrep in zip(projectors, group.irreps, strict=True):
        np.testing.assert_allclose(p, p.T, atol=1e-12)
        np.testing.assert_allclose(p @ p, p, atol=1e-9)
        rank = irrep.dimension**2 * (2 if irrep.paired else 1)
        assert np.trace(p) == pytest.approx(rank)


@pytest.mark.parametrize(
    ("name", "irrep"), [("O", "T1"), ("Oh", "T1u"), ("Td", "T2"), ("I", "T1")]
)
def test_matrix_elements_of_the_vector(name, irrep):
    """u(g) = (g v)_i lies in the irrep of the vector."""
    group = finite_group(name)
    u = group.elements @ np.array([0.3, -1.0, 0.7])
    np.testing.assert_allclose(group.projector(irrep) @ u, u, atol=1e-9)


def test_the_octahedral_group_is_the_signed_permutations():
    group = finite_group("Oh")
    assert set(np.unique(np.round(group.elements, 12) + 0.0)) == {-1.0, 0.0, 1.0}
    assert (np.abs(np.linalg.det(finite_group("O").elements) - 1) < 1e-12).all()


@given(st.integers(1, 30))
def test_cyclic_and_dihedral_groups_of_any_order(num):
    assert finite_group(f"C{num}").order == num
    if num > 1:
        assert finite_group(f"D{num}").order == 2 * num


def test_bad_input():
    for name in ("K", "C0", "D1", "D4d", "C2d", "D1h", "oh", 4, ""):
        with pytest.raises(ArgumentError, match="name"):
            finite_group(name)
    with pytest.raises(ArgumentError, match="T1u"):
        finite_group("Oh").irrep("T1")
    with pytest.raises(ArgumentError, match="closed"):
        FiniteGroup("half", finite_group("C4").elements[:3], ())
    with pytest.raises(ArgumentError, match="identity"):
        FiniteGroup("x", finite_group("C4").elements[::-1], ())
    with pytest.raises(ArgumentError, match="orthogonal"):
        FiniteGroup("x", 2 * np.eye(3)[None], ())
    with pytest.raises(GridError, match="finite"):
        generate(rotation_about((0, 0, 1), 1.0)[None])
    with pytest.raises(ArgumentError, match="axis"):
        rotation_about((0, 0, 0), 1.0)


def test_characters_in_another_order_of_elements_are_refused():
    group = finite_group("D3")
    mixed = [0, *range(group.order - 1, 0, -1)]
    with pytest.raises(ArgumentError, match="order of the elements"):
        FiniteGroup("mixed", group.elements[mixed], group.irreps)
    short = dataclasses.replace(group.irreps[0], character=np.ones(1))
    with pytest.raises(ArgumentError, match="one value for each element"):
        FiniteGroup("short", group.elements, (short, *group.irreps[1:]))
    twice = (group.irreps[0], group.irreps[0], group.irreps[2])
    with pytest.raises(ArgumentError, match="each irrep once"):
        FiniteGroup("twice", group.elements, twice)
