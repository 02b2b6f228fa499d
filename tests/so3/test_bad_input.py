"""Every refusal names the argument, its class says what kind, and it has a remedy."""

import numpy as np
import pytest

from symjax import so3
from symjax.errors import ArgumentError, GridError, RepresentationError
from symjax.so3 import action, harmonics, irreps, representations, rotations, sampling
from symjax.so3.sample_symmetry import SampleSymmetry

EYE = np.eye(3)
KEY = None  # counts are checked before the key is used
SHEAR = np.array([[1, 0.1, 0], [0, 1, 0], [0, 0, 1]])
HALF = np.full(2, 0.5)


def rule(**changes):
    fields = {
        "alpha": np.zeros(2),
        "beta": np.array([0, np.pi]),
        "sphere_weights": HALF,
        "in_plane": 2,
        "degree": 1,
        "name": "two poles",
    }
    return so3.Quadrature(**fields | changes)


def representation(argument, value):
    fields = {"name": "v", "shape": (3,), "irreps": (so3.Irrep(1, 1),)}
    return so3.Representation(**{**fields, "basis": "cartesian", argument: value})


CASES = [
    # rotations
    ("matrix", ArgumentError, lambda: rotations.matrix_to_euler(np.eye(2))),
    ("matrix", ArgumentError, lambda: rotations.split_inversion(np.eye(4))),
    ("quaternion", ArgumentError, lambda: rotations.quaternion_to_matrix(np.ones(3))),
    ("quaternion", ArgumentError, lambda: rotations.quaternion_to_matrix(1.0)),
    ("rotations", ArgumentError, lambda: rotations.check_orthogonal(SHEAR)),
    ("rotations", ArgumentError, lambda: rotations.check_orthogonal(EYE * np.nan)),
    ("rotations[1]", ArgumentError, lambda: rotations.check_orthogonal([EYE, 2 * EYE])),
    ("turns", ArgumentError, lambda: rotations.check_orthogonal(np.eye(2), "turns")),
    # irreps
    ("degree", ArgumentError, lambda: so3.Irrep(-1, 1)),
    ("degree", ArgumentError, lambda: so3.Irrep(1.0, 1)),
    ("degree", ArgumentError, lambda: so3.Irrep(True, 1)),
    ("sigma", ArgumentError, lambda: so3.Irrep(1, 0)),
    ("sigma", ArgumentError, lambda: so3.Irrep(1, "+")),
    ("sigma", ArgumentError, lambda: so3.Irrep(1, True)),
    *[
        ("label", ArgumentError, lambda label=label: so3.Irrep.parse(label))
        for label in ("", "1", "+1", "1o", "1+ ", "-1+", "1+1+", "٣+", 1, None)
    ],
    ("a", ArgumentError, lambda: so3.products("1+", so3.Irrep(1, 1))),
    ("b", ArgumentError, lambda: so3.products(so3.Irrep(1, 1), 1)),
    ("max_degree", ArgumentError, lambda: irreps.all_irreps(-1)),
    # representations
    ("degree", ArgumentError, lambda: so3.spherical(-2)),
    ("sigma", ArgumentError, lambda: so3.spherical(2, 2)),
    ("parts", RepresentationError, so3.direct_sum),
    ("parts", RepresentationError, lambda: so3.direct_sum(so3.FEATURE)),
    ("parts", RepresentationError, lambda: so3.direct_sum("vector")),
    ("values", RepresentationError, lambda: so3.act(so3.VECTOR, EYE, np.ones(4))),
    ("values", RepresentationError, lambda: so3.act(so3.MATRIX, EYE, np.ones(3))),
    ("values", RepresentationError, lambda: so3.act(so3.FEATURE, EYE, 1.0)),
    (
        "values",
        RepresentationError,
        lambda: so3.act(so3.VECTOR, EYE, np.arange(3)),
    ),
    ("rotation", ArgumentError, lambda: so3.act(so3.VECTOR, np.eye(2), np.ones(3))),
    ("representations", RepresentationError, lambda: so3.act("v", EYE, np.ones(3))),
    ("action", RepresentationError, lambda: action.act_tree([so3.VECTOR], EYE, ())),
    ("action", RepresentationError, lambda: action.act_tree("v", EYE, np.ones(3))),
    ("values", RepresentationError, lambda: so3.to_spherical(so3.VECTOR, np.ones(4))),
    ("values", ArgumentError, lambda: so3.to_spherical(so3.VECTOR, 1j * np.ones(3))),
    (
        "rotations",
        ArgumentError,
        lambda: representations.spherical_matrix(so3.VECTOR, np.eye(2)),
    ),
    # elements that are none: scaled, sheared, not finite
    *[
        (argument, ArgumentError, lambda call=call, bad=bad: call(bad))
        for bad in (1.001 * EYE, SHEAR, EYE * np.nan, np.zeros((3, 3)))
        for argument, call in (
            ("rotations", lambda bad: so3.irrep_matrix(so3.Irrep(2, -1), bad)),
            ("rotations", lambda bad: so3.wigner_d(1, np.stack([EYE, bad]))),
            (
                "rotations",
                lambda bad: representations.spherical_matrix(so3.MATRIX, bad),
            ),
            ("rotation", lambda bad: so3.act(so3.SCALAR, bad, np.ones(3))),
            ("rotation", lambda bad: so3.act(so3.VECTOR, bad, np.ones(3))),
            (
                "rotation",
                lambda bad: action.act_tree(so3.MATRIX, bad, [np.ones((3, 3))]),
            ),
        )
    ],
    ("rotation", ArgumentError, lambda: so3.act(so3.VECTOR, [EYE, EYE], np.ones(3))),
    ("values", ArgumentError, lambda: so3.act(so3.SCALAR, EYE, "text")),
    ("values", ArgumentError, lambda: so3.act(so3.SCALAR, EYE, None)),
    *[
        ("values", RepresentationError, lambda case=case: so3.from_spherical(*case))
        for case in (
            (so3.VECTOR, np.ones(3)),
            (so3.VECTOR, np.ones((5, 1))),
            (so3.VECTOR, np.ones((3, 2))),
            (so3.MATRIX, np.ones((3, 9))),
            (so3.SCALAR, np.ones((3, 1, 2))),
        )
    ],
    ("values", ArgumentError, lambda: so3.from_spherical(so3.VECTOR, 1j * np.ones(3))),
    ("representation", RepresentationError, lambda: so3.from_spherical("v", EYE)),
    *[
        (
            name,
            RepresentationError,
            lambda name=name, bad=bad: representation(name, bad),
        )
        for name, bad in (
            ("name", so3.VECTOR),
            ("shape", 3),
            ("irreps", so3.Irrep(1, 1)),
            ("basis", EYE + 0j),
        )
    ],
    ("basis", RepresentationError, lambda: so3.spherical(1, basis=EYE)),
    # groups
    *[
        ("name", ArgumentError, lambda name=name: so3.finite_group(name))
        for name in (["C2"], 5, None, "C0", "C02", "D1", "D2d", "C5000", "D500h", "c2")
    ],
    ("name", ArgumentError, lambda: so3.finite_group("C" + 5000 * "9")),
    ("irreps", ArgumentError, lambda: so3.FiniteGroup("mine", EYE[None], ())),
    (
        "elements",
        ArgumentError,
        lambda: so3.FiniteGroup("twice", [EYE, EYE], so3.finite_group("C2").irreps),
    ),
    ("elements", ArgumentError, lambda: so3.FiniteGroup("mine", "text", ())),
    *[
        ("permutations", ArgumentError, lambda bad=bad: SampleSymmetry(EYE[None], bad))
        for bad in ([[0, 1]], {"f": [[0.0, 1.0]]}, {"f": [0, 1]}, {"f": [[0, 0]]})
    ],
    *[
        ("tolerance", ArgumentError, lambda bad=bad: SampleSymmetry(EYE[None], {}, bad))
        for bad in ("a", True, 0.0)
    ],
    # bases
    *[
        (
            "basis",
            RepresentationError,
            lambda fields=fields: so3.Representation(*fields),
        )
        for fields in (
            ("vector", (3,), (so3.Irrep(1, 1),)),
            ("matrix", (3, 3), (so3.Irrep(4, 1),)),
            ("matrix", (3, 3), 3 * (so3.Irrep(1, 1),)),
            ("spherical 2+", (5,), (so3.Irrep(2, 1),)),
            ("five", (5,), (so3.Irrep(2, 1),), False, "cartesian"),
            ("five", (5,), (so3.Irrep(2, 1),), False, "racah"),
            ("five", (5,), (so3.Irrep(2, 1),), False, np.eye(3)),
            ("five", (5,), (so3.Irrep(2, 1),), False, 2 * np.eye(5)),
            ("five", (5,), (so3.Irrep(2, 1),), False, np.nan * np.eye(5)),
            ("matrix", (3, 3), so3.MATRIX.irreps, False, "e3nn"),
        )
    ],
    ("basis", RepresentationError, lambda: so3.spherical(1, basis="cartesian")),
    (
        "shape",
        RepresentationError,
        lambda: so3.Representation("six", (6,), (so3.Irrep(2, 1),), basis="e3nn"),
    ),
    ("irreps", RepresentationError, lambda: so3.Representation("none", (), ())),
    ("components", ArgumentError, lambda: so3.from_e3nn(np.ones(4), degree=2)),
    ("components", ArgumentError, lambda: so3.to_e3x(np.ones(5))),
    # wigner
    ("max_degree", ArgumentError, lambda: so3.wigner_d(-1, EYE)),
    ("max_degree", ArgumentError, lambda: so3.wigner_d(1.5, EYE)),
    ("max_degree", ArgumentError, lambda: so3.wigner_d(501, EYE)),
    ("max_degree", ArgumentError, lambda: so3.wigner_d(10**12, EYE)),
    ("rotations", ArgumentError, lambda: so3.wigner_d(1, np.eye(2))),
    ("rotations", ArgumentError, lambda: so3.wigner_d(1, EYE.astype(complex))),
    ("irrep", ArgumentError, lambda: so3.irrep_matrix("1+", EYE)),
    ("rotations", ArgumentError, lambda: so3.irrep_matrix(so3.Irrep(1, -1), [1.0])),
    # harmonics
    ("degree", ArgumentError, lambda: harmonics.degree_slice(-1)),
    ("max_degree", ArgumentError, lambda: so3.spherical_harmonics(-1, np.ones(3))),
    ("vectors", ArgumentError, lambda: so3.spherical_harmonics(1, np.ones(2))),
    (
        "normalization",
        ArgumentError,
        lambda: harmonics.solid_harmonics(1, np.ones(3), normalization="schmidt"),
    ),
    ("components", ArgumentError, lambda: so3.to_e3x(np.ones(5))),
    ("components", ArgumentError, lambda: so3.from_e3x(np.ones(0))),
    *[
        ("axis", ArgumentError, lambda axis=axis: so3.to_e3x(np.ones(4), axis=axis))
        for axis in (1, -2, 0.0, "a", None, True)
    ],
    # quadrature
    ("degree", ArgumentError, lambda: so3.quadrature(-1)),
    ("degree", ArgumentError, lambda: so3.quadrature(2.0, "gauss")),
    ("degree", GridError, lambda: so3.quadrature(132, "lebedev")),
    ("degree", GridError, lambda: so3.quadrature(28, "icosahedral")),
    ("kind", ArgumentError, lambda: so3.quadrature(3, "fibonacci")),
    ("rule", ArgumentError, lambda: so3.nested(3)),
    ("rule", GridError, lambda: so3.nested(so3.quadrature(0, "gauss"))),
    ("alpha", ArgumentError, lambda: rule(alpha=np.zeros((2, 1)))),
    ("beta", ArgumentError, lambda: rule(beta=np.zeros(3))),
    ("beta", ArgumentError, lambda: rule(beta=np.array([0, np.nan]))),
    ("sphere_weights", ArgumentError, lambda: rule(sphere_weights=2 * HALF)),
    ("in_plane", ArgumentError, lambda: rule(in_plane=1)),
    ("in_plane", ArgumentError, lambda: rule(in_plane=2.5)),
    ("degree", ArgumentError, lambda: rule(degree=-1)),
    ("alpha", ArgumentError, lambda: rule(alpha=np.zeros(2) * 1j)),
    ("alpha", ArgumentError, lambda: rule(alpha="two")),
    ("kind", ArgumentError, lambda: so3.quadrature(3, ["gauss"])),
    # sampling
    ("key", ArgumentError, lambda: so3.haar(0, 3)),
    ("num", ArgumentError, lambda: so3.haar(KEY, 0)),
    ("num", ArgumentError, lambda: so3.haar(KEY, 2.0)),
    ("num", ArgumentError, lambda: sampling.super_fibonacci(0)),
    # more than memory has a place for
    ("num", ArgumentError, lambda: so3.haar(KEY, 10**8)),
    ("num", ArgumentError, lambda: sampling.super_fibonacci(10**8)),
    ("irreps", RepresentationError, lambda: so3.spherical(501)),
    ("components", ArgumentError, lambda: so3.direct_sum(*150 * [so3.spherical(80)])),
]


@pytest.mark.parametrize(
    ("argument", "error", "call"),
    CASES,
    ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)],
)
def test_refused(argument, error, call):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    name = caught.value.argument
    # act() names its argument representations['values'].
    assert name == argument or name.startswith(f"{argument}[")
    message = str(caught.value)
    assert message.startswith(f"{name}=")
    assert caught.value.problem in message
    assert len(caught.value.remedy) > 5
    assert message.endswith(f"{caught.value.remedy}.")
