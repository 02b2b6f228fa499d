"""What contents of layers show: irreps that are missing, lost or late."""

import numpy as np
import pytest
import toys

from symjax.diagnose import diagnose


def test_starved_error_is_noise_over_amplitude():
    (finding,) = toys.diagnosis("starved").findings
    epsilon = float(np.finfo(np.float32).eps)
    assert finding.effect == pytest.approx(
        epsilon / np.sqrt(finding.figure.value), rel=0.5
    )


def test_degree_that_was_not_projected_is_said():
    found = diagnose(toys.report("exact"), targets={"tensor": ["5+"]})
    assert not found.findings
    assert "5+ of tensor is above the projected degrees" in found.checks[1].note
