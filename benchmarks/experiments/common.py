"""What the experiments share: short runs of one small PET, and tables of their ends."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symjax.training import parse_run, read_table, train
from symjax.training.logs import TRAJECTORY, VALIDATION

SMALL = {
    "d_pet": 24,
    "d_node": 32,
    "d_head": 24,
    "d_feedforward": 48,
    "num_heads": 4,
    "num_attention_layers": 1,
}


def widened(width: int) -> dict[str, int]:
    """The small architecture with another width of its edge features."""
    return {
        **SMALL,
        "d_pet": width,
        "d_node": width * 4 // 3,
        "d_head": width,
        "d_feedforward": 2 * width,
    }


def run_once(
    settings: Mapping[str, Any], folder: pathlib.Path
) -> dict[str, dict[str, np.ndarray]]:
    """Trains, or takes what an earlier call has left, and returns its tables."""
    run = parse_run(settings)
    if not (folder / "model").is_dir():
        train(run, folder, resume=True)
    names = [VALIDATION] + ([TRAJECTORY] if run.monitor is not None else [])
    return {name: read_table(folder / name) for name in names}


def last(trajectory: Mapping[str, np.ndarray], name: str, quantity: str) -> float:
    """Mean over the structures at the last measurement; root mean square for A."""
    return at(trajectory, name, quantity, float(trajectory["step"].max()))


def at(
    trajectory: Mapping[str, np.ndarray], name: str, quantity: str, step: float
) -> float:
    """The same at some step."""
    chosen = (trajectory["name"] == name) & (trajectory["quantity"] == quantity)
    values = trajectory["value"][chosen & (trajectory["step"] == step)]
    if quantity == "A":
        return float(np.sqrt(np.mean(values**2)))
    return float(np.mean(values))


def sector(trajectory: Mapping[str, np.ndarray], name: str, irrep: str) -> float:
    """Content of one sector at the last measurement, mean over the structures."""
    degree, sigma = int(irrep[:-1]), 1 if irrep[-1] == "+" else -1
    chosen = (trajectory["name"] == name) & (trajectory["quantity"] == "B")
    chosen &= (trajectory["degree"] == degree) & (trajectory["sigma"] == sigma)
    chosen &= trajectory["step"] == trajectory["step"].max()
    return float(np.mean(trajectory["value"][chosen]))


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and largest deviation from it."""
    mean = float(np.mean(values))
    if len(values) == 1:
        return _rounded(mean, digits)
    apart = float(np.max(np.abs(np.array(values) - mean)))
    return f"{_rounded(mean, digits)} ± {_rounded(apart, 1)}"


def _rounded(value: float, digits: int) -> str:
    """So many significant digits, large numbers without an exponent."""
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text else text


def write_table(
    path: pathlib.Path, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Prints a table of Markdown, and writes it beside the runs."""
    lines = [
        "| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)
    ]
    text = "\n".join(lines) + "\n"
    path.write_text(text)
    print(text)


def keep(path: pathlib.Path, data: Any) -> None:
    """Writes numbers that a table was made from."""
    path.write_text(json.dumps(data, indent=1))
