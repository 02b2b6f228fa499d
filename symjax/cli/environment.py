"""Settings of a command-line process: precision, devices, compilation cache."""

import atexit
import os
import re
import sys
import threading
from typing import TYPE_CHECKING

from symjax.cli.application import INTERRUPTED
from symjax.errors import ArgumentError

if TYPE_CHECKING:
    import jax

_JAX_CACHE = "JAX_COMPILATION_CACHE_DIR"

interrupted = threading.Event()
"""Whether this process ends because its command was interrupted."""


def _leave_if_interrupted() -> None:
    """Ends the process before JAX clears its devices, which XLA may be compiling for.

    XLA goes on in a thread of its own, and the process would end by a segmentation
    fault.
    """
    if interrupted.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)


def configure_jax(x64: bool, compile_cache: bool) -> None:
    """Sets precision and compilation cache of this process, and how it ends."""
    import jax

    from symjax._files import user_cache

    # The last that is registered is called first: after what models register when they
    # are loaded, and before what JAX did.
    atexit.unregister(_leave_if_interrupted)
    atexit.register(_leave_if_interrupted)
    if x64:
        jax.config.update("jax_enable_x64", True)
    folder = user_cache("jax")
    # A folder that the user has chosen by JAX's own variable stays in place.
    if not compile_cache or folder is None or os.environ.get(_JAX_CACHE):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def choose_devices(wanted: str | None) -> "list[jax.Device]":
    """Devices to use; an empty list stands for the default device."""
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
            f"is not a number of devices that JAX finds here: {len(found)} ({kind})",
            "Pass 'all'" if kind != "cpu" else "Use --jobs for the cores of a machine",
        )
    return found[:number]
