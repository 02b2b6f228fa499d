"""Does it help to cure a model where a trace says that its error enters?

    python benchmarks/experiments/cures.py energies --data ethanol_reduced_100.xyz \
        --out runs/cures
    python benchmarks/experiments/cures.py tensors --data ethanol_reduced_100.xyz \
        --out runs/cures

A small PET learns energies and forces of ethanol, or tensors of the surroundings of its
atoms (1+ to 4+ and 1-), every frame at two random elements of O(3).
:func:`symjax.metrics.trace` then says, on one frame that it was trained on, which GNN
layer the equivariance error comes from, and which sectors of its features can be taken
away so that A falls and the error on labels does not rise. From this model each cure
goes on at equal cost, counted in floating-point operations of the compiled step.
Averages at inference cost nothing in training. Seeds draw weights, batches and
elements; all see the same frames, so that the seeds of all cures share a handful of
programs: penalties are weighted, and parameters kept as they are, by arguments of a
step. Errors are over the held-out fifth of the frames as they stand, A over eight of
them. What is done is kept, so that an interrupted call goes on.
"""

import argparse
import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import SMALL, keep, spread, write_table
from hard_targets import size_of

from symjax.data import LabelFields, read_structures
from symjax.labels.analytic import label_analytically
from symjax.metrics import trace
from symjax.models import load_model, save_model
from symjax.models.biases import Biases
from symjax.models.pet import staged_problem
from symjax.models.pet.inject import inject_biases
from symjax.training import parse_run
from symjax.training.partial import choose_parameters, whole_network
from symjax.training.problems import Problem, atoms_problem, split

AVERAGES = ("D2", "O")
PROPER = {f"multipole_l{degree}": f"{degree}+" for degree in (1, 2, 3, 4)}
TENSORS = {**PROPER, "pseudo_l1": "1-"}
_OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())


class Cure(NamedTuple):
    """What is changed, and what is penalised."""

    biases: Biases = Biases()
    trainable: tuple[str, ...] | None = None
    weight: float = 0.0
    layers: tuple[str, ...] = ()
    sectors: tuple[str, ...] = ()

    @property
    def program(self) -> "Cure":
        """What makes a program: weights and trainable parameters are its arguments."""
        return Cure(self.biases, layers=self.layers, sectors=self.sectors)


PLAIN = Cure()


class Study(NamedTuple):
    """One task: what all its runs share, and the units of its results."""

    settings: dict[str, Any]
    labels: LabelFields
    sizes: Mapping[str, float]
    columns: Mapping[str, tuple[tuple[str, ...], float]]


def study_of(name: str, data: pathlib.Path, out: pathlib.Path) -> Study:
    """Writes the frames of a task, and describes it."""
    frames, targets = read_structures(data), {}
    labels, sizes = LabelFields(energy_unit="kcal/mol"), {"energy": 1.0}
    columns: dict[str, tuple[tuple[str, ...], float]] = {
        "energy (meV/atom)": (("energy_rmse",), 1e3),
        "forces (meV/Å)": (("forces_rmse",), 1e3),
        "A of energy (meV)": (("energy",), 1e3),
        "A of forces (meV/Å)": (("forces",), 1e3),
    }
    training, held_out = split(len(frames), 0.2, 0)
    if name == "energies":
        targets = {"energy": {"energy_unit": "kcal/mol", "forces": "forces"}}
    else:
        frames, labels = label_analytically(frames, 4), LabelFields()
        targets = {n: {"kind": k, "per_atom": True} for n, k in TENSORS.items()}
        chosen = [frames[i] for i in training]
        sizes = {n: size_of(chosen, n, irrep) for n, irrep in TENSORS.items()}
        columns = {
            "error, 1+ to 4+": (tuple(f"{n}_rmse" for n in PROPER), 1.0),
            "error, 1-": (("pseudo_l1_rmse",), 1.0),
            "A, 1+ to 4+": (tuple(PROPER), 1.0),
            "A, 1-": (("pseudo_l1",), 1.0),
        }
    for part, indices in (("training", training), ("held_out", held_out)):
        path = out / f"{name}_{part}.xyz"
        ase.io.write(path, [frames[i] for i in indices], format="extxyz")
    settings = {
        "steps": 1,
        "data": {
            "training": str(out / f"{name}_training.xyz"),
            "validation": str(out / f"{name}_held_out.xyz"),
        },
        "targets": targets,
        "batch": {"max_structures": 4, "max_atoms": 36},
        "monitor": {"structures": 1, "survey": 8},
    }
    return Study(settings, labels, sizes, columns)


def blame(model: Any, atoms: ase.Atoms, study: Study) -> dict[str, Any]:
    """The layer with the largest share of A^2, and the sectors to take from it.

    Outputs are added up in units of their labels.
    """
    problem = staged_problem(model, atoms, labels=study.labels)
    found = trace(problem, max_degree=2, sectors=True)

    def total(of: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.sum(
            [np.square(of[name] / size) for name, size in study.sizes.items()], axis=0
        )

    cuts = total(found.errors)
    shares = (cuts[:-1] - cuts[1:]) / cuts[0]
    stage = int(np.argmax(shares))
    without = total(found.without)[stage]
    harmless = total(found.label_errors_without)[stage] <= total(found.label_errors)[0]
    helps = (without < cuts[0]) & harmless
    helps[0, 0] = False
    if not helps.any():
        without[0, 0] = np.inf
        helps = without == without.min()
    sectors = [f"{degree}{'+-'[column]}" for degree, column in np.argwhere(helps)]
    return {"stage": stage, "sectors": sectors, "shares": shares.tolist()}


class Stage(NamedTuple):
    """What makes one stage of a PET, by the names that a run's configuration takes.

    Attributes:
      modules: Those whose parameters make it (``[model] trainable``).
      layers: Those whose features it hands on (``[penalty] layers``).
    """

    modules: tuple[str, ...]
    layers: tuple[str, ...]


def stage_of(config: Any, number: int) -> Stage:
    """Modules and layers of one stage of ``staged_problem``, counted from 0."""
    if config.featurizer_type == "residual":
        layers = tuple(f"{kind}_backbone.{number}" for kind in ("node", "edge"))
        return Stage((f"gnn_layers.{number}",), layers)
    modules = tuple(
        f"{name}.{number}"
        for name in ("gnn_layers", "combination_norms", "combination_mlps")
    )
    layers = tuple(f"gnn_layers_post_mp_{kind}.{number}" for kind in ("node", "edge"))
    return Stage(modules, layers)


def cures_of(study: Study, config: Any, blamed: Mapping[str, Any]) -> dict[str, Cure]:
    """What is tried on a model."""
    stage = stage_of(config, blamed["stage"])
    averaged = Biases(symmetrized_layers=stage.layers, symmetrized_group="D2")
    found = {
        "more steps": Cure(),
        "more steps, this layer": Cure(trainable=stage.modules),
        "penalty on outputs": Cure(weight=1.0),
        "penalty on outputs, this layer": Cure(trainable=stage.modules, weight=1.0),
        "penalty on its sectors": Cure(
            weight=1.0, layers=stage.layers, sectors=tuple(blamed["sectors"])
        ),
        "layer averaged over D2": Cure(averaged),
    }
    if "energy" not in study.sizes:
        # What invariants read is the same with every readout.
        found["readout"] = Cure(Biases(readout="sum"))
        found["readout, penalty on outputs"] = Cure(Biases(readout="sum"), weight=1.0)
    return found


class Trainer:
    """Problems and compiled steps of a study, one for each kind of cure."""

    def __init__(self, study: Study):
        self._study = study
        self.problem = functools.cache(self._problem)
        self.program = functools.cache(self._program)

    def _problem(self, seed: int, program: Cure = PLAIN) -> Problem:
        """The task of a kind of cure, whose parameters are fresh."""
        penalty = {"elements": 2, "layers": program.layers, "sectors": program.sectors}
        model = {"hyperparameters": SMALL, "biases": program.biases.to_json()}
        settings = {"seed": seed, "penalty": penalty, "model": model}
        return atoms_problem(parse_run({**self._study.settings, **settings}))

    def _arguments(self, seed: int, number: int) -> tuple[Any, Any]:
        """Batch and random key of a step."""
        batch = self.problem(seed).batch(number)
        key = jax.random.fold_in(jax.random.key(seed), number)
        return jax.tree.map(lambda leaf: leaf[0, 0], batch), key

    def _program(self, program: Cure) -> tuple[Callable[..., Any], float]:
        """The compiled step, and its floating-point operations."""
        task = self.problem(0, program).task
        state = (task.params, _OPTIMIZER.init(task.params))
        one = jnp.float32(1)
        step = jax.jit(functools.partial(_step, task))
        rest = (*self._arguments(0, 0), task.params, one, one)
        compiled = step.lower(state, *rest).compile()
        return compiled, compiled.cost_analysis()["flops"]

    def train(
        self, params: Any, seed: int, cure: Cure, operations: float, rate: float
    ) -> tuple[Any, int]:
        """Parameters after steps of so many operations in all, and their number."""
        program, cost = self.program(cure.program)
        config = self.problem(0, cure.program).model(params, {}).config
        chosen = choose_parameters(config, params, cure.trainable)
        mask = whole_network(
            jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.ones_like, chosen)
        )
        state = (params, _OPTIMIZER.init(params))
        steps = round(operations / cost)
        for number in range(steps):
            now = rate * min(1, number / 20) * np.cos(np.pi / 2 * number / steps)
            rest = (mask, jnp.float32(cure.weight), jnp.float32(now))
            state = program(state, *self._arguments(seed, number), *rest)
        return state[0], steps

    def measure(self, params: Any, program: Cure) -> dict[str, float]:
        """Errors on held-out frames, and A."""
        problem = self.problem(0, program)
        found = dict(problem.validate(params, {}))
        settings = parse_run(self._study.settings).monitor
        for row in problem.probes[-1].rows(problem.model(params, {}), settings, 0):
            if row["quantity"] == "survey_A":
                found[row["name"]] = row["value"]
        for name, size in self._study.sizes.items():
            found[name] /= size
            found[f"{name}_rmse"] /= size
        return found


def _step(
    task: Any, state: Any, batch: Any, key: Any, mask: Any, weight: Any, rate: Any
) -> Any:
    """One step: parameters where ``mask`` is 0 stay as they are."""
    params, moments = state

    def loss(params: Any) -> Any:
        value, (_, terms) = task.loss(params, {}, batch, key, task.totals(batch))
        return value + (weight - 1) * terms["penalty"]

    gradient = jax.tree.map(jnp.multiply, jax.grad(loss)(params), mask)
    updates, moments = _OPTIMIZER.update(gradient, moments)
    params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    return params, moments


def main() -> None:
    """Trains what is not there yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", choices=("energies", "tensors"))
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=400, help="of the first training")
    parser.add_argument("--more", type=int, default=100, help="of a cure")
    parser.add_argument("--rate", type=float, help="first learning rate of a cure")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    study = study_of(options.study, options.data, out)
    path = out / f"{options.study}.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    trainer = Trainer(study)
    # Energies forget at once at higher rates what they have learnt.
    rate = options.rate or {"energies": 3e-4, "tensors": 1e-3}[options.study]

    def done(name: str, seed: int, measure: Callable[[], dict[str, Any]]) -> dict:
        own = kept.setdefault(name, {})
        if str(seed) not in own:
            own[str(seed)] = measure()
            keep(path, kept)
            print(seed, name, own[str(seed)], flush=True)
        return own[str(seed)]

    cost = done("of a step", 0, lambda: {"operations": trainer.program(PLAIN)[1]})
    unit = cost["operations"]
    atoms = read_structures(study.settings["data"]["training"])[0]
    for seed in range(options.seeds):
        base = out / f"{options.study}_base_{seed}"
        if not base.is_dir():
            problem = trainer.problem(seed)
            params, _ = trainer.train(
                problem.task.params, seed, PLAIN, options.steps * unit, 2e-3
            )
            save_model(problem.model(params, {}), base)
        model = load_model(base)
        network = model.parameters["network"]
        blamed = done("blamed", seed, lambda m=model: blame(m, atoms, study))
        done("as it is", seed, lambda n=network: trainer.measure(n, PLAIN))
        for group in AVERAGES:
            average = Cure(Biases(output_average=group))
            done(
                f"averaged over {group} at inference",
                seed,
                lambda n=network, c=average: trainer.measure(n, c),
            )
        for name, cure in cures_of(study, model.config, blamed).items():

            def cured(seed: int = seed, cure: Cure = cure, model: Any = model) -> dict:
                key = jax.random.key(seed)
                start = inject_biases(model, cure.biases, key).parameters["network"]
                start = jax.tree.map(jnp.asarray, start)
                budget = options.more * unit
                params, steps = trainer.train(start, seed, cure, budget, rate)
                found = trainer.measure(params, Cure(cure.biases))
                return {**found, "steps": steps}

            done(name, seed, cured)
    rows = []
    for name, seeds in kept.items():
        if name in ("of a step", "blamed"):
            continue
        row = [name, str(next(iter(seeds.values())).get("steps", "-"))]
        for names, scale in study.columns.values():
            values = [
                scale * np.sqrt(np.mean([one[n] ** 2 for n in names]))
                for one in seeds.values()
            ]
            row.append(spread(values))
        rows.append(row)
    header = ["cure", "steps", *study.columns]
    write_table(out / f"{options.study}.md", header, rows)


if __name__ == "__main__":
    main()
