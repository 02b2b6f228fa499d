"""What `symjax report --jobs` gains over one process, which uses all cores already.

    python benchmarks/jobs.py frames.xyz [--frames :40] [--max-degree 2] [--jobs 2]

Runs the command with one process and with several in turn, after one run of each that
fills a compilation cache; a folder with a filled one can be given. Prints of each the
wall-clock time, the cores that were busy on average (processor time over wall-clock
time), and the median time of the evaluation of one structure; then the ratio of
wall-clock times, and the ratio of rates without starting, loading and compiling: jobs
times the median of one over the median of several.
"""

import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from symjax.report import read_results


def run(
    target: str, options: argparse.Namespace, jobs: int, folder: pathlib.Path
) -> tuple[float, float, float]:
    """Wall-clock seconds, busy cores, median seconds of one structure."""
    output = folder / "out"
    command = [sys.executable, "-m", "symjax", "report", target, "--overwrite"]
    command += ["--frames", options.frames, "--max-degree", str(options.max_degree)]
    command += ["--layers", options.layers, "--jobs", str(jobs), "-o", str(output)]
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
        wall, rate = [], []
        for repeat in range(0 if options.cache else -1, options.repeats):
            found = {}
            for jobs in (1, options.jobs):
                found[jobs] = run(options.target, options, jobs, folder)
                seconds, busy, evaluation = found[jobs]
                print(
                    f"{'warm-up' if repeat < 0 else repeat + 1:<8}--jobs {jobs:<4}"
                    f"{seconds:7.1f} s, {busy:4.2f} cores busy, "
                    f"{evaluation:6.3f} s for one structure",
                    flush=True,
                )
            if repeat >= 0:
                one, many = found[1], found[options.jobs]
                wall.append(one[0] / many[0])
                rate.append(options.jobs * one[2] / many[2])
        for label, values in (("wall-clock", wall), ("rate", rate)):
            print(
                f"ratio of {label:<11}{statistics.median(values):5.2f} "
                f"({min(values):.2f}-{max(values):.2f})"
            )


if __name__ == "__main__":
    main()
