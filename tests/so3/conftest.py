"""Fixtures of the tests of symjax.so3."""

import jax
import pytest


@pytest.fixture(scope="module")
def quick_compile():
    """Compiles without most optimisations, which cost more time than they save.

    The tests of rotations and Wigner matrices, where rounding matters most, keep the
    optimisations that a user has.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
