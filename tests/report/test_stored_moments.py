"""Second moments and errors on labels, written and read."""

import copy
import json

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from symjax.metrics import LabelErrors, ResponseSpectrum, SampledResponse
from symjax.metrics.turn_averages import AveragedVariance
from symjax.report.stored_moments import StoredLabelErrors, StoredResponse

RESPONSE, LABELS = TypeAdapter(StoredResponse), TypeAdapter(StoredLabelErrors)


def spectrum():
    random = np.random.default_rng(0)
    gram = [random.normal(size=(2, size, size)) for size in (1, 3, 5)]
    gram = tuple(part + part.transpose(0, 2, 1) for part in gram)
    return ResponseSpectrum("energy", "eV", gram, 4.0, 3, 1e-12)


def labels():
    sums = np.array([[1.0, 0.5, 3.0, 1.0, 0, 0, 0, 0, 0, np.nan]])
    return LabelErrors(sums, {"1": np.array([2.0])})


def test_moments_are_read_back_to_the_bit():
    before = spectrum()
    written = json.dumps(RESPONSE.dump_python(before))
    # Upper triangles alone: 1, 6 and 15 numbers of each coset.
    assert [len(part[0]) for part in json.loads(written)["gram"]] == [1, 6, 15]
    after = RESPONSE.validate_json(written)
    for one, two in zip(after.gram, before.gram, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (after.variance, after.count, after.noise) == (4.0, 3, 1e-12)


def test_estimates_from_turns_are_another_kind():
    estimates = {
        "none": AveragedVariance(1, 4.0, 0.1),
        "Ci": AveragedVariance(2, -1, 1),
    }
    before = SampledResponse("energy", "eV", estimates, 3, 0.0)
    # The kinds are tried one after another; a warning says that the first did not fit.
    written = RESPONSE.dump_python(before, warnings=False)
    assert RESPONSE.validate_json(json.dumps(written)) == before


def test_errors_on_labels_are_one_object_a_structure():
    written = LABELS.dump_python(labels())
    assert written["sums"][0]["uncertainty"] is None
    after = LABELS.validate_json(json.dumps(written))
    np.testing.assert_array_equal(after.sums, labels().sums)


def damaged(value, path, new):
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return json.dumps(value)


@pytest.mark.parametrize(
    ("path", "new", "match"),
    [
        (("gram",), [], "no list of moments"),
        (("gram", 1, 0), [1.0] * 7, "no array of numbers"),
        (("gram", 1), [[1.0] * 7] * 2, "no moments of degree 1"),
        (("gram", 0), [["a"], ["b"]], "no array of numbers"),
        (("variance",), -1.0, "variance"),
    ],
)
def test_damaged_moments_are_refused(path, new, match):
    with pytest.raises(ValidationError, match=match):
        RESPONSE.validate_json(damaged(RESPONSE.dump_python(spectrum()), path, new))


@pytest.mark.parametrize(
    ("path", "new", "match"),
    [
        (("sums",), [], "should have at least 1 item"),
        (("sums", 0, "count"), 0, "greater than or equal to 1"),
        (("sums", 0, "squared"), None, "should be a valid number"),
        (("sums", 0, "label"), True, "should be a valid number"),
        (("sums", 0), {"squared": 1.0}, "Field required"),
        (("sums", 0, "other"), 1.0, "Extra inputs are not permitted"),
        (("sums", 0, "product"), None, "should be a valid number"),
    ],
)
def test_damaged_errors_on_labels_are_refused(path, new, match):
    with pytest.raises(ValidationError, match=match):
        LABELS.validate_json(damaged(LABELS.dump_python(labels()), path, new))
