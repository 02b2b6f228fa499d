"""Models of the PyTorch stack, measured in place through metatomic."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ase
import numpy as np

from symjax.data.structures import check_structure, periodic_cell
from symjax.errors import ArgumentError, ModelError
from symjax.metrics.orbit import HostFunction
from symjax.so3.representations import FEATURE, SCALAR, VECTOR, Representation


class TorchProblem(NamedTuple):
    """What :func:`symjax.metrics.measure` needs to measure a PyTorch model.

    Attributes:
      function: The model, on batches of rotated structures.
      x: Positions and cell in angstrom, float64.
      action: How they rotate.
      representations: The representation of every output.

    Example:
      >>> import numpy as np
      >>> from symjax.interop import TorchProblem
      >>> from symjax.metrics import HostFunction, measure
      >>> from symjax.so3 import SCALAR, VECTOR
      >>> def energy(x):  # in place of a model
      ...     return {"energy": np.sum(x["positions"] ** 2)}
      >>> x = {"positions": np.eye(3), "cell": np.zeros((3, 3))}
      >>> problem = TorchProblem(HostFunction(energy), x, VECTOR, {"energy": SCALAR})
      >>> result = measure(problem.function, problem.x, action=problem.action,
      ...                  representations=problem.representations, max_degree=1)
      >>> result["energy"].relative_error < 1e-6
      True
    """

    function: HostFunction
    x: dict[str, np.ndarray]
    action: Representation
    representations: dict[str, Representation]


def torch_callable(
    model: Any,
    atoms: ase.Atoms,
    outputs: Mapping[str, Representation],
    *,
    per_atom: Collection[str] = (),
    device: str = "cpu",
) -> TorchProblem:
    """Wraps a metatomic model, so that the metrics run on it unchanged.

    Neighbors are found once, in the given orientation; the vectors to them rotate with
    the structure. Structures are evaluated in batches of the measurement's
    ``batch_size``.

    Args:
      model: A ``metatomic.torch.AtomisticModel``, or the path of an exported one.
      atoms: The structure.
      outputs: The representation of every output to measure. The last axis of a
        block holds its properties: they are channels where the representation has
        them, else there must be one.
      per_atom: Names of the outputs to evaluate for each atom; the others are of
        whole structures.
      device: Where the model runs.

    Returns:
      The problem, for ``measure(problem.function, problem.x, action=problem.action,
      representations=problem.representations)``.

    Raises:
      ModelError: The extra ``[torch]`` is not installed; the model cannot be read, or
        has no such output.
      ArgumentError: ``outputs`` is empty, or has no output of ``per_atom``.
      StructureError: The structure cannot be used.

    Example:
      >>> import ase.build
      >>> from symjax.interop import torch_callable
      >>> from symjax.so3 import SCALAR
      >>> water = ase.build.molecule("H2O")
      >>> torch_callable("missing.pt", water, {"energy": SCALAR})
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: model='missing.pt': there is no such file...
    """
    if isinstance(model, str | Path):
        model = _load(Path(model))
    torch, metatomic = _libraries(model)
    check_structure(atoms)
    if not outputs:
        raise ArgumentError(
            "outputs", outputs, "is empty", "Name outputs and their representations"
        )
    for name in per_atom:
        if name not in outputs:
            raise ArgumentError(
                "per_atom", name, "is not among the outputs", "Name it in outputs too"
            )
    capabilities = model.capabilities()
    for name in outputs:
        if name not in capabilities.outputs:
            raise ModelError(
                "outputs",
                name,
                "the model has no such output",
                f"Use {', '.join(sorted(capabilities.outputs))}",
            )
    dtype = getattr(torch, capabilities.dtype)
    model = model.to(device=device, dtype=dtype).eval()
    requests = {
        name: metatomic.ModelOutput(
            unit=capabilities.outputs[name].unit,
            sample_kind="atom" if name in per_atom else "system",
        )
        for name in outputs
    }
    options = metatomic.ModelEvaluationOptions(length_unit="angstrom", outputs=requests)
    neighbors = [
        _neighbors(atoms, request) for request in model.requested_neighbor_lists()
    ]
    types = torch.tensor(atoms.numbers, dtype=torch.int32, device=device)
    pbc = torch.tensor(np.asarray(atoms.pbc), device=device)

    def system(x: dict[str, np.ndarray]) -> Any:
        positions = torch.tensor(x["positions"], dtype=dtype, device=device)
        cell = torch.tensor(x["cell"], dtype=dtype, device=device)
        made = metatomic.System(types, positions, cell, pbc)
        for request, samples, first, second, shifts in neighbors:
            vectors = (
                x["positions"][second] - x["positions"][first] + shifts @ x["cell"]
            )
            made.add_neighbor_list(request, _block(vectors, samples, dtype, device))
        return made

    def evaluate(batch: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        systems = [system(x) for x in batch]
        with torch.no_grad():
            values = model(systems, options, check_consistency=False)
        rows: list[dict[str, np.ndarray]] = [{} for _ in batch]
        for name, representation in outputs.items():
            for number, values_of_one in enumerate(
                _split(values[name], name, representation, len(batch))
            ):
                rows[number][name] = values_of_one
        return rows

    x = {"positions": atoms.positions.astype(float), "cell": periodic_cell(atoms)}
    return TorchProblem(HostFunction(evaluate, batched=True), x, VECTOR, dict(outputs))


def _libraries(model: Any) -> tuple[Any, Any]:
    try:
        import metatomic.torch
        import torch
    except ImportError as error:
        raise ModelError(
            "model", model, f"{error.name} is not installed", "Install symjax[torch]"
        ) from error
    if not hasattr(model, "capabilities"):
        raise ModelError(
            "model",
            type(model).__name__,
            "is no metatomic AtomisticModel",
            "Export the model, or pass the path of an exported one",
        )
    return torch, metatomic.torch


def _load(path: Path) -> Any:
    if not path.is_file():
        raise ModelError(
            "model", str(path), "there is no such file", "Pass an exported model .pt"
        )
    try:
        from metatomic.torch import load_atomistic_model
    except ImportError as error:
        raise ModelError(
            "model",
            str(path),
            f"{error.name} is not installed",
            "Install symjax[torch]",
        ) from error
    try:
        return load_atomistic_model(str(path))
    except Exception as error:  # torch raises what the damage leads to
        raise ModelError(
            "model",
            str(path),
            f"cannot be read as an exported model: {error}",
            "Export it again with metatrain",
        ) from error


def _neighbors(atoms: ase.Atoms, request: Any) -> tuple[Any, ...]:
    """Indices and shifts of one requested list, of one structure."""
    import vesin

    search = vesin.NeighborList(cutoff=request.cutoff, full_list=request.full_list)
    first, second, shifts = search.compute(
        atoms.positions.astype(float),
        periodic_cell(atoms),
        np.asarray(atoms.pbc),
        "ijS",
    )
    samples = np.concatenate([first[:, None], second[:, None], shifts], axis=1)
    return request, samples.astype(np.int32), first, second, shifts


def _block(vectors: np.ndarray, samples: np.ndarray, dtype: Any, device: str) -> Any:
    import torch
    from metatensor.torch import Labels, TensorBlock

    names = [
        "first_atom",
        "second_atom",
        "cell_shift_a",
        "cell_shift_b",
        "cell_shift_c",
    ]
    return TensorBlock(
        torch.tensor(vectors, dtype=dtype, device=device).reshape(-1, 3, 1),
        Labels(names, torch.tensor(samples, device=device)),
        [Labels(["xyz"], torch.arange(3, device=device).reshape(-1, 1))],
        Labels(["distance"], torch.zeros(1, 1, dtype=torch.int32, device=device)),
    )


def _split(
    values: Any, name: str, representation: Representation, num: int
) -> list[np.ndarray]:
    """Values of each structure of a batch."""
    if len(values) != 1:
        raise ModelError(
            "outputs",
            name,
            f"has {len(values)} blocks, where one is expected",
            "Measure outputs with one block",
        )
    block = values.block()
    array = block.values.detach().cpu().numpy()
    if not representation.has_channels and representation not in (SCALAR, FEATURE):
        if array.shape[-1] != 1:
            raise ModelError(
                "outputs",
                name,
                f"has {array.shape[-1]} properties",
                "Name a representation with channels",
            )
        array = array[..., 0]
    systems = block.samples.column("system").cpu().numpy()
    return [array[systems == number] for number in range(num)]
