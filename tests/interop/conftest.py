"""What tests with PyTorch share."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _programs_as_written():
    """TorchScript as it was written: to optimise a program takes seconds, twice."""
    if "torch" not in sys.modules:
        yield
        return
    with sys.modules["torch"].jit.optimized_execution(False):
        yield
