"""Layers by patterns: names or regular expressions that match in full."""

import pytest

from symjax.errors import ModelError
from symjax.models._layers import match_layers

KNOWN = ("a.0", "a.1", "ab", "head.energy/pbe.0")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("a.1, a.0", ("a.0", "a.1")),
        (["ab", r"a\.\d"], ("a.0", "a.1", "ab")),
        ("head.energy/pbe.0", ("head.energy/pbe.0",)),
        (".*", KNOWN),
    ],
)
def test_in_the_order_of_the_model(layers, expected):
    assert match_layers(layers, KNOWN) == expected


@pytest.mark.parametrize(
    ("layers", "words"),
    [("a", "matches no layer.*a.0"), ("ab,c", "matches no layer"), ("(", "Escape it")],
)
def test_what_names_no_layer(layers, words):
    with pytest.raises(ModelError, match=words):
        match_layers(layers, KNOWN)
