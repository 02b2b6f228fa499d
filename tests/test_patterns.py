"""Regular expressions of users: those that may never end are refused."""

import re

import pytest

from symjax._patterns import matching

NAMES = ["gnn_layers.0.trans.layers.1_node", "node_heads.energy.0", "a" * 60]


@pytest.mark.parametrize(
    ("pattern", "number"),
    [
        ("gnn_layers.0.trans.layers.1_node", 1),
        (r"gnn_layers\.\d+\..*_node", 1),
        ("(gnn_layers|node_heads).*", 2),
        (".*(energy|trans).*", 2),
        ("(?:node|edge)_heads.+?", 1),
        ("[a(+*]*", 1),
        (r"a{60}", 1),
        ("(node_)?heads.*", 1),
        (r"(?P<x>a)\w*", 1),
        ("(ab)?a*", 1),
        ("(?i:A)[a]*", 1),
        (r"\(a+\)+", 0),
        ("", 0),
    ],
)
def test_plain_ones_match(pattern, number):
    assert len(matching(pattern, NAMES)) == number


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+b",
        "(ab)*a*",
        "(?x)(a+) +b",
        "(a+)(?#why)+b",
        "(a*)*b",
        "(?:a+)+b",
        "(a|a)*b",
        "(a|aa)+b",
        "((a+)b?)+c",
        "(.*a){20}b",
        "([a-z]+)*b",
        "(a{1,30}){2,30}b",
        "((a)|(a))*b",
        "(?:(?:a+))+?b",
        ".*.*.*.*.*.*b",
        "a" * 501,
    ],
)
def test_those_that_may_never_end_are_refused(pattern):
    with pytest.raises(re.error):
        matching(pattern, NAMES)


@pytest.mark.parametrize("pattern", ["(", "*a", "[", "a{2,1}", "(?P<1>a)"])
def test_what_is_none(pattern):
    with pytest.raises(re.error):
        matching(pattern, NAMES)
