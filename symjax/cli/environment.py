"""What holds for a process of the command line: precision, devices, compiled code."""

import os
import re
from typing import TYPE_CHECKING

from symjax._files import user_cache
from symjax.errors import ArgumentError

if TYPE_CHECKING:
    import jax

_JAX_CACHE = "JAX_COMPILATION_CACHE_DIR"


def configure_jax(x64: bool, compile_cache: bool) -> None:
    """Sets what holds for this process: precision, and the cache of compiled code."""
    import jax

    if x64:
        jax.config.update("jax_enable_x64", True)
    folder = user_cache("jax")
    # A folder that the user has chosen by JAX's own variable stays in place.
    if not compile_cache or folder is None or os.environ.get(_JAX_CACHE):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def choose_devices(wanted: str | None) -> "list[jax.Device]":
    """Devices of this process; an empty list stands for the default."""
    if wanted is None:
        return []
    import jax

    found = jax.local_devices()
    # Digits of other scripts are none, and a long number none of devices.
    digits = re.fullmatch("[0-9]{1,9}", wanted)
    number = len(found) if wanted == "all" else int(wanted) if digits else 0
    if not 0 < number <= len(found):
        kind = found[0].platform
        raise ArgumentError(
            "--devices",
            wanted,
            f"is not among what JAX sees here, {len(found)} of kind {kind}",
            "Pass 'all'" if kind != "cpu" else "Use --jobs for the cores of a machine",
        )
    return found[:number]


def join_processes(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Starts ``jax.distributed``; before anything that JAX computes."""
    import jax

    if coordinator is not None:
        host, _, port = coordinator.rpartition(":")
        if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
            raise ArgumentError(
                "--coordinator",
                coordinator,
                "is no address",
                "Pass the name or address of the host of process 0 and a free port, "
                "for instance node1:12345",
            )
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (ValueError, TypeError, IndexError, OSError, RuntimeError) as error:
        raise ArgumentError(
            "--distributed",
            True,
            f"the processes do not find each other ({error})",
            "Pass --coordinator HOST:PORT, --num-processes N and --process-id I, with "
            "the same address in all processes",
        ) from error


def leave_processes() -> int:
    """Ends ``jax.distributed``; returns the number that this process had."""
    import jax

    index = jax.process_index()
    jax.distributed.shutdown()
    return index
