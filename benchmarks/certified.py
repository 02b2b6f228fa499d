"""Time and evaluations to a certified accuracy: each B to 1e-3, A to 1 %.

    python benchmarks/certified.py [--checkpoint model.ckpt] [--rows ethanol ...]

symjax climbs with `over=Adaptive()` until it certifies the accuracy, on symmetric
structures with their point group. Its first call (compilation included) and the median
of the later calls are printed, with the largest actual error of B and of A against a
fine reference, so that the certificate can be checked.

The peer, ``metatomic.torch.o3.SymmetrizedModel``, has a fixed grid. Three are timed:
2 L for L = 6 and L = 12, which its documentation suggests, and the smallest of its
grids whose result is within the tolerances of the reference. Nobody knows the latter
beforehand: finding it takes the reference. Its grids through degree d hold the same
number of elements as ours; that smallest degree is found with symjax on the same
elements, where that is faster, and timed with the peer.

Beside the climb, random turns of a finite group (`over=HaarSamples(num, turn=group)`):
what their own standard errors state, twice, and the actual error.
"""

import argparse
import dataclasses
import pathlib
import statistics
import tempfile
import time

import ase
import ase.build
import numpy as np
from vs_metatomic import LAYERS, PEER_BATCH, REPEATS, make_checkpoint, structure

CONTENT, ERROR = 1e-3, 1e-2
# Degrees of the peer's grids, in its steps of one.
FIXED = (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 19, 21, 23)
LAYER_SETS = {"outputs": (), "layers": LAYERS}
# Rotations, each with its inverse through the origin, of the group that is turned.
TURNS = ((192, "T"), (384, "T"), (384, "O"), (480, "I"))


def symmetric(name: str) -> ase.Atoms:
    """A symmetric structure, exactly so."""
    from symjax.data import find_symmetry, symmetrize

    if name == "diamond 64":
        return ase.build.bulk("C", "diamond", cubic=True) * 2
    atoms = ase.build.molecule(name)
    return symmetrize(atoms, find_symmetry(atoms, tolerance=1e-2))


ROWS = {
    "ethanol": lambda: structure("CH3CH2OH"),
    "21 atoms": lambda: structure("21 atoms"),
    "methane": lambda: symmetric("CH4"),
    "benzene": lambda: symmetric("C6H6"),
    "C60": lambda: symmetric("C60"),
    "diamond 64": lambda: symmetric("diamond 64"),
}


def timed(call, repeats=REPEATS):
    """First and median later wall time, and the last result."""
    times = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return times[0], statistics.median(times[1:] or times), result


def within(result, reference) -> tuple[float, float]:
    """Largest error of a B and largest relative error of an A, over all outputs."""
    worst_content = worst_error = 0.0
    for name, leaf in reference.items():
        size = min(len(leaf.content), len(result[name].content))
        difference = np.abs(leaf.content[:size] - result[name].content[:size]).max()
        beyond = leaf.content[size:].max(initial=0.0)
        worst_content = max(worst_content, float(difference), float(beyond))
        if leaf.relative_error > 1e-5:
            ratio = result[name].equivariance_error / leaf.equivariance_error
            worst_error = max(worst_error, abs(ratio - 1))
    return worst_content, worst_error


def time_peer(checkpoint: str, atoms: ase.Atoms, degree: int, max_degree: int, layers):
    """Median wall time of the peer on one of its grids."""
    import torch
    from metatomic.torch import ModelOutput, systems_to_torch
    from metatomic.torch.o3 import SymmetrizedModel
    from metatrain.utils.io import model_from_checkpoint
    from metatrain.utils.neighbor_lists import get_system_with_neighbor_lists

    state = torch.load(checkpoint, weights_only=False)
    model = model_from_checkpoint(state, context="export").eval()
    wrapped = SymmetrizedModel(
        model,
        max_angular_momentum_target=1,
        max_angular_momentum_character=max_degree,
        max_angular_momentum_grid=degree,
        batch_size=PEER_BATCH,
    )
    (system,) = systems_to_torch([atoms], dtype=torch.float32)
    system = get_system_with_neighbor_lists(system, model.requested_neighbor_lists())
    kinds = ("", "o3::variance::", "o3::character_projection::")
    outputs = ["energy", *(f"mtt::feature::{layer}" for layer in layers)]
    requests = {
        f"{kind}{output}": ModelOutput(
            sample_kind="system" if output == "energy" else "atom"
        )
        for output in outputs
        for kind in kinds
    }

    def call():
        with torch.inference_mode():
            return wrapped([system], requests, None)

    return timed(call, 1)[1]


def print_turns(name: str, layers: str, over, call, reference) -> None:
    """Prints the line of one set of random turns."""
    over = dataclasses.replace(over, content_tolerance=CONTENT, error_tolerance=ERROR)
    first, median, result = timed(lambda: call(over, 6))
    content, error = within(result, reference)
    certificates = [leaf.certificate for leaf in result.values()]
    stated = max(certificate.error_uncertainty for certificate in certificates)
    certified = all(certificate.certified for certificate in certificates)
    print(
        f"{name:<11}{layers:<8} L=6   symjax     {over.turn} turned   "
        f"{result.num_elements:>6} elements, states A to {stated:.0e}, "
        f"first {first:6.1f} s, median {median:7.2f} s, certified "
        f"{certified}, errors B {content:.0e} A {error:.0e}",
        flush=True,
    )


def run(name: str, layers: str, checkpoint: str, reference_degree: int, peer: bool):
    """Prints the lines of one structure."""
    from symjax.interop import load_metatrain
    from symjax.metrics import Adaptive, Grid, HaarSamples, measure
    from symjax.models.pet import orbit_problem

    atoms = ROWS[name]()
    problem = orbit_problem(
        load_metatrain(checkpoint),
        atoms,
        layers=LAYER_SETS[layers],
        outputs=["energy"],
        symmetry="auto",
    )

    def call(over, max_degree):
        if isinstance(over, int):
            over = Grid(over, on_aliasing="report")
        return measure(problem, max_degree=max_degree, over=over)

    group = problem.symmetry.name if problem.symmetry else "C1"
    reference = call(reference_degree, reference_degree // 2)
    smallest = next(
        (
            degree
            for degree in FIXED
            if np.all(
                np.array(within(call(degree, degree // 2), reference))
                <= (CONTENT, ERROR)
            )
        ),
        None,
    )
    for num, turn in TURNS:
        print_turns(name, layers, HaarSamples(num, turn), call, reference)
    for max_degree in (6, 12):
        first, median, result = timed(
            lambda degree=max_degree: call(
                Adaptive(CONTENT, ERROR, on_aliasing="report"), degree
            )
        )
        content, error = within(result, reference)
        certified = all(leaf.certificate.certified for leaf in result.values())
        print(
            f"{name:<11}{layers:<8} L={max_degree:<3} symjax     degree "
            f"{result.degree:<3} {result.num_elements:>6} elements, group {group:<4} "
            f"first {first:6.1f} s, median {median:7.2f} s, certified "
            f"{certified}, errors B {content:.0e} A {error:.0e}",
            flush=True,
        )
        degrees = {2 * max_degree: "2 L"}
        if smallest is not None and max_degree == 6:
            degrees = {smallest: "smallest", **degrees}
        for degree, label in degrees.items() if peer else ():
            projected = min(max_degree, degree // 2)
            seconds = time_peer(
                checkpoint, atoms, degree, projected, LAYER_SETS[layers]
            )
            print(
                f"{'':<25}metatomic  degree {degree:<3} ({label}), median "
                f"{seconds:7.2f} s, ratio {seconds / median:.1f}",
                flush=True,
            )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", help="trained weights; default: as initialised")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--layers", choices=LAYER_SETS, default="outputs")
    parser.add_argument("--reference", type=int, default=29)
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = options.checkpoint
        if checkpoint is None:
            checkpoint = str(pathlib.Path(folder) / "model.ckpt")
            make_checkpoint(pathlib.Path(checkpoint))
        for name in options.rows:
            run(
                name,
                options.layers,
                checkpoint,
                options.reference,
                not options.no_peer,
            )


if __name__ == "__main__":
    main()
