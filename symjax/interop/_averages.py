"""Means and spreads of responses over rotations, on the host, in float64."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import ase
import numpy as np
from jaxtyping import Float

from symjax.data.symmetry import Symmetry, find_symmetry
from symjax.errors import AliasingError, ArgumentError
from symjax.metrics import moments
from symjax.so3.averages import Rotations, rotations_of
from symjax.so3.representations import PSEUDOVECTOR, SCALAR, Representation

# Bound on the round-off of a response, in units of its largest entry and of epsilon. A
# negative variance up to its square is round-off.
_ROUND_OFF = 100.0

SPREAD = "_rotational_std"
"""Suffix of the names of standard deviations."""

# Arrays of atoms that a calculator may read; values are equal if they agree to this
# fraction of the largest.
_READ = ("initial_charges", "initial_magmoms", "masses", "tags")
_SAME = 1e-6

# Rows and columns of Voigt's order xx, yy, zz, yz, xz, xy.
_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


# Results with a row for each atom.
_OF_ATOMS = ("energies", "forces", "charges", "magmoms")

Values = Mapping[str, np.ndarray]


def fixed_rotations(average: Any, include_inversion: bool) -> Rotations:
    """Rotations of an average, by :func:`symjax.so3.averages.rotations_of`.

    Raises:
      ArgumentError: ``average`` is unknown, or the symmetry of the structure, which is
        not a fixed group.
    """
    if average == "symmetry" or average == "space group":
        raise ArgumentError(
            "average",
            average,
            "is a different group for every structure",
            "Pass average=None, symmetrize=True",
        )
    return rotations_of(average, include_inversion)


def rotated_back(values: Values, elements: Float[np.ndarray, "n 3 3"]) -> Values:
    """z(g) = rho(g)^-1 f(g x) for arrays with the elements as first axis.

    Forces and dipoles are vectors: rows, which g^-1 rotates by multiplication with g
    from the right. Stresses are matrices; magnetic moments with three components are
    pseudovectors; everything else is invariant.
    """
    moved = dict(values)

    def rows(name: str, *shape: int) -> np.ndarray:
        return values[name].reshape(len(elements), -1, *shape)

    for name in ("forces", "dipole"):
        if name in values:
            moved[name] = rows(name, 3) @ elements
    for name, rank in (("magmom", 2), ("magmoms", 3)):
        if name in values and values[name].ndim == rank:
            signs = np.linalg.det(elements)[:, None, None]
            moved[name] = signs * (rows(name, 3) @ elements)
    if "stress" in values:
        matrices = elements[:, None]
        moved["stress"] = (
            np.swapaxes(matrices, -1, -2) @ rows("stress", 3, 3) @ matrices
        )
    return {name: array.reshape(values[name].shape) for name, array in moved.items()}


def _images(values: Values, symmetry: Symmetry | None) -> Iterator[Values]:
    """The responses at g h, from those at g, for every h of a symmetry.

    The structure g h x is g x with atom i in the place of p(i), so that
    f(g h x)_i = f(g x)_p(i), and z(g h)_i = h^-1 z(g)_p(i).
    """
    if symmetry is None:
        yield values
        return
    for element, image in zip(symmetry.elements, symmetry.permutations, strict=True):
        permuted = {
            name: array[:, image] if name in _OF_ATOMS else array
            for name, array in values.items()
        }
        yield rotated_back(permuted, element[None])


def symmetry_of_all(
    atoms: ase.Atoms, rotating: Mapping[str, Representation], tolerance: float
) -> Symmetry:
    """The symmetry of a structure with the charges, masses and moments of its atoms.

    Atoms of one species can differ in these: an antiferromagnet has fewer operations
    than its lattice.
    """
    found = find_symmetry(atoms, tolerance)
    keep = np.ones(found.order, bool)
    for name in (*_READ, *rotating):
        if not atoms.has(name):
            continue
        values = np.asarray(atoms.arrays[name], float)
        rotated = np.broadcast_to(values, (found.order, *values.shape))
        if values.shape == (len(atoms), 3):
            rotated = values @ np.swapaxes(found.elements, 1, 2)
            if rotating.get(name) == PSEUDOVECTOR:
                rotated = rotated * np.linalg.det(found.elements)[:, None, None]
        # The value of the atom p(i), to which atom i is mapped.
        deviation = np.abs(values[found.permutations] - rotated)
        bound = _SAME * np.abs(values).max(initial=0.0)
        keep &= deviation.reshape(found.order, -1).max(axis=1, initial=0.0) <= bound
    return found if keep.all() else found.subset(keep)


def _in_voigt_order(values: Values) -> dict[str, np.ndarray]:
    """The symmetric part of stresses in Voigt's order; spreads are of these entries."""
    found = dict(values)
    if "stress" in values:
        stress = values["stress"]
        found["stress"] = ((stress + np.swapaxes(stress, -1, -2)) / 2)[..., *_VOIGT]
    return found


class Sums(NamedTuple):
    """Sums over rotations of z - reference, the reference being the first response.

    Attributes:
      reference: By name.
      states: Moments by name; every entry is a sample of a scalar.
      number: Responses that were added.
    """

    reference: dict[str, np.ndarray]
    states: dict[str, moments.MomentState]
    number: int


def add(sums: Sums | None, values: Values, weights: Float[np.ndarray, "n"]) -> Sums:
    """Adds responses, with the elements as first axis, to the sums."""
    if sums is None:
        reference = {name: np.array(array[0]) for name, array in values.items()}
        states = {
            name: moments.init(1, array.size, 1, 1, 1, xp=np)
            for name, array in reference.items()
        }
        sums = Sums(reference, states, 0)
    new = {}
    for name, array in values.items():
        shifted = (array - sums.reference[name]).reshape(len(array), -1, 1, 1)
        new[name] = moments.update(sums.states[name], SCALAR, shifted, weights[None])
    return Sums(sums.reference, new, sums.number + len(weights))


def collected(
    responses: Iterable[tuple[np.ndarray, np.ndarray, Values]],
    symmetry: Symmetry | None,
) -> Sums:
    """Sums of responses, given as elements, weights and values of each batch.

    Values come with the elements as first axis, as they are at the rotated structure.
    With a symmetry, the products of each element with its operations count too.
    """
    order = 1 if symmetry is None else symmetry.order
    sums: Sums | None = None
    for elements, weights, values in responses:
        for image in _images(rotated_back(values, elements), symmetry):
            sums = add(sums, _in_voigt_order(image), weights / order)
    assert sums is not None
    return sums


def mean_and_spread(
    sums: Sums, rotations: Rotations, epsilon: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Mean, and standard deviation sqrt(<z^2> - <z>^2), of every entry.

    Args:
      sums: Sums of all responses.
      rotations: The rotations that were averaged over.
      epsilon: Machine epsilon of the responses; the sums are float64.

    Raises:
      AliasingError: A variance is negative beyond round-off: the rule has negative
        weights and does not resolve the response.
    """
    means, spreads = {}, {}
    for name, state in sums.states.items():
        reference = sums.reference[name]
        found = moments.finalize(
            state,
            SCALAR,
            reference.reshape(-1, 1, 1),
            sums.number,
            float(np.finfo(float).eps),
        )
        size = np.square(reference).max(initial=0.0) + state.absolute.max(initial=0.0)
        floor = found.noise + (_ROUND_OFF * epsilon) ** 2 * size
        if np.any(found.variance < -floor):
            raise AliasingError(
                "average",
                rotations.name,
                f"gives {name} a negative variance ({found.variance.min():.1e}): it "
                "does not resolve how the prediction depends on the orientation",
                "Use a higher degree, or quadrature(degree, 'gauss'), whose "
                "weights are positive",
            )
        means[name] = found.mean.reshape(reference.shape)
        spread = np.sqrt(np.maximum(found.variance, 0))
        spreads[name] = spread.reshape(reference.shape)
    return means, spreads
