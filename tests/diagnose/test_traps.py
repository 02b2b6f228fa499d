"""What a function predicts where the symmetry of its input forbids an answer."""

import pytest
import toys

from symjax.diagnose import symmetry_traps


def test_scale_of_other_structures_weakens_a_trap():
    problem = toys.problem("trapped")
    (finding,), _ = symmetry_traps(problem, "tetrahedron", scales={"dipole": 7.0})
    assert finding.effect == pytest.approx(finding.figure.value / 7.0)
