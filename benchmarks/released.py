"""symjax beside metatrain, pet-jax and metatomic, on a PET of the released sizes.

    python benchmarks/released.py [--rows ethanol slab ...] [--kinds energy forces ...]

Needs the extra ``[torch]``, and ``pet-jax`` for its lines. Random weights of the
hyperparameters of the released models (node width 512, one attention layer, two GNN
layers, cutoff 7.5 angstrom, 16 neighbors selected by an adaptive cutoff, species to
102), float32. Every stack runs in a process of its own, one after the other. Kinds:

- energy: the model alone, on neighbors that were found before;
- forces: energy, forces and, where there is a cell, stress in an ASE calculator; atoms
  move by 1e-3 angstrom between calls, neighbors and selection included;
- outputs, layers: a measurement of the energy, or of all layers, of degree 3 on the
  grid of degree 6, beside ``SymmetrizedModel``.

Columns: first call less the median of the later ones, median and range of these, peak
resident memory, and the arithmetic floor: operations that XLA counts in the program of
symjax over the rate of a matrix product of the model's main shape, measured in the same
process; edges are those that the adaptive cutoff keeps. The ratio is that of the
medians. A row fails if results differ.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import warnings

import numpy as np
from vs_metatomic import (
    Row,
    compare,
    make_checkpoint,
    print_head,
    print_line,
    product_rate,
    run_peer,
    run_symjax,
    structure,
    timed,
)

warnings.filterwarnings("ignore")

HYPERS = {
    "d_node": 512,
    "num_attention_layers": 1,
    "num_gnn_layers": 2,
    "cutoff": 7.5,
    "num_neighbors_adaptive": 16,
}
ROWS = {
    "ethanol": "CH3CH2OH",
    "21": "21 atoms",
    "C64": "64 atoms, periodic",
    "200": "200 atoms, periodic",
    "slab": "slab",
}
STACKS = {
    "energy": ("eager", "TorchScript", "symjax"),
    "forces": ("eager", "TorchScript", "pet-jax", "symjax"),
    "outputs": ("metatomic", "symjax"),
    "layers": ("metatomic", "symjax"),
}
DEGREE = 3
# float32, forces of a few eV/angstrom: rounding of some thousand operations.
AGREEMENT = 2e-4


def exported(checkpoint: str, scripted: bool, folder: str):
    """The model of metatrain as it is, or exported and loaded again."""
    import torch
    from metatomic.torch import load_atomistic_model
    from metatrain.utils.io import model_from_checkpoint

    state = torch.load(checkpoint, weights_only=False)
    model = model_from_checkpoint(state, context="export").eval().export()
    if not scripted:
        return model
    path = str(pathlib.Path(folder) / "exported.pt")
    model.save(path)
    return load_atomistic_model(path)


def energies(stack: str, name: str, checkpoint: str, folder: str):
    """A function that evaluates the energy, and the arithmetic of one evaluation."""
    atoms = structure(name)
    if stack == "symjax":
        import jax

        from symjax.interop import load_metatrain
        from symjax.models.pet import pet_graph, predict

        model = load_metatrain(checkpoint)
        graph = jax.device_put(pet_graph(model.config, atoms, dtype="float32"))
        model = type(model)(model.name, model.config, jax.device_put(model.parameters))
        one = jax.jit(lambda graph: predict(model, graph)["energy"])
        flops = one.lower(graph).compile().cost_analysis()["flops"]
        return lambda: float(one(graph)[0]), flops
    import torch
    from metatomic.torch import ModelEvaluationOptions, ModelOutput, systems_to_torch
    from metatrain.utils.neighbor_lists import get_system_with_neighbor_lists

    model = exported(checkpoint, stack == "TorchScript", folder)
    (system,) = systems_to_torch([atoms], dtype=torch.float32)
    system = get_system_with_neighbor_lists(system, model.requested_neighbor_lists())
    options = ModelEvaluationOptions("angstrom", {"energy": ModelOutput()})

    def call():
        with torch.inference_mode():
            out = model([system], options, check_consistency=False)
        return float(out["energy"].block().values)

    return call, None


def forces(stack: str, name: str, checkpoint: str, folder: str):
    """A function that evaluates forces of moving atoms, and the arithmetic of it."""
    atoms, flops = structure(name), None
    if stack == "symjax":
        import jax

        from symjax.interop import SymjaxCalculator, load_metatrain
        from symjax.models.pet import pet_graph, predict

        model = load_metatrain(checkpoint)
        atoms.calc = SymjaxCalculator(model)
        graph = pet_graph(model.config, atoms, dtype="float32")
        one = jax.jit(lambda graph: predict(model, graph, forces=True)["forces"])
        flops = one.lower(graph).compile().cost_analysis()["flops"]
    elif stack == "pet-jax":
        from petjax import UPETCalculator
        from petjax.convert import convert_checkpoint

        convert_checkpoint(checkpoint, folder)
        # What means float32 here, too.
        atoms.calc = UPETCalculator.from_checkpoint(folder, matmul_precision="highest")
    else:
        from metatomic_ase import MetatomicCalculator

        model = exported(checkpoint, stack == "TorchScript", folder)
        atoms.calc = MetatomicCalculator(model, device="cpu")
    rng = np.random.default_rng(0)

    def call():
        atoms.positions += rng.normal(scale=1e-3, size=atoms.positions.shape)
        if atoms.pbc.all():
            atoms.get_stress()
        return atoms.get_forces().tolist()

    return call, flops


def worker(kind: str, stack: str, name: str, checkpoint: str, repeats: int) -> dict:
    """Times and results of one stack on one structure."""
    if kind in ("outputs", "layers"):
        row = Row(name, DEGREE, "all" if kind == "layers" else "none", repeats)
        run = run_symjax if stack == "symjax" else run_peer
        return run(row, checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        make = energies if kind == "energy" else forces
        call, flops = make(stack, name, checkpoint, folder)
        times, result = timed(call, repeats)
    out = {"times": times, "result": result}
    if flops is not None:
        out |= {"gflop": flops / 1e9, "floor": flops / product_rate()}
    return out


def in_process(kind: str, stack: str, row: str, options: argparse.Namespace) -> dict:
    """Runs one stack in a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, __file__, "--worker", kind, stack, row, file.name]
        command += ["--checkpoint", options.checkpoint, "--repeats", options.repeats]
        subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
        return json.loads(pathlib.Path(file.name).read_text())


def check(row: str, kind: str, ours: dict, stack: str, theirs: dict) -> str:
    """How much results differ; ends the run where it is too much."""
    if kind in ("outputs", "layers"):
        content, variance = compare(ours, theirs)
        wrong, text = content > 1e-4, f"B {content:.1e}, V {variance:.1e} relative"
    else:
        mine, other = np.array(ours["result"]), np.array(theirs["result"])
        error = np.abs(mine - other).max() / np.abs(other).max()
        wrong, text = error > AGREEMENT, f"{error:.1e} of the largest"
    if wrong:
        raise SystemExit(f"{row}, {kind}: symjax and {stack} disagree: {text}")
    return text


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=[*ROWS])
    parser.add_argument("--kinds", nargs="+", choices=STACKS, default=[*STACKS])
    parser.add_argument("--skip", nargs="+", default=[], help="stacks to leave out")
    parser.add_argument("--repeats", type=int, default=5, help="calls after the first")
    parser.add_argument("--checkpoint", help="default: random weights")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        kind, stack, row, path = options.worker
        out = worker(kind, stack, ROWS[row], options.checkpoint, options.repeats)
        out["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        pathlib.Path(path).write_text(json.dumps(out))
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.checkpoint is None:
            options.checkpoint = str(pathlib.Path(folder) / "model.ckpt")
            make_checkpoint(pathlib.Path(options.checkpoint), **HYPERS)
        print_head()
        for row in options.rows:
            for kind in options.kinds:
                print_row(row, kind, options)


def print_row(row: str, kind: str, options: argparse.Namespace) -> None:
    """The lines of one structure and kind, symjax last."""
    stacks = [stack for stack in STACKS[kind] if stack not in options.skip]
    found = {stack: in_process(kind, stack, row, options) for stack in stacks}
    ours = found["symjax"]
    for stack, out in found.items():
        ratio = ""
        if stack != "symjax":
            times = [statistics.median(o["times"][1:]) for o in (out, ours)]
            difference = check(row, kind, ours, stack, out)
            ratio = f"{times[0] / times[1]:.2f}   differs by {difference}"
        print_line(f"{row}, {kind}", stack, out, ratio)


if __name__ == "__main__":
    main()
