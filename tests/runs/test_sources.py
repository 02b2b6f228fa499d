"""What a run takes for a model."""

import fake_model
import pytest
from small_models import drawn_pointmae, small_pet

from symjax.errors import ModelError
from symjax.models import fingerprint
from symjax.runs import as_source


@pytest.mark.parametrize("make", [small_pet, drawn_pointmae])
def test_models_that_ship_become_sources(make):
    model = make()
    source = as_source(model)
    assert (source.name, source.digest) == (model.name, fingerprint(model))


def test_sources_pass_through_and_nothing_else():
    source = fake_model.FakeModel()
    assert as_source(source) is source
    with pytest.raises(ModelError, match="is no model"):
        as_source(len)
