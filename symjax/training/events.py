"""Trains the model that ships with the package, ``polarmae-events``.

    python -m symjax.training.events --out polarmae-events

Events are generated (:mod:`symjax.data.point_clouds`), so nothing is downloaded.
First hidden tokens are filled in, as in PoLAr-MAE; then labels are learnt too, while
the decoders stay in training. A run that was interrupted, or ended by
``--max-seconds``, goes on from its last checkpoint.
"""

import dataclasses
import pathlib
import time
from typing import Annotated, Any

import typer

from symjax.data.point_clouds import SMALL, voxel_length
from symjax.models import load_model, save_model
from symjax.training.configuration import EventsRun
from symjax.training.event_scores import evaluate_events
from symjax.training.masked import prepare_events
from symjax.training.problems import HELD_OUT_SEED, EventLimits, events_of
from symjax.training.records import CONFIGURATION, check_configuration
from symjax.training.runs import MODEL, train

NUM_POINTS = 512
HYPERPARAMETERS = {
    "detector_size": SMALL.size,
    "group_radius": 4 * voxel_length(SMALL.size),
    "context_length": 64,
    "group_points": 16,
    "pointnet_widths": [32, 64, 96],
    "embed_dim": 64,
    "depth": 4,
    "num_heads": 4,
    "decoder_depth": 2,
    "num_classes": 4,
    "fetch_layers": [1, 2, 3],
    "seg_head_dim": 64,
}


def runs(
    events: int, pretraining_steps: int, fine_tuning_steps: int, pretrained: str
) -> tuple[EventsRun, EventsRun]:
    """The two runs.

    Args:
      events: Events for training.
      pretraining_steps: Steps of the first.
      fine_tuning_steps: Steps of the second.
      pretrained: Folder of the model with which the second starts.

    Returns:
      Pretraining and fine-tuning.

    Example:
      >>> from symjax.training.events import runs
      >>> runs(10, 20, 30, "pretrained")[1].losses.segmentation
      2.0
    """
    common: dict[str, Any] = {
        "kind": "events",
        "data": {"num_training": events, "num_points": NUM_POINTS},
        "batch": {"max_structures": 16},
        # The clip of the original.
        "optimizer": {
            "learning_rate": 2e-3,
            "weight_decay": 0.05,
            "gradient_clip": 3.0,
            "average": 0.998,
            "warmup": max(pretraining_steps // 20, 1),
        },
        "log_every": 100,
        "validate_every": 0,
        "checkpoint_every": 100,
    }
    first = {
        **common,
        "steps": pretraining_steps,
        "model": {"hyperparameters": HYPERPARAMETERS},
    }
    second = {
        **common,
        "steps": fine_tuning_steps,
        "seed": 1,
        "model": {"initial": pretrained},
        "losses": {"reconstruction": 0.5, "segmentation": 2.0},
    }
    return EventsRun.model_validate(first), EventsRun.model_validate(second)


def main(
    out: Annotated[pathlib.Path, typer.Option(help="Folder of the model.")],
    events: Annotated[int, typer.Option(help="Events for training.")] = 2000,
    pretraining_steps: Annotated[int, typer.Option()] = 1200,
    fine_tuning_steps: Annotated[int, typer.Option()] = 2000,
    held_out: Annotated[int, typer.Option(help="Events for the errors.")] = 300,
    max_seconds: Annotated[
        float, typer.Option(help="Ends early; the next call goes on.")
    ] = float("inf"),
) -> None:
    """Pretrains, fine-tunes, evaluates, and writes the model with its model card."""
    deadline = time.monotonic() + max_seconds
    folders = out / "pretraining", out / "fine-tuning"
    pretrained = str(folders[0] / MODEL)
    for run, folder in zip(
        runs(events, pretraining_steps, fine_tuning_steps, pretrained),
        folders,
        strict=True,
    ):
        if (folder / MODEL).is_dir():
            # An earlier call has finished this run.
            settings = run.model_dump(mode="json")
            check_configuration(folder / CONFIGURATION, settings)
            continue
        trained = train(
            run,
            folder,
            resume=True,
            max_seconds=deadline - time.monotonic(),
            watch=lambda step, values: print(f"step {step:6d}", values, flush=True),
        )
        if not trained.complete:
            print("not complete: run the same command again to go on")
            return
    model = load_model(folders[1] / MODEL)
    config = model.config
    limits = EventLimits(NUM_POINTS, config=config)
    seen, unseen = (
        prepare_events(config, events_of(None, held_out, seed, limits), NUM_POINTS)
        for seed in (0, HELD_OUT_SEED)
    )
    card = {
        "description": "Small PoLAr-MAE for liquid-argon events: fills in hidden "
        "tokens and labels points; trained with O(3) augmentation",
        "data": f"{events} events of symjax.data.point_clouds.generate_event, settings "
        f"SMALL (128 voxels of 3 mm a side), at most {NUM_POINTS} points",
        "license": "BSD-3-Clause; no other data",
        "command": f"python -m symjax.training.events --out polarmae-events --events "
        f"{events} --pretraining-steps {pretraining_steps} --fine-tuning-steps "
        f"{fine_tuning_steps}",
        "errors_train": evaluate_events(model, seen),
        "errors_held_out": evaluate_events(model, unseen),
        "limits": "Generated events of at most 512 points without detector effects; "
        "a model to measure, not to analyse data with",
    }
    model = dataclasses.replace(model, name="polarmae-events", card=card)
    save_model(model, out)
    for key in ("errors_train", "errors_held_out"):
        print(key, card[key])


if __name__ == "__main__":
    typer.run(main)
