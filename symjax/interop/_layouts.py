"""Blocks of metatensor and the kinds of tensors that they hold."""

from collections.abc import Mapping, Sequence
from typing import Any

from symjax.data.quantities import representation_of
from symjax.so3.irreps import Irrep

_CARTESIAN: Mapping[str, tuple[str, ...]] = {
    "scalar": (),
    "vector": ("xyz",),
    "matrix": ("xyz_1", "xyz_2"),
}
_SPHERICAL = ("o3_lambda", "o3_sigma")


def kind_of(key: Any, components: Sequence[Any]) -> str | None:
    """The kind of a block, in the words of :mod:`symjax.data.quantities`.

    None if the components do not say how they rotate.
    """
    names = tuple(name for labels in components for name in labels.names)
    if names == ("o3_mu",) and set(_SPHERICAL) <= set(key.names):
        return str(Irrep(*(int(key[name]) for name in _SPHERICAL)))
    return next((kind for kind, own in _CARTESIAN.items() if own == names), None)


def layout_of(kind: str) -> tuple[dict[str, int], dict[str, range]]:
    """Entries of the key, and labels of components, of a kind (:func:`kind_of`)."""
    if kind in _CARTESIAN:
        return {}, {name: range(3) for name in _CARTESIAN[kind]}
    (irrep,) = representation_of(kind).irreps
    entries = dict(zip(_SPHERICAL, (irrep.degree, irrep.sigma), strict=True))
    return entries, {"o3_mu": range(-irrep.degree, irrep.degree + 1)}
