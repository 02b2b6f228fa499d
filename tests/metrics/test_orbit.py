"""The same numbers from one device and from several that share the elements."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from symjax.errors import ArgumentError
from symjax.metrics import HostFunction, measure
from symjax.so3 import VECTOR

EIGHT = "--xla_force_host_platform_device_count=8"
SCRIPT = pathlib.Path(__file__).parent / "on_devices.py"


def test_eight_devices_give_the_numbers_of_one():
    # The number of devices is fixed when JAX starts, so in a process of its own.
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=os.environ
        | {
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {EIGHT}",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == 3
    for name, difference, *devices in rows:
        assert float(difference) < 1e-13, name
        assert devices == ["8"], name


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
