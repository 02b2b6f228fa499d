"""PET without PyTorch: invariances, derivatives, layers by name, orbit problems."""

import dataclasses
import functools
import json

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from symjax.data import (
    GraphShape,
    build_graph,
    displace,
    graph_shape,
    join_graphs,
    pad_graph,
    rotate_graph,
)
from symjax.data.quantities import Block, Target
from symjax.errors import ArgumentError, ModelError, StructureError
from symjax.metrics import Grid, measure
from symjax.models.pet import (
    Evaluation,
    PETConfig,
    cast_parameters,
    evaluate,
    init_pet,
    layer_names,
    orbit_problem,
    pet_graph,
    pet_inputs,
    predict,
    select_layers,
)
from symjax.models.pet.cutoff import adaptive_radii
from symjax.models.pet.layers import distinct_layers

CUTOFF = 3.2
SMALL = {
    "cutoff": CUTOFF,
    "d_pet": 8,
    "d_node": 10,
    "d_head": 6,
    "d_feedforward": 8,
    "num_heads": 2,
    "num_gnn_layers": 2,
    "num_attention_layers": 1,
}
TARGETS = (
    Target("energy", "eV"),
    Target("dipole", "e angstrom", blocks=(Block("vector", "vector"),)),
    Target(
        "density", per_atom=True, blocks=(Block("0+", "0+", 2), Block("2+", "2+", 2))
    ),
)
CONFIG = PETConfig(species=(1, 6, 8, 29), targets=TARGETS, **SMALL)
# Positions in float64: what remains is the round-off of some thousand operations.
EXACT = 1e-11


@functools.cache
def model(**changes):
    made = init_pet(PETConfig(**{**CONFIG.__dict__, **changes}), jax.random.key(0))
    parameters = dict(made.parameters)
    parameters["baseline"] = jax.tree.map(
        lambda leaf: leaf + np.arange(1, len(leaf) + 1, dtype=np.float32)[:, None],
        parameters["baseline"],
    )
    return type(made)(made.name, made.config, parameters)


def run(graph):
    """Predictions, forces and all layers: one program for each shape of a graph."""
    return predict(model(), graph, forces=True, layers=layer_names(CONFIG))


def ethanol(seed=0):
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=seed)
    return atoms


def copper(seed=0):
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


class TestInvariances:
    @settings(max_examples=5)
    @given(st.permutations(range(9)))
    def test_order_of_atoms(self, order):
        out = run(build_graph(ethanol(), CUTOFF))
        moved = run(build_graph(ethanol()[list(order)], CUTOFF))
        np.testing.assert_allclose(moved["energy"], out["energy"], rtol=EXACT)
        expected = np.asarray(out["forces"])[list(order)]
        np.testing.assert_allclose(moved["forces"], expected, atol=1e-10)

    @pytest.mark.parametrize("name", ["ethanol", "copper"])
    def test_padding(self, name):
        """Padding is masked exactly: not a small weight, none."""
        atoms = {"ethanol": ethanol, "copper": copper}[name]()
        graph = build_graph(atoms, CUTOFF)
        shape = graph.neighbors.shape
        # Copper has the atoms of two cells then, and one program with them.
        size = {"num_atoms": len(atoms) + 4, "num_neighbors": shape[1] + 2}
        padded = build_graph(atoms, CUTOFF, **size)
        layers = layer_names(CONFIG)
        out, more = (run(g) for g in (graph, padded))
        np.testing.assert_allclose(more["energy"], out["energy"], rtol=EXACT)
        for key in ("forces", "density/2+", *layers):
            mine = np.asarray(more[key])[: shape[0]]
            if mine.ndim == 3 and key not in ("density/2+",):
                mine = mine[:, : shape[1]]
                real = graph.edge_mask
                mine, expected = mine[real], np.asarray(out[key])[real]
            else:
                expected = np.asarray(out[key])
            np.testing.assert_allclose(mine, expected, atol=1e-10, err_msg=key)
        assert not np.asarray(more["forces"])[shape[0] :].any()

    def test_two_structures_in_one_graph(self):
        both = run(build_graph([ethanol(0), ethanol(1)], CUTOFF))
        alone = run(build_graph(ethanol(1), CUTOFF))
        np.testing.assert_allclose(both["energy"][1], alone["energy"][0], rtol=EXACT)
        np.testing.assert_allclose(both["forces"][9:], alone["forces"], atol=1e-10)

    def test_supercell(self):
        cell = copper()
        one = build_graph(cell, CUTOFF)
        size = one.neighbors.shape[1] + 2
        one = run(one)
        two = run(build_graph(cell * (2, 1, 1), CUTOFF, num_neighbors=size))
        np.testing.assert_allclose(two["energy"], 2 * one["energy"], rtol=EXACT)

    def test_float32_follows_float64(self):
        out = run(build_graph(ethanol(), CUTOFF))
        low = run(build_graph(ethanol(), CUTOFF, dtype="float32"))
        assert low["forces"].dtype == jnp.float32
        scale = np.abs(out["forces"]).max()
        # 2^-24 times the amplification of some ten layers
        np.testing.assert_allclose(low["forces"], out["forces"], atol=3e-5 * scale)

    def test_numpy_graphs_and_parameters_may_be_closed_over(self):
        graph = build_graph(ethanol(), CUTOFF)
        made = model()

        def energy(positions):
            moved = displace(graph, positions)
            return evaluate(Evaluation(CONFIG), made.parameters, moved)["energy"][0]

        gradient = jax.jit(jax.grad(energy))(jnp.asarray(graph.positions))
        forces = run(graph)["forces"]
        # What reads parameters alone stays in their float32.
        scale = np.abs(forces).max()
        np.testing.assert_allclose(gradient, -forces, atol=1e-4 * scale)


class TestDerivatives:
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"num_neighbors_adaptive": 5.0},
            {"num_neighbors_adaptive": 5.0, "adaptive_cutoff_method": "grid"},
            {"cutoff_function": "Cosine", "zbl": True, "featurizer_type": "residual"},
        ],
        ids=["fixed", "solver", "grid", "zbl"],
    )
    def test_forces_and_stress_by_differences(self, changes):
        """Central differences along one random direction; error h^2, 1e-10 / h."""
        made, atoms = model(**changes), copper()

        def run(graph):
            return predict(made, graph, forces=True, stress=True)

        rng = np.random.default_rng(0)
        direction, strain = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))
        # One size, with room for neighbors that come within an adaptive cutoff.
        shape = graph_shape(pet_graph(made.config, atoms))
        room = (0, 4, 0, 4 if shape.num_surroundings else 0)
        shape = GraphShape(*np.add(shape, room))

        def graph(atoms):
            return pet_graph(made.config, atoms, shape=shape)

        out, step = run(graph(atoms)), 1e-4

        def moved(sign):
            copy = atoms.copy()
            copy.positions += sign * step * direction
            return float(run(graph(copy))["energy"][0])

        def strained(sign):
            copy = atoms.copy()
            gradient = np.eye(3) + sign * step * strain
            copy.set_cell(copy.cell[:] @ gradient, scale_atoms=False)
            copy.positions = copy.positions @ gradient
            return float(run(graph(copy))["energy"][0])

        slope = -(moved(1) - moved(-1)) / (2 * step)
        assert slope == pytest.approx(
            float((out["forces"] * direction).sum()), rel=1e-4
        )
        work = (strained(1) - strained(-1)) / (2 * step) / atoms.get_volume()
        assert work == pytest.approx(float((out["stress"][0] * strain).sum()), rel=1e-4)

    def test_isolated_atoms_have_finite_predictions(self):
        atoms = ase.Atoms("OHC", [[0, 0, 0], [0, 0, 0.97], [40, 0, 0]])
        shape = build_graph(ethanol(), CUTOFF).neighbors.shape
        out = run(
            build_graph(atoms, CUTOFF, num_atoms=shape[0], num_neighbors=shape[1])
        )
        assert np.isfinite(out["forces"]).all()
        assert not np.asarray(out["forces"])[2].any()


class TestLayers:
    def test_names_are_those_of_the_features(self):
        names = layer_names(CONFIG)
        out = run(build_graph(ethanol(), CUTOFF))
        assert set(names) <= set(out)
        assert len(set(names)) == len(names)
        for name in names:
            assert out[name].shape[0] == 9

    @pytest.mark.parametrize("changes", [{}, {"featurizer_type": "residual"}])
    def test_distinct_layers_are_distinct_and_complete(self, changes):
        made = model(**changes)
        names = layer_names(made.config)
        graph = build_graph(ethanol(), CUTOFF)
        turned = rotate_graph(graph, Rotation.from_rotvec([1, 2, 3]).as_matrix())
        out, other = (
            jax.tree.map(np.asarray, predict(made, g, forces=True, layers=names))
            for g in (graph, turned)
        )
        chosen = distinct_layers(made.config)
        for i, name in enumerate(chosen):
            assert np.abs(out[name] - other[name]).max() > 1e-6, name
            for later in chosen[i + 1 :]:
                same = out[name].shape == out[later].shape
                assert not (same and np.array_equal(out[name], out[later])), name
        for name in set(names) - set(chosen):
            constant = np.abs(out[name] - other[name]).max() < 1e-12
            repeats = any(
                out[name].shape == out[known].shape
                and np.array_equal(out[name], out[known])
                for known in chosen
            )
            assert constant or repeats, name

    def test_selection(self):
        config = CONFIG
        assert select_layers(config, "none") == ()
        assert select_layers(config, "all") == distinct_layers(config)
        chosen = select_layers(config, "node_heads.*, gnn_layers.0.compress")
        assert chosen[0] == "gnn_layers.0.compress"
        assert len(chosen) == 1 + len(TARGETS)


class TestOrbit:
    @pytest.mark.parametrize("changes", [{}, {"num_neighbors_adaptive": 5.0}])
    def test_function_is_the_model_on_rotated_structures(self, changes):
        """Rotating what the problem says equals rotating the atoms."""
        layers = ("gnn_layers.1.compress", "node_heads.energy.0")
        made, atoms = model(**changes), copper()
        problem = orbit_problem(made, atoms, layers=layers, dtype="float64")
        rotation = -Rotation.from_rotvec([0.3, -1, 2]).as_matrix()
        direct = jax.jit(problem.function)(problem.x @ rotation.T, *problem.args)
        atoms.set_cell(atoms.cell[:] @ rotation.T, scale_atoms=False)
        atoms.positions = atoms.positions @ rotation.T
        graph = pet_graph(made.config, atoms)
        whole = predict(made, graph, forces=True, stress=True, layers=layers)
        for name in ("forces", "stress", "dipole", "density/2+", *layers):
            scale = np.abs(whole[name]).max()
            np.testing.assert_allclose(
                direct[name], whole[name], atol=1e-10 * scale, err_msg=name
            )
        baseline = 4 * 4.0  # four atoms of the fourth species
        energy = whole["energy"] - baseline
        np.testing.assert_allclose(direct["energy"], energy, atol=1e-9)
        assert set(direct) == set(problem.outputs)

    def test_measured_by_quadrature_and_by_hand(self):
        """Variance of the energy over the grid, against a plain loop over it."""
        from symjax.so3 import quadrature

        problem = orbit_problem(
            model(), ethanol(), layers="none", outputs=["energy"], dtype="float64"
        )
        result = measure(
            problem,
            max_degree=1,
            over=Grid(3, on_aliasing="report"),
        )
        rule = quadrature(3)
        elements = np.concatenate([rule.rotations, -rule.rotations])
        weights = np.concatenate([rule.weights, rule.weights]) / 2
        graph = build_graph(ethanol(), CUTOFF)
        energies = np.array(
            [float(run(rotate_graph(graph, g))["energy"][0]) for g in elements]
        )
        mean = weights @ energies
        variance = weights @ (energies - mean) ** 2
        totals = result["energy"].totals()
        assert float(totals.variance.sum()) == pytest.approx(variance, rel=1e-9)

    def test_same_function_for_every_structure(self):
        problems = [orbit_problem(model(), ethanol(seed)) for seed in range(2)]
        assert problems[0].function is problems[1].function


BAD_CONFIGS = {
    "no species": ({"species": ()}, "species"),
    "unsorted species": ({"species": (6, 1)}, "species"),
    "list of species": ({"species": [1, 6]}, "species"),
    "text": ({"zbl": "no"}, "zbl"),
    "no element": ({"species": (0, 1)}, "species"),
    "heads": ({"num_heads": 3}, "num_heads"),
    "norm": ({"normalization": "BatchNorm"}, "normalization"),
    "activation": ({"activation": "ReLU"}, "activation"),
    "transformer": ({"transformer_type": "MidLN"}, "transformer_type"),
    "featurizer": ({"featurizer_type": "x"}, "featurizer_type"),
    "cutoff function": ({"cutoff_function": "Step"}, "cutoff_function"),
    "adaptive method": ({"adaptive_cutoff_method": "x"}, "adaptive_cutoff_method"),
    "cutoff": ({"cutoff": 0.0}, "cutoff"),
    "infinite cutoff": ({"cutoff": float("inf")}, "cutoff"),
    "width": ({"cutoff_width": -1.0}, "cutoff_width"),
    "temperature": ({"attention_temperature": 0}, "attention_temperature"),
    "no layers": ({"num_gnn_layers": 0}, "num_gnn_layers"),
    "fractional width": ({"d_pet": 8.5}, "d_pet"),
    "adaptive": ({"num_neighbors_adaptive": -1.0}, "num_neighbors_adaptive"),
    "same names": ({"targets": (Target("a"), Target("a"))}, "targets"),
    "zbl beyond cutoff": ({"zbl": True, "cutoff": 2.0}, "cutoff"),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_bad_configurations(case):
    changes, argument = BAD_CONFIGS[case]
    with pytest.raises(ModelError) as caught:
        PETConfig(**{**CONFIG.__dict__, **changes})
    assert argument in caught.value.argument
    assert caught.value.remedy


BAD_CALLS = {
    "layer": lambda: predict(model(), build_graph(ethanol(), CUTOFF), layers=("x",)),
    "pattern": lambda: orbit_problem(model(), ethanol(), layers="heads"),
    "no pattern": lambda: orbit_problem(model(), ethanol(), layers="("),
    "output": lambda: orbit_problem(model(), ethanol(), outputs=["charge"]),
    "stress of a molecule": lambda: orbit_problem(
        model(), ethanol(), outputs=["stress"]
    ),
    "energy is a vector": lambda: predict(
        model(), build_graph(ethanol(), CUTOFF), forces=True, energy="dipole"
    ),
    "no such energy": lambda: predict(
        model(), build_graph(ethanol(), CUTOFF), forces=True, energy="u"
    ),
    "block": lambda: Block("a", "tensor"),
    "properties": lambda: Block("a", "scalar", 0),
    "target name": lambda: Target("a/"),
    "no blocks": lambda: Target("a", blocks=()),
    "charge": lambda: orbit_problem(
        model(system_conditioning=True), with_info(charge=99)
    ),
    "spin": lambda: orbit_problem(
        model(system_conditioning=True), with_info(spin_multiplicity=99)
    ),
}


def with_info(**info):
    atoms = ethanol()
    atoms.info.update(info)
    return atoms


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls(case):
    with pytest.raises(ModelError) as caught:
        BAD_CALLS[case]()
    assert caught.value.remedy


def test_unknown_species():
    """Refused, and not numbers where a graph is traced: that structure's alone."""
    with pytest.raises(StructureError, match="does not know"):
        orbit_problem(model(), ase.build.molecule("NH3"))
    graph = build_graph([ethanol(), ase.build.molecule("NH3")], CUTOFF)
    with pytest.raises(StructureError, match=r"\[7\]: are atomic numbers that"):
        predict(model(), graph)
    found = jax.jit(lambda graph: predict(model(), graph, forces=True))(graph)
    np.testing.assert_array_equal(np.isnan(found["energy"]), [False, True])
    unknown = np.asarray(graph.structure) == 1
    np.testing.assert_array_equal(np.isnan(found["forces"]).all(axis=1), unknown)
    np.testing.assert_array_equal(np.isnan(found["density/2+"]).any((1, 2)), unknown)


def test_a_graph_for_a_shorter_cutoff_is_refused():
    """Pairs that a model sees would be missing without a word; more do no harm."""
    shorter, longer = (build_graph(ethanol(), CUTOFF + by) for by in (-0.5, 0.5))
    with pytest.raises(ArgumentError, match="lacks pairs"):
        predict(model(), shorter)
    with pytest.raises(ArgumentError, match="lacks pairs"):
        jax.eval_shape(lambda graph: predict(model(), graph), shorter)
    joined = join_graphs([shorter, longer])
    assert (
        joined.cutoff == pad_graph(joined, graph_shape(joined)).cutoff == CUTOFF - 0.5
    )
    exact = run(build_graph(ethanol(), CUTOFF))["energy"]
    np.testing.assert_allclose(run(longer)["energy"], exact, rtol=1e-12)


def test_float64_without_x64_is_refused():
    with jax.enable_x64(False), pytest.raises(ModelError, match="jax_enable_x64"):
        cast_parameters({"a": np.ones(1)}, "float64")


def test_an_integer_is_the_same_number():
    integer, number = (PETConfig((1,), cutoff=value) for value in (4, 4.0))
    assert json.dumps(integer.to_json()) == json.dumps(number.to_json())


def test_configuration_round_trip():
    assert PETConfig.from_json(CONFIG.to_json()) == CONFIG


def test_edge_vectors_are_what_rotates():
    graph = build_graph(ethanol(), CUTOFF)
    problem = orbit_problem(model(), ethanol(), layers="none", dtype="float64")
    np.testing.assert_array_equal(problem.x, graph.vectors)


class TestAdaptiveCutoff:
    CONFIG = dataclasses.replace(CONFIG, cutoff=5.5, num_neighbors_adaptive=6.0)

    def test_only_edges_that_the_model_sees_are_in_the_graph(self):
        """By its definition: pairs within the mean of both atoms' radii."""
        every = build_graph(copper(), 5.5)
        graph = pet_graph(self.CONFIG, copper())
        radii = np.asarray(
            adaptive_radii(self.CONFIG, every.lengths, every.edge_mask, every.atom_mask)
        )
        within = (radii[:, None] + radii[every.neighbors]) / 2
        seen = every.edge_mask & (every.lengths <= within)
        assert 0 < seen.sum() < every.edge_mask.sum() / 2
        for name in ("neighbors", "shifts", "vectors", "lengths"):
            chosen = getattr(graph, name)[graph.edge_mask]
            np.testing.assert_array_equal(chosen, getattr(every, name)[seen])
            whole = getattr(graph.surroundings, name)
            np.testing.assert_array_equal(whole, getattr(every, name))
        back = graph.vectors.reshape(-1, 3)[graph.reverse]
        np.testing.assert_array_equal(back, -graph.vectors)
        np.testing.assert_array_equal(
            pet_inputs(self.CONFIG, graph).edge_mask, graph.edge_mask
        )

    def test_samples_and_masks_of_a_measurement(self):
        made = model(cutoff=5.5, num_neighbors_adaptive=6.0)
        problem = orbit_problem(made, copper(), layers="gnn_layers.0.compress")
        seen = pet_graph(self.CONFIG, copper()).edge_mask
        np.testing.assert_array_equal(
            problem.outputs["gnn_layers.0.compress"].mask, seen
        )

    def test_padding_and_joining_change_nothing(self):
        pair = [copper(), ethanol()]
        made = model(cutoff=5.5, num_neighbors_adaptive=6.0)
        parts = [pet_graph(self.CONFIG, atoms) for atoms in pair]
        together = pet_graph(self.CONFIG, pair)
        jax.tree.map(np.testing.assert_array_equal, join_graphs(parts), together)
        larger = GraphShape(*np.add(graph_shape(together), (2, 3, 1, 5)))
        one, other = (
            predict(made, graph, forces=True, stress=True)
            for graph in (together, pad_graph(together, larger))
        )
        for name, size in (("energy", 2), ("forces", 13), ("stress", 2)):
            np.testing.assert_allclose(
                other[name][:size], one[name][:size], atol=1e-11, err_msg=name
            )

    def test_other_graphs_are_refused(self):
        every = build_graph(copper(), 5.5)
        with pytest.raises(ArgumentError, match=r"all pairs as edges.*pet_graph"):
            pet_inputs(self.CONFIG, every)
        with pytest.raises(ArgumentError, match="a selection of edges"):
            pet_inputs(CONFIG, pet_graph(self.CONFIG, copper()))
        with pytest.raises(ArgumentError, match="of some the edges are a selection"):
            join_graphs([every, pet_graph(self.CONFIG, copper())])
