"""What a class declares is held against values, and errors say where."""

from collections.abc import Mapping
from typing import Annotated

import pydantic
import pytest

from symjax._declared import Declared, refusal
from symjax.errors import ArgumentError, ModelError


class Part(Declared):
    sizes: Annotated[tuple[int, ...], pydantic.Field(min_length=1)] = (1,)


class Whole(Declared):
    length: float
    parts: Mapping[str, Part]
    name: str = "a"

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise ArgumentError("name", self.name, "is bad", "Use another")


def test_round_trip():
    whole = Whole(2, {"x": Part((3, 4))})
    assert whole.length == 2.0
    assert Whole.from_json(whole.to_json()) == whole


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"length": "2", "parts": {}}, r"length='2': should be a valid number"),
        ({"length": True, "parts": {}}, r"length=True"),
        ({"length": 1e999, "parts": {}}, r"length="),
        ({"parts": {}}, r"length=None: is missing\. Add this key"),
        ({"length": 1, "parts": {}, "lenght": 2}, r"lenght=2: is an unknown key"),
        ({"length": 1, "parts": {"x": {"sizes": [1, "b"]}}}, r"sizes\[1\]='b'"),
        ({"length": 1, "parts": {"x": {"sizes": []}}}, r"parts\.x\.sizes=\(?\[?"),
        ([1], r"config="),
    ],
)
def test_the_field_and_its_value_are_named(data, match):
    with pytest.raises(ModelError, match=match):
        Whole.from_json(data)


def test_in_python_as_in_a_file():
    with pytest.raises(ModelError, match="length='2'"):
        Whole("2", {})
    with pytest.raises(ModelError, match="unknown key"):
        Whole(1.0, {}, lenght=2)
    # An error of symjax that a check raises names its argument already.
    with pytest.raises(ArgumentError, match=r"name='bad': is bad\. Use another"):
        Whole(1.0, {}, "bad")


def test_a_source_stands_before_the_field():
    adapter = pydantic.TypeAdapter(list[int])
    with pytest.raises(pydantic.ValidationError) as caught:
        adapter.validate_json("[1, null]")
    error = refusal(caught.value, source="a.json", remedy="Restore it")
    assert str(error).startswith("a.json: [1]=None: should be a valid integer")
    with pytest.raises(pydantic.ValidationError) as caught:
        adapter.validate_json("[1")
    error = refusal(caught.value, source="a.json", remedy="Restore it")
    assert "path='a.json': is truncated or not JSON" in str(error)
