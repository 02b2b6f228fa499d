"""Numbers keep their digits in few characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symjax.report import formats


@given(st.floats(1e-14, 1e14))
def test_format_value_keeps_three_digits(value):
    text = formats.format_value(value)
    assert float(text) == pytest.approx(value, rel=5.1e-3)
    assert len(text) <= 9


@given(st.floats(0, 1))
def test_format_fraction_keeps_two_digits(value):
    text = formats.format_fraction(value)
    assert len(text) <= 8
    # four decimals, or two digits for small fractions
    assert float(text) == pytest.approx(value, rel=5.1e-2, abs=1e-15)
