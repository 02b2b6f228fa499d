"""The least symmetry that repairs what was found."""

import numpy as np
import pytest
import toys

from symjax.diagnose import diagnose, recommend
from symjax.diagnose.tracing import Traced
from symjax.metrics import Trace
from symjax.models.biases import Biases

# Variants whose outputs call for an equivariant readout, and for averaging.
READOUT = {
    "missing": "tensor",
    "starved": "tensor",
    "lost": "tensor",
    "blind": "chi",
    "noisy": "chi",
}


AVERAGING = {"leaking": "energy", "trapped": "dipole"}


@pytest.mark.parametrize("variant", toys.VARIANTS)
def test_what_is_recommended(variant):
    """No bias without a finding or a severe error; the readout where one names it."""
    recommended = recommend(toys.report(variant), toys.diagnosis(variant))
    leaves = toys.report(variant).aggregate()
    wrong = {
        name
        for name in ("dipole", "tensor", "chi")
        if leaves[name].totals.relative_error >= 0.1
    }
    named = {READOUT[variant]} if variant in READOUT else set()
    assert {reason.split(" ")[0] for reason in recommended.reasons} == named | wrong
    assert recommended.biases == Biases(readout="sum" if named | wrong else "linear")
    assert [text.split(":")[0] for text in recommended.averaging] == (
        [AVERAGING[variant]] if variant in AVERAGING else []
    )
    text = recommended.to_text()
    assert ('readout = "sum"' in text) == bool(named | wrong)
    assert ("No bias" in text) == (not named | wrong and variant not in AVERAGING)


@pytest.fixture(scope="module")
def slightly_off():
    """Dipoles off by a share of their size, in two structures."""
    return toys.report("trapped", num=2)


@pytest.mark.parametrize(
    ("squares", "said"),
    [
        ((1.0, 0.9, 0.0), "90 % of A^2 enters in GNN layer 2, but averaging its"),
        ((1.0, 3.0, 0.0), "layers cancel each other (-200 %, 300 % of A^2 enter"),
        ((1.0, 0.9, 0.8), "80 % of A^2 enters after all GNN layers"),
        ((1.0, 0.7, 0.4), "no single layer dominates (30 %, 30 % of A^2"),
    ],
)
def test_a_trace_is_read_by_what_is_recommended(slightly_off, squares, said):
    found = Trace(
        (("first",), ("second",)),
        {"dipole": "e", "other": "e"},
        {"dipole": np.sqrt(squares), "other": np.ones(3)},
        {},
    )
    traced = {"a": Traced(found, "none")}
    advice = recommend(slightly_off, diagnose(slightly_off), traced)
    (told,) = [text for text in advice.averaging if "of A^2 enter" in text]
    assert told.startswith("dipole: ")
    assert said in told
    assert told.endswith(": average predictions.")
    plain = recommend(slightly_off, diagnose(slightly_off))
    assert not any("A^2" in text for text in plain.averaging)
