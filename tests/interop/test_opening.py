"""Files that metatomic evaluates, told from those that it does not."""

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
torch = pytest.importorskip("torch", reason="needs the extra [torch]")
pytest.importorskip("metatrain", reason="needs the extra [torch]")
from torch_pet import make_variant  # noqa: E402

from symjax.errors import ModelError  # noqa: E402
from symjax.interop._opening import open_model  # noqa: E402


def test_files_that_are_neither_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        open_model(str(tmp_path / "none.pt"))
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ModelError, match="cannot be read"):
        open_model(str(tmp_path / "text.pt"))
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.ckpt")
    with pytest.raises(ModelError, match="neither an exported model nor a checkpoint"):
        open_model(str(tmp_path / "other.ckpt"))
    checkpoint = {
        **make_variant("default").get_checkpoint(),
        "architecture_name": "experimental.nothing",
    }
    torch.save(checkpoint, tmp_path / "unknown.ckpt")
    with pytest.raises(ModelError, match=r"metatrain cannot load it.*nothing"):
        open_model(str(tmp_path / "unknown.ckpt"))
