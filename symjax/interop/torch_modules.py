"""Any ``torch.nn.Module`` as a problem, with the outputs of its submodules."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symjax.errors import ArgumentError, ModelError, needs_extra
from symjax.interop.jax_modules import Described, described_outputs, with_layers
from symjax.metrics import HostFunction, Output, Problem
from symjax.models._layers import match_layers
from symjax.so3.representations import FEATURE, VECTOR, Representation


def torch_problem(
    module: Any,
    inputs: Any,
    *,
    outputs: Described,
    action: Any = VECTOR,
    layers: Sequence[str] = (),
    batched: bool = True,
) -> Problem:
    """Prepares a PyTorch module and an input for :func:`symjax.metrics.measure`.

    The module runs as it is, without gradients, on the device of its parameters; the
    outputs of submodules are read by forward hooks that are removed after each call.

    Args:
      module: The module, in the mode of evaluation where it has batch norms or dropout.
      inputs: What the module takes, for one orientation: an array, a tuple of
        positional or a dictionary of keyword arguments; arrays of NumPy or tensors.
      outputs: What is known of each output of the module: of a single tensor one
        representation or :class:`~symjax.metrics.Output`; of a dictionary of tensors
        one by each key, of a tuple one by each position (``"0"``, ``"1"``).
      action: How ``inputs`` rotate: one representation for all of them, or a tuple or
        dictionary like ``inputs`` with None for what does not rotate, such as species.
      layers: Names of submodules (see ``module.named_modules()``), or regular
        expressions that must match a full name; their outputs are measured as
        features.
      batched: Whether all arguments take a leading batch axis, so that many
        orientations are evaluated in one call. Arguments that do not rotate are
        repeated.

    Returns:
      The problem; layers have the names of their modules.

    Raises:
      ModelError: PyTorch is not installed; ``module`` is no module, has no such
        submodule, or has a batch norm or dropout that is being trained.
      ArgumentError: An argument has an impossible value, a layer returns no tensor, or
        the module does not treat the first axis as that of a batch.

    Example:
      >>> from symjax.interop import torch_problem
      >>> from symjax.so3 import SCALAR
      >>> torch_problem("model.pt", [[0.0, 0.0, 1.0]], outputs=SCALAR)
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: module='model.pt': ...
    """
    with needs_extra("torch", "module", module):
        import torch
    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            "module",
            module,
            "is not a torch.nn.Module",
            "Pass one, or use torch_callable for an exported metatomic model",
        )
    _check_mode(torch.nn.modules, module)
    known = [name for name, _ in module.named_modules() if name]
    names = match_layers(layers, known) if layers else ()
    arguments = _arguments(inputs)
    kinds = _actions(action, arguments)
    first = next((p for p in [*module.parameters(), *module.buffers()]), None)
    device = torch.device("cpu") if first is None else first.device
    dtype = next(
        (p.dtype for p in module.parameters() if p.dtype.is_floating_point),
        torch.get_default_dtype(),
    )
    keywords = isinstance(inputs, Mapping)

    def tensor(values: list[np.ndarray]) -> Any:
        array = np.stack(values) if batched else values[0]
        out = torch.tensor(array, device=device)
        return out.to(dtype) if out.dtype.is_floating_point else out

    def call(batch: list[dict[str, np.ndarray]]) -> dict[str, Any]:
        given = {
            name: tensor([x.get(name, fixed) for x in batch])
            for name, fixed in arguments.items()
        }
        seen: dict[str, Any] = {}
        modules = dict(module.named_modules())
        hooks = [
            modules[name].register_forward_hook(
                lambda _, __, out, name=name: seen.setdefault(name, out)
            )
            for name in names
        ]
        try:
            with torch.no_grad():
                out = module(**given) if keywords else module(*given.values())
        finally:
            for hook in hooks:
                hook.remove()
        return {**_named(out), **{name: _only(seen.get(name), name) for name in names}}

    def function(batch: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        if not batched:
            found = [call([x]) for x in batch]
            return [{k: v.cpu().numpy() for k, v in row.items()} for row in found]
        values = {name: value.cpu().numpy() for name, value in call(batch).items()}
        for name, value in values.items():
            if value.ndim == 0 or len(value) != len(batch):
                raise ArgumentError(
                    "batched",
                    True,
                    f"{name!r} of {len(batch)} orientations has shape {value.shape}",
                    "Pass batched=False, or a module whose first axis is the batch",
                )
        return [
            {name: value[index] for name, value in values.items()}
            for index in range(len(batch))
        ]

    x = {
        name: np.asarray(value, float)
        for name, value in arguments.items()
        if kinds[name] is not None
    }
    if not x:
        raise ArgumentError(
            "action", action, "rotates none of the inputs", "Name what rotates"
        )
    return Problem(
        HostFunction(function, batched=True),
        x,
        with_layers(
            described_outputs(outputs),
            {name: Output(FEATURE, kind="layer") for name in names},
        ),
        action={name: kinds[name] for name in x},
    )


def _check_mode(modules: Any, module: Any) -> None:
    """Raises for modules in training mode, which mix a batch or draw numbers."""
    kinds = (modules.batchnorm._BatchNorm, modules.dropout._DropoutNd)
    for name, part in module.named_modules():
        if part.training and isinstance(part, kinds) and getattr(part, "p", 1):
            raise ModelError(
                "module",
                type(module).__name__,
                f"is in training mode: {name or type(part).__name__} gives different "
                "results in each call",
                "Call module.eval() first",
            )


def _arguments(inputs: Any) -> dict[str, np.ndarray]:
    """Arrays by keyword, or by position."""
    if isinstance(inputs, Mapping):
        pairs = [(str(name), value) for name, value in inputs.items()]
    elif isinstance(inputs, tuple):
        pairs = [(str(position), value) for position, value in enumerate(inputs)]
    else:
        pairs = [("0", inputs)]
    return {
        name: np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        for name, value in pairs
    }


def _actions(
    action: Any, arguments: Mapping[str, np.ndarray]
) -> dict[str, Representation | None]:
    if isinstance(action, Representation):
        return dict.fromkeys(arguments, action)
    if isinstance(action, tuple):
        action = {str(position): kind for position, kind in enumerate(action)}
    if not isinstance(action, Mapping) or set(action) != set(arguments):
        raise ArgumentError(
            "action",
            action,
            f"does not name how each of {', '.join(arguments)} rotates",
            "Pass a representation for each, and None for what does not rotate",
        )
    return dict(action)


def _named(out: Any) -> dict[str, Any]:
    """Tensors that a module returns, by name."""
    if isinstance(out, Mapping):
        return {str(name): _only(value, name) for name, value in out.items()}
    if isinstance(out, tuple | list):
        return {str(place): _only(value, place) for place, value in enumerate(out)}
    return {"output": _only(out, "output")}


def _only(value: Any, name: object) -> Any:
    """The tensor that a module returned; the first of several, as attention does."""
    if isinstance(value, tuple | list) and value:
        value = value[0]
    if not hasattr(value, "detach"):
        raise ArgumentError(
            "layers",
            name,
            f"returned {type(value).__name__}, not a tensor"
            if value is not None
            else "was not called",
            "Name submodules that are called and return tensors",
        )
    return value.detach()
