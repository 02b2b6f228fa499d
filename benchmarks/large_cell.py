"""A periodic cell of 200 atoms, every layer, a grid of degree 25: within 8 GiB?

    python benchmarks/large_cell.py [--max-degree 6] [--grid 25] [--no-forces]

Prints what :func:`symjax.metrics.estimate` says beforehand, then the time and the peak
resident memory of the measurement itself.
"""

import argparse
import resource
import time

import ase
import ase.build
import numpy as np

from symjax.metrics import Grid, estimate, measure
from symjax.models import load_model
from symjax.models.pet import orbit_problem


def liquid() -> ase.Atoms:
    """22 molecules of ethanol and one of hydrogen, turned at random, 200 atoms."""
    rng = np.random.default_rng(0)
    side = 13.0  # angstrom, the density of liquid ethanol
    sites = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)
    parts = [ase.build.molecule("CH3CH2OH")] * 22 + [ase.build.molecule("H2")]
    atoms = ase.Atoms(cell=[side] * 3, pbc=True)
    for part, site in zip(parts, sites, strict=False):
        molecule = part.copy()
        molecule.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COP")
        centre = molecule.positions.mean(axis=0)
        molecule.translate((site + 0.5) * side / 3 - centre)
        atoms += molecule
    return atoms


def main() -> None:
    """Prints the estimate and the measurement."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--max-degree", type=int, default=6)
    parser.add_argument("--grid", type=int, default=25)
    parser.add_argument("--memory", type=float, default=5.0, help="budget in GiB")
    parser.add_argument("--estimate-only", action="store_true")
    parser.add_argument(
        "--no-forces", action="store_true", help="neither forces nor stress"
    )
    options = parser.parse_args()
    problem = orbit_problem(
        load_model("pet-ethanol"),
        liquid(),
        layers="all",
        outputs=["energy"] if options.no_forces else None,
    )
    arguments = {
        "over": Grid(options.grid, on_aliasing="report"),
        "max_degree": options.max_degree,
        "memory": int(options.memory * 2**30),
    }
    print(
        f"{len(problem.outputs)} outputs and layers, "
        f"{problem.x.shape[0]} atoms with up to {problem.x.shape[1]} neighbors, "
        f"l = 0..{options.max_degree}"
    )
    start = time.perf_counter()
    cost = estimate(problem, **arguments)
    print(f"beforehand: {cost}", flush=True)
    print(f"            (found in {time.perf_counter() - start:.0f} s)", flush=True)
    if options.estimate_only:
        return
    start = time.perf_counter()
    result = measure(problem, **arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = time.perf_counter() - start
    print(f"measured:   {len(result)} leaves in {seconds:.0f} s, peak {peak:.1f} GiB")
    for name, leaf in result.items():
        error, beyond = leaf.equivariance_error, leaf.remainder
        print(f"  {name:<34}A {error:.3e}  1 - sum B {beyond:.1e}")


if __name__ == "__main__":
    main()
