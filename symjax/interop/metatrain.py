"""Import of PETs that were trained with metatrain.

Only here, and where files are read, are torch and metatrain imported (the extra
``symjax[torch]``); what is written needs neither.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

import ase
import jax
import numpy as np

from symjax._text import file_text, model_stem
from symjax.data.quantities import Block, Target
from symjax.errors import ModelError
from symjax.interop._layouts import kind_of
from symjax.interop._reading import ATTRIBUTES, Source, check_hypers, read_pet
from symjax.interop._uncertainties import read_uncertainties
from symjax.interop.metatomic_models import torch_callable
from symjax.models.pet.config import PETConfig
from symjax.models.pet.energies import takes_repulsion
from symjax.models.pet.graphs import pet_graph
from symjax.models.pet.long_range import LongRange
from symjax.models.pet.model import PETModel, parameter_shapes, predict
from symjax.models.pet.uncertainty import uncertain_outputs

# Classes of modules that have a counterpart in symjax's PET.
_PARTS = {
    *("PET", "PETBackend", "CartesianTransformer", "Transformer", "TransformerLayer"),
    *("AttentionBlock", "FeedForward", "SystemConditioningEmbedding"),
    *("CompositionModel", "BaseCompositionModel", "Scaler", "BaseScaler", "ZBL"),
    *("ModuleList", "ModuleDict", "Sequential", "Identity", "DummyModule"),
    *("Linear", "LoRALinear", "Embedding", "LayerNorm", "RMSNorm", "SiLU"),
    *("DummyLongRangeFeaturizer", "LongRangeFeaturizer", "CoulombPotential"),
    *("Calculator", "EwaldCalculator", "P3MCalculator"),
    *("P3MKSpaceFilter", "MeshInterpolator"),
}
# Entries of the state that are read elsewhere or are no parameters.
_NOT_PARAMETERS = (
    "additive_models.",
    "scaler.",
    "system_conditioning.",  # again, under "backend."
    "long_range_featurizer.direct_calculator.",
    "long_range_featurizer.ewald_calculator.",
    "long_range_featurizer.p3m_calculator.",
)
_LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "scale": "weight",
    "embedding": "weight",
}
# Required agreement of an import, relative to the largest entry: far below the effect
# of a part that is missing or differs, far above rounding.
_AGREEMENT = {"float32": 1e-3, "float64": 1e-6}


def load_metatrain(
    path: str | Path, name: str | None = None, *, verify: bool = True
) -> PETModel:
    """Reads a PET of metatrain, from a checkpoint or an exported model.

    Older checkpoints go through metatrain's own upgrade. The weights of a checkpoint
    are those that metatrain would export: the best ones of the training. Neither the
    suffix nor compression with gzip matters.

    Args:
      path: A checkpoint ``.ckpt`` or an exported model ``.pt``.
      name: Name of the model for reports; by default that of the file.
      verify: Whether to compare every output with metatrain's on a small crystal, so
        that a part that symjax does not know about cannot be lost in silence. Takes a
        few seconds.

    Returns:
      The model, its network in the file's precision, for
      :func:`symjax.models.save_model`.

    Raises:
      ModelError: The extra ``[torch]`` is not installed; there is no such file; it is
        truncated, no PET of metatrain, or would run code when unpickled; the model has
        a part that symjax does not have (targets of an atomic basis or of rank above
        2, unknown hyperparameters), which the message names; or, where it is verified,
        an output differs from metatrain's.

    Example:
      >>> from symjax.interop import load_metatrain
      >>> load_metatrain("missing.ckpt")
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: path='missing.ckpt': there is no such file...
    """
    path = Path(path)
    source = read_pet(path)
    where = str(path)
    _check_parts(source, where)
    config = _config(source, where)
    parameters = {
        "network": _network(source.model, config, where),
        "scale": _scales(source.model, config),
        "baseline": _baselines(source.model, config, where),
    }
    card = {
        "description": source.exported.metadata().description
        or "PET trained with metatrain",
        "source": file_text(path.name),
    }
    if source.wrapper is not None:
        read = read_uncertainties(source.wrapper, config, where)
        config = dataclasses.replace(config, uncertainties=read.uncertainties)
        parameters["uncertainty"] = read.parameters
        if read.left_out:
            card["not_calibrated"] = ", ".join(read.left_out)
    model = PETModel(name or model_stem(path), config, parameters, card)
    if verify:
        _verify(source, model, where)
    return model


def _class_name(module: Any) -> str:
    return str(getattr(module, "original_name", type(module).__name__))


def _child(module: Any, name: str) -> Any:
    """A child of a container; TorchScript's cannot be indexed."""
    return dict(module.named_children())[name]


def _check_parts(source: Source, path: str) -> None:
    for name, module in source.model.named_modules():
        kind = _class_name(module)
        if kind not in _PARTS:
            raise ModelError(
                "path",
                path,
                f"has a part that symjax does not know: {kind} at {name}",
                "Train without it",
            )
    check_hypers(source.hypers, path)
    unit = source.exported.capabilities().length_unit
    if unit.lower() not in ("", "a", "angstrom"):
        raise ModelError("path", path, f"has lengths in {unit!r}", "Train in angstrom")


def _config(source: Source, path: str) -> PETConfig:
    model = source.model
    backend, conditioning = model.backend, model.backend.system_conditioning
    hypers = {name: getattr(backend, name) for name in ATTRIBUTES}
    additive = [_class_name(module) for module in model.additive_models.children()]
    if additive not in (["CompositionModel"], ["CompositionModel", "ZBL"]):
        raise ModelError(
            "path",
            path,
            f"adds {', '.join(additive)} to its network",
            "symjax adds a composition baseline and nuclear repulsion (zbl)",
        )
    if conditioning is not None:
        charges = conditioning.charge_embedding.weight.shape[0]
        spins = conditioning.spin_multiplicity_embedding.weight.shape[0]
        hypers.update(max_charge=(charges - 1) // 2, max_spin_multiplicity=spins)
    species = sorted(int(number) for number in model.atomic_types)
    index = backend.species_to_species_index[species].tolist()
    if index != list(range(len(species))):
        raise ModelError(
            "path", path, f"has species in the order {index}", "Sort atomic numbers"
        )
    config = PETConfig(
        species=tuple(species),
        targets=tuple(
            _target(name, info, path)
            for name, info in model.dataset_info.targets.items()
        ),
        cutoff_width_adaptive=model.cutoff_width_adaptive,
        system_conditioning=conditioning is not None,
        zbl=additive[1:] == ["ZBL"],
        long_range=_long_range(model),
        **hypers,
    )
    if config.zbl:
        theirs = set(_child(model.additive_models, "1").outputs)
        ours = {target.name for target in config.targets if takes_repulsion(target)}
        if theirs != ours:
            raise ModelError(
                "path",
                path,
                f"adds nuclear repulsion (zbl) to {', '.join(sorted(theirs))}",
                "symjax adds it to scalar targets in eV that are named energy",
            )
    return config


def _long_range(model: Any) -> LongRange | None:
    """Hyperparameters of the long-range features, of what metatrain evaluates.

    Its sums over waves alone, which ``use_ewald`` asks for, are for training: a model
    that is evaluated uses the mesh.
    """
    featurizer = model.long_range_featurizer
    if _class_name(featurizer) == "DummyLongRangeFeaturizer":
        return None
    calculator = _child(featurizer, "p3m_calculator")
    return LongRange(
        smearing=float(_child(calculator, "potential").smearing),
        kspace_resolution=float(calculator.mesh_spacing),
        interpolation_nodes=int(calculator.interpolation_nodes),
    )


def _target(name: str, info: Any, path: str) -> Target:
    if info.sample_kind not in ("system", "atom"):
        raise ModelError(
            "path",
            path,
            f"the target {name!r} has samples of kind {info.sample_kind!r}",
            "Targets of structures and of atoms can be imported",
        )
    blocks = []
    for key, block in info.layout.items():
        names, sizes = list(key.names), [len(part) for part in block.components]
        kind = kind_of(key, block.components)
        if kind is None or set(names) - {"_", "o3_lambda", "o3_sigma"}:
            problem = f"a block with keys {names} and components of sizes {sizes}"
            if "atom_type" in names:
                problem = "an atomic basis"
            raise ModelError(
                "path",
                path,
                f"the target {name!r} has {problem}",
                "Scalars, Cartesian tensors to rank 2 and spherical tensors can be "
                "imported",
            )
        blocks.append(Block(kind, kind, len(block.properties)))
    return Target(name, info.unit, info.sample_kind == "atom", tuple(blocks))


def _verify(source: Source, model: PETModel, path: str) -> None:
    """Raises unless all outputs of a small crystal agree with metatrain's."""
    config = model.config
    dtype = source.exported.capabilities().dtype
    atoms = _crystal(config)
    with jax.enable_x64(dtype == "float64"):
        graph = pet_graph(config, atoms, dtype=dtype)
        none = jax.tree.map(lambda leaf: 0 * leaf, model.parameters["baseline"])
        free = {**model.parameters, "baseline": none}
        ours, learnt = (
            predict(dataclasses.replace(model, parameters=parameters), graph)
            for parameters in (model.parameters, free)
        )
    names = {name: block.representation for name, _, block in config.outputs}
    per_atom = [name for name, target, _ in config.outputs if target.per_atom]
    for name, own in uncertain_outputs(config).items():
        # metatrain repeats an uncertainty, a single number, for every component.
        names[name] = config.target(own.target).blocks[0].with_channels
        per_atom += [name] if config.target(own.target).per_atom else []
    problem = torch_callable(source.exported, atoms, names, per_atom=per_atom)
    theirs = problem.function(problem.x)
    for name in names:
        mine, other = np.asarray(ours[name], float), np.asarray(theirs[name], float)
        # Baselines of thousands of eV must not hide the contribution of the network.
        scale = _AGREEMENT[dtype] * np.abs(learnt[name]).max(initial=0)
        rounding = 16 * np.finfo(dtype).eps * np.abs(mine).max(initial=0)
        if mine.size < other.size:
            mine = np.broadcast_to(
                mine.reshape(-1, *(1,) * (other.ndim - 1)), other.shape
            )
        error = np.abs(mine - other.reshape(mine.shape)).max(initial=0)
        if not error <= scale + rounding + 1e-9:
            raise ModelError(
                "path",
                path,
                f"the imported {name} differs from metatrain's by {error:.2g}",
                "Report it with the versions of metatrain and symjax; the model has a "
                "part that symjax does not know",
            )


def _crystal(config: PETConfig) -> ase.Atoms:
    """Eight atoms, all species in turn, on a distorted cubic lattice."""
    steps = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3)
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, size=(8, 3))
    # Nearest neighbors well inside the cutoff, and few of them.
    spacing = min(2.5, 0.6 * config.cutoff)
    atoms = ase.Atoms(
        [config.species[index % len(config.species)] for index in range(8)],
        spacing * (steps + noise * min(1, spacing / 2)),
        cell=2 * spacing * np.eye(3),
        # If metatrain can evaluate it, see symjax.models.pet.graphs.as_read.
        pbc=config.long_range is None or config.num_neighbors_adaptive is None,
    )
    if config.system_conditioning:
        atoms.info.update(
            charge=min(1, config.max_charge),
            spin_multiplicity=min(2, config.max_spin_multiplicity),
        )
    return atoms


def _merged(model: Any) -> dict[str, Any]:
    """Weights of a model; those of low-rank adapters are added to their layer's."""
    state = dict(model.state_dict())
    for name, module in model.named_modules():
        if _class_name(module) != "LoRALinear":
            continue
        first, second, weight = (
            state.pop(f"{name}.{part}.weight")
            for part in ("lora_A", "lora_B", "linear")
        )
        # W x + s B A x, rounded once.
        product = float(module.scaling) * second.double() @ first.double()
        state[f"{name}.weight"] = (weight.double() + product).to(weight.dtype)
        state[f"{name}.bias"] = state.pop(f"{name}.linear.bias")
    return state


def _network(model: Any, config: PETConfig, path: str) -> dict[str, Any]:
    state = {
        key.removeprefix("backend."): value
        for key, value in _merged(model).items()
        if not key.startswith(_NOT_PARAMETERS)
        and not key.endswith("species_to_species_index")
    }
    network: dict[str, Any] = {}
    for wanted, shape in parameter_shapes(config).items():
        part, _, inner = wanted.partition("/")
        if part != "network":
            continue
        source = torch_name(model, config, inner)
        if source not in state:
            raise ModelError(
                "path", path, f"has no parameter {source}", "Use metatrain >= 2026.4"
            )
        value = state.pop(source).detach().cpu().numpy()
        # torch stores the transposed kernel; heads of several components are flat.
        value = value.T if inner.endswith("/kernel") else value
        if value.shape != shape:
            raise ModelError(
                "path",
                path,
                f"{source} has shape {value.shape}, not {shape}",
                "The checkpoint does not fit its hyperparameters",
            )
        node = network
        *folders, leaf = inner.split("/")
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = np.ascontiguousarray(value)
    if state:
        raise ModelError(
            "path",
            path,
            f"has {len(state)} parameters that symjax's PET does not have: "
            f"{', '.join(sorted(state)[:5])}",
            "They belong to a part that cannot be imported",
        )
    return network


def torch_name(model: Any, config: PETConfig, path: str) -> str:
    """The name of a parameter in metatrain."""
    *folders, leaf = path.split("/")
    match = re.fullmatch(r"targets_(\d+)", folders[0])
    if match:
        target = config.targets[int(match[1])].name
        kind, *rest = folders[1:]
        last = re.fullmatch(r"(node|edge)_last_layers_(\d+)_(\d+)", kind)
        if last:
            key = list(model.output_shapes[target])[int(last[3])]
            words = [f"{last[1]}_last_layers", target, last[2], key]
        else:
            heads, _, index = kind.rpartition("_")
            words = [heads, target, index, *rest]
    else:
        words = [
            re.sub(
                r"^(gnn_layers|layers|combination_norms|combination_mlps|"
                r"node_embedders|out_projection|project)_(\d+)$",
                r"\1.\2",
                folder,
            )
            for folder in folders
        ]
    return ".".join([*words, _LEAVES[leaf]])


def _scales(model: Any, config: PETConfig) -> dict[str, Any]:
    """Scales by species; targets of structures have one for all."""

    def scale(target: Target, block: Block) -> np.ndarray:
        shape = (len(config.species), block.properties)
        known = model.scaler.model.scales.get(target.name)
        if known is None:
            return np.ones(shape)
        keys = model.dataset_info.targets[target.name].layout.keys
        values = known.block(keys[target.blocks.index(block)]).values
        return np.array(np.broadcast_to(values.detach().cpu().numpy(), shape))

    return config.by_block(scale)


def _baselines(model: Any, config: PETConfig, path: str) -> dict[str, Any]:
    """Composition weights by species, in the order of the atomic numbers."""
    weights = _child(model.additive_models, "0").model.weights
    unknown = set(weights) - {target.name for target in config.targets}
    if unknown:
        raise ModelError(
            "path",
            path,
            f"has a baseline for {', '.join(sorted(unknown))}, which is not a target",
            "Export it again with this metatrain",
        )

    def baseline(target: Target, block: Block) -> np.ndarray:
        shape = (len(config.species), block.properties)
        keys = list(weights[target.name].keys) if target.name in weights else []
        info = model.dataset_info.targets[target.name].layout.keys
        key = info[target.blocks.index(block)]
        if key not in keys:
            return np.zeros(shape)
        if not block.is_invariant:
            raise ModelError(
                "path",
                path,
                f"the target {target.name!r} has a baseline of its block "
                f"{block.key}, which is not invariant",
                "Baselines of invariants can be imported",
            )
        values = weights[target.name].block(key).values
        return np.array(values.detach().cpu().numpy().reshape(shape))

    found = config.by_block(baseline)
    return config.by_block(
        lambda target, block: found[target.name][block.key], invariant=True
    )
