"""What `symjax report --jobs` gains over one process, which uses all cores already.

    python benchmarks/jobs.py frames.xyz [--frames :40] [--max-degree 2] [--jobs 2]

Runs the command with one process, with several, and on as many workers of a scheduler
of `distributed` that have started before, in turn, after one run of each that fills a
compilation cache; a folder with a filled one can be given. Prints of each the
wall-clock time, the cores that were busy on average (processor time over wall-clock
time), and the median time of the evaluation of one structure; then the ratio of
wall-clock times, and the ratio of rates without starting, loading and compiling: jobs
times the median of one over the median of several.
"""

import argparse
import contextlib
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import distributed

from symjax.report import read_results


def run(
    target: str, options: argparse.Namespace, where: list[str], folder: pathlib.Path
) -> tuple[float, float, float]:
    """Wall-clock seconds, busy cores, median seconds of one structure."""
    output = folder / "out"
    command = [sys.executable, "-m", "symjax", "report", target, "--overwrite"]
    command += ["--frames", options.frames, "--max-degree", str(options.max_degree)]
    command += ["--layers", options.layers, *where, "-o", str(output)]
    command += ["--no-figures", "--no-html"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        env=os.environ | {"XDG_CACHE_HOME": options.cache or str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # One row for each output: as many of every structure.
    evaluation = statistics.median(read_results(output)["evaluation_seconds"])
    return seconds, busy / seconds, evaluation


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", help="structures, as for symjax report")
    parser.add_argument("--frames", default=":40")
    parser.add_argument("--max-degree", type=int, default=2)
    parser.add_argument("--layers", default="none")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", help="XDG_CACHE_HOME of an earlier run: no warm-up")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        wall: dict[str, list[float]] = {}
        rate: dict[str, list[float]] = {}
        for repeat in range(0 if options.cache else -1, options.repeats):
            found = {}
            for name in ("one process", "jobs", "scheduler"):
                with contextlib.ExitStack() as stack:
                    where = {"one process": [], "jobs": ["--jobs", str(options.jobs)]}
                    if name == "scheduler":
                        cluster = distributed.LocalCluster(
                            n_workers=options.jobs,
                            threads_per_worker=1,
                            dashboard_address=None,
                        )
                        address = stack.enter_context(cluster).scheduler_address
                        where[name] = ["--scheduler", address]
                    found[name] = run(options.target, options, where[name], folder)
                seconds, busy, evaluation = found[name]
                print(
                    f"{'warm-up' if repeat < 0 else repeat + 1:<8}{name:<12}"
                    f"{seconds:7.1f} s, {busy:4.2f} cores busy, "
                    f"{evaluation:6.3f} s for one structure",
                    flush=True,
                )
            one = found.pop("one process")
            for name, many in found.items() if repeat >= 0 else ():
                wall.setdefault(name, []).append(one[0] / many[0])
                rate.setdefault(name, []).append(options.jobs * one[2] / many[2])
        for label, values in (("wall-clock", wall), ("rate", rate)):
            for name, each in values.items():
                print(
                    f"{name:<12}ratio of {label:<11}{statistics.median(each):5.2f} "
                    f"({min(each):.2f}-{max(each):.2f})"
                )


if __name__ == "__main__":
    main()
