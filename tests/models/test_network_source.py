"""What networks have in common as a run uses them."""

import dataclasses

from small_models import drawn_pointmae, small_pet

from symjax.models import fingerprint
from symjax.models.pet.source import PETSource
from symjax.models.pointmae.source import PointMAESource


def test_a_digest_is_of_what_is_computed():
    for kind, model in ((PETSource, small_pet()), (PointMAESource, drawn_pointmae())):
        renamed = kind(dataclasses.replace(model, name="other"))
        assert kind(model).digest == fingerprint(model) == renamed.digest
        assert (kind(model).name, renamed.name) == (model.name, "other")
