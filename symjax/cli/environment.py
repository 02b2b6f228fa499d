"""Settings of a command-line process: precision, devices, compilation cache."""

import os
import re
from typing import TYPE_CHECKING

from symjax.errors import ArgumentError

if TYPE_CHECKING:
    import jax

_JAX_CACHE = "JAX_COMPILATION_CACHE_DIR"


def configure_jax(x64: bool, compile_cache: bool) -> None:
    """Sets precision and compilation cache of this process."""
    import jax

    from symjax._files import user_cache

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
