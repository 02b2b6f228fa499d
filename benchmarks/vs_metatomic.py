"""symjax beside ``metatomic.torch.o3.SymmetrizedModel``: same weights, same numbers?

    python benchmarks/vs_metatomic.py [--checkpoint model.ckpt] [--rows outputs-6 ...]

Needs the extra ``[torch]``. Both stacks run in turn, each in a process of its own, on
the same structures, the same grid (Lebedev's, also where symjax's own default is
another rule) and the same PET of metatrain's default size, in float32; the peer with
the faster of its batch sizes. A row fails if the results differ. Columns:

- compile: first call less the median of the later ones, in seconds;
- median, range: of the later calls, in seconds;
- GiB: peak resident memory of the process;
- GFLOP: counted by XLA in one forward pass, times the number of elements;
- floor: that over the rate of a matrix product of the model's main shape, measured in
  the same process; a lower bound for any stack that makes these passes;
- ratio: of the medians, with the range that the extreme times allow.
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
from typing import NamedTuple

import ase
import ase.build
import numpy as np

warnings.filterwarnings("ignore")


class Row(NamedTuple):
    """One comparison.

    Attributes:
      structure: Name of the structure.
      max_degree: Largest degree of the projections; the grid has twice its degree.
      layers: ``"none"``, or ``"all"`` whose features depend on the orientation.
      repeats: Calls after the first.
    """

    structure: str
    max_degree: int
    layers: str
    repeats: int


ROWS = {
    "outputs-6": Row("CH3CH2OH", 6, "none", 5),
    "outputs-12": Row("CH3CH2OH", 12, "none", 3),
    "layers-6": Row("CH3CH2OH", 6, "all", 3),
    "layers-12": Row("CH3CH2OH", 12, "all", 1),
    "outputs-6-21": Row("21 atoms", 6, "none", 2),
    "outputs-3-60": Row("C60", 3, "none", 1),
    "outputs-3-crystal": Row("64 atoms, periodic", 3, "none", 1),
    "layers-3-crystal": Row("64 atoms, periodic", 3, "all", 1),
}
# Elements in one batch; the peer takes the faster one.
PEER_BATCHES = (64, 128)
PEER_BATCH, REPEATS = 64, 3
LAYERS = tuple(
    f"gnn_layers.{layer}.trans.layers.{attention}_{kind}"
    for layer in (0, 1)
    for attention in (0, 1)
    for kind in ("node", "edge")
)


def structure(name: str) -> ase.Atoms:
    """Structures of the rows; positions are rattled, so that none has symmetry."""
    if name == "21 atoms":
        atoms = ase.build.molecule("isobutane") + ase.build.molecule("C2H6")
        atoms = atoms[:21]
        atoms.positions[14:] += [0.0, 0.0, 4.0]
    elif name == "64 atoms, periodic":
        atoms = ase.build.bulk("C", "diamond", cubic=True) * 2
    elif name == "200 atoms, periodic":
        atoms = ase.build.bulk("MgO", "rocksalt", a=4.21, cubic=True) * (5, 5, 1)
    elif name == "slab":
        atoms = ase.build.fcc111("Cu", (3, 3, 4), vacuum=8.0)
        ase.build.add_adsorbate(atoms, "O", 1.2, "fcc")
        atoms.pbc = (True, True, False)
    else:
        atoms = ase.build.molecule(name)
    atoms.rattle(0.05, seed=0)
    return atoms


def make_checkpoint(path: pathlib.Path, **changes: object) -> None:
    """A PET as initialised, of metatrain's default hyperparameters but for changes."""
    import torch
    from metatrain.pet import PET
    from metatrain.pet.documentation import ModelHypers
    from metatrain.utils.data import DatasetInfo
    from metatrain.utils.data.target_info import get_energy_target_info
    from metatrain.utils.hypers import init_with_defaults

    torch.manual_seed(0)
    energy = get_energy_target_info("energy", {"quantity": "energy", "unit": "eV"})
    info = DatasetInfo("angstrom", list(range(1, 103)), {"energy": energy})
    model = PET({**init_with_defaults(ModelHypers), **changes}, info)
    state = model.get_checkpoint()
    state["best_model_state_dict"] = state["model_state_dict"]
    torch.save(state, path)


def layers_of(row: Row, checkpoint: str) -> tuple[str, ...]:
    """Names of the measured layers, the same in both stacks."""
    from symjax.interop import load_metatrain
    from symjax.models.pet import select_layers

    return select_layers(load_metatrain(checkpoint).config, row.layers)


def run_symjax(row: Row, checkpoint: str) -> dict[str, object]:
    """Times and results of symjax."""
    import jax

    from symjax.interop import load_metatrain
    from symjax.metrics import Grid, measure
    from symjax.models.pet import orbit_problem
    from symjax.so3 import quadrature

    problem = orbit_problem(
        load_metatrain(checkpoint),
        structure(row.structure),
        layers=row.layers,
        outputs=["energy"],
    )

    def call():
        return measure(
            problem,
            max_degree=row.max_degree,
            over=Grid(quadrature(2 * row.max_degree, "lebedev"), on_aliasing="report"),
        )

    times, result = timed(call, row.repeats)
    one = jax.jit(problem.function).lower(problem.x, *problem.args).compile()
    flops = one.cost_analysis()["flops"] * result.num_elements
    totals = {name: leaf.totals() for name, leaf in result.items()}
    return {
        "times": times,
        "gflop": flops / 1e9,
        "floor": flops / product_rate(),
        "variance": {name: float(t.variance.sum()) for name, t in totals.items()},
        "power": {name: t.power[0].tolist() for name, t in totals.items()},
    }


def product_rate() -> float:
    """Operations a second of a matrix product of the model's main shape."""
    import jax

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
    return max(rates)


def run_peer(row: Row, checkpoint: str, device: str = "cpu") -> dict[str, object]:
    """Times and results of metatomic's SymmetrizedModel."""
    import torch
    from metatomic.torch import ModelOutput, systems_to_torch
    from metatomic.torch.o3 import SymmetrizedModel
    from metatrain.utils.io import model_from_checkpoint
    from metatrain.utils.neighbor_lists import get_system_with_neighbor_lists

    layers = layers_of(row, checkpoint)
    state = torch.load(checkpoint, weights_only=False)
    model = model_from_checkpoint(state, context="export").eval()
    # symjax leaves the baseline of each species out, which is invariant and so large
    # that float32 has no digits left for what the network adds.
    for block in model.additive_models[0].model.weights["energy"].blocks():
        block.values[:] = 0
    (system,) = systems_to_torch([structure(row.structure)], dtype=torch.float32)
    system = get_system_with_neighbor_lists(system, model.requested_neighbor_lists())
    model, system = model.to(device), system.to(device)
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

    def caller(batch_size):
        wrapped = SymmetrizedModel(
            model,
            max_angular_momentum_target=1,
            max_angular_momentum_character=row.max_degree,
            max_angular_momentum_grid=2 * row.max_degree,
            batch_size=batch_size,
        )

        def call():
            with torch.inference_mode():
                found = wrapped([system], requests, None)
            if device != "cpu":
                torch.cuda.synchronize()
            return found

        return call

    tried = [(timed(caller(size), 0)[0][0], size) for size in PEER_BATCHES]
    times, result = timed(caller(min(tried)[1]), row.repeats)
    power: dict[str, list[list[float]]] = {}
    variance = {}
    for output, short in names.items():
        power[short] = [[0.0, 0.0] for _ in range(row.max_degree + 1)]
        for key, block in result[f"o3::character_projection::{output}"].items():
            index = 0 if int(key["chi_sigma"]) == 1 else 1
            power[short][int(key["chi_lambda"])][index] += float(block.values.sum())
        variance[short] = sum(
            float(block.values.sum())
            for block in result[f"o3::variance::{output}"].blocks()
        )
    # The very first call, before any batch size is known to be better.
    return {
        "times": [tried[0][0], *times[1:]],
        "variance": variance,
        "power": power,
    }


def timed(call, repeats: int = REPEATS):
    """Wall times of the first and of the later calls, and the last result."""
    times = []
    for _ in range(1 + repeats):
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


def compare(ours: dict, theirs: dict) -> tuple[float, float]:
    """Largest difference of a content B, and relative one of a variance."""
    content = variance = 0.0
    for name, power in ours["power"].items():
        mine, other = np.array(power), np.array(theirs["power"][name])
        content = max(content, np.abs(mine / mine.sum() - other / other.sum()).max())
        pair = ours["variance"][name], theirs["variance"][name]
        variance = max(variance, abs(pair[0] - pair[1]) / max(*pair, 1e-30))
    return content, variance


def print_head() -> None:
    """The head of the table."""
    head = ("compile", "median", "range", "GiB", "GFLOP", "floor", "ratio")
    print("{:<19}{:<12}{:>8}{:>9}{:>16}{:>6}{:>7}{:>8}  {}".format("row", "", *head))


def print_line(label: str, stack: str, out: dict, ratio: str) -> None:
    """One line of the table."""
    first, *steady = out["times"]
    median = statistics.median(steady)
    span = f"{min(steady):.3f}-{max(steady):.3f}"
    counted = f"{out['gflop']:.1f}" if "gflop" in out else ""
    floor = f"{out['floor']:.3f}" if "floor" in out else ""
    print(
        f"{label:<19}{stack:<12}{first - median:>8.1f}{median:>9.3f}{span:>16}"
        f"{out['memory']:>6.1f}{counted:>7}{floor:>8}  {ratio}",
        flush=True,
    )


def compare_wigner(max_degree: int = 12, grid: int = 24) -> None:
    """Set-up of the Wigner-D matrices of a grid, in this process.

    The peer stores the matrices of every rotation; a measurement of symjax needs the
    tables of the factorised projection only. Both are timed, and all matrices with
    symjax too.
    """
    import jax
    import jax.numpy as jnp
    import torch
    from metatomic.torch.o3 import O3Transformations

    from symjax.metrics.characters import Projector, factorised_tables
    from symjax.so3 import quadrature, wigner_d

    rule = quadrature(grid)
    rotations = rule.rotations
    projector = Projector(max_degree, rule.in_plane)

    def theirs():
        # Batch by batch, as the constructor of SymmetrizedModel.
        return [
            O3Transformations(
                torch.from_numpy(rotations[i : i + PEER_BATCH]), max_degree
            )
            for i in range(0, len(rotations), PEER_BATCH)
        ]

    def tables():
        return factorised_tables(projector, rule, rule.sphere_weights)

    matrices = jax.jit(wigner_d, static_argnums=0)
    with jax.enable_x64(True):
        placed = jnp.asarray(rotations)
        times = {
            "metatomic, matrices": timed(theirs, 2)[0],
            "symjax, tables": timed(tables, 10)[0],
            "symjax, matrices": timed(
                lambda: jax.block_until_ready(matrices(max_degree, placed)), 10
            )[0],
        }
    peer = statistics.median(times["metatomic, matrices"][1:])
    print(f"Wigner-D set-up, l = 0..{max_degree}, {len(rotations)} rotations, float64:")
    for name, all_ in times.items():
        median = statistics.median(all_[1:])
        print(
            f"  {name:<20} first {all_[0]:8.3f} s, later {median:9.4f} s, "
            f"ratio {peer / median:.0f}"
        )


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", help="trained weights; default: as initialised")
    parser.add_argument(
        "--rows", nargs="+", choices=[*ROWS, "wigner"], default=[*ROWS, "wigner"]
    )
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        stack, row, path = options.worker
        run = run_symjax if stack == "symjax" else run_peer
        out = run(ROWS[row], options.checkpoint)
        out["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        pathlib.Path(path).write_text(json.dumps(out))
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = options.checkpoint
        if checkpoint is None:
            checkpoint = str(pathlib.Path(folder) / "model.ckpt")
            make_checkpoint(pathlib.Path(checkpoint))
        print_head()
        for row in options.rows:
            if row == "wigner":
                compare_wigner()
                continue
            theirs = in_process("peer", row, checkpoint)
            ours = in_process("symjax", row, checkpoint)
            peer, mine = theirs["times"][1:], ours["times"][1:]
            ratio = statistics.median(peer) / statistics.median(mine)
            low, high = min(peer) / max(mine), max(peer) / min(mine)
            print_line(row, "metatomic", theirs, "")
            print_line(row, "symjax", ours, f"{ratio:.2f} ({low:.2f}-{high:.2f})")
            content, variance = compare(ours, theirs)
            print(f"{'':<19}differences: B {content:.1e}, V {variance:.1e} relative")
            if content > 1e-4:
                raise SystemExit(f"{row}: the stacks disagree")


if __name__ == "__main__":
    main()
