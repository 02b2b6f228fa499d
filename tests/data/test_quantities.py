"""Targets, their blocks and kinds: impossible ones are refused."""

import pytest

from symjax.data.quantities import Block, Target, representation_of
from symjax.errors import ModelError


def test_a_degree_that_no_target_has():
    with pytest.raises(ModelError, match="degree larger than"):
        representation_of("10000+")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Block("a", "tensor"),
        lambda: Block("a", "scalar", 0),
        lambda: Target("a/"),
        lambda: Target("a", blocks=()),
    ],
    ids=["block", "properties", "target name", "no blocks"],
)
def test_bad_targets(make):
    with pytest.raises(ModelError) as caught:
        make()
    assert caught.value.remedy
