"""What can be known of a GPU without one: the types of all products, and a refusal."""

import importlib.util
import pathlib
import re

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import drawn_pet

from symjax.metrics import Grid, Output, Problem, Survey, accumulation, measure
from symjax.metrics.packs import start_pack
from symjax.models.pet import orbit_problem
from symjax.models.pet.packing import Packing
from symjax.so3 import FEATURE, VECTOR

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def device():
    spec = importlib.util.spec_from_file_location(
        "device", ROOT / "benchmarks" / "device.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_is_said_without_a_card(device, capsys):
    with pytest.raises(SystemExit, match=r"JAX sees .*: nothing was measured"):
        device.main([])
    assert capsys.readouterr().out == ""


def test_products_are_found_with_their_types(device):
    def function(a, b):
        return jnp.matmul(a, b, precision="highest") + (a @ b.astype("bfloat16"))

    single = jnp.eye(3, dtype="float32")
    text = jax.jit(function).lower(single, single).as_text()
    first, second = device.products(text)
    assert first == ("f32", "f32", "f32", ("HIGHEST", "HIGHEST"))
    assert second.precision == ("DEFAULT", "DEFAULT")


def all_highest(found):
    """Products of float32 numbers, of which an accelerator would round the factors."""
    assert len(found) > 3
    assert {type_ for each in found for type_ in each[:3]} <= {"f32", "f64"}
    singles = [each for each in found if "f32" in each[:2]]
    return {word for each in singles for word in each.precision} <= {"HIGHEST"}


def test_every_product_of_a_model_is_float32_unless_tf32_is_asked_for(device):
    problem = orbit_problem(
        drawn_pet((1, 6, 8)), ase.build.molecule("H2O"), layers="all"
    )

    def lowered():
        # Another function each time: what was traced with other settings is not reused.
        call = jax.jit(lambda x, *args: problem.function(x, *args))
        return device.products(call.lower(problem.x, *problem.args).as_text())

    plain = lowered()
    assert all_highest(plain)
    with jax.default_matmul_precision("tensorfloat32"):
        allowed = lowered()
    assert len(allowed) == len(plain)
    assert {word for each in allowed for word in each.precision} == {"HIGH"}


def test_every_product_of_a_pack_is_float32(device, tmp_path):
    # A number of elements that no other test has compiled.
    packing = Packing(drawn_pet((1, 6, 8)), 10, num_atoms=3)
    pack = packing.pack([packing.item("water", ase.build.molecule("H2O"))])
    found = dumped(device, tmp_path, lambda: start_pack(pack, Survey(10)))
    assert all_highest(found)


def test_every_product_of_what_is_added_up_is_full(device, tmp_path, monkeypatch):
    """Turning, moments, transforms and projections of a measurement in float32."""
    # As for responses that are too large for the host.
    monkeypatch.setattr(accumulation, "HOST_BYTES", 0)
    weights = np.ones((7, 5), np.float32)

    def function(x):
        return {"vector": jnp.sin(x), "feature": jnp.sin(x @ jnp.ones(3)) @ weights}

    outputs = {"vector": Output(VECTOR), "feature": Output(FEATURE, kind="node")}
    x = np.linspace(-1, 1, 21, dtype=np.float32).reshape(7, 3)
    problem = Problem(function, x, outputs)
    found = dumped(
        device,
        tmp_path,
        lambda: measure(problem, over=Grid(5, on_aliasing="report"), max_degree=2),
    )
    own = [each for each in found if each.precision != ("DEFAULT", "DEFAULT")]
    # The two products of the function above are what is left.
    singles = [each for each in found if "f32" in each[:2]]
    assert len([each for each in singles if each not in own]) <= 4
    assert all_highest(own)


def dumped(device, folder, call):
    """The products of all programs that are lowered by a call."""
    jax.config.update("jax_dump_ir_to", str(folder))
    try:
        jax.block_until_ready(jax.tree.leaves(call()))
    finally:
        jax.config.update("jax_dump_ir_to", "")
    texts = [path.read_text() for path in folder.glob("*.mlir")]
    return [each for text in texts for each in device.products(text)]


def test_copies_are_counted(device):
    host = np.arange(3.0)
    with device.counted_copies() as copies:
        jax.block_until_ready(jnp.sin(host))
    assert copies["host-to-device"] >= 1
    assert re.fullmatch("[a-z-]+", next(iter(copies)))
