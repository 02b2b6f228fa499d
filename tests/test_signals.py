"""Signals that stop a run arrive, and wait where a file is being written."""

import signal
import subprocess
import sys
import time

import jax
import pydantic
import pytest
from interrupted import interrupted_by_jax, pressed

from symjax._signals import interrupt, interruptions, uninterrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_checkpoint_comes_to_its_end(number):
    # A process in the background of a shell starts with SIGINT ignored.
    handlers = {
        one: signal.signal(one, signal.default_int_handler)
        for one in (signal.SIGINT, signal.SIGTERM)
    }
    done = []
    try:
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            done += [signal.raise_signal(number) for _ in range(2)]
        assert len(done) == 2
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(ZeroDivisionError), uninterrupted():
            _ = 1 / 0
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            _ = signal.raise_signal(number), 1 / 0
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)


def test_a_signal_within_a_callback_is_not_lost():
    """Python ignores what is raised in callbacks of its collector and of references."""
    code = """
import gc, signal, sys, time, weakref
from symjax._signals import handle_signals

# As a shell starts a command in the foreground; in the background it is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
handle_signals()
struck = []

def strike(name, number):
    if name not in struck:
        struck.append(name)
        signal.raise_signal(number)

class Deleted:
    def __del__(self):
        strike("deletion", signal.SIGTERM)

def collected(*args):
    strike("collector", signal.SIGINT)

def collect():
    gc.callbacks.append(collected)
    gc.collect()

def drop_reference():
    value = Deleted()
    reference = weakref.ref(value, lambda _: strike("reference", signal.SIGTERM))
    struck.append("deletion")  # not in the same moment
    del value

def delete():
    struck.remove("deletion")
    Deleted()

def execute():
    exec("strike('text', signal.SIGTERM)")

for cause in (collect, drop_reference, delete, execute):
    try:
        cause()
        time.sleep(20)
    except KeyboardInterrupt:
        print("interrupted in", struck[-1])

class Failing:
    def __del__(self):
        raise ValueError("shown as ever")

Failing()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    causes = ("collector", "reference", "deletion", "text")
    assert done.returncode == 0
    assert done.stdout == "".join(f"interrupted in {cause}\n" for cause in causes)
    assert done.stderr.count("ignored") == 1, done.stderr
    assert "ValueError: shown as ever" in done.stderr


def test_a_signal_within_a_key_of_compiled_code_is_not_lost():
    """JAX makes an error of its own of what is raised while it compares keys."""

    class Key:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            if not struck:
                struck.append(1)
                signal.raise_signal(signal.SIGTERM)
            return True

    def compare():
        compiled(Key(), 1.0)
        time.sleep(100)

    struck = []
    before = signal.signal(signal.SIGTERM, interrupt)
    compiled = jax.jit(lambda key, x: x, static_argnums=0)
    try:
        compiled(Key(), 1.0)
        with pytest.raises(KeyboardInterrupt):
            compare()
    finally:
        signal.signal(signal.SIGTERM, before)


class Written(pydantic.BaseModel):
    """A model whose serializer is interrupted."""

    value: int = 1

    @pydantic.field_serializer("value")
    def serialize(self, value):
        """Does not come to its end."""
        pressed()


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(Written().model_dump, id="pydantic"),
        pytest.param(interrupted_by_jax, id="jax"),
    ],
)
def test_what_libraries_make_of_an_interruption(call):
    with pytest.raises(Exception, match="KeyboardInterrupt"):
        call()
    with pytest.raises(KeyboardInterrupt), interruptions():
        call()


def test_other_errors_pass_through():
    with pytest.raises(ValueError, match="KeyboardInterrupt"), interruptions():
        raise ValueError("cannot read 'KeyboardInterrupt.xyz'")
