"""Published universal PETs, downloaded by name.

They are checkpoints of metatrain, such as ``models/pet-mad-s-v1.6.0.ckpt``, in the
repository ``lab-cosmo/upet`` of the Hugging Face Hub. Downloads go to the cache of
``huggingface_hub`` (the extra ``symjax[torch]``), which other packages share.
"""

import logging
import re
from pathlib import Path
from typing import NamedTuple

from symjax.errors import ModelError

REPOSITORY = "lab-cosmo/upet"
FOLDER = "models"

# In order of preference where no size is given, as in upet.
_SIZES = ("s", "m", "xs", "l", "xl")
_VERSION = r"(\d+)\.(\d+)\.(\d+)"
_NAME = re.compile(rf"(pet-\w+?)(?:-({'|'.join(_SIZES)}))?(?:@v?{_VERSION})?")
_FILE = re.compile(rf"(pet-\w+)-({'|'.join(_SIZES)})-v?{_VERSION}\.ckpt")
_TIMEOUT = 10.0

_log = logging.getLogger(__name__)


class Released(NamedTuple):
    """A published checkpoint, or a request for one.

    Attributes:
      family: Family of models, such as ``"pet-mad"``.
      size: One of xs, s, m, l, xl; None for the first available of s, m, xs, l, xl.
      version: Version, such as ``(1, 6, 0)``; None for the newest.
    """

    family: str
    size: str | None = None
    version: tuple[int, ...] | None = None

    def __str__(self) -> str:
        name = f"{self.family}-{self.size}" if self.size else self.family
        if self.version is None:
            return name
        return f"{name}@{'.'.join(map(str, self.version))}"

    def includes(self, other: "Released") -> bool:
        """Whether a checkpoint satisfies this request."""
        return (
            self.family == other.family
            and self.size in (None, other.size)
            and self.version in (None, other.version)
        )


def parse_released(name: str) -> Released | None:
    """Parses ``"pet-mad-s"`` or ``"pet-mad-s@1.6.0"``; None for any other text."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return _released(match)


def _released(match: re.Match[str]) -> Released:
    family, size, *version = match.groups()
    return Released(family, size, tuple(map(int, version)) if version[0] else None)


def fetch_released(request: Released) -> tuple[Released, Path]:
    """The checkpoint of a published model, downloaded if it is not in the cache.

    A request with size and version is served from the cache if possible. Otherwise the
    Hub is asked which checkpoints there are. If it cannot be reached, the newest one in
    the cache is used, which is logged.

    Args:
      request: Which model.

    Returns:
      The checkpoint that was chosen, with its size and version, and its file.

    Raises:
      ModelError: ``huggingface_hub`` is not installed, there is no such model on the
        Hub (or, without network, in the cache), or the download fails.
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
    try:
        # Unlike list_repo_files, this does not retry for half a minute.
        info = huggingface_hub.HfApi().model_info(REPOSITORY, timeout=_TIMEOUT)
    except Exception as error:  # its type depends on the version and the network
        reason = " ".join(str(error).split()) or type(error).__name__
        chosen = _choose(request, list(cached), f"the cache ({reason[:200]})")
        _log.info("No network: %s is the newest in the cache", chosen)
        return chosen, cached[chosen]
    published = _published([file.rfilename for file in info.siblings or []])
    chosen = _choose(request, list(published), f"huggingface.co/{REPOSITORY}")
    if chosen in cached:
        return chosen, cached[chosen]
    name = published[chosen]
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
    """Checkpoints among the files of the repository, with their file names."""
    found = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        match = _FILE.fullmatch(name)
        if match and folder == FOLDER:
            found[_released(match)] = name
    return found


def _cached() -> dict[Released, Path]:
    """Checkpoints in the cache of ``huggingface_hub``, from all snapshots."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{REPOSITORY.replace('/', '--')}"
    found = {}
    # The glob yields nothing where the cache is absent or not readable.
    for path in sorted(folder.glob(f"snapshots/*/{FOLDER}/*.ckpt")):
        for released in _published([f"{FOLDER}/{path.name}"]):
            if path.is_file():
                found[released] = path
    return found


def _choose(request: Released, there: list[Released], where: str) -> Released:
    """The newest checkpoint that satisfies a request, of its preferred size."""
    allowed = [released for released in there if request.includes(released)]
    if not allowed:
        relatives = {each for each in there if each.family == request.family}
        similar = sorted(
            relatives or set(there),
            key=lambda each: (each.family, each.size or "", each.version or ()),
        )
        remedy = f"There are {', '.join(map(str, similar))}"
        if not similar:
            remedy = "Connect to the network, or pass a checkpoint that you have"
        raise ModelError("model", str(request), f"is not in {where}", remedy)
    size = min((released.size or "" for released in allowed), key=_SIZES.index)
    versions = [released for released in allowed if released.size == size]
    return max(versions, key=lambda released: released.version or ())
