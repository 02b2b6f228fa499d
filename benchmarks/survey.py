"""Surveys: which elements, how fast, and beside metatomic's ``SymmetrizedModel``.

    python benchmarks/survey.py [design] [throughput] [peer] [--tiny] [--few 20]
        [--data FILE]

``design``: noise of V of one structure at equal work, for elements that are drawn in
different ways. The mean over frames of the variance between rounds of new elements,
its root over the mean of V; the last column is the number of independent pairs that
would be as good, over the number that was paid for. Then the same for control variates:
the entries of D^l, l = 1 and 2, of the elements that align a frame with a molecule,
whose expectation is 0, with coefficients from other rounds of the same structure (as
good as they can be, but never to be had: 34 coefficients from 192 turns) and from other
structures. (Vectors rho(g) m, of which the estimate of V is free anyway, gain nothing.)
Last, strata of structures: how many fewer molecules of mixed kinds a survey that ends
early would visit if it drew them in proportion by formula.

``throughput``: molecules a second of a survey of 16 elements with the model that ships,
page and tables included, programs compiled before: ethanol, and molecules of mixed
sizes. ``share`` is the time in the compiled calls; ``floor`` what no program of these
operations can exceed: the operations that XLA counts for one molecule of ethanol, over
the rate of a product of the model's main shape in the same process.

``peer``: A of the outputs of 1,000 molecules to 1 %, with a PET of metatrain's default
size as initialised, against ``SymmetrizedModel`` at degree 12 for each molecule,
extrapolated from a few. Needs the extra ``[torch]``.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

import ase
import ase.build
import ase.io
import jax
import numpy as np

from symjax.metrics import Groups, Survey, pool
from symjax.metrics.gathering import Gathered
from symjax.metrics.packs import (
    Pending,
    free_threads,
    in_order,
    measure_packs,
    start_pack,
)
from symjax.metrics.pieces import describe
from symjax.metrics.pooling import QUESTIONS
from symjax.metrics.unbiased import estimate_rows
from symjax.models import load_model
from symjax.models.pet import orbit_problem
from symjax.models.pet.packing import Packing
from symjax.runs import Options, survey_structures
from symjax.so3 import wigner_d

DESIGNS = {
    16: ("C1", "C2", "D2", "fibonacci 4"),
    48: ("C1", "D2", "T", "fibonacci 12"),
    96: ("C1", "D2", "T", "O", "fibonacci 24"),
}
MIXED = ("H2O", "CH4", "C2H2", "CH3OH", "C2H6", "CH3CHO", "CH3CH2OH", "C3H8", "C6H6")


def ethanol(num: int, data: str | None, seed: int = 0) -> dict[str, ase.Atoms]:
    """Frames of a file, or rattled molecules; repeated ones are rattled again."""
    random = np.random.default_rng(seed)
    frames = [ase.build.molecule("CH3CH2OH")]
    if data is not None:
        frames = ase.io.read(data, ":")
    found = {}
    for number in range(num):
        atoms = frames[number % len(frames)].copy()
        if number >= len(frames) or data is None:
            atoms.positions += 0.05 * random.normal(size=atoms.positions.shape)
        found[str(number)] = atoms
    return found


def mixed(num: int) -> dict[str, ase.Atoms]:
    """Rattled molecules of 3 to 12 atoms."""
    random = np.random.default_rng(0)
    found = {}
    for number in range(num):
        atoms = ase.build.molecule(MIXED[number % len(MIXED)])
        atoms.positions += 0.05 * random.normal(size=atoms.positions.shape)
        found[str(number)] = atoms
    return found


def joined(num: int) -> dict[str, ase.Atoms]:
    """Molecules of 3 to 24 atoms, in as many sizes as QM9: one, or two side by side."""
    random = np.random.default_rng(0)
    found = {}
    for number in range(num):
        atoms = ase.build.molecule(MIXED[random.integers(len(MIXED))])
        if random.random() < 0.8:
            other = ase.build.molecule(MIXED[random.integers(len(MIXED))])
            # Atoms of the two touch, so that neighborhoods are those of one molecule.
            gap = atoms.positions[:, 0].max() - other.positions[:, 0].min() + 1.5
            other.positions[:, 0] += gap
            atoms += other
        atoms.positions += 0.05 * random.normal(size=atoms.positions.shape)
        found[str(number)] = atoms
    return found


def count_programs(num: int) -> int:
    """Shapes of the packs of molecules of many sizes; each is compiled once."""
    packing = Packing(load_model("pet-ethanol"), 16)
    items = [packing.item(label, atoms) for label, atoms in joined(num).items()]
    shapes = set()
    # In blocks, as a survey finds them.
    for start in range(0, num, 512):
        for pack in packing.join(items[start : start + 512]):
            shapes.add(packing.shape([item.graph for item in pack]))
    return len(shapes)


def compare_designs(structures: dict[str, ase.Atoms], rounds: int) -> None:
    """Prints the noise of V for each way to draw elements."""
    model = load_model("pet-ethanol")
    print(f"Noise of V, {len(structures)} structures, {rounds} rounds")
    print(
        f"{'elements':>8}  {'turn':<14}{'energy':>9}{'gain':>7}{'forces':>9}{'gain':>7}"
    )
    for num, turns in DESIGNS.items():
        independent: dict[str, float] = {}
        for turn in turns:
            over = Survey(num, turn=turn, seed=1)
            packs = list(Packing(model, num).packs(structures))
            values: dict[str, list[np.ndarray]] = {}
            for number in range(rounds):
                found = pool(
                    item
                    for items in measure_packs(packs, over, 0, number)
                    for item in items
                )
                for name in found.names:
                    values.setdefault(name, []).append(found.by_item(name))
            line = f"{num:>8}  {turn:<14}"
            for name, each in values.items():
                mean = float(np.mean(each))
                noise = float(np.var(each, axis=0, ddof=1).mean()) ** 0.5 / mean
                independent.setdefault(name, noise)
                line += f"{noise:>9.3f}{(independent[name] / noise) ** 2:>7.2f}"
            print(line, flush=True)


def compare_controls(structures: dict[str, ase.Atoms], rounds: int, num: int) -> None:
    """Prints what control variates gain, beside independent turns."""
    over = Survey(num, seed=1)
    packing = Packing(load_model("pet-ethanol"), num)
    packs = list(packing.packs(structures))
    frames = {label: _frame(atoms) for label, atoms in structures.items()}
    values: dict[str, list[np.ndarray]] = {}
    variates = []
    for number in range(rounds):
        found: dict[str, list[np.ndarray]] = {}
        turned = []
        for pack in packs:
            pending = start_pack(pack, over, number)
            axes = np.array([frames[label] for label in pack.labels])
            turned.append(pending.rotations[:, :, 0] @ axes[:, None])
            for name, rows in _variances(pending).items():
                found.setdefault(name, []).append(rows)
        for name, rows in found.items():
            values.setdefault(name, []).append(np.concatenate(rows))
        # (structures, turns, 34)
        variates.append(_wigner_entries(np.concatenate(turned)))
    h = np.stack(variates, axis=1)
    for name, rounds_of in values.items():
        v = np.stack(rounds_of, axis=1)  # (structures, rounds, turns)
        v = v / v.mean(axis=(1, 2), keepdims=True)
        gains = {}
        for kind in ("other rounds", "other structures"):
            axis = 1 if kind == "other rounds" else 0
            plain = controlled = 0.0
            for left in range(v.shape[axis]):
                one = np.take(v, left, axis), np.take(h, left, axis)
                rest = np.delete(v, left, axis), np.delete(h, left, axis)
                if axis == 0:
                    parts = [(one, (rest[0].reshape(-1), rest[1].reshape(-1, 34)))]
                else:
                    parts = [
                        (
                            (one[0][i], one[1][i]),
                            (rest[0][i].reshape(-1), rest[1][i].reshape(-1, 34)),
                        )
                        for i in range(len(v))
                    ]
                for (mine, controls), (others, known) in parts:
                    slope = np.linalg.lstsq(known, others - others.mean(), rcond=None)
                    plain += np.square(mine - 1).sum()
                    controlled += np.square(mine - 1 - controls @ slope[0]).sum()
            gains[kind] = plain / controlled
        text = ", ".join(f"{kind} {gain:.2f}" for kind, gain in gains.items())
        print(f"{num:>8}  control variates, {name}: gain with coefficients of {text}")


def _frame(atoms: ase.Atoms) -> np.ndarray:
    """Axes that turn with a molecule: those of its first three atoms."""
    first = atoms.positions[1] - atoms.positions[0]
    second = np.cross(first, atoms.positions[2] - atoms.positions[0])
    rows = np.array([first, second, np.cross(first, second)])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T


def _wigner_entries(rotations: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        flat = rotations.reshape(-1, 3, 3)
        blocks = [np.asarray(part).reshape(len(flat), -1) for part in wigner_d(2, flat)]
    return np.concatenate(blocks[1:], axis=1).reshape(*rotations.shape[:2], -1)


def _variances(pending: Pending) -> dict[str, np.ndarray]:
    """What every turn says of V: ``(structures, turns)``, by output."""
    found = {}
    for name, values in pending.responses.items():
        output = pending.pack.outputs[name]
        owner = np.asarray(pending.pack.owners[name]).reshape(-1)
        real = np.asarray(output.mask).reshape(-1)
        responses = np.asarray(values)[:, real]
        shape = jax.ShapeDtypeStruct(responses.shape[1:], responses.dtype)
        leaf = describe({name: shape}, {name: output.representation})[name].compact
        flat = responses.reshape(len(responses), *leaf.shape)
        rows, *_ = estimate_rows(leaf, flat, pending.rotations, 0, owner[real])
        each = rows.variance.sum(axis=1)
        added = np.zeros((len(pending.pack.labels), each.shape[-1]))
        np.add.at(added, owner[real], each)
        found[name] = added
    return found


def compare_strata(num: int) -> None:
    """Prints what is gained by drawing a third of molecules in proportion."""
    structures = mixed(num)
    over, packing = Survey(16), Packing(load_model("pet-ethanol"), 16)
    packs = packing.packs(structures)
    found = {i.label: i for items in measure_packs(packs, over) for i in items}
    kinds = {k: atoms.get_chemical_formula() for k, atoms in structures.items()}
    labels, squares = list(structures), {}
    for name, groups in (("at random", Groups()), ("strata", Groups(strata=kinds))):
        for seed in range(20):
            order = groups.order(labels, np.random.default_rng(seed))[: num // 3]
            gathered = Gathered(num)
            gathered.add(found[labels[index]] for index in order)
            some = gathered.pool(labels, groups)
            for of in QUESTIONS:
                for output in some.names:
                    error = some.error(output, of=of).error
                    squares.setdefault((output, of), {}).setdefault(name, [])
                    squares[output, of][name].append(error**2)
    for (output, of), both in squares.items():
        gain = np.mean(both["at random"]) / np.mean(both["strata"])
        print(
            f"a third of {num} molecules, strata of {len(set(kinds.values()))} "
            f"formulas, {output}, {of}: gain {gain:.2f}"
        )


def arithmetic_floor(model: Any, num: int) -> float:
    """Molecules of ethanol a second at the rate of the model's matrix products."""
    (atoms,) = ethanol(1, None).values()
    problem = orbit_problem(model, atoms, layers="none")
    one = jax.jit(problem.function).lower(problem.x, *problem.args).compile()
    product = jax.jit(lambda a, b: a @ b)
    width = model.config.d_pet
    a, b = np.ones((4096, width), np.float32), np.ones((width, 3 * width), np.float32)
    product(a, b).block_until_ready()
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        for _ in range(50):
            product(a, b).block_until_ready()
        seconds.append((time.perf_counter() - start) / 50)
    rate = 2 * a.size * b.shape[1] / min(seconds)
    return rate / (num * one.cost_analysis()["flops"])


def measure_throughput(num: int, data: str | None) -> None:
    """Prints molecules a second."""
    model = load_model("pet-ethanol")
    print(f"{count_programs(num)} programs for {num} molecules of 3 to 24 atoms")
    print(f"floor: {arithmetic_floor(model, 16):.0f} molecules of ethanol a second")
    print(
        f"{'structures':<12}{'number':>8}{'programs':>10}{'s':>8}{'1/s':>8}{'share':>8}"
    )
    for name, structures in (("ethanol", ethanol(num, data)), ("mixed", mixed(num))):
        over, packing = Survey(16), Packing(model, 16)
        packs = packing.packs(structures)
        shapes = set()
        for pack in (packs := list(packs)):
            shapes.add(tuple(np.shape(owner) for owner in pack.owners.values()))

        def call(pack: Any, over: Survey = over) -> None:
            jax.block_until_ready(start_pack(pack, over).responses)

        list(in_order(call, packs, free_threads()))  # compiles
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            survey_structures(model, structures, over, folder + "/out")
        seconds = time.perf_counter() - start
        calls = []
        for _ in range(3):
            before = time.perf_counter()
            list(in_order(call, packs, free_threads()))
            calls.append(time.perf_counter() - before)
        share = min(calls) / seconds
        rate = num / seconds
        print(
            f"{name:<12}{num:>8}{len(shapes):>10}{seconds:>8.1f}{rate:>8.0f}"
            f"{share:>8.2f}",
            flush=True,
        )


def compare_peer(num: int, few: int, until: float, degree: int) -> None:
    """Prints the time of a survey beside that of the peer, extrapolated."""
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    import vs_metatomic

    from symjax.interop import load_metatrain

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.ckpt"
        vs_metatomic.make_checkpoint(path)
        row = vs_metatomic.Row("CH3CH2OH", degree, "none", few)
        times = vs_metatomic.run_peer(row, str(path))["times"]
        each = statistics.median(times[1:])  # type: ignore[index]
        model = load_metatrain(str(path))
        structures = ethanol(num, None)
        start = time.perf_counter()
        report = survey_structures(
            model,
            structures,
            Survey(16, until=until, minimum=min(400, num)),
            f"{folder}/out",
            options=Options(max_degree=6),
        )
        seconds = time.perf_counter() - start
    print(
        f"metatomic, degree {degree}, energy: {each:.1f} s a molecule (median of "
        f"{few}), {num * each:,.0f} s for {num:,} (extrapolated)"
    )
    print(
        f"symjax, survey of energy and forces: {seconds:,.0f} s, start and compilation "
        f"included; A known to {report.found.reached:.2%} in {report.found.rounds} "
        f"rounds, {len(report.pool.labels):,} structures; "
        f"ratio {num * each / seconds:.0f}"
    )


def main() -> None:
    """Prints the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    known = ("design", "throughput", "peer")
    parser.add_argument("tables", nargs="*", default=list(known), metavar="TABLE")
    parser.add_argument("--tiny", action="store_true", help="only shows that it runs")
    parser.add_argument("--few", type=int, default=20, help="calls of the peer")
    parser.add_argument("--data", help="frames of ethanol; default: rattled molecules")
    options = parser.parse_args()
    tiny = options.tiny
    for table in options.tables:
        if table not in known:
            parser.error(f"{table} is none of {', '.join(known)}")
    if "design" in options.tables:
        frames = ethanol(4 if tiny else 20, options.data)
        compare_designs(frames, 3 if tiny else 12)
        compare_controls(frames, 8 if tiny else 24, 16)
        compare_strata(27 if tiny else 900)
    if "throughput" in options.tables:
        measure_throughput(40 if tiny else 1000, options.data)
    if "peer" in options.tables:
        few = options.few
        compare_peer(*((20, 1, 0.2, 2) if tiny else (1000, few, 0.01, 12)))


if __name__ == "__main__":
    main()
