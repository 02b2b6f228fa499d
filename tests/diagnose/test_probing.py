"""What can be read from the layers of a network, and what from products of features."""

import dataclasses

import ase.build
import ase.io
import toys

from symjax import cli
from symjax.report import write_report
from symjax.report.storage import read_report


def keep_layers(path, layers):
    """Makes a report say that these layers were measured."""
    report = read_report(path)
    settings = dataclasses.replace(report.settings, layers=layers)
    write_report(dataclasses.replace(report, settings=settings), path)


def test_what_can_be_read_from_layers(invoke, small, tmp_path):
    """Water: tensors of every layer behind the first, 0- of none, as it is flat."""
    keep_layers(small[0], "gnn_layers.0.compress,gnn_layers.0.edge_embedder")
    frames = [ase.build.molecule("H2O") for _ in range(10)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed)
    frames.append(ase.build.molecule("SiH4"))
    ase.io.write(tmp_path / "f.xyz", frames, format="extxyz")
    asked = ["--json", "out.json", "--probe-figure", "probes.svg"]
    result = invoke(*small, "--probe", "f.xyz", *asked)
    assert result.exit_code == cli.FAILED, result.output
    assert "f.xyz:10: FAILED: " in result.stderr
    assert "each layer carries (B), and that can be read from it" in result.stdout
    found = toys.read_back(tmp_path / "out.json")["probes"]
    assert found["structures"] == [5, 5]
    first = found["sectors"]["gnn_layers.0.compress"]
    assert first["1+"]["decodable"]
    assert "0-" not in first
    # a linear map of vectors and their lengths, and no more
    edges = found["sectors"]["gnn_layers.0.edge_embedder"]
    assert edges["1+"]["score"] > 0.7
    decodable = {name for name in edges if edges[name]["decodable"]}
    assert {"1+"} <= decodable <= {"0+", "1+"}
    assert "</svg>" in (tmp_path / "probes.svg").read_text()
    few = invoke(*small, "--probe", "f.xyz", "--frames", ":3")
    assert few.exit_code == cli.BAD_INPUT
    assert "--probe=3: are too few" in few.stderr


def test_products_of_features_are_read_too(invoke, small, tmp_path):
    """Edge embeddings summed over neighbors: a linear map of one vector u per atom.

    From it 1+ can be read, from products u u as well, 2+; no 3+, and as u x u = 0 no
    pseudotensor, though these molecules are chiral as they were rattled.
    """
    name = "gnn_layers.0.edge_embedder"
    keep_layers(small[0], name)
    frames = [ase.build.molecule("CH3OH") for _ in range(12)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed)
    ase.io.write(tmp_path / "f.xyz", frames, format="extxyz")
    asked = ["--probe", "f.xyz", "--probe-products", "--json", "out.json"]
    result = invoke(*small, *asked)
    assert result.exit_code == cli.OK, result.output
    found = toys.read_back(tmp_path / "out.json")["probes"]
    of_one, of_two = found["sectors"][name], found["products"][name]
    assert len(of_one) == len(of_two) == 8
    assert found["comparisons"] == 16
    one, two = (
        {irrep for irrep, read in each.items() if read["decodable"]}
        for each in (of_one, of_two)
    )
    assert {"1+"} <= one <= {"0+", "1+"}
    assert {"1+", "2+"} <= two <= {"0+", "1+", "2+"}
