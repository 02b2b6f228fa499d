"""Failures planted into a small PET, and the model that ships."""

import dataclasses
import functools

import ase.build
import flax.traverse_util
import jax
import numpy as np
import pytest

from symjax.data.quantities import Block, Target
from symjax.diagnose import Kind, Severity, diagnose
from symjax.models import load_model
from symjax.models.pet import PETConfig, init_pet
from symjax.runs import Destination, Options, measure_items

CONFIG = PETConfig(
    species=(1, 6, 9, 17),
    targets=(
        Target("energy", "eV"),
        Target("dipole", "e*angstrom", blocks=(Block("dipole", "vector"),)),
    ),
    d_pet=8,
    d_node=8,
    d_head=8,
    d_feedforward=8,
    num_heads=2,
    num_gnn_layers=2,
    num_attention_layers=1,
)


def pet(blind):
    """A random PET that sees directions weakly; a blind one sees lengths only."""
    model = init_pet(CONFIG, jax.random.key(0))
    flat = flax.traverse_util.flatten_dict(model.parameters, sep="/")
    for path, leaf in flat.items():
        if path.endswith("edge_embedder/kernel"):
            # Rows x, y, z and the length. Strong directions would make high degrees.
            leaf = np.array(leaf)
            leaf[:3] *= 0.0 if blind else 0.05
            flat[path] = leaf
    parameters = flax.traverse_util.unflatten_dict(flat, sep="/")
    return dataclasses.replace(model, parameters=parameters)


def chiral():
    """Four different atoms that lie in no plane: no symmetry."""
    positions = [[0, 0, 0], [1.1, 0, 0], [-0.4, 1.3, 0.1], [-0.5, -0.8, 1.5]]
    return ase.Atoms("CHFCl", positions=positions)


@functools.cache
def measured(blind, folder):
    options = Options(max_degree=3, layers="all", dtype="float32")
    return measure_items(
        pet(blind), {"chiral": chiral()}, options, Destination(folder, overwrite=True)
    )


def kinds(report):
    return {(f.kind, f.irrep) for f in diagnose(report).findings}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pet")


def test_a_pet_that_sees_no_directions(folder):
    found = diagnose(measured(True, folder / "blind"))
    # What it says is a dipole does not turn with the structure.
    assert found.findings[0].kind is Kind.UNLEARNED
    assert found.findings[0].outputs == ("dipole",)
    assert [(f.kind, f.irrep, f.severity) for f in found.findings[1:]] == [
        (Kind.MISSING_IRREP, "1+", Severity.CRITICAL),
        (Kind.PARITY_BLINDNESS, "", Severity.NOTE),
    ]
    missing = found.findings[1]
    assert missing.layer.endswith("_heads.dipole.0")
    assert missing.outputs == ("dipole",)
    assert "directions of edges" in missing.remedy


def test_a_pet_that_does(folder):
    # Random weights: nothing but that it has not learned the symmetry.
    assert kinds(measured(False, folder / "seeing")) == {(Kind.UNLEARNED, "")}


@pytest.fixture(scope="module")
def model():
    return load_model("pet-ethanol")


class TestShipped:
    def test_snapshot(self, ethanol_report):
        """Nothing limits the energy; tensors that it was not trained on would be."""
        assert diagnose(ethanol_report).findings == ()
        wanted = {"dipole": ["1+"], "hexadecapole": ["4+"], "chirality": ["0-"]}
        found = diagnose(ethanol_report, targets=wanted).findings
        assert [(f.kind, f.irrep, f.outputs, f.severity) for f in found] == [
            (Kind.MISSING_IRREP, "0-", ("chirality",), Severity.CRITICAL),
            (Kind.MISSING_IRREP, "4+", ("hexadecapole",), Severity.MODERATE),
        ]
