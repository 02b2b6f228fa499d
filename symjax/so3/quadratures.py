"""Quadrature rules on SO(3): a rule on the sphere times equispaced in-plane angles.

A rule is data: angles, weights and the degree through which it is exact. Everything
here is NumPy float64 and runs on the host, once.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy.integrate import lebedev_rule

from symjax.errors import ArgumentError, GridError
from symjax.so3._arguments import check_integer
from symjax.so3._icosahedral import ICOSAHEDRAL_DEGREES, icosahedral_sphere
from symjax.so3._nested import sparsest_subset

LARGEST_DEGREE = 811
"""Largest degree of a rule: it keeps the number of rotations below 2^28."""

LEBEDEV_DEGREES: tuple[int, ...] = (
    *range(3, 33, 2),
    *range(35, 132, 6),
)
"""Degrees of scipy's Lebedev rules on the sphere."""


@dataclasses.dataclass(frozen=True, eq=False)
class Quadrature:
    """A quadrature rule on SO(3) that is a product of sphere and in-plane rules.

    The integral over the normalised Haar measure becomes

      sum_i w_i (1 / K) sum_j f(Rz(alpha_i) Ry(beta_i) Rz(2 pi j / K)).

    The in-plane sum removes every D^l_{mn} with n not a multiple of K, and the sphere
    sum integrates D^l_{m0}, a spherical harmonic. The rule is therefore exact for all
    D^l with l <= min(K - 1, degree of the sphere rule), and for products D^l D^l' with
    l + l' up to the same degree. For O(3), pair every R with -R and halve the weights.

    Attributes:
      alpha: Azimuths of the sphere nodes in radians, shape ``(nodes,)``.
      beta: Polar angles of the sphere nodes in radians, shape ``(nodes,)``.
      sphere_weights: Weights w_i, sum 1, shape ``(nodes,)``; some are negative in
        the Lebedev rules 13, 25 and 27.
      in_plane: Number K of equispaced angles gamma = 2 pi j / K.
      degree: The rule is exact for every entry of D^l with l <= degree.
      name: Name of the rule in reports.

    Raises:
      ArgumentError: The arrays are not one-dimensional and of equal length, or not
        finite; the weights do not sum to 1; ``in_plane`` or ``degree`` is not an
        integer; or ``in_plane`` is not larger than ``degree``.

    Example:
      >>> from symjax.so3 import quadrature
      >>> rule = quadrature(5)
      >>> rule.num_rotations, rule.rotations.shape
      (84, (84, 3, 3))
    """

    alpha: np.ndarray
    beta: np.ndarray
    sphere_weights: np.ndarray
    in_plane: int
    degree: int
    name: str

    def __post_init__(self) -> None:
        for argument in ("alpha", "beta", "sphere_weights"):
            values = np.array(getattr(self, argument))
            real = values.dtype.kind in "iuf"
            if not real or values.shape != np.shape(self.alpha) or values.ndim != 1:
                raise ArgumentError(
                    argument,
                    values.shape,
                    "is not of shape (nodes,), one real number per sphere node",
                    "Pass three one-dimensional arrays of equal length",
                )
            if not np.isfinite(values).all():
                raise ArgumentError(
                    argument, values, "has entries that are not finite", "Remove them"
                )
            values = values.astype(float)
            values.setflags(write=False)
            object.__setattr__(self, argument, values)
        if abs(self.sphere_weights.sum() - 1) > 1e-12:
            raise ArgumentError(
                "sphere_weights",
                float(self.sphere_weights.sum()),
                "the sum is not 1",
                "Divide the weights by their sum",
            )
        check_integer("degree", self.degree)
        check_integer("in_plane", self.in_plane, 1)
        if self.in_plane <= self.degree:
            raise ArgumentError(
                "in_plane",
                self.in_plane,
                f"degree {self.degree} needs {self.degree + 1} in-plane angles",
                "Pass at least degree + 1",
            )

    @property
    def num_rotations(self) -> int:
        """Number of rotations: nodes times in-plane angles."""
        return len(self.alpha) * self.in_plane

    @property
    def gamma(self) -> np.ndarray:
        """The in-plane angles 2 pi j / K, shape ``(in_plane,)``."""
        return 2 * np.pi * np.arange(self.in_plane) / self.in_plane

    @property
    def points(self) -> np.ndarray:
        """The sphere nodes as unit vectors (the images of z), shape ``(nodes, 3)``."""
        sine = np.sin(self.beta)
        return np.stack(
            [sine * np.cos(self.alpha), sine * np.sin(self.alpha), np.cos(self.beta)],
            axis=-1,
        )

    @property
    def rotations(self) -> np.ndarray:
        """Rotation matrices, shape ``(nodes * in_plane, 3, 3)``; gamma varies fastest.

        Not cached: computed at every access.
        """

        def about(angle: np.ndarray, first: int, second: int) -> np.ndarray:
            matrix = np.tile(np.eye(3), (len(angle), 1, 1))
            matrix[:, first, first] = matrix[:, second, second] = np.cos(angle)
            matrix[:, second, first] = np.sin(angle)
            matrix[:, first, second] = -matrix[:, second, first]
            return matrix

        to_node = about(self.alpha, 0, 1) @ about(self.beta, 2, 0)
        in_plane = about(self.gamma, 0, 1)
        return (to_node[:, None] @ in_plane).reshape(-1, 3, 3)

    @property
    def weights(self) -> np.ndarray:
        """Weights of ``rotations``, sum 1, shape ``(nodes * in_plane,)``."""
        return np.repeat(self.sphere_weights / self.in_plane, self.in_plane)


@functools.lru_cache(maxsize=64)
def lebedev_product(degree: int) -> Quadrature:
    """Lebedev rule on the sphere times degree + 1 in-plane angles, through degree 131.

    About (degree + 1)^3 / 3 rotations. The sphere rule is the smallest one in scipy
    (Lebedev and Laikov, Dokl. Math. 59, 477 (1999)) of at least this degree.
    """
    return _lebedev(_reaching(degree, LEBEDEV_DEGREES, "Lebedev"), degree)


def _reaching(degree: int, known: Sequence[int], kind: str) -> int:
    """The smallest known degree that is not below ``degree``."""
    degree = check_integer("degree", degree)
    if degree > known[-1]:
        raise GridError(
            "degree",
            degree,
            f"no {kind} rule is known above degree {known[-1]}",
            f"Use quadrature({degree}), or at most degree {known[-1]}",
        )
    return next(candidate for candidate in known if candidate >= degree)


def _lebedev(sphere_degree: int, degree: int) -> Quadrature:
    points, weights = lebedev_rule(sphere_degree)
    return _product(points.T, weights, degree, f"lebedev {sphere_degree}")


def _product(
    points: np.ndarray, weights: np.ndarray, degree: int, name: str
) -> Quadrature:
    """A rule on the sphere times degree + 1 in-plane angles."""
    x, y, z = points.T
    return Quadrature(
        alpha=np.arctan2(y, x),
        beta=np.arctan2(np.hypot(x, y), z),
        sphere_weights=weights / weights.sum(),
        in_plane=degree + 1,
        degree=degree,
        name=f"{name} x {degree + 1}",
    )


@functools.lru_cache(maxsize=64)
def positive_lebedev_product(degree: int) -> Quadrature:
    """As :func:`lebedev_product`, with the smallest rule of positive weights only."""
    rule = lebedev_product(degree)
    if rule.sphere_weights.min() > 0:
        return rule
    larger = (known for known in LEBEDEV_DEGREES if known > degree)
    rules = (_lebedev(sphere_degree, int(degree)) for sphere_degree in larger)
    return next(rule for rule in rules if rule.sphere_weights.min() > 0)


@functools.lru_cache(maxsize=64)
def icosahedral_product(degree: int) -> Quadrature:
    """Icosahedral rule on the sphere times degree + 1 in-plane angles, to degree 27.

    The sphere rules have 72 nodes at degree 14, 212 at 24, 252 at 26 and 272 at 27, all
    with positive weights. For the degrees 12 to 14 and 24 to 27 these are fewer nodes
    than in any Lebedev rule with positive weights.
    """
    known = _reaching(degree, ICOSAHEDRAL_DEGREES, "icosahedral")
    return _product(*icosahedral_sphere(known), degree, f"icosahedral {known}")


@functools.lru_cache(maxsize=64)
def gauss_product(degree: int) -> Quadrature:
    """Gauss-Legendre rule in cos(beta), equispaced alpha and gamma, for any degree.

    n = ceil((degree + 1) / 2) polar angles are exact for polynomials through degree
    2 n - 1 >= degree. About (degree + 1)^3 / 2 rotations, all with positive weights.
    """
    degree = check_integer("degree", degree)
    # degree + 1 azimuths would do. An even number costs at most one more and splits
    # into two interleaved halves, which makes a good nested rule.
    return gauss_rule(degree, 1 if degree == 0 else 2 * (degree // 2 + 1))


def gauss_rule(degree: int, num_azimuths: int) -> Quadrature:
    """As :func:`gauss_product`, with ``num_azimuths`` >= degree + 1 azimuths."""
    cosines, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    azimuths = 2 * np.pi * np.arange(num_azimuths) / num_azimuths
    return Quadrature(
        alpha=np.tile(azimuths, len(cosines)),
        beta=np.repeat(np.arccos(cosines), num_azimuths),
        sphere_weights=np.repeat(weights / weights.sum() / num_azimuths, num_azimuths),
        in_plane=degree + 1,
        degree=degree,
        name=f"gauss {len(cosines)} x {num_azimuths} x {degree + 1}",
    )


def quadrature(degree: int, kind: str = "auto") -> Quadrature:
    """A quadrature rule on SO(3) that is exact through a degree.

    Negative weights can make an averaged square, such as the variance V, too small or
    even negative. The default rule has positive weights only: among such rules of at
    least this degree it is the one with the fewest rotations.

    Args:
      degree: Degree of exactness, at least 0.
      kind: ``"lebedev"`` (some weights are negative for the degrees 12, 13 and 24 to
        27), ``"icosahedral"``, ``"gauss"``, or ``"auto"`` for the smallest rule with
        positive weights: icosahedral for the degrees 12 to 14 and 24 to 27, Gauss
        above 131, Lebedev otherwise.

    Returns:
      The rule, exact for every D^l with l <= degree.

    Raises:
      ArgumentError: ``kind`` is unknown, or ``degree`` is not an integer of at least 0.
      GridError: There is no rule of this kind and degree; the largest degree is 811.

    Example:
      >>> from symjax.so3 import quadrature
      >>> quadrature(7).num_rotations, quadrature(7, "gauss").num_rotations
      (208, 256)
      >>> quadrature(13).name, quadrature(15).name
      ('icosahedral 14 x 14', 'lebedev 15 x 16')
    """
    degree = check_integer("degree", degree)
    if degree > LARGEST_DEGREE:
        raise GridError(
            "degree",
            degree,
            f"needs more than {2**28:,} rotations",
            f"Use a degree up to {LARGEST_DEGREE}",
        )
    if kind == "auto":
        return _smallest_positive(degree)
    kinds = {
        "lebedev": lebedev_product,
        "icosahedral": icosahedral_product,
        "gauss": gauss_product,
    }
    if not isinstance(kind, str) or kind not in kinds:
        names = ", ".join(map(repr, ("auto", *kinds)))
        raise ArgumentError("kind", kind, "is not a kind of rule", f"Use {names}")
    return kinds[kind](degree)


def _smallest_positive(degree: int) -> Quadrature:
    if degree > LEBEDEV_DEGREES[-1]:
        return gauss_product(degree)
    rules = [positive_lebedev_product(degree)]
    if degree <= ICOSAHEDRAL_DEGREES[-1]:
        rules.append(icosahedral_product(degree))
    return min(rules, key=lambda rule: rule.num_rotations)


@functools.lru_cache(maxsize=64)
def nested(rule: Quadrature) -> tuple[int, np.ndarray]:
    """A coarser rule on a strict subset of the same rotations.

    Evaluating a function once then gives an integral under two rules; their difference
    shows what the finer one does not resolve. The coarse rule keeps the in-plane angles
    and re-weights at most 60 % of the sphere nodes with weights w >= 0 such that

      sum_i w_i Y_lm(node_i) = integral of Y_lm / (4 pi), for l <= coarse degree,

    for the largest degree at which such weights are found. They are a vertex of this
    linear program, which has no more nodes than conditions (Tchakaloff). Conditions and
    unknowns are first reduced to orbits of the symmetry of the rule, which is
    octahedral for Lebedev, icosahedral for icosahedral and dihedral for Gauss rules.

    Args:
      rule: The fine rule.

    Returns:
      The degree through which the coarse rule is exact for every D^l, and its sphere
      weights: sum 1, shape ``(nodes,)``, zero outside the subset, read-only.

    Raises:
      ArgumentError: ``rule`` is not a :class:`Quadrature`.
      GridError: The rule has a single sphere node, so no strict subset.

    Example:
      >>> from symjax.so3 import nested, quadrature
      >>> degree, weights = nested(quadrature(15))
      >>> degree, int((weights > 0).sum()), len(weights)
      (7, 38, 86)
    """
    if not isinstance(rule, Quadrature):
        raise ArgumentError(
            "rule", rule, "is not a Quadrature", "Pass quadrature(degree)"
        )
    num_nodes = len(rule.alpha)
    if num_nodes < 2:
        raise GridError(
            "rule",
            rule.name,
            "has a single sphere node, so no rule is nested in it",
            "Use a rule of degree 1 or more",
        )
    return _coarsened(rule.points, np.arange(num_nodes), rule.degree)


def _coarsened(
    points: np.ndarray, kept: np.ndarray, degree: int
) -> tuple[int, np.ndarray]:
    """Degree and weights of a coarser rule; weights vanish off the kept nodes."""
    budget = max(1, math.floor(0.6 * len(kept)))
    coarse, found = sparsest_subset(points[kept], budget, degree)
    weights = np.zeros(len(points))
    weights[kept] = found
    weights.setflags(write=False)
    return coarse, weights


# Rules of a lower degree resolve too little for their results to mean anything.
_LEAST_NESTED = 3


@functools.lru_cache(maxsize=64)
def nested_rules(rule: Quadrature) -> tuple[tuple[int, np.ndarray], ...]:
    """Coarser rules on subsets of the same rotations, each nested in the one before.

    They show how a result converges without further evaluations. The first rule is that
    of :func:`nested`; each of the others keeps at most 60 % of the sphere nodes of the
    one before, down to degree 3. Degrees decrease; weights and errors are those of
    :func:`nested`.

    Example:
      >>> from symjax.so3.quadratures import nested_rules, quadrature
      >>> [(degree, int((weights > 0).sum()))
      ...  for degree, weights in nested_rules(quadrature(15))]
      [(7, 38), (5, 14), (3, 6)]
    """
    rules = [nested(rule)]
    while True:
        degree, weights = rules[-1]
        kept = np.flatnonzero(weights)
        if degree <= _LEAST_NESTED or len(kept) < 2:
            break
        following = _coarsened(rule.points, kept, degree)
        if following[0] < _LEAST_NESTED:
            break
        rules.append(following)
    return tuple(rules)
