"""PET against metatrain's PyTorch PET: every branch, every layer, every output.

Tolerances: 1e-10 of the largest entry in float64, where both sides round a few
thousand operations (1e-13 is typical), and 1e-5 in float32, the issue of the order
of summation.
"""

import gzip
import warnings

import ase.build
import ase.io
import jax
import numpy as np
import pytest

from symjax.data import build_graph
from symjax.errors import ModelError
from symjax.interop import load_metatrain
from symjax.models import load_model, save_model
from symjax.models.pet import layer_names, predict

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
pytest.importorskip("metatrain", reason="needs the extra [torch]")
from torch_pet import IN_CI, VARIANTS, make_torch_model  # noqa: E402

warnings.filterwarnings("ignore")

pytestmark = pytest.mark.filterwarnings("ignore")


def structures():
    ethanol = ase.build.molecule("CH3CH2OH")
    ethanol.rattle(0.05, seed=1)
    ethanol.info.update(charge=-1, spin_multiplicity=2)
    copper = ase.build.bulk("Cu") * (2, 1, 1)
    copper.rattle(0.05, seed=2)
    isolated = ase.Atoms("OHH", [[0, 0, 0], [0, 0, 0.97], [30, 0, 0]])
    single = ase.Atoms("C", [[0.0, 0.0, 0.0]])
    return {
        "ethanol": ethanol,
        "tiny cell": copper,
        "isolated atom": isolated,
        "single atom": single,
    }


def torch_outputs(model, atoms, names, layers, dtype):
    """Outputs, forces, stress and features of metatrain's model."""
    from metatensor.torch import Labels, TensorBlock, TensorMap
    from metatomic.torch import ModelOutput, systems_to_torch
    from metatrain.utils.neighbor_lists import (
        get_requested_neighbor_lists,
        get_system_with_neighbor_lists,
    )

    (system,) = systems_to_torch([atoms], dtype=dtype)
    strain = torch.eye(3, dtype=dtype, requires_grad=True)
    positions = system.positions.clone().requires_grad_(True)
    from metatomic.torch import System

    system = System(system.types, positions @ strain, system.cell @ strain, system.pbc)
    system = get_system_with_neighbor_lists(system, get_requested_neighbor_lists(model))
    for key, default in (("charge", 0), ("spin_multiplicity", 1)):
        value = torch.tensor([[float(atoms.info.get(key, default))]], dtype=dtype)
        block = TensorBlock(
            value,
            Labels(["system"], torch.tensor([[0]])),
            [],
            Labels([key], torch.tensor([[0]])),
        )
        name = key
        system.add_data(name, TensorMap(Labels(["_"], torch.tensor([[0]])), [block]))
    wanted = {
        name: ModelOutput(
            sample_kind="atom" if name in ("mtt::alpha", "mtt::density") else "system"
        )
        for name in names
    }
    for layer in layers:
        wanted[f"mtt::feature::{layer}"] = ModelOutput(sample_kind="atom")
    out = model([system], wanted)
    energy = out["energy"].block().values.sum()
    gradients = torch.autograd.grad(energy, [positions, strain], allow_unused=True)
    gradients = [
        torch.zeros_like(like) if value is None else value
        for value, like in zip(gradients, (positions, strain), strict=True)
    ]
    arrays = {
        name: [block.values.detach().numpy() for block in value.blocks()]
        for name, value in out.items()
    }
    edges = None
    for layer in layers:
        block = out[f"mtt::feature::{layer}"].block()
        if "first_atom" in block.samples.names:
            edges = block.samples.values.numpy()
    return arrays, -gradients[0].numpy(), gradients[1].numpy(), edges


def assert_close(actual, expected, tolerance, what):
    scale = max(np.abs(expected).max(initial=0.0), 1e-3)
    error = np.abs(np.asarray(actual) - expected).max(initial=0.0) / scale
    assert error < tolerance, f"{what}: {error:.2e} of the largest entry"


def compare(variant, dtype, tmp_path):
    torch_dtype = getattr(torch, dtype)
    reference = make_torch_model(VARIANTS[variant])
    checkpoint = tmp_path / "model.ckpt"
    state = reference.get_checkpoint()
    state.update(best_model_state_dict=state.get("model_state_dict"))
    torch.save(state, checkpoint)
    model = load_metatrain(checkpoint)
    save_model(model, tmp_path / "model")
    model = load_model(tmp_path / "model")
    reference = reference.to(torch_dtype)
    tolerance = {"float64": 1e-10, "float32": 1e-5}[dtype]
    if variant == "zbl":
        # metatrain raises atomic numbers to 0.23 in float32 whatever the dtype, and
        # sums polynomials that cancel at the cutoff in the dtype itself.
        tolerance = {"float64": 1e-7, "float32": 1e-3}[dtype]
    layers = layer_names(model.config)
    names = [target.name for target in model.config.targets]
    run = jax.jit(
        lambda graph: predict(model, graph, forces=True, stress=True, layers=layers)
    )
    for label, atoms in structures().items():
        if atoms.info == {}:
            atoms.info.update(charge=0, spin_multiplicity=1)
        graph = build_graph(atoms, model.config.cutoff, dtype=dtype)
        ours = run(graph)
        theirs, forces, strain, edges = torch_outputs(
            reference, atoms, names, layers, torch_dtype
        )
        for target in model.config.targets:
            for block, values in zip(target.blocks, theirs[target.name], strict=True):
                single = len(target.blocks) == 1
                key = target.name if single else f"{target.name}/{block.key}"
                shape = np.asarray(ours[key]).shape
                where = f"{variant} {label} {key}"
                assert_close(ours[key], values.reshape(shape), tolerance, where)
        # Forces sum what cancels; their scale is that of the terms.
        assert_close(
            ours["forces"], forces, 10 * tolerance, f"{variant} {label} forces"
        )
        if atoms.pbc.all():
            expected = strain / atoms.get_volume()
            assert_close(ours["stress"][0], expected, 10 * tolerance, f"{label} stress")
        slots = edge_slots(graph, edges)
        for layer in layers:
            values = theirs[f"mtt::feature::{layer}"][0]
            mine = np.asarray(ours[layer])
            mine = mine[slots] if mine.ndim == 3 else mine
            if values.size:
                assert_close(mine, values, tolerance, f"{variant} {label} {layer}")


def edge_slots(graph, edges):
    """Slot of each of metatrain's edges (structure, i, j, shift) in the graph."""
    if edges is None or len(edges) == 0:
        return np.zeros(0, int), np.zeros(0, int)
    table = {}
    for i, k in zip(*np.nonzero(graph.edge_mask), strict=True):
        key = (int(i), int(graph.neighbors[i, k]), *map(int, graph.shifts[i, k]))
        table[key] = (i, k)
    found = [table[tuple(map(int, row[1:6]))] for row in edges]
    return tuple(np.array(found).T)


@pytest.mark.torch
@pytest.mark.parametrize("variant", IN_CI)
def test_parity_small(variant, tmp_path):
    compare(variant, "float64", tmp_path)


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_parity(variant, dtype, tmp_path):
    compare(variant, dtype, tmp_path)


@pytest.mark.torch
def test_a_real_checkpoint(shared):
    model = load_metatrain(shared / "checkpoints" / "metatrain-pet-v16.ckpt.gz")
    assert model.config.d_pet == 1
    atoms = ase.build.molecule("H2O")
    graph = build_graph(atoms, 4.5, known_species=model.config.species, dtype="float32")
    energy = predict(model, graph)["energy"]
    assert np.isfinite(energy).all()


@pytest.mark.torch
@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty", "other"])
def test_damaged_files_are_refused(damage, shared, tmp_path):
    source = shared / "checkpoints" / "metatrain-pet-v16.ckpt.gz"
    path = tmp_path / "model.ckpt"
    data = gzip.decompress(source.read_bytes())
    if damage == "other":
        torch.save({"architecture_name": "soap_bpnn"}, path)
    else:
        contents = {
            "truncated": data[: len(data) // 2],
            "foreign": b"hello",
            "empty": b"",
        }
        path.write_bytes(contents[damage])
    with pytest.raises(ModelError, match=r"path=.*\. .*\.$"):
        load_metatrain(path)
