"""Ctrl-C while JAX calls a function of the host: it makes an error of its own of it."""

import jax
import numpy as np


def pressed(*args):
    """As if Ctrl-C were pressed while a library calls this function."""
    raise KeyboardInterrupt


def interrupted_by_jax(*args):
    """Fails with the error that JAX makes of an interruption."""
    return jax.pure_callback(pressed, np.ones(2), np.ones(2))
