"""Names as text: nothing in them is unseen, and none is a command."""

import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symjax._text import drawn, file_text, model_stem, spreadsheet_safe, visible


@given(st.text(st.characters(codec=None), max_size=20))
def test_what_is_shown_is_printable_text(name):
    for write in (visible, spreadsheet_safe, drawn):
        assert write(name).isprintable()
        write(name).encode()
    file_text(name).encode()


def test_plain_names_stay():
    for name in ("gnn_layers.0", "été", "a b"):
        assert visible(name) == file_text(name) == drawn(name) == name


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.ckpt", "a"), ("a.pt", "a"), ("a.ckpt.gz", "a"), ("a.b", "a.b")],
)
def test_endings_of_models_are_left_out(name, stem):
    assert model_stem(pathlib.Path("folder") / name) == stem


def test_bytes_that_are_no_text_are_escaped():
    assert file_text(os.fsdecode(b"a\xff.xyz")) == r"a\xff.xyz"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", " =1"])
def test_formulas_of_spreadsheets_are_texts(text):
    assert spreadsheet_safe(text) == f"'{text}"
