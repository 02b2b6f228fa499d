"""What can be evaluated of a model, and what is refused where it is said."""

import pytest
from pet_models import CONFIG

from symjax.data.quantities import Target
from symjax.errors import ModelError
from symjax.models.pet import Evaluation, PETConfig, Uncertainty


def test_defaults():
    evaluation = Evaluation(CONFIG)
    assert evaluation.chosen == ("energy", "dipole", "density")
    assert evaluation.differentiated is None
    assert Evaluation(CONFIG, stress=True).differentiated == "energy"
    assert hash(evaluation) == hash(Evaluation(CONFIG))


def test_uncertainties_are_targets():
    own = (Uncertainty("energy", members=2),)
    config = PETConfig((1, 8), (Target("energy", "eV"),), uncertainties=own)
    expected = ("energy", "energy_uncertainty", "energy_ensemble")
    assert Evaluation(config).chosen == expected


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"targets": ("charge",)}, "charge.*no such target"),
        ({"layers": ("x",)}, "x.*no such layer"),
        ({"forces": True, "energy": "dipole"}, "dipole.*is not one scalar"),
        ({"stress": True, "energy": "u"}, "u.*no such target"),
    ],
)
def test_refusals(choices, words):
    with pytest.raises(ModelError, match=words):
        Evaluation(CONFIG, **choices)


@pytest.mark.parametrize("name", ["node_0", "edge_embedder"])
def test_a_target_with_the_name_of_a_layer(name):
    config = PETConfig((1, 8), (Target(name),))
    with pytest.raises(ModelError, match="also the name of a layer"):
        Evaluation(config, layers=("edge_embedder",))
