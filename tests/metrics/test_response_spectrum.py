"""Second moments that a measurement keeps, against those of a pass of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from symjax.metrics import (
    Adaptive,
    Grid,
    Output,
    Problem,
    SampleSymmetry,
    add_spectra,
    measure,
    response_spectra,
)
from symjax.so3 import FEATURE, SCALAR, VECTOR, wigner_d
from symjax.so3.wigner import wigner_d_tables

X = np.array([[0.2, -0.5, 0.8], [1.0, 0.4, 0.1], [-0.3, 0.9, 0.6]])


def vectors(x):
    bias = jnp.stack([x[:, 0] * x[:, 1], x[:, 2] ** 3, x[:, 0] ** 2], axis=1)
    return x + 0.2 * bias


def function(x):
    a, b, c = x
    odd = a[0] * b[2] ** 2 + jnp.dot(jnp.cross(a, b), c) * a[1]
    even = a[2] ** 4 + b[0] * b[1]
    return {"layer": x[:, :2] ** 2, "scalar": even + odd, "vectors": vectors(x)}


OUTPUTS = {
    "layer": Output(FEATURE, kind="node"),
    "scalar": Output(SCALAR, "eV"),
    "vectors": Output(VECTOR, mask=np.array([True, False, True])),
}


def close(one, other, rtol=1e-10):
    assert len(one.gram) == len(other.gram)
    assert one.count == other.count
    assert one.variance == pytest.approx(other.variance, rel=rtol)
    for mine, theirs in zip(one.gram, other.gram, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=rtol * one.variance)


@pytest.fixture(scope="module")
def measured():
    problem = Problem(function, X, OUTPUTS)
    with jax.enable_x64(True):
        return (
            measure(problem, over=Grid(13), max_degree=6),
            response_spectra(problem, 6, rule=13),
        )


def test_a_measurement_keeps_them(measured):
    result, spectra = measured
    assert set(spectra) == {"scalar", "vectors"}
    assert result["layer"].response is None
    for name, spectrum in spectra.items():
        kept = result[name].response
        close(kept, spectrum)
        assert kept.unit == spectrum.unit
        error = result[name].equivariance_error
        assert kept.after(None).error == pytest.approx(error, rel=1e-9)


def test_in_pieces():
    """Large outputs are measured in pieces that may overlap: one sample counts once."""
    x = np.concatenate([X] * 27)[:80]
    outputs = {"vectors": Output(VECTOR, mask=np.arange(80) % 3 > 0)}
    problem = Problem(lambda x: {"vectors": vectors(x)}, x, outputs)
    with jax.enable_x64(True):
        passed = []
        small = measure(
            problem,
            over=Grid(13),
            memory=1_600_000,
            progress=lambda _, total: passed.append(total),
        )["vectors"]
        large = measure(problem, over=Grid(13))["vectors"]
    assert passed[-1] > 2016
    close(small.response, large.response)


def test_a_symmetric_input():
    """One element of each coset stands for the others, in both cosets."""
    points = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    points = np.concatenate([points, [[0, 0, 0.7]]])
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    flip = np.diag([1.0, -1, 1])
    elements = [
        np.linalg.matrix_power(turn, k) @ m for k in range(4) for m in (np.eye(3), flip)
    ]
    permutations = [
        [int(np.argmin(np.abs(points - p).sum(1))) for p in points @ h.T]
        for h in elements
    ]
    symmetry = SampleSymmetry(
        np.stack(elements),
        {"vectors": np.array(permutations), "scalar": np.zeros((8, 1), int)},
    )

    def alike(x):
        bias = jnp.stack([x[:, 0] * x[:, 1], x[:, 2] ** 3, x[:, 0] ** 2], axis=1)
        return {
            "scalar": (x[:, 2] ** 4 + x[:, 0] ** 3).sum()[None],
            "vectors": x + 0.2 * bias,
        }

    outputs = {"scalar": Output(SCALAR), "vectors": Output(VECTOR)}
    with jax.enable_x64(True):
        plain = measure(Problem(alike, points, outputs), over=Grid(13))
        fewer = measure(
            Problem(alike, points, outputs, symmetry=symmetry), over=Grid(13)
        )
    assert fewer.num_elements < plain.num_elements / 3
    for name in outputs:
        close(fewer[name].response, plain[name].response)
        for average in ("D2", "Td", "Oh"):
            assert fewer[name].response.after(average).error == pytest.approx(
                plain[name].response.after(average).error, abs=1e-12
            )


def test_a_climb_keeps_those_of_its_last_rule():
    problem = Problem(function, X, OUTPUTS)
    with jax.enable_x64(True):
        result = measure(problem, over=Adaptive(), max_degree=6)
        right = response_spectra(problem, 8)
    for name in ("scalar", "vectors"):
        kept = result[name].response
        assert kept.after("O").error == pytest.approx(
            right[name].after("O").error, rel=1e-6
        )


def test_of_a_large_output_fewer_degrees_are_kept(monkeypatch):
    monkeypatch.setattr("symjax.metrics.response_spectrum.MOST_COEFFICIENTS", 200)
    problem = Problem(function, X, OUTPUTS)
    with jax.enable_x64(True):
        kept = measure(problem, over=Grid(13))
        right = response_spectra(problem, 6, rule=13)
    assert [len(kept[name].response.gram) for name in ("scalar", "vectors")] == [5, 2]
    for name in ("scalar", "vectors"):
        one = kept[name].response
        full = right[name].after("O")
        assert one.after(None).error + one.after(None).uncertainty >= full.error
        # Without an average A is known, whatever lies above the degrees.
        exact = kept[name].equivariance_error
        assert one.after(None).error == pytest.approx(exact, rel=1e-9)
        assert one.after(None).uncertainty < 1e-9 * exact
        both = add_spectra([one, one])
        assert both.tail == pytest.approx(2 * one.tail)


def test_spectra_of_several_degrees_add_up():
    problem = Problem(function, X, OUTPUTS)
    with jax.enable_x64(True):
        low, high = (response_spectra(problem, d, rule=13)["scalar"] for d in (2, 6))
    both = add_spectra([low, high])
    assert len(both.gram) == 7
    assert both.tail == pytest.approx(low.tail + high.tail)


def test_tables_of_wigner_matrices():
    """NumPy's are JAX's, at the poles too."""
    rotations = Rotation.random(5, random_state=1).as_matrix()
    poles = Rotation.from_euler(
        "ZYZ",
        [[0.3, 0.0, 0.4], [0.3, np.pi, 0.4], [0.3, 1e-9, 0.4], [2, np.pi - 1e-9, 1]],
    ).as_matrix()
    rotations = np.concatenate([rotations, poles])
    with jax.enable_x64(True):
        right = wigner_d(6, jnp.asarray(rotations))
    for table, matrix in zip(wigner_d_tables(6, rotations), right, strict=True):
        np.testing.assert_allclose(table, matrix, atol=3e-14)
