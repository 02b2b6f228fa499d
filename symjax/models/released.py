"""Released universal PETs by the names that their users know.

They are published as checkpoints of metatrain, ``models/pet-mad-s-v1.6.0.ckpt`` and so
on, in the repository ``lab-cosmo/upet`` of the Hugging Face Hub, and fetched into the
cache of ``huggingface_hub`` (the extra ``symjax[torch]``), which other packages share.
"""

import logging
import re
from pathlib import Path
from typing import NamedTuple

from symjax.errors import ModelError

REPOSITORY = "lab-cosmo/upet"
FOLDER = "models"

# Sizes in the order in which one is chosen where none is asked for, as upet does.
_SIZES = ("s", "m", "xs", "l", "xl")
_VERSION = r"(\d+)\.(\d+)\.(\d+)"
_NAME = re.compile(rf"(pet-\w+?)(?:-({'|'.join(_SIZES)}))?(?:@v?{_VERSION})?")
_FILE = re.compile(rf"(pet-\w+)-({'|'.join(_SIZES)})-v?{_VERSION}\.ckpt")
_TIMEOUT = 10.0

_log = logging.getLogger(__name__)

Version = tuple[int, int, int]


class Released(NamedTuple):
    """One published checkpoint, or a request for one.

    Attributes:
      family: Such as ``"pet-mad"``.
      size: One of xs, s, m, l, xl; None for the first of s, m, xs, l, xl there is.
      version: Such as ``(1, 6, 0)``; None for the newest.
    """

    family: str
    size: str | None = None
    version: Version | None = None

    def __str__(self) -> str:
        name = f"{self.family}-{self.size}" if self.size else self.family
        if self.version is None:
            return name
        return f"{name}@{'.'.join(map(str, self.version))}"

    def includes(self, other: "Released") -> bool:
        """Whether a checkpoint is one of those that a request allows."""
        return (
            self.family == other.family
            and self.size in (None, other.size)
            and self.version in (None, other.version)
        )


def parse_released(name: str) -> Released | None:
    """Reads ``"pet-mad-s"`` or ``"pet-mad-s@1.6.0"``; None if it is no such name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    family, size, *version = match.groups()
    return Released(family, size, _as_version(version) if version[0] else None)


def _as_version(parts: list[str]) -> Version:
    major, minor, patch = map(int, parts)
    return major, minor, patch


def fetch_released(request: Released) -> tuple[Released, Path]:
    """The checkpoint of a released model, downloaded if it is not in the cache.

    A version that is in the cache is taken from there. For the newest version the Hub
    is asked which there are; where it cannot be reached, the newest of the cache is
    taken, and the log says so. What was chosen has a size and a version.

    Raises:
      ModelError: ``huggingface_hub`` is not installed, or there is no such model
        where it can be looked for.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise ModelError(
            "model",
            str(request),
            "fetching a released model needs huggingface_hub",
            "Install symjax[torch], or pass a checkpoint that is there already",
        ) from error
    cached = _cached()
    if request in cached:
        return request, cached[request]
    files, reason = [], ""
    try:
        # Unlike the listing of files, this is not tried again for half a minute.
        info = huggingface_hub.HfApi().model_info(REPOSITORY, timeout=_TIMEOUT)
        files = [sibling.rfilename for sibling in info.siblings or []]
    except Exception as error:  # which of them depends on the version and the network
        reason = " ".join(str(error).split()) or type(error).__name__
    if reason:
        chosen = _choose(request, list(cached), f"the cache ({reason[:200]})")
        _log.info("No network: %s is the newest in the cache", chosen)
        return chosen, cached[chosen]
    chosen = _choose(request, list(_published(files)), f"huggingface.co/{REPOSITORY}")
    if chosen in cached:
        return chosen, cached[chosen]
    name = _published(files)[chosen]
    _log.info("Fetching %s from huggingface.co/%s", name, REPOSITORY)
    try:
        path = huggingface_hub.hf_hub_download(REPOSITORY, name, subfolder=FOLDER)
    except Exception as error:
        raise ModelError(
            "model",
            str(request),
            f"{chosen} cannot be fetched: {' '.join(str(error).split())[:200]}",
            "Try again, or name a version that is in the cache",
        ) from error
    return chosen, Path(path)


def _published(files: list[str]) -> dict[Released, str]:
    """Checkpoints among the files of the repository; other files are left out."""
    found = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        match = _FILE.fullmatch(name)
        if match and folder == FOLDER:
            family, size, *version = match.groups()
            found[Released(family, size, _as_version(version))] = name
    return found


def _cached() -> dict[Released, Path]:
    """Checkpoints in the cache of ``huggingface_hub``, of all its snapshots."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{REPOSITORY.replace('/', '--')}"
    found = {}
    # The cache can be absent, or not ours to read.
    for path in sorted(folder.glob(f"snapshots/*/{FOLDER}/*.ckpt")):
        for released in _published([f"{FOLDER}/{path.name}"]):
            if path.is_file():
                found[released] = path
    return found


def _choose(request: Released, there: list[Released], where: str) -> Released:
    """The newest of those that a request allows, of the size that it prefers."""
    allowed = [one for one in there if request.includes(one)]
    if not allowed:
        near = sorted(
            {one for one in there if one.family == request.family} or set(there),
            key=lambda one: (one.family, one.size or "", one.version or (0, 0, 0)),
        )
        listed = ", ".join(map(str, near))
        remedy = f"There are {listed}"
        if not near:
            remedy = "Connect to the network, or pass a checkpoint that you have"
        raise ModelError("model", str(request), f"is not in {where}", remedy)
    size = min((one.size or "" for one in allowed), key=_SIZES.index)
    newest = [one for one in allowed if one.size == size]
    return max(newest, key=lambda one: one.version or (0, 0, 0))
