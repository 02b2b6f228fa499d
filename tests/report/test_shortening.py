"""Shortened names can still be told apart."""

from hypothesis import given
from hypothesis import strategies as st

from symjax.report import shortening


@given(st.text("abc._0", min_size=1, max_size=60), st.integers(5, 40))
def test_shortened_names_keep_their_ends(name, width):
    short = shortening.shorten(name, width)
    assert len(short) <= width or short == name
    if short != name:
        head, tail = short.split("...", 1) if "..." in short else (short, "")
        assert name.startswith(head)
        assert name.endswith(tail)


@given(
    st.lists(st.text("ab.", min_size=1, max_size=12), unique=True), st.integers(5, 9)
)
def test_shortened_names_stay_different(names, width):
    short = shortening.shorten_all(names, width)
    assert len(set(short)) == len(names)
