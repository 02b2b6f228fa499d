"""Trains metatrain's PET of its default size on ethanol, with metatrain itself.

    python benchmarks/train_ethanol_metatrain.py --data ethanol_reduced_100.xyz \
        --out default.ckpt

The data are 100 frames of ethanol from MD17 (Chmiela et al., Sci. Adv. 3, e1603015
(2017)) in kcal/mol and kcal/mol/angstrom; metatrain reads them in eV. Of every ten
frames eight are trained on, one chooses the best epoch, and one is held out for the
errors that are printed at the end, with those of the trivial baseline: no forces, and
the mean energy of the training frames.

The architecture is metatrain's default (2.9 million parameters, energies and forces by
differentiation). Of its training only the learning rate and its warm-up, the number of
epochs and the batch size differ from the defaults, which are made for larger data sets.
With them, on two cores and in about 12 minutes:

    on 10 frames held out            model  baseline
    force RMSE (eV/angstrom)        0.1394    1.2412
    energy RMSE (eV)                0.0294    0.1689

``--minutes`` stops a run at its next checkpoint; the same command goes on from there.
The exit status is 3 as long as epochs are left to do. Needs the extra ``[torch]``.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import time
from typing import Annotated, Any

import ase.io
import jax
import numpy as np
import typer

from symjax._files import replace_atomically
from symjax.data import build_graph, read_structures, read_targets
from symjax.interop import load_metatrain
from symjax.models.pet import predict

OPTIONS = """\
seed: 1
device: cpu
base_precision: 32
architecture:
  name: pet
  training:
    num_epochs: {epochs}
    batch_size: {batch_size}
    learning_rate: {learning_rate}
    warmup_fraction: 0.02
    checkpoint_interval: {checkpoint_interval}
    log_interval: 10
    num_workers: 0
training_set: &data
  systems: {{read_from: train.xyz, length_unit: angstrom}}
  targets:
    energy:
      key: energy
      unit: eV
      forces: {{key: forces}}
validation_set:
  <<: *data
  systems: {{read_from: validation.xyz, length_unit: angstrom}}
test_set: 0.0
"""
UNFINISHED = 3


def split(number: int) -> dict[str, np.ndarray]:
    """Indices of the frames of each part."""
    last = np.arange(number) % 10
    return {
        "train": np.flatnonzero(last < 8),
        "validation": np.flatnonzero(last == 8),
        "test": np.flatnonzero(last == 9),
    }


def prepare(data: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes the parts in eV and eV/angstrom."""
    frames = read_structures(data)
    targets = read_targets(frames, energy_unit="kcal/mol")
    assert targets.energies is not None
    assert targets.forces is not None
    ends = np.cumsum([len(frame) for frame in frames])[:-1]
    forces = np.split(targets.forces, ends)
    for part, indices in split(len(frames)).items():
        written = []
        for index in indices:
            atoms = ase.Atoms(frames[index].numbers, frames[index].positions)
            atoms.info["energy"] = float(targets.energies[index])
            atoms.arrays["forces"] = forces[index]
            written.append(atoms)
        ase.io.write(folder / f"{part}.xyz", written, format="extxyz")


def checkpoints(folder: pathlib.Path) -> list[pathlib.Path]:
    """Checkpoints of all runs so far, the latest last."""
    return sorted(
        folder.glob("outputs/*/*/model_*.ckpt"),
        key=lambda path: int(re.findall(r"\d+", path.stem)[-1]),
    )


def train(folder: pathlib.Path, minutes: float | None) -> bool:
    """Runs metatrain until it is done (True) or the time is up (False)."""
    mtt = pathlib.Path(sys.executable).parent / "mtt"
    command = [str(mtt), "train", "options.yaml", "-o", "final.pt"]
    saved = checkpoints(folder)
    if saved:
        print(f"goes on from {saved[-1].name}", flush=True)
        command += ["--restart", str(saved[-1].relative_to(folder))]
    start = time.monotonic()
    with open(folder / "log.txt", "a") as log:
        run = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            while run.poll() is None:
                time.sleep(1)
                late = minutes is not None and time.monotonic() - start > 60 * minutes
                latest = checkpoints(folder)[len(saved) :]
                # Young files may still be written to.
                if late and latest and time.time() - latest[-1].stat().st_mtime > 5:
                    return False
        finally:
            run.terminate()
            run.wait()
    if run.returncode:
        raise SystemExit(f"metatrain failed, see {folder / 'log.txt'}")
    return True


def errors(checkpoint: pathlib.Path, folder: pathlib.Path) -> dict[str, Any]:
    """Errors on the frames held out, and of the trivial baseline."""
    # The energy of ethanol is thousands of eV: float32 would round it.
    jax.config.update("jax_enable_x64", True)
    model = load_metatrain(checkpoint)
    run = jax.jit(lambda graph: predict(model, graph, forces=True))
    parts = {
        part: read_structures(folder / f"{part}.xyz") for part in ("train", "test")
    }
    known = {part: read_targets(frames) for part, frames in parts.items()}
    energies, forces = [], []
    for atoms in parts["test"]:
        graph = build_graph(atoms, model.config.cutoff, num_neighbors=8)
        out = run(graph)
        energies.append(float(np.asarray(out["energy"]).ravel()[0]))
        forces.append(np.asarray(out["forces"]))
    test = known["test"]
    assert test.energies is not None
    assert test.forces is not None
    mean = np.mean(known["train"].energies)

    def rms(values: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.square(values))))

    return {
        "force RMSE (eV/angstrom)": (
            rms(np.concatenate(forces) - test.forces),
            rms(test.forces),
        ),
        "energy RMSE (eV)": (
            rms(np.array(energies) - test.energies),
            rms(test.energies - mean),
        ),
    }


def main(
    data: Annotated[pathlib.Path, typer.Option(help="ethanol_reduced_100.xyz")],
    out: Annotated[pathlib.Path, typer.Option(help="The checkpoint to write.")],
    epochs: Annotated[int, typer.Option(help="Epochs of 80 frames.")] = 360,
    batch_size: Annotated[int, typer.Option(help="Frames in a step.")] = 4,
    learning_rate: Annotated[float, typer.Option(help="At its peak.")] = 3e-4,
    checkpoint_interval: Annotated[int, typer.Option(help="In epochs.")] = 20,
    minutes: Annotated[float | None, typer.Option(help="Stop after these.")] = None,
    work: Annotated[
        pathlib.Path | None,
        typer.Option(help="Folder of the run; beside the checkpoint by default."),
    ] = None,
) -> None:
    """Trains, writes the checkpoint, and prints its errors on frames held out."""
    folder = work or out.with_suffix(".run")
    options = OPTIONS.format(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        checkpoint_interval=checkpoint_interval,
    )
    if not (folder / "options.yaml").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        prepare(data, folder)
        (folder / "options.yaml").write_text(options)
    elif (folder / "options.yaml").read_text() != options:
        raise SystemExit(f"{folder} belongs to a run with other options; remove it")
    if not (folder / "final.ckpt").is_file() and not train(folder, minutes):
        print(f"stopped at {checkpoints(folder)[-1].name}; run it again to go on")
        raise typer.Exit(UNFINISHED)
    replace_atomically(out, lambda part: shutil.copyfile(folder / "final.ckpt", part))
    print(f"{'on 10 frames held out':28}{'model':>10}{'baseline':>10}")
    for name, (error, trivial) in errors(out, folder).items():
        print(f"{name:28}{error:10.4f}{trivial:10.4f}")


if __name__ == "__main__":
    typer.run(main)
