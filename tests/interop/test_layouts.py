"""Kinds of tensors, told from the components of blocks."""

import pytest

from symjax.errors import ModelError
from symjax.interop import load_metatrain
from symjax.interop._layouts import kind_of, layout_of

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
pytest.importorskip("metatrain", reason="needs the extra [torch]")
from metatensor.torch import Labels  # noqa: E402
from torch_pet import energy, generic, make_torch_model, spherical  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (spherical((0, 1)), None),
        ({"cartesian": {"rank": 3}}, "components of sizes [3, 3, 3]"),
        (
            {
                "spherical": {
                    "irreps": {
                        number: [{"o3_lambda": 0, "o3_sigma": 1, "num": 2}]
                        for number in (1, 6, 8, 29)
                    }
                }
            },
            "an atomic basis",
        ),
    ],
)
def test_layouts(kind, words, tmp_path):
    """Targets of a checkpoint of metatrain."""
    targets = {"energy": energy(), "mtt::x": generic("mtt::x", kind, True)}
    model = make_torch_model({}, targets=lambda: targets)
    path = tmp_path / "model.ckpt"
    torch.save(model.get_checkpoint(), path)
    if words is None:
        found = load_metatrain(path, verify=False)
        assert found.config.target("mtt::x").blocks[0].kind == "0+"
        return
    with pytest.raises(ModelError) as caught:
        load_metatrain(path)
    assert "'mtt::x'" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", ["scalar", "vector", "matrix", "0+", "0-", "1+", "3-"])
def test_layout_of_a_kind_and_back(kind):
    entries, components = layout_of(kind)
    values = torch.tensor([[*entries.values()]] if entries else [[0]])
    keys = Labels([*entries] or ["_"], values)
    axes = [
        Labels([name], torch.tensor(rows).reshape(-1, 1))
        for name, rows in components.items()
    ]
    assert kind_of(keys.entry(0), axes) == kind


def test_other_components_have_no_kind():
    one = torch.arange(3).reshape(-1, 1)
    assert kind_of(Labels.single().entry(0), [Labels(["o3_mu"], one)]) is None
    assert kind_of(Labels.single().entry(0), [Labels(["other"], one)]) is None
