"""Long-range features: sums over images, their derivatives, and what turns."""

import dataclasses
import sys

import ase
import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from displaced import displaced
from pet_models import drawn
from scipy.spatial.transform import Rotation
from scipy.special import erf
from small_models import TINY

from symjax.data import GraphShape, build_graph, graph_shape, pad_graph
from symjax.data.graph import join_graphs
from symjax.data.mesh import find_mesh
from symjax.errors import ArgumentError, ModelError, StructureError
from symjax.interop import SymjaxCalculator
from symjax.models import load_model, save_model
from symjax.models.pet import (
    PETConfig,
    init_pet,
    orbit_problem,
    pet_graph,
    predict,
)
from symjax.models.pet.long_range import LongRange, potential_kernel

pytest.importorskip("jaxpme", reason="needs symjax[long-range]")

CONFIG = PETConfig(
    species=(1, 8, 29),
    cutoff=3.0,
    long_range=LongRange(),
    **TINY,
)
LAYERS = ("long_range_featurizer",)
ROTATION = Rotation.from_rotvec([0.4, -1.0, 0.7]).as_matrix()


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def model():
    return drawn(CONFIG)


def crystal():
    """Skewed, with an atom outside of the cell."""
    cell = [[3.6, 0.2, 0.1], [1.1, 3.9, -0.4], [-0.8, 0.9, 4.2]]
    places = [[0.1, 0.2, 1.3], [0.45, 0.6, 0.4]]
    return ase.Atoms("CuO", scaled_positions=places, cell=cell, pbc=True)


def molecule():
    atoms = ase.build.molecule("H2O")
    atoms.positions[2] += [1.5, 2.0, 4.0]
    return atoms


def turned(atoms, rotation):
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell[:] @ rotation.T)
    atoms.positions = atoms.positions @ rotation.T
    return atoms


compiled_kernel = jax.jit(potential_kernel, static_argnums=(0, 1))


def run(model, graph):
    """Predictions, one program for each shape of a graph."""
    return predict(model, graph, forces=True, stress=True, layers=LAYERS)


def kernel(atoms, options, cutoff):
    graph = build_graph(atoms, cutoff)
    mesh = find_mesh([atoms], options.kspace_resolution, options.smearing)
    edges = graph.lengths, graph.neighbors, graph.edge_mask
    return np.asarray(compiled_kernel(options, cutoff, mesh, *edges)), graph


@pytest.mark.parametrize("nodes", [3, 4, 5])
def test_kernel_is_the_sum_over_waves(nodes):
    # An orthorhombic cell along the axes, where the influence function is right.
    atoms = ase.Atoms(
        "CuO3",
        [[0.3, 0.1, 0.2], [1.9, 2.4, 0.3], [-0.4, 2.2, 2.9], [2.2, 0.1, 11.0]],
        cell=[4.0, 5.0, 6.0],
        pbc=True,
    )
    sigma, cutoff = 1.1, 3.5
    options = LongRange(sigma, 0.4, nodes)
    found, graph = kernel(atoms, options, cutoff)

    numbers = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3), axis=-1).reshape(-1, 3)
    waves = 2 * np.pi * numbers[np.any(numbers != 0, axis=1)] / atoms.cell.lengths()
    squares = np.sum(waves**2, axis=1)
    strength = 4 * np.pi * np.exp(-(sigma**2) * squares / 2) / squares
    phases = np.exp(1j * atoms.positions @ waves.T)
    right = np.real((phases * strength) @ phases.conj().T) / atoms.get_volume()
    right -= 2 * np.pi * sigma**2 / atoms.get_volume()
    right -= np.eye(4) * np.sqrt(2 / np.pi) / sigma
    for i, k in zip(*np.nonzero(graph.edge_mask), strict=True):
        r = graph.lengths[i, k]
        switch = (1 + np.cos(np.pi * r / cutoff)) / 2
        right[i, graph.neighbors[i, k]] -= switch * erf(r / sigma / 2**0.5) / r
    # The mesh resolves the Gaussians better with more nodes.
    tolerance = {3: 2e-4, 4: 2e-5, 5: 5e-6}[nodes]
    np.testing.assert_allclose(2 * found, right, atol=tolerance)


def test_kernel_without_a_cell():
    atoms, cutoff = molecule(), 3.0
    found, _ = kernel(atoms, LongRange(), cutoff)
    right = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            if i != j:
                r = atoms.get_distance(i, j)
                inside = (1 + np.cos(np.pi * r / cutoff)) / 2 if r < cutoff else 0
                right[i, j] = (1 - inside) / r / 2
    np.testing.assert_allclose(found, right, atol=1e-14)


def test_waves_are_all_that_count():
    # As a Fourier transform of the whole mesh would do it, with every wave.
    atoms, options = crystal(), LongRange(smearing=0.3, kspace_resolution=1.0)
    mesh = find_mesh([atoms], options.kspace_resolution, options.smearing)
    assert mesh.sizes.tolist() == [[16, 16, 16]]
    assert np.sum(mesh.weights) == 16**3 - 1
    few = find_mesh([atoms], options.kspace_resolution, 3.0)
    assert np.sum(few.weights) < 400
    every, _ = kernel(atoms, LongRange(3.0, 1.0), 3.0)
    graph = build_graph(atoms, 3.0)
    whole = compiled_kernel(
        LongRange(3.0, 1.0), 3.0, mesh, graph.lengths, graph.neighbors, graph.edge_mask
    )
    np.testing.assert_allclose(every, whole, atol=1e-15)


@pytest.fixture(scope="module")
def company():
    """Both structures in one graph, with room to spare."""
    together = join_graphs(
        [pet_graph(CONFIG, atoms) for atoms in (crystal(), molecule())]
    )
    return pad_graph(together, GraphShape(*np.add(graph_shape(together), (2, 1, 1, 0))))


def test_derivatives(company, model):
    """By positions and by a strain of each structure, through all that is computed."""
    owner, real = company.structure, company.atom_mask

    @jax.jit
    @jax.grad
    def slopes(moved):
        strain, positions = moved
        bent = jnp.einsum("ax,axy->ay", positions, strain[owner])
        return predict(model, displaced(company, bent, company.cells @ strain))[
            "energy"
        ].sum()

    strain = jnp.tile(jnp.eye(3), (len(company.cells), 1, 1))
    strain, positions = slopes((strain, jnp.asarray(company.positions)))
    out = run(model, company)
    for number, atoms in enumerate((crystal(), molecule())):
        rows = real & (owner == number)
        assert np.abs(out["forces"][rows]).max() > 1e-3
        np.testing.assert_allclose(out["forces"][rows], -positions[rows], atol=1e-12)
        if atoms.pbc.all():
            expected = strain[number] / atoms.get_volume()
            np.testing.assert_allclose(out["stress"][number], expected, atol=1e-12)


@pytest.mark.parametrize("atoms", [crystal(), molecule()], ids=["crystal", "molecule"])
def test_orbit_is_of_rotated_structures(atoms, model):
    problem = orbit_problem(model, atoms, layers=LAYERS, dtype="float64")
    x = jax.tree.map(lambda leaf: leaf @ -ROTATION.T, problem.x)
    function = jax.jit(problem.function)
    found = function(x, *problem.args)
    right = run(model, pet_graph(CONFIG, turned(atoms, -ROTATION)))
    for name in found:
        np.testing.assert_allclose(found[name], right[name], atol=1e-12)
    if atoms.pbc.all():
        # The influence function is a product over Cartesian axes: the features turn
        # with the cell, although distances do not.
        here = function(problem.x, *problem.args)[LAYERS[0]]
        assert np.abs(found[LAYERS[0]] - here).max() > 1e-6


def test_crystals_have_no_symmetry_to_save_evaluations(model):
    copper = ase.build.bulk("Cu", cubic=True)
    assert orbit_problem(model, copper, symmetry="auto").symmetry is None
    water = ase.build.molecule("H2O")
    assert orbit_problem(model, water, symmetry="auto").symmetry.elements.shape[0] == 4


def test_padding_and_company(company, model):
    joined, first = run(model, company), 0
    for number, atoms in enumerate((crystal(), molecule())):
        alone = run(model, pet_graph(CONFIG, atoms))
        rows = slice(first, first + len(atoms))
        for name in ("energy", "stress"):
            np.testing.assert_allclose(joined[name][number], alone[name][0], atol=1e-12)
        for name in ("forces", *LAYERS):
            np.testing.assert_allclose(joined[name][rows], alone[name], atol=1e-12)
        first += len(atoms)
    assert np.isfinite(joined["forces"]).all()


def test_atoms_beyond_the_cutoff_are_felt(model):
    near, far = molecule(), molecule()
    far.positions[2, 2] += 1.0
    graphs = [pet_graph(CONFIG, atoms) for atoms in (near, far)]
    assert not any(graph.edge_mask[2].any() for graph in graphs)
    one, two = (run(model, graph)["energy"][0] for graph in graphs)
    assert abs(one - two) > 1e-6


def test_calculator(model):
    atoms = crystal()
    atoms.calc = SymjaxCalculator(model, dtype="float64")
    right = run(model, pet_graph(CONFIG, atoms))
    np.testing.assert_allclose(atoms.get_potential_energy(), right["energy"][0])
    np.testing.assert_allclose(atoms.get_forces(), right["forces"], atol=1e-12)
    stress = 0.5 * (right["stress"][0] + right["stress"][0].T)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), stress, atol=1e-12)


def test_on_disk(model, tmp_path):
    save_model(model, tmp_path / "model")
    assert load_model(tmp_path / "model").config == CONFIG


def test_refusals(monkeypatch, model):
    adaptive = PETConfig(
        species=(1, 8, 29), num_neighbors_adaptive=4.0, long_range=LongRange()
    )
    with pytest.raises(StructureError, match="adaptive cutoff"):
        pet_graph(adaptive, crystal())
    assert pet_graph(adaptive, molecule()).mesh is not None
    with pytest.raises(ArgumentError, match="has no mesh"):
        predict(model, build_graph(molecule(), 3.0))
    with pytest.raises(ArgumentError, match="1 of them have a mesh"):
        join_graphs([pet_graph(CONFIG, molecule()), build_graph(molecule(), 3.0)])
    slab = crystal()
    slab.pbc = (True, True, False)
    with pytest.raises(StructureError, match="three directions or in none"):
        pet_graph(CONFIG, slab)
    with pytest.raises(ModelError, match="smearing=0: should be greater than 0"):
        LongRange(smearing=0)
    with pytest.raises(ModelError, match="kspace_resolution='1': should be a valid"):
        LongRange(kspace_resolution="1")
    with pytest.raises(ModelError, match="interpolation_nodes"):
        LongRange(interpolation_nodes=6)
    with pytest.raises(ModelError, match="long_range"):
        PETConfig(species=(1,), long_range=True)
    monkeypatch.setitem(sys.modules, "jaxpme", None)
    with pytest.raises(ModelError, match=r"Install symjax\[long-range\]"):
        init_pet(dataclasses.replace(CONFIG, d_head=4), jax.random.key(0))
