"""What ``symjax diagnose --json`` writes is read back as it was."""

import json

import numpy as np
import pytest
import toys
from pydantic import TypeAdapter, ValidationError

from symjax.diagnose.document import DiagnosisFile
from symjax.diagnose.tracing import Traced
from symjax.metrics import Decoded, Probes, SectorShares, Trace
from symjax.report.storage import dumps, plain
from symjax.so3 import Irrep

FILE = TypeAdapter(DiagnosisFile)


def test_findings_traces_and_probes_come_back():
    found = toys.diagnosis("trapped")
    errors = {"dipole": np.array([2.0, 1.0])}
    trace = Trace((("node_0",),), {"dipole": "e"}, errors, {})
    shares = SectorShares(
        sectors=(Irrep(1, 1), None),
        values={"dipole": np.array([1.0, 0.5])},
        errors={"dipole": np.array([0.1, 0.1])},
        left={"dipole": 1.5},
    )
    probes = Probes({"a": {Irrep(1, 1): Decoded(0.9, 0.0, 0.8)}}, {}, (4, 4), 1)
    file = DiagnosisFile(
        *(found.model, found.findings, found.checks),
        traces={"H2O": Traced(trace, "all 3 atoms", shares=(shares,))},
        probes=probes,
        carried={"a": {1: 3, -1: None}},
    )
    text = dumps(plain(file))
    back = FILE.validate_json(text)
    assert dumps(plain(back)) == text
    assert (back.findings, back.checks) == (found.findings, found.checks)
    assert back.traces["H2O"].shares[0].sectors == (Irrep(1, 1), None)
    np.testing.assert_array_equal(
        back.traces["H2O"].trace.errors["dipole"], errors["dipole"]
    )
    assert back.probes.sectors["a"][Irrep(1, 1)].decodable
    assert back.carried == {"a": {1: 3, -1: None}}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", "symjax-diagnosis/2"),
        ("model", 1),
        ("probes", 1),
        ("findngs", []),
        ("checks", [{"kind": "leakage", "looked_at": 1, "note": "", "noted": ""}]),
    ],
)
def test_what_is_no_diagnosis_is_refused(key, value):
    data = json.loads(dumps(plain(DiagnosisFile("pet", (), ()))))
    with pytest.raises(ValidationError, match=key):
        FILE.validate_json(json.dumps({**data, key: value}))
