"""symjax beside ``metatomic.torch.o3.SymmetrizedModel``: same weights, same numbers?

    python benchmarks/vs_metatomic.py [--checkpoint model.ckpt] [--rows outputs-6 ...]

Needs the extra ``[torch]``. Both stacks run in turn, each in a process of its own, on
the same structures, the same grid and the same PET of metatrain's default size, in
float32. Reported are the first call (compilation included), the median and range of
the later calls, peak memory, and the arithmetic floor: the operations that XLA counts
in one forward pass, times the number of elements, over the rate of a matrix product
of the model's main shape measured in the same run. A row fails if the results differ.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import ase
import ase.build
import numpy as np

warnings.filterwarnings("ignore")

LAYERS = tuple(
    f"gnn_layers.{layer}.trans.layers.{attention}_{kind}"
    for layer in (0, 1)
    for attention in (0, 1)
    for kind in ("node", "edge")
)
ROWS = {
    "outputs-6": ("CH3CH2OH", 6, ()),
    "outputs-12": ("CH3CH2OH", 12, ()),
    "layers-6": ("CH3CH2OH", 6, LAYERS),
    "layers-12": ("CH3CH2OH", 12, LAYERS),
    "outputs-6-21": ("21 atoms", 6, ()),
    "outputs-6-60": ("C60", 6, ()),
    "outputs-6-crystal": ("64 atoms, periodic", 6, ()),
}
# Elements in one batch; the best of those tried for ethanol.
PEER_BATCH = 64
REPEATS = 3


def structure(name: str) -> ase.Atoms:
    """Structures of the rows; positions are rattled, so that none has symmetry."""
    if name == "21 atoms":
        atoms = ase.build.molecule("isobutane") + ase.build.molecule("C2H6")
        atoms = atoms[:21]
        atoms.positions[14:] += [0.0, 0.0, 4.0]
    elif name == "64 atoms, periodic":
        atoms = ase.build.bulk("C", "diamond", cubic=True) * 2
    else:
        atoms = ase.build.molecule(name)
    atoms.rattle(0.05, seed=0)
    return atoms


def make_checkpoint(path: pathlib.Path) -> None:
    """A PET of metatrain's default size, as initialised."""
    import torch
    from metatrain.pet import PET
    from metatrain.pet.documentation import ModelHypers
    from metatrain.utils.data import DatasetInfo
    from metatrain.utils.data.target_info import get_energy_target_info
    from metatrain.utils.hypers import init_with_defaults

    torch.manual_seed(0)
    energy = get_energy_target_info("energy", {"quantity": "energy", "unit": "eV"})
    info = DatasetInfo("angstrom", [1, 6, 8], {"energy": energy})
    model = PET(init_with_defaults(ModelHypers), info)
    state = model.get_checkpoint()
    state["best_model_state_dict"] = state["model_state_dict"]
    torch.save(state, path)


def run_symjax(row: str, checkpoint: str) -> dict[str, object]:
    """Times and results of symjax."""
    import jax

    from symjax.interop import load_metatrain
    from symjax.metrics import measure
    from symjax.models.pet import orbit_problem

    name, max_degree, layers = ROWS[row]
    problem = orbit_problem(
        load_metatrain(checkpoint), structure(name), layers=layers, outputs=["energy"]
    )

    def call():
        return measure(
            problem.function,
            problem.x,
            args=problem.args,
            action=problem.action,
            representations=problem.representations,
            masks=problem.masks,
            max_degree=max_degree,
            grid=2 * max_degree,
            on_aliasing="report",
        )

    times, result = timed(call)
    one = jax.jit(problem.function).lower(problem.x, *problem.args).compile()
    product = jax.jit(lambda a, b: a @ b)
    a = np.ones((2048, 128), np.float32)
    b = np.ones((128, 512), np.float32)
    product(a, b).block_until_ready()
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(50):
            product(a, b).block_until_ready()
        rates.append(50 * 2 * a.size * b.shape[1] / (time.perf_counter() - start))
    flops = one.cost_analysis()["flops"] * result.num_elements
    totals = {name: leaf.totals() for name, leaf in result.items()}
    return {
        "times": times,
        "elements": result.num_elements,
        "gflop": flops / 1e9,
        "floor": flops / max(rates),
        "variance": {name: float(t.variance.sum()) for name, t in totals.items()},
        "power": {name: t.power[0].tolist() for name, t in totals.items()},
    }


def run_peer(row: str, checkpoint: str) -> dict[str, object]:
    """Times and results of metatomic's SymmetrizedModel."""
    import torch
    from metatomic.torch import ModelOutput, systems_to_torch
    from metatomic.torch.o3 import SymmetrizedModel
    from metatrain.utils.io import model_from_checkpoint
    from metatrain.utils.neighbor_lists import get_system_with_neighbor_lists

    name, max_degree, layers = ROWS[row]
    state = torch.load(checkpoint, weights_only=False)
    model = model_from_checkpoint(state, context="export").eval()
    wrapped = SymmetrizedModel(
        model,
        max_angular_momentum_target=1,
        max_angular_momentum_character=max_degree,
        max_angular_momentum_grid=2 * max_degree,
        batch_size=PEER_BATCH,
    )
    (system,) = systems_to_torch([structure(name)], dtype=torch.float32)
    system = get_system_with_neighbor_lists(system, model.requested_neighbor_lists())
    names = {
        "energy": "energy",
        **{f"mtt::feature::{layer}": layer for layer in layers},
    }
    kinds = ("", "o3::variance::", "o3::character_projection::")
    requests = {
        f"{kind}{output}": ModelOutput(
            sample_kind="system" if output == "energy" else "atom"
        )
        for output in names
        for kind in kinds
    }

    def call():
        with torch.inference_mode():
            return wrapped([system], requests, None)

    times, result = timed(call)
    power: dict[str, list[list[float]]] = {}
    variance = {}
    for output, short in names.items():
        power[short] = [[0.0, 0.0] for _ in range(max_degree + 1)]
        for key, block in result[f"o3::character_projection::{output}"].items():
            index = 0 if int(key["chi_sigma"]) == 1 else 1
            power[short][int(key["chi_lambda"])][index] += float(block.values.sum())
        variance[short] = sum(
            float(block.values.sum())
            for block in result[f"o3::variance::{output}"].blocks()
        )
    return {"times": times, "variance": variance, "power": power}


def timed(call):
    """Wall times of the first and of the later calls, and the last result."""
    times = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return times, result


def in_process(stack: str, row: str, checkpoint: str) -> dict:
    """Runs one stack on one row in a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, __file__, "--worker", stack, row, file.name]
        subprocess.run([*command, "--checkpoint", checkpoint], check=True)
        return json.loads(pathlib.Path(file.name).read_text())


def compare(ours: dict, theirs: dict) -> float:
    """Largest difference of a content B between the stacks."""
    worst = 0.0
    for name, power in ours["power"].items():
        mine, other = np.array(power), np.array(theirs["power"][name])
        worst = max(worst, np.abs(mine / mine.sum() - other / other.sum()).max())
    return worst


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", help="trained weights; default: as initialised")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        stack, row, path = options.worker
        run = run_symjax if stack == "symjax" else run_peer
        out = run(row, options.checkpoint)
        out["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        pathlib.Path(path).write_text(json.dumps(out))
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = options.checkpoint
        if checkpoint is None:
            checkpoint = str(pathlib.Path(folder) / "model.ckpt")
            make_checkpoint(pathlib.Path(checkpoint))
        head = ("row", "stack", "first", "median", "range", "GiB", "floor", "ratio")
        print("{:<18}{:<9}{:>7}{:>8}{:>15}{:>6}{:>7}{:>7}".format(*head))
        for row in options.rows:
            theirs = in_process("peer", row, checkpoint)
            ours = in_process("symjax", row, checkpoint)
            difference = compare(ours, theirs)
            medians = []
            for stack, out in (("metatomic", theirs), ("symjax", ours)):
                first, *steady = out["times"]
                medians.append(statistics.median(steady))
                span = f"{min(steady):.2f}-{max(steady):.2f}"
                floor = f"{out['floor']:.2f}" if "floor" in out else ""
                ratio = f"{medians[0] / medians[1]:.2f}" if len(medians) == 2 else ""
                print(
                    f"{row:<18}{stack:<9}{first:>7.1f}{medians[-1]:>8.2f}{span:>15}"
                    f"{out['memory']:>6.1f}{floor:>7}{ratio:>7}",
                    flush=True,
                )
            print(f"{'':<18}largest difference of B: {difference:.1e}", flush=True)
            if difference > 1e-4:
                raise SystemExit(f"{row}: the stacks disagree")


if __name__ == "__main__":
    main()
