"""Names of kinds of targets."""

import pytest

from symjax.data.quantities import representation_of
from symjax.errors import ModelError


def test_a_degree_that_no_target_has():
    with pytest.raises(ModelError, match="degree larger than"):
        representation_of("10000+")
