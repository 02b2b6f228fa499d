"""Parameters by path: a tree of dictionaries flattened, with ``/`` between the keys.

Keys are names, of targets among others, which may hold a ``/`` themselves.
"""

from collections.abc import Mapping
from typing import Any

import flax.traverse_util


def join_path(*keys: str) -> str:
    """The path of a parameter.

    Args:
      *keys: Its keys, from the root of the tree.

    Returns:
      The path.

    Example:
      >>> from symjax.models._paths import join_path
      >>> join_path("scale", "energy/pbe", "scalar")
      'scale/energy%2Fpbe/scalar'
    """
    return "/".join(key.replace("%", "%25").replace("/", "%2F") for key in keys)


def split_path(path: str) -> tuple[str, ...]:
    """Inverse of :func:`join_path`.

    Args:
      path: The path of a parameter.

    Returns:
      Its keys.

    Example:
      >>> from symjax.models._paths import split_path
      >>> split_path("scale/energy%2Fpbe/scalar")
      ('scale', 'energy/pbe', 'scalar')
    """
    keys = path.split("/")
    return tuple(key.replace("%2F", "/").replace("%25", "%") for key in keys)


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves by path.

    Args:
      tree: Nested dictionaries.

    Returns:
      The leaves.

    Example:
      >>> from symjax.models._paths import flatten
      >>> flatten({"scale": {"energy/pbe": {"scalar": 1.0}}})
      {'scale/energy%2Fpbe/scalar': 1.0}
    """
    leaves = flax.traverse_util.flatten_dict(tree)
    return {join_path(*keys): leaf for keys, leaf in leaves.items()}


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of :func:`flatten`.

    Args:
      leaves: Leaves by path.

    Returns:
      Nested dictionaries.

    Example:
      >>> from symjax.models._paths import unflatten
      >>> unflatten({"scale/energy%2Fpbe/scalar": 1.0})
      {'scale': {'energy/pbe': {'scalar': 1.0}}}
    """
    tree: dict[str, Any] = flax.traverse_util.unflatten_dict(
        {split_path(path): leaf for path, leaf in leaves.items()}
    )
    return tree
