"""Nested dictionaries of parameters as flat dictionaries, with ``/`` between keys.

Keys that contain a ``/`` themselves, such as names of targets, are escaped.
"""

from collections.abc import Mapping
from typing import Any

import flax.traverse_util


def join_path(*keys: str) -> str:
    """Joins keys to a path, such as ``scale/energy%2Fpbe/scalar``."""
    return "/".join(key.replace("%", "%25").replace("/", "%2F") for key in keys)


def split_path(path: str) -> tuple[str, ...]:
    """Inverse of :func:`join_path`."""
    keys = path.split("/")
    return tuple(key.replace("%2F", "/").replace("%25", "%") for key in keys)


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens nested dictionaries to a dictionary of leaves by path."""
    leaves = flax.traverse_util.flatten_dict(tree)
    return {join_path(*keys): leaf for keys, leaf in leaves.items()}


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of :func:`flatten`."""
    tree: dict[str, Any] = flax.traverse_util.unflatten_dict(
        {split_path(path): leaf for path, leaf in leaves.items()}
    )
    return tree
