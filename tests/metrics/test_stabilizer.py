"""Measurements that use the symmetry of their input."""

import dataclasses

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from explicit_powers import explicit_power
from scipy.spatial.transform import Rotation
from small_models import small_pet

from symjax.data import find_symmetry, graph_shape
from symjax.errors import ArgumentError
from symjax.metrics import (
    Grid,
    HostFunction,
    Output,
    Problem,
    SampleSymmetry,
    accumulation,
    measure,
)
from symjax.metrics.orbit import respond_in_batches
from symjax.models.pet import orbit_problem, pet_graph
from symjax.so3 import FEATURE, MATRIX, SCALAR, VECTOR
from symjax.so3.quadratures import quadrature
from symjax.so3.reduction import reduce_rule

W = np.array([0.3, 0.2, -0.4])
REPRESENTATIONS = {
    "energy": SCALAR,
    "forces": VECTOR,
    "stress": MATRIX,
    "edges": FEATURE,
}


def model(x):
    """Polynomials, so that a rule of degree 8 is exact: equality is to round-off."""
    along = x @ W
    return {
        "energy": (along + along**2 + along**4).sum()[None],
        "forces": x * (1 + 0.1 * along**2)[:, None] + 0.1 * along[:, None] * W,
        "stress": jnp.einsum("ai,aj->ij", x, x * along[:, None]) + jnp.outer(W, W),
        "edges": jnp.stack([x[:, None] @ W - x @ W, (x[:, None] + 2 * x) @ W], -1),
    }


def molecule(name, seed=1):
    """Positions in a general orientation, exactly symmetric, and the symmetry."""
    atoms = ase.build.molecule(name)
    r = atoms.positions - atoms.positions.mean(0)
    atoms.positions = r @ Rotation.random(random_state=seed).as_matrix().T
    found = find_symmetry(atoms)
    moved = np.einsum(
        "haj,hji->hai", atoms.positions[found.permutations], found.elements
    )
    return moved.mean(0) / 2, found


def samples(found):
    p = found.permutations
    edges = p[:, :, None] * p.shape[1] + p[:, None, :]
    return SampleSymmetry(found.elements, {"forces": p, "edges": edges})


def with_symmetry(function, x, representations, symmetry, mask=None):
    if not isinstance(representations, dict):
        representations = {"output": representations}
    outputs = {name: Output(kind, mask=mask) for name, kind in representations.items()}
    return Problem(function, x, outputs, symmetry=symmetry)


def assert_same(full, reduced, rtol=1e-11):
    for name, leaf in full.items():
        other = reduced[name]
        scale = max(np.abs(leaf.norm).max(), 1e-12)
        for field in ("variance", "norm", "power"):
            np.testing.assert_allclose(
                getattr(other, field), getattr(leaf, field), atol=rtol * scale
            )
        np.testing.assert_allclose(
            other.mean, leaf.mean, atol=rtol * max(1, np.sqrt(scale))
        )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("NH3", marks=pytest.mark.slow),
        pytest.param("CH4", marks=pytest.mark.slow),
        pytest.param("C6H6", marks=pytest.mark.slow),
        "C2H6",
        pytest.param("CO2", marks=pytest.mark.slow),
    ],
)
def test_equals_the_full_grid(name):
    x, found = molecule(name)
    options = {"max_degree": 4, "over": Grid(9)}
    full = measure(model, x, representations=REPRESENTATIONS, **options)
    reduced = measure(
        with_symmetry(model, x, REPRESENTATIONS, samples(found)), **options
    )
    assert_same(full, reduced)
    assert reduced.resolved
    expected = reduce_rule(9, found.elements)
    assert reduced.num_elements == expected.num_elements
    assert reduced.num_elements * found.order < 3.5 * full.num_elements


def test_nested_rules_are_reduced_too(monkeypatch):
    """Squares have degree 4: exact under the nested rules from that degree on.

    What is reduced is all compiled, as for large outputs.
    """
    x, found = molecule("C2H6")

    def low(x):
        along = x @ W
        return {
            "forces": along[:, None] * W,
            "features": jnp.stack([along, x[:, 0] * x[:, 1]], axis=-1),
        }

    kinds = {"forces": VECTOR, "features": FEATURE}
    full = measure(low, x, representations=kinds, max_degree=4, over=Grid(9))
    several = {"forces": found.permutations, "features": found.permutations}
    symmetry = SampleSymmetry(found.elements, several)
    problem = with_symmetry(low, x, kinds, symmetry)
    monkeypatch.setattr(accumulation, "HOST_BYTES", 0)
    reduced = measure(problem, max_degree=4, over=Grid(9))
    for leaf in full:
        exact = full[leaf].totals()
        scale = exact.norm.sum()
        *coarser, last = reduced.curve(leaf)
        assert last.num_elements == reduced.num_elements
        assert any(4 <= point.degree < 9 for point in coarser)
        for degree, elements, totals in coarser:
            assert elements < last.num_elements
            if degree < 4:
                continue
            np.testing.assert_allclose(totals.variance, exact.variance, rtol=1e-9)
            np.testing.assert_allclose(totals.norm, exact.norm, rtol=1e-9)
            # Coefficients are exact through degree - 2, the band limit.
            few = min(totals.power.shape[1], degree - 1)
            np.testing.assert_allclose(
                totals.power[:, :few], exact.power[:, :few], atol=1e-11 * scale
            )


def test_a_given_rule_and_a_host_function():
    x, found = molecule("C2H6")
    kinds = {name: REPRESENTATIONS[name] for name in ("energy", "forces")}

    def some(x):
        outputs = model(x)
        return {name: outputs[name] for name in kinds}

    options = {"max_degree": 3, "over": Grid(quadrature(9, "gauss"))}
    full = measure(some, x, representations=kinds, **options)
    compiled = jax.jit(some)
    host = HostFunction(lambda x: jax.tree.map(np.asarray, compiled(x)))
    symmetry = SampleSymmetry(found.elements, {"forces": found.permutations})
    reduced = measure(with_symmetry(host, x, kinds, symmetry), **options)
    assert_same(full, reduced)
    # Ten angles fit the inversion and a twofold axis of D3d, not the threefold one.
    assert reduced.num_elements == full.num_elements / 4


def test_a_small_error_is_resolved():
    """Averages over the group lose no digits: 1e-6 of the mean in float32."""
    x, found = molecule("CH4")

    def model(x):
        along = 1 + 1e-6 * x @ W / jnp.linalg.norm(x, axis=-1).max()
        return along.astype(jnp.float32)

    symmetry = SampleSymmetry(found.elements, {"output": found.permutations})
    full = measure(model, x, representations=SCALAR, max_degree=2)["output"]
    problem = with_symmetry(model, x, SCALAR, symmetry)
    reduced = measure(problem, max_degree=2)["output"]
    assert reduced.equivariance_error == pytest.approx(full.equivariance_error, rel=0.1)


def test_a_function_that_tells_atoms_apart_is_refused():
    x, found = molecule("CH4")
    symmetry = SampleSymmetry(found.elements, {"output": found.permutations})

    def numbered(x):
        return (x @ W)[:, None] * jnp.arange(1.0, 6.0)[:, None]

    with pytest.raises(ArgumentError, match=r"symmetry='output'.*symmetry=None"):
        measure(with_symmetry(numbered, x, FEATURE, symmetry))


def test_a_wrong_input_is_refused():
    x, found = molecule("CH4")
    symmetry = SampleSymmetry(found.elements, {"output": found.permutations})
    moved = x + np.random.default_rng(0).normal(scale=1e-3, size=x.shape)
    with pytest.raises(ArgumentError, match="less symmetric"):
        measure(with_symmetry(lambda x: x @ W, moved, SCALAR, symmetry))


def test_padding_must_stay_among_itself():
    x, found = molecule("H2O")
    symmetry = SampleSymmetry(found.elements, {"output": found.permutations})
    mask = np.array([True, True, False])
    problem = with_symmetry(lambda x: x @ W, x, SCALAR, symmetry, mask)
    with pytest.raises(ArgumentError, match="padded"):
        measure(problem)


def test_permutations_are_those_of_the_outputs():
    p = np.array([[0, 1], [1, 0]])
    pair = np.stack([np.eye(3), -np.eye(3)])
    for name, text in (("other", "no permutations"), ("output", "does not permute")):
        symmetry = SampleSymmetry(pair, {name: p})
        problem = with_symmetry(lambda x: x[:, 0], np.eye(3), SCALAR, symmetry)
        with pytest.raises(ArgumentError, match=text):
            measure(problem)


def test_a_pet_on_a_symmetric_structure():
    """Forces, stress, node and edge features: equal to the sum over all g h.

    A small grid that does not resolve them, so another one would give other numbers.
    """
    config = dataclasses.replace(small_pet().config, cutoff=2.2)
    # Small models feel directions weakly; this one is not resolved.
    parameters = jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            leaf * np.float32([[100.0]] * 3 + [[1.0]])
            if jax.tree_util.keystr(path).endswith("['edge_embedder']['kernel']")
            else leaf
        ),
        small_pet().parameters,
    )
    pet = dataclasses.replace(small_pet(), config=config, parameters=parameters)
    # Far from its images, in a cubic cell that has its symmetry too.
    atoms = ase.build.molecule("CH4", cell=[6.0] * 3, pbc=True)
    shape = graph_shape(pet_graph(config, atoms))
    problem = orbit_problem(
        pet,
        atoms,
        layers="gnn_layers.0.trans.layers.0_node,gnn_layers.0.compress",
        dtype="float64",
        symmetry="auto",
        shape=shape._replace(num_atoms=len(atoms) + 1),
    )
    assert problem.symmetry.order == 24
    assert {"energy", "forces", "stress"} < set(problem.outputs)
    reduced = measure(problem, max_degree=2, over=Grid(7, on_aliasing="report"))
    assert not reduced.resolved
    assert reduced.num_elements * 8 < 2 * quadrature(7).num_rotations
    rule = reduce_rule(7, problem.symmetry.elements)
    assert rule.inversion is None
    elements = rule.place(rule.rule.rotations)[:, None] @ problem.symmetry.elements
    elements = elements.reshape(-1, 3, 3)
    elements = np.concatenate([elements, -elements])
    weights = np.tile(np.repeat(rule.rule.weights / 24, 24), 2) / 2
    rows = respond_in_batches(
        *(problem.function, problem.action, problem.x, elements),
        args=problem.args,
        keep=tuple(range(len(problem.outputs))),
        batch_size=64,
    )
    rows = dict(zip(sorted(problem.outputs), rows, strict=True))
    for name, leaf in reduced.items():
        u, mask = rows[name], problem.outputs[name].mask
        kind = problem.outputs[name].representation
        z = u
        if kind == VECTOR:
            z = np.einsum("gji,gaj->gai", elements, u)
        elif kind == MATRIX:
            z = np.einsum("gki,gskl,glj->gsij", elements, u, elements)
        mean = np.tensordot(weights, z, axes=1)
        spread = np.tensordot(weights, (z - mean) ** 2, axes=1)
        scale = float(np.tensordot(weights, u**2, axes=1)[mask].sum())
        np.testing.assert_allclose(leaf.mean[mask], mean[mask], atol=1e-9)
        total = leaf.totals()
        assert total.variance.sum() == pytest.approx(
            spread[mask].sum(), rel=1e-9, abs=1e-12 * scale
        )
        assert total.norm.sum() == pytest.approx(scale, rel=1e-9)
        power = explicit_power(elements, weights, u[:, mask], 2)
        np.testing.assert_allclose(total.power.sum(0), power, atol=1e-9 * scale)


def test_orbit_problem_without_symmetry():
    pet = small_pet()
    atoms = ase.build.molecule("CH3CH2OH")
    assert orbit_problem(pet, atoms).symmetry is None
    assert orbit_problem(pet, atoms, symmetry="auto").symmetry.order == 2
    atoms.rattle(0.05, seed=0)
    problem = orbit_problem(pet, atoms, symmetry="auto")
    assert problem.symmetry is None
    for wrong in ("yes", find_symmetry(ase.build.molecule("H2O"))):
        with pytest.raises(ArgumentError, match="symmetry"):
            orbit_problem(pet, atoms, symmetry=wrong)
