"""Severities follow from effects, and findings are sorted by them."""

import pytest

from symjax.diagnose import Severity
from symjax.diagnose.findings import by_severity
from symjax.errors import ArgumentError


@pytest.mark.parametrize(
    ("effect", "severity"),
    [
        (0.0, "NOTE"),
        (3.4e-4, "NOTE"),
        (3.6e-4, "MINOR"),
        (0.01, "MODERATE"),
        (0.1, "SEVERE"),
        (0.707, "SEVERE"),
        (0.708, "CRITICAL"),
        (1.0, "CRITICAL"),
    ],
)
def test_severity(effect, severity):
    assert Severity.of(effect).name == severity
    assert Severity.of(effect) <= Severity.CRITICAL


@pytest.mark.parametrize("effect", [-1e-9, float("nan")])
def test_severity_of_no_error(effect):
    with pytest.raises(ArgumentError, match="effect="):
        Severity.of(effect)


def test_order_of_nothing():
    assert by_severity([]) == ()
