"""What a file may hold of numbers, arrays and classes of other packages."""

import json
import math
from typing import Annotated

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from symjax.metrics import Convergence
from symjax.report.stored import (
    Count,
    IrrepLabel,
    Numbers,
    OrInfinite,
    OrUnknown,
    StoredIrrep,
    StoredVerdict,
)
from symjax.so3 import Irrep


def adapter(marker):
    return TypeAdapter(Annotated[np.ndarray, marker])


def test_arrays_are_nested_lists():
    one = adapter(Numbers(-math.inf))
    array = np.array([[1.0, -2.5], [0.0, 1e300]])
    assert one.dump_python(array) == array.tolist()
    np.testing.assert_array_equal(one.validate_python(array.tolist()), array)


@pytest.mark.parametrize(
    ("marker", "value"),
    [
        (Numbers(), [-1.0]),
        (Numbers(), [[1.0], [1.0, 2.0]]),
        (Numbers(), ["a"]),
        (Numbers(), 1.0),
        (Numbers(), [math.nan]),
        (Numbers(-math.inf), [math.inf]),
        (Numbers(integer=True), [0.5]),
        (Numbers(integer=True), [2.0**53 + 2]),
        (Numbers(-1, integer=True), [-2]),
    ],
)
def test_other_arrays_are_refused(marker, value):
    with pytest.raises(ValidationError, match=r"is not an array of (numbers|integers)"):
        adapter(marker).validate_python(value)


@pytest.mark.parametrize(("kind", "value"), [(OrInfinite, math.inf), (OrUnknown, None)])
def test_what_json_has_no_number_for_is_null(kind, value):
    one = TypeAdapter(kind)
    assert one.dump_python(math.inf if value else math.nan) is None
    found = one.validate_json("null")
    assert found == math.inf if value else math.isnan(found)
    assert one.dump_python(0.5) == 0.5


def test_irreps_are_their_labels():
    assert TypeAdapter(StoredIrrep).dump_python(Irrep(2, -1)) == "2-"
    assert TypeAdapter(StoredIrrep).validate_python("2-") == Irrep(2, -1)
    with pytest.raises(Exception, match="1x"):
        TypeAdapter(IrrepLabel).validate_python("1x")


def test_a_class_of_metrics_is_an_object_of_its_fields():
    one = TypeAdapter(StoredVerdict)
    verdict = Convergence(True, 0.01, 0.02, 0.0, 5, "", 0.001, excluded=0.19)
    written = one.dump_python(verdict)
    assert written["excluded"] == 0.19
    assert one.validate_python(written) == verdict
    wrong = {"excluded": 1.5, "degree_to_try": -1, "resolved": 1, "resolvd": True}
    for name, value in wrong.items():
        with pytest.raises(ValidationError, match=name):
            one.validate_json(json.dumps(written | {name: value}))


def test_numbers_that_float64_cannot_tell_apart_are_no_counts():
    with pytest.raises(ValidationError):
        TypeAdapter(Count).validate_python(2**53 + 1)
