"""Fewer evaluations for symmetric inputs, by evaluating one element of each coset.

If h x is x with its samples permuted, (h x)_s = x_{p(s)}, and the function treats all
samples alike, then u(g h) = u(g)[p]: the response at g h is that at g, permuted. It
is needed on O(3)/H only. With elements g = s R^-1 Q (s = +1 or -1, R on a product
rule, Q a fixed rotation that aligns the axes of H with those of the rule),

    u(s R^-1 Q h) = u(s sigma (k^-1 R)^-1 Q),   Q h Q^-1 = sigma k,

so h maps the sphere node n of R to k^-1 n and only shifts its in-plane angles, which
does not change the integral. One node of each orbit of nodes is evaluated, with the
total weight of the orbit. The sums over these elements, denoted by 0, become integrals
over the whole group by averages over H:

    c^s       = mean over h of D(k)^T c_0^{s sigma}[p],
    mean      = mean over h of rho(h)^-1 mean_0[p],
    E|z-z_0|^2 = mean over h of (E_0|z-z_0|^2)[p]   for z_0 = rho(h)^-1 z_0[p].
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial.transform import Rotation

from symjax._arrays import fitting
from symjax.errors import ArgumentError
from symjax.metrics.characters import Projector
from symjax.so3.point_groups import generators
from symjax.so3.reduction import ReducedRule
from symjax.so3.representations import Representation, spherical_matrix_table
from symjax.so3.wigner import euler_angles, small_d_tables

# The orientation of the check is the same in every run.
_PROBE_SEED = 21
# Size of a slice of columns that is averaged at once.
_SLICE_BYTES = 2**28
# Round-off between equivalent orientations, relative to that under a tiny rotation.
_NOISE = 30.0


def orbits_of_samples(
    permutations: Int[np.ndarray, "order samples"],
) -> tuple[Int[np.ndarray, " orbits"], Int[np.ndarray, " samples"]]:
    """One sample of each orbit, and the orbit of every sample."""
    first, number = np.unique(permutations.min(axis=0), return_inverse=True)
    return first, number


def average_scalars(
    permutations: Int[np.ndarray, "order samples"],
    values: Float[np.ndarray, "samples ..."],
) -> Float[np.ndarray, "samples ..."]:
    """Mean over the group of ``values[p]``, for quantities that do not rotate."""
    return np.mean([values[p] for p in permutations], axis=0)


def average_tensors(
    representation: Representation,
    elements: Float[np.ndarray, "order 3 3"],
    permutations: Int[np.ndarray, "order samples"],
    values: Float[np.ndarray, "samples components channels"],
) -> Float[np.ndarray, "samples components channels"]:
    """Mean over the group of ``rho(h)^-1 values[p]``, in spherical components."""
    if representation.is_trivial:
        return average_scalars(permutations, values)
    matrices = spherical_matrix_table(representation, elements)
    total = np.zeros(values.shape)
    for matrix, permutation in zip(matrices, permutations, strict=True):
        total += np.einsum("ji,sjc->sic", matrix, values[permutation])
    return total / len(elements)


def _blocks(projector: Projector) -> list[np.ndarray]:
    """Rows of each degree in the layout of a projector, ``(n, parts, m)``."""
    blocks = []
    starts = np.cumsum([0, *(2 * len(d) for d, _ in projector.frequencies)])
    for degree in range(projector.max_degree + 1):
        parts = []
        for n in range(degree + 1):
            degrees, _ = projector.frequencies[n]
            first = starts[n] + np.flatnonzero(degrees == degree)
            parts.append([first, first + len(degrees)])
        blocks.append(np.array(parts))
    return blocks


@functools.lru_cache(maxsize=64)
def _block_matrices(projector: Projector, group: bytes) -> list[np.ndarray]:
    """D(k)^-1 on the parts and m of each degree, ``(order, parts, m, parts, m)``."""
    rotations = np.frombuffer(group).reshape(-1, 3, 3)
    alpha, beta, gamma = euler_angles(np.swapaxes(rotations, 1, 2))
    matrices = []
    for degree, d in enumerate(small_d_tables(projector.max_degree, beta)):
        m = np.arange(-degree, degree + 1)
        phase = alpha[:, None, None] * m[:, None] + gamma[:, None, None] * m
        re, im = d * np.cos(phase), -d * np.sin(phase)
        both = np.stack([np.stack([re, -im], 2), np.stack([im, re], 2)], 1)
        matrices.append(both)
    return matrices


@functools.partial(jax.jit, static_argnames=("projector",))
def _average_coefficients(
    projector: Projector,
    matrices: list[Array],
    signs: Array,
    by_sample: Float[Array, "cosets rows samples columns"],
    chosen: Int[Array, "order some"],
) -> Float[Array, "cosets rows c"]:
    xp = by_sample.__array_namespace__()
    coefficients = by_sample[:, :, chosen].reshape(
        *by_sample.shape[:2], len(chosen), -1
    )
    flipped = xp.where(signs[:, None] > 0, coefficients, xp.flip(coefficients, axis=0))
    blocks = _blocks(projector)
    averaged = []
    with jax.default_matmul_precision("highest"):
        for rows, matrix in zip(blocks, matrices, strict=True):
            block = xp.einsum(
                "hpmqj,snqjhc->snpmc",
                matrix.astype(flipped.dtype),
                flipped[:, rows],
                optimize=True,
            )
            averaged.append(block.reshape(len(block), rows.size, -1) / len(signs))
    order = np.argsort(np.concatenate([rows.ravel() for rows in blocks]))
    return xp.concatenate(averaged, axis=1)[:, order]


def average_coefficients(
    projector: Projector,
    reduced: ReducedRule,
    permutations: Int[np.ndarray, "order samples"],
    coefficients: Float[Array, "cosets rows c"],
) -> Float[Array, "cosets rows representatives"]:
    """Mean over the group of ``D(k)^T c^{s sigma}[p]``, for one sample of each orbit.

    The samples are those that :func:`orbits_of_samples` names. NumPy arrays are
    accepted too, and stay on the host.
    """
    num_samples = permutations.shape[1]
    first, _ = orbits_of_samples(permutations)
    columns = coefficients.shape[2] // num_samples
    by_sample = coefficients.reshape(*coefficients.shape[:2], num_samples, columns)
    matrices = _block_matrices(projector, reduced.proper.tobytes())
    row_bytes = 2 * by_sample.shape[1] * columns * by_sample.dtype.itemsize
    step = max(1, _SLICE_BYTES // (row_bytes * len(permutations)))
    average = fitting(_average_coefficients, coefficients)
    out = []
    for start in range(0, len(first), step):
        chosen = permutations[:, first[start : start + step]]
        out.append(average(projector, matrices, reduced.signs, by_sample, chosen))
    xp = out[0].__array_namespace__()
    return out[0] if len(out) == 1 else xp.concatenate(out, axis=2)


@dataclasses.dataclass(frozen=True, eq=False)
class LeafSymmetry:
    """A verified symmetry of one output, restricted to the elements that a rule uses.

    Attributes:
      reduced: The rule.
      elements: The used elements.
      permutations: p(s) for each of them, over the flattened samples.
      deviation: Largest deviation found by the check, relative to the root mean square
        of the output.
    """

    reduced: ReducedRule
    elements: Float[np.ndarray, "order 3 3"]
    permutations: Int[np.ndarray, "order samples"]
    deviation: float

    @functools.cached_property
    def first(self) -> Int[np.ndarray, " orbits"]:
        """One sample of each orbit."""
        return orbits_of_samples(self.permutations)[0]

    @functools.cached_property
    def number(self) -> Int[np.ndarray, " samples"]:
        """The orbit of every sample."""
        return orbits_of_samples(self.permutations)[1]

    def both_cosets(self, responses: Any) -> Any:
        """Responses at g and -g; if H contains -1, from those at g only."""
        if self.reduced.inversion is None:
            return responses
        permutation = self.permutations[self.reduced.inversion]
        return fitting(_with_permuted, responses)(responses, permutation)


@jax.jit
def _with_permuted(responses: Array, permutation: Array) -> Array:
    """Each response, followed by itself with permuted samples."""
    xp = responses.__array_namespace__()
    samples = responses.reshape(len(responses), len(permutation), -1)
    both = xp.stack([samples, samples[:, permutation]], axis=1)
    return both.reshape(2 * len(responses), *responses.shape[1:])


def probe(
    elements: Float[np.ndarray, "order 3 3"], epsilon: float
) -> tuple[Float[np.ndarray, "probes 3 3"], Int[np.ndarray, " generators"]]:
    """Elements at which the relation u(g h) = u(g)[p] is checked.

    Returns:
      A random g, g rotated by a few epsilon (which shows the round-off of the
      function), and g h for generators h; and the positions of these h.
    """
    chosen = np.array(generators(elements), int)
    start = Rotation.random(random_state=_PROBE_SEED).as_matrix()
    noise = Rotation.from_rotvec(4 * epsilon * np.ones(3)).as_matrix()
    return np.stack([start, start @ noise, *(start @ elements[chosen])]), chosen


def check_responses(
    name: str,
    responses: Float[np.ndarray, "probes samples components channels"],
    permutations: Int[np.ndarray, "order samples"],
    chosen: Int[np.ndarray, " generators"],
    mask: np.ndarray,
    tolerance: float,
) -> float:
    """The largest deviation of an output from u(g h) = u(g)[p], at generators h.

    The responses are those at the elements of :func:`probe`. Deviation and tolerance
    are relative to the root mean square.

    Raises:
      ArgumentError: A permutation exchanges real and padded samples, or the deviation
        exceeds the tolerance and round-off.
    """
    if not (mask[permutations] == mask).all():
        raise ArgumentError(
            f"symmetry.permutations[{name!r}]",
            permutations.shape,
            "exchanges real and padded samples",
            "Permute padded samples among themselves only",
        )
    values = np.asarray(responses, float).reshape(len(responses), len(mask), -1)

    def size(array: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.square(array[mask])))) if mask.any() else 0.0

    scale, noise = size(values[0]), size(values[1] - values[0])
    deviation = max(
        (
            size(moved - values[0][permutations[index]])
            for moved, index in zip(values[2:], chosen, strict=True)
        ),
        default=0.0,
    )
    if deviation > tolerance * scale + _NOISE * noise:
        raise ArgumentError(
            "symmetry",
            name,
            f"is not obeyed: the output differs by {deviation / scale:.1e} of its root "
            f"mean square between equivalent orientations (tolerance {tolerance:.0e}), "
            "so the function distinguishes equivalent samples, or the input is less "
            "symmetric than stated",
            "Measure with symmetry=None",
        )
    return deviation / scale if scale > 0 else 0.0
