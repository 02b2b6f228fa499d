"""Does the mean square error divide into that of the mean and A^2, to rounding?

    python benchmarks/experiments/decomposition.py --data ethanol_reduced_100.xyz

For the model that ships with the package, on frames that it was not trained on: the
left column is the mean over a rule on O(3) of the square error of every single
prediction, turned structure against turned label, frame by frame and element by
element, without symjax.metrics; the others are the error of the symmetrised prediction
and the equivariance error that symjax.metrics reports on the same rule. In float64.
"""

import argparse
import functools
import pathlib

import jax
import numpy as np
from common import write_table

from symjax.data import build_graph, read_structures, read_targets, rotate_graph
from symjax.metrics import Grid, measure
from symjax.models import load_model
from symjax.models.pet import PETModel, cast_parameters, orbit_problem, predict
from symjax.so3 import quadrature
from symjax.training.baselines import composition


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--degree", type=int, default=9)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    model = load_model("pet-ethanol")
    # Every fifth frame was held out.
    frames = read_structures(options.data)[4::5][: options.frames]
    targets = read_targets(frames, energy_unit="kcal/mol")
    forces = targets.forces.reshape(len(frames), -1, 3)
    rule = quadrature(options.degree)
    elements = np.concatenate([rule.rotations, -rule.rotations])
    weights = np.tile(rule.weights, 2) / 2

    # The baseline of thousands of eV is the label's, too: both are compared without it.
    baseline = np.asarray(model.parameters["baseline"]["energy"]["scalar"], float)
    zero = jax.tree.map(np.zeros_like, model.parameters["baseline"])
    free = {**model.parameters, "baseline": zero}
    parameters = cast_parameters(free, "float64")

    @functools.partial(jax.jit, static_argnums=0)
    def responses(config, parameters, graph, elements):
        def one(element):
            turned = rotate_graph(graph, element)
            out = predict(PETModel("pet", config, parameters), turned, forces=True)
            return out["energy"][0], out["forces"]

        return jax.lax.map(one, elements, batch_size=32)

    sums = {name: np.zeros(3) for name in ("energy", "forces")}
    for index, atoms in enumerate(frames):
        graph = build_graph(atoms, model.config.cutoff)
        offset = composition([graph], model.config.species) @ baseline
        energy = targets.energies[index] - offset.item()
        energies, turned = responses(model.config, parameters, graph, elements)
        labels = np.einsum("gij,aj->gai", elements, forces[index])
        every = {
            "energy": weights @ (np.asarray(energies) - energy) ** 2,
            "forces": weights @ np.sum((np.asarray(turned) - labels) ** 2, (1, 2)),
        }
        problem = orbit_problem(model, atoms, layers="none", dtype="float64")
        result = measure(
            problem,
            max_degree=options.degree // 2,
            over=Grid(rule, on_aliasing="report"),
        )
        wanted = {"energy": energy, "forces": forces[index]}
        for name, label in wanted.items():
            leaf = result[name]
            variance = float(leaf.totals().variance.sum())
            of_mean = float(np.sum((np.squeeze(leaf.mean) - label) ** 2))
            sums[name] += every[name], of_mean, variance
    rows = []
    for name, (total, of_mean, variance) in sums.items():
        count = len(frames) * (1 if name == "energy" else forces[0].size)
        rows.append(
            [
                name,
                *(f"{np.sqrt(x / count):.6g}" for x in (total, of_mean, variance)),
                f"{abs(total - of_mean - variance) / total:.1e}",
            ]
        )
    head = ["", "RMSE over the group", "RMSE of the mean", "A", "relative difference"]
    write_table(pathlib.Path("decomposition.md"), head, rows)


if __name__ == "__main__":
    main()
