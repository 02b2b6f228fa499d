"""The same numbers from one device and from several that share the elements."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.errors import ArgumentError
from symjax.metrics import Grid, HaarSamples, HostFunction, functions, measure, orbit
from symjax.so3 import VECTOR, haar

X = np.random.default_rng(0).normal(size=(4, 3))
ARGS = (0.1,)
CASES = {
    # 3 elements at once on each device: the share of a device is no whole batch.
    "rule": {"over": Grid(5, on_aliasing="report"), "batch_size": 3},
    "random": {"over": HaarSamples(21)},
}


def function(x, scale):
    """Not equivariant; with a loop, as models have."""

    def add(total, point):
        return total + jnp.tanh(point[0] * point[1]) ** 2, None

    total, _ = jax.lax.scan(add, 0.0, x)
    return x * jnp.cos(scale * x[:, :1]) * (1 + scale * total)


def measured(devices, options):
    options = {"args": ARGS, "representations": VECTOR, "max_degree": 2} | options
    found = measure(function, X, devices=devices, **options)["output"]
    assert found.relative_error > 1e-3
    return np.concatenate(
        [getattr(found, field).ravel() for field in ("variance", "norm", "power")]
    )


def responses(respond, devices):
    """Of 37 elements, of which devices cannot have equal shares."""
    (out,) = respond(
        function,
        functions.as_action(VECTOR),
        X,
        np.asarray(haar(jax.random.key(0), 37)),
        args=ARGS,
        keep=(0,),
        batch_size=2,
        devices=tuple(devices or ()),
    )
    assert out.shape == (37, 4, 3)
    return out


@pytest.mark.parametrize("case", [*CASES, orbit.respond, orbit.respond_in_batches])
def test_two_devices_give_the_numbers_of_one(case, monkeypatch):
    sizes, divided = [], jax.shard_map

    def watched(*args, mesh, **options):
        sizes.append(mesh.size)
        return divided(*args, mesh=mesh, **options)

    monkeypatch.setattr(jax, "shard_map", watched)
    alone, shared = (
        responses(case, devices) if callable(case) else measured(devices, CASES[case])
        for devices in (None, jax.devices()[:2])
    )
    assert np.abs(alone - shared).max() < 1e-13 * np.abs(alone).max()
    assert set(sizes) == {2}


@pytest.mark.parametrize("devices", [[], "cpu", [0], [*jax.devices()[:1]] * 2])
def test_what_is_no_list_of_different_devices_is_refused(devices):
    with pytest.raises(ArgumentError, match="devices="):
        measure(
            lambda x: x,
            np.eye(3),
            representations=VECTOR,
            max_degree=1,
            devices=devices,
        )


def test_a_host_function_places_itself():
    host = HostFunction(lambda x: x)
    with pytest.raises(ArgumentError, match="HostFunction"):
        measure(host, np.eye(3), representations=VECTOR, devices=jax.devices())
