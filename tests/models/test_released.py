"""Names of released models, and a cache of huggingface_hub laid out by the test."""

import logging
import types

import pytest

from symjax.errors import ModelError
from symjax.models import load_model, loading
from symjax.models.released import Released, fetch_released, parse_released

hub = pytest.importorskip("huggingface_hub", reason="needs the extra [torch]")
from huggingface_hub import constants  # noqa: E402

# What upet 0.3.1 lists.
UPET = """
pet-mad-xs pet-mad-s pet-mad-m pet-omat-xs pet-omat-s pet-omat-m pet-omat-l pet-omat-xl
pet-oam-l pet-oam-xl pet-omad-xs pet-omad-s pet-omad-l pet-omatpes-l pet-omol-s
pet-omol-m pet-omol-l pet-mols-s pet-spice-s pet-spice-l
"""


@pytest.mark.parametrize("name", UPET.split())
def test_names_of_upet(name):
    family, _, size = name.rpartition("-")
    assert parse_released(name) == Released(family, size)
    assert parse_released(f"{name}@1.10.2") == Released(family, size, (1, 10, 2))
    assert parse_released(f"{name}@v1.10.2") == parse_released(f"{name}@1.10.2")


@pytest.mark.parametrize(
    "name",
    ["mad-s", "pet", "pet-", "pet-mad-s@", "pet-mad-s@1.6", "pet-mad-s-v1.6.0", "a/b"],
)
def test_other_names(name):
    assert parse_released(name) is None


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Puts files into an empty cache: blobs, and links to them in snapshots."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    root = tmp_path / "models--lab-cosmo--upet"

    def add(name, snapshot="a" * 40):
        folder = root / "snapshots" / snapshot / "models"
        folder.mkdir(parents=True, exist_ok=True)
        (root / "blobs").mkdir(exist_ok=True)
        (root / "blobs" / name).write_bytes(name.encode())
        (folder / name).symlink_to(f"../../../blobs/{name}")
        (root / "refs").mkdir(exist_ok=True)
        (root / "refs" / "main").write_text(snapshot)

    return add


@pytest.fixture
def offline(monkeypatch):
    def fail(self, *args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(hub.HfApi, "model_info", fail)


@pytest.fixture
def online(monkeypatch, cache):
    """A Hub with some files, which a download puts into the cache."""
    fetched = []
    names = ["pet-mad-s-v1.0.2", "pet-mad-s-v1.6.0", "pet-mad-xs-v1.5.0"]
    files = [f"models/{name}.ckpt" for name in (*names, "pet-oam-xl-v1.0.0")]
    files += ["README.md", "models/pet-mad-dos-v1.0.pt", "old/pet-mad-s-v9.0.0.ckpt"]

    def info(self, repository, **options):
        assert repository == "lab-cosmo/upet"
        rows = [types.SimpleNamespace(rfilename=file) for file in files]
        return types.SimpleNamespace(siblings=rows)

    def download(repository, name, *, subfolder):
        assert f"{subfolder}/{name}" in files
        fetched.append(name)
        cache(name)
        folder = "models--lab-cosmo--upet/snapshots/" + "a" * 40
        return f"{constants.HF_HUB_CACHE}/{folder}/{subfolder}/{name}"

    monkeypatch.setattr(hub.HfApi, "model_info", info)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    return fetched


def fetch(name):
    chosen, path = fetch_released(parse_released(name))
    return str(chosen), path.read_bytes().decode()


def test_the_newest_is_fetched_once(online):
    for _ in range(2):
        assert fetch("pet-mad-s") == ("pet-mad-s@1.6.0", "pet-mad-s-v1.6.0.ckpt")
    assert online == ["pet-mad-s-v1.6.0.ckpt"]


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("pet-mad", "pet-mad-s@1.6.0"),
        ("pet-mad-xs", "pet-mad-xs@1.5.0"),
        ("pet-oam", "pet-oam-xl@1.0.0"),
        ("pet-mad-s@1.0.2", "pet-mad-s@1.0.2"),
        ("pet-mad@1.5.0", "pet-mad-xs@1.5.0"),
    ],
)
def test_what_is_chosen(name, chosen, online):
    assert fetch(name)[0] == chosen


def test_a_version_that_is_there_needs_no_network(cache, offline):
    cache("pet-mad-s-v1.6.0.ckpt", "b" * 40)
    cache("pet-mad-s-v1.0.2.ckpt", "a" * 40)  # of an older state of the repository
    assert fetch("pet-mad-s@1.0.2")[1] == "pet-mad-s-v1.0.2.ckpt"


def test_without_a_network_the_newest_of_the_cache(cache, offline, caplog):
    for name in ("pet-mad-s-v1.9.0", "pet-mad-s-v1.10.0", "pet-mad-m-v2.0.0"):
        cache(f"{name}.ckpt")
    with caplog.at_level(logging.INFO, "symjax"):
        assert fetch("pet-mad-s")[0] == "pet-mad-s@1.10.0"
    assert "pet-mad-s@1.10.0 is the newest in the cache" in caplog.text


@pytest.mark.parametrize("name", ["pet-mad-l", "pet-mad-s@1.0.3", "pet-nothing"])
def test_a_model_that_is_not_there(name, online):
    with pytest.raises(ModelError, match=f"{name}'?: is not in huggingface") as caught:
        fetch(name)
    assert "pet-oam-xl@1.0.0" in str(caught.value) or "pet-mad-s@1.6.0" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)
    assert online == []


def test_an_empty_cache_without_a_network(cache, offline):
    with pytest.raises(ModelError, match=r"no route to host.*Connect to the network"):
        fetch("pet-mad-s")


def test_a_download_that_breaks(online, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("connection reset")

    monkeypatch.setattr(hub, "hf_hub_download", fail)
    with pytest.raises(ModelError, match=r"1\.6\.0 cannot be fetched: connection"):
        fetch("pet-mad-s")


def test_what_exists_goes_first(cache, offline, tmp_path, monkeypatch):
    cache("pet-mad-s-v1.6.0.ckpt")
    assert loading.locate("pet-mad-s").name == "pet-mad-s@1.6.0"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pet-mad-s").write_text("a file")
    assert loading.locate("pet-mad-s").path.read_text() == "a file"
    # Shipped models have names of the same form.
    assert load_model("pet-ethanol").name == "pet-ethanol"
