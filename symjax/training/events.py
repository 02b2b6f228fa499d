"""Trains the model that ships with the package, ``polarmae-events``.

    python -m symjax.training.events --out polarmae-events

Events are generated (:mod:`symjax.data.point_clouds`), so nothing is downloaded.
First hidden tokens are filled in, as in PoLAr-MAE; then labels are learnt too, while
the decoders stay in training. A run that was interrupted, or ended by
``--max-seconds``, goes on from its last interval.
"""

import dataclasses
import pathlib
import time
from typing import Annotated, Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import typer

from symjax._files import replace_atomically
from symjax.data.point_clouds import (
    CLASSES,
    SMALL,
    PointCloud,
    generate_event,
    select_points,
    voxel_length,
)
from symjax.models.io import save_model
from symjax.models.pointmae.config import PointMAEConfig
from symjax.models.pointmae.losses import (
    chamfer_loss,
    energy_infilling_loss,
    random_hidden,
)
from symjax.models.pointmae.model import PointMAEModel, evaluate_heads, init_pointmae
from symjax.training.augmentation import random_elements
from symjax.training.masked import (
    EventSamples,
    MaskedSettings,
    MaskedState,
    fit_masked,
    prepare_events,
    start_masked,
)

NUM_POINTS = 512
CONFIG = PointMAEConfig(
    detector_size=SMALL.size,
    group_radius=4 * voxel_length(SMALL.size),
    context_length=64,
    group_points=16,
    pointnet_widths=(32, 64, 96),
    embed_dim=64,
    depth=4,
    num_heads=4,
    decoder_depth=2,
    num_classes=4,
    fetch_layers=(1, 2, 3),
    seg_head_dim=64,
)
PRETRAINING = MaskedSettings(steps=1200, learning_rate=2e-3)
FINE_TUNING = MaskedSettings(
    steps=3000, learning_rate=2e-3, reconstruction=0.5, segmentation=2.0, seed=1
)
# Seeds of held-out events lie far beyond those of the training.
HELD_OUT_SEED = 1_000_000


def _events(num: int, seed: int) -> list[PointCloud]:
    return [select_points(generate_event(seed + n, SMALL)) for n in range(num)]


def _stage(
    name: str,
    model: PointMAEModel,
    samples: EventSamples,
    settings: MaskedSettings,
    out: pathlib.Path,
    deadline: float,
) -> tuple[PointMAEModel, bool]:
    """One stage with a checkpoint; whether it is complete."""
    checkpoint = out / f"{name}.msgpack"
    state: MaskedState = start_masked(model, settings)
    if checkpoint.is_file():
        state = flax.serialization.from_bytes(state, checkpoint.read_bytes())
        print(f"{name}: going on from step {int(state.step)}")

    done = int(state.step) >= settings.steps

    def report(state: MaskedState, loss: float) -> bool:
        nonlocal done
        data = flax.serialization.to_bytes(jax.device_get(state))
        replace_atomically(checkpoint, lambda part: part.write_bytes(data))
        print(f"{name}: step {int(state.step):6d}  loss {loss:.5f}", flush=True)
        done = int(state.step) >= settings.steps
        return time.monotonic() > deadline

    fitted = fit_masked(model, samples, settings, state=state, report=report)
    return fitted, done


def evaluate_events(
    model: PointMAEModel, samples: EventSamples, seed: int = 0
) -> dict[str, Any]:
    """Errors over events, each turned by a random element of O(3).

    Args:
      model: The model.
      samples: The events.
      seed: Of the elements and hidden tokens.

    Returns:
      Chamfer distance, error of the energies, accuracy and F1 of each class, with
      what trivial guesses reach.
    """
    num = len(samples.labels)
    config = model.config
    variables = jax.tree.map(jnp.asarray, model.parameters)

    @jax.jit
    def one(index: Any, element: Any, key: Any) -> Any:
        event, assignment, _ = jax.tree.map(lambda x: jnp.asarray(x)[index], samples)
        turned = event.positions @ element.T
        hidden = random_hidden(key, assignment.mask, config.masking_ratio)
        logits, filled, groups, _ = evaluate_heads(
            config, variables, event._replace(positions=turned), assignment, hidden
        )
        assert logits is not None
        assert filled is not None
        assert filled.energies is not None
        mask, truth = groups.point_mask, groups.points
        chamfer = chamfer_loss(filled.points, truth, mask, hidden)
        # The trivial guess: every member at the centre of its token.
        guess = jnp.zeros_like(truth).at[..., 3].set(-0.2)
        trivial = chamfer_loss(guess, truth, mask, hidden)
        energy = energy_infilling_loss(filled.energies, truth[..., 3], mask, hidden)
        used = mask & hidden[:, None]
        moments = (
            jnp.sum(jnp.where(used, truth[..., 3], 0)),
            jnp.sum(jnp.where(used, truth[..., 3] ** 2, 0)),
        )
        return jnp.argmax(logits, -1), chamfer, trivial, energy, moments

    keys = jax.random.split(jax.random.key(seed), num + 1)
    elements = random_elements(keys[0], num).astype(jnp.float32)
    rows = [one(n, elements[n], keys[n + 1]) for n in range(num)]
    labels, chamfer, trivial, energy, moments = jax.tree.map(
        lambda *leaves: np.stack(leaves), *rows
    )
    known = samples.labels >= 0
    truth, guess = np.asarray(samples.labels)[known], labels[known]
    mean = moments[0].sum() / energy[1].sum()
    spread = moments[1].sum() / energy[1].sum() - mean**2
    scores = {}
    for number, name in enumerate(CLASSES[: config.num_classes]):
        both = np.sum((truth == number) & (guess == number))
        either = np.sum(truth == number) + np.sum(guess == number)
        scores[name] = float(2 * both / max(either, 1))
    return {
        "chamfer": float(chamfer[0].sum() / chamfer[1].sum()),
        "chamfer_trivial": float(trivial[0].sum() / trivial[1].sum()),
        "energy_rmse": float(np.sqrt(energy[0].sum() / energy[1].sum())),
        "energy_rmse_trivial": float(np.sqrt(spread)),
        "accuracy": float(np.mean(truth == guess)),
        "accuracy_trivial": float(np.mean(truth == np.bincount(truth).argmax())),
        "f1": scores,
        "f1_mean": float(np.mean(list(scores.values()))),
        "events": num,
    }


def main(
    out: Annotated[pathlib.Path, typer.Option(help="Folder of the model.")],
    events: Annotated[int, typer.Option(help="Events for training.")] = 2000,
    pretraining_steps: Annotated[int, typer.Option()] = PRETRAINING.steps,
    fine_tuning_steps: Annotated[int, typer.Option()] = FINE_TUNING.steps,
    max_seconds: Annotated[
        float, typer.Option(help="Ends early; the next call goes on.")
    ] = float("inf"),
) -> None:
    """Pretrains, fine-tunes, evaluates, and writes the model with its model card."""
    deadline = time.monotonic() + max_seconds
    first = dataclasses.replace(PRETRAINING, steps=pretraining_steps)
    second = dataclasses.replace(FINE_TUNING, steps=fine_tuning_steps)
    out.mkdir(parents=True, exist_ok=True)
    samples = prepare_events(CONFIG, _events(events, 0), NUM_POINTS)
    model = init_pointmae(CONFIG, jax.random.key(1), "polarmae-events")
    model, done = _stage("pretraining", model, samples, first, out, deadline)
    if done:
        model, done = _stage("fine-tuning", model, samples, second, out, deadline)
    if not done:
        print("not complete: run the same command again to go on")
        return

    held_out = prepare_events(CONFIG, _events(300, HELD_OUT_SEED), NUM_POINTS)
    some = jax.tree.map(lambda leaf: leaf[:300], samples)
    card = {
        "description": "Small PoLAr-MAE for liquid-argon events: fills in hidden "
        "tokens and labels points; trained with O(3) augmentation",
        "data": f"{events} events of symjax.data.point_clouds.generate_event, seeds 0 "
        f"to {events - 1}, settings SMALL (128 voxels of 3 mm a side)",
        "license": "BSD-3-Clause; no other data",
        "command": f"python -m symjax.training.events --out polarmae-events --events "
        f"{events} --pretraining-steps {pretraining_steps} --fine-tuning-steps "
        f"{fine_tuning_steps}",
        "pretraining": dataclasses.asdict(first),
        "fine_tuning": dataclasses.asdict(second),
        "errors_train": evaluate_events(model, some),
        "errors_held_out": evaluate_events(model, held_out),
        "limits": "Generated events of at most 512 points without detector effects; "
        "a model to measure, not to analyse data with",
    }
    save_model(dataclasses.replace(model, card=card), out)
    for name in ("pretraining", "fine-tuning"):
        (out / f"{name}.msgpack").unlink(missing_ok=True)
    for key in ("errors_train", "errors_held_out"):
        print(key, card[key])


if __name__ == "__main__":
    typer.run(main)
