"""Symmetry traps: predictions that the symmetry of the input forbids.

An equivariant function predicts no dipole for methane, and no forces out of a mirror
plane, see :mod:`symjax.diagnose.projection`.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy import special

from symjax.diagnose.findings import Check, Figure, Finding, Kind
from symjax.diagnose.projection import allowed_dimension, without_allowed
from symjax.diagnose.spectra import FALSE_ALARM
from symjax.errors import ArgumentError
from symjax.metrics import orbit
from symjax.metrics.pieces import rotated_rows
from symjax.metrics.problem import Execution, Prepared, Problem, prepare
from symjax.so3.representations import spherical_matrix_table
from symjax.so3.sampling import haar

# The same orientations in each run, for reproducibility.
_SEED = 25
# Change of the input that shows the round-off of a function, in machine epsilon.
_NUDGE = 4.0


def symmetry_traps(
    problem: Problem,
    label: str,
    *,
    scales: Mapping[str, float] | None = None,
    num_orientations: int = 16,
    displacement: float = 0.0,
) -> tuple[list[Finding], Check]:
    """Finds outputs that are not zero where the symmetry of the input forbids them.

    The function is evaluated at Haar-random orientations and their inversions; its
    outputs are rotated back, and their forbidden part is projected out. Repeating that
    with the input changed by a few machine epsilon (or by ``displacement``) shows the
    effect of round-off and imperfect symmetry, above which an output is a finding.

    Args:
      problem: Function, input and its symmetry, from
        :func:`symjax.models.pet.orbit_problem`.
      label: Name of the structure, for messages.
      scales: Root mean squares of outputs over other structures. The effect is relative
        to these, or to that of this structure if larger.
      num_orientations: Number of orientations, even.
      displacement: Deviation of the input from its symmetry, in its unit.

    Returns:
      The findings, at most one for each output, and the check.

    Raises:
      ArgumentError: ``num_orientations`` is not even and positive.

    Example:
      >>> import ase.build
      >>> from symjax.diagnose import symmetry_traps
      >>> from symjax.models import load_model
      >>> from symjax.models.pet import orbit_problem
      >>> water = orbit_problem(load_model("pet-ethanol"), ase.build.molecule("H2O"),
      ...                       layers="none", symmetry="auto")
      >>> findings, check = symmetry_traps(water, "water", num_orientations=4)
      >>> [finding.outputs for finding in findings], check.note
      ([('forces',)], 'forces of water (C2v)')
    """
    if num_orientations < 2 or num_orientations % 2:
        raise ArgumentError(
            "num_orientations", num_orientations, "is not even and positive", "Use 16"
        )
    if problem.symmetry is None:
        note = f"{label} has no symmetry that could forbid anything"
        return [], Check(Kind.SYMMETRY_TRAP, 0, note)
    elements = problem.symmetry.elements
    rotations = _orientations(num_orientations)
    prepared = prepare(problem, Execution())
    given, nudged = (
        _answers(prepared, x, rotations) for x in _inputs(problem, displacement)
    )
    group = problem.symmetry.name
    findings, looked = [], []
    for name, values in given.items():
        output, mask = problem.outputs[name], prepared.masks[name]
        representation = output.representation
        permutations = problem.symmetry.of_leaf(name, mask.size)
        real = mask.reshape(-1)
        # Padding stays where it is, so that real samples are permuted among themselves.
        inside = np.cumsum(real) - 1
        among = inside[permutations[:, real]]
        total = int(real.sum()) * representation.dimension
        free = allowed_dimension(representation, elements, among)
        if output.kind != "output" or free >= total:
            continue
        looked.append(name)
        matrices = spherical_matrix_table(representation, elements)
        found = _Forbidden.of(
            without_allowed(matrices, among, values),
            without_allowed(matrices, among, nudged[name] - values),
        )
        if found is None:
            continue
        reference = max(_rms(values), (scales or {}).get(name, 0.0))
        allowed = {0: "nothing", 1: "one number"}.get(
            free, f"{free} independent numbers"
        )
        share = found.size / reference
        findings.append(
            Finding.of(
                Kind.SYMMETRY_TRAP,
                share,
                layer=name,
                irrep="",
                figure=Figure(
                    f"forbidden {name}", found.size, found.error, output.unit
                ),
                outputs=(name,),
                sentence=f"The symmetry {group} of {label} allows {allowed} in {name}; "
                f"the model predicts {found.size:.2g} {output.unit}".rstrip()
                + f" per component beyond that (root mean square), "
                f"{share:.1e} of its output.",
                remedy=f"Average the prediction over the {len(elements)} elements of "
                f"{group}, or over a finite group that contains them; or augment with "
                "symmetric structures",
            )
        )
    outputs = ", ".join(looked) or "no output"
    note = f"{outputs} of {label} ({group})"
    return findings, Check(Kind.SYMMETRY_TRAP, len(looked), note)


def _orientations(num: int) -> np.ndarray:
    with jax.enable_x64(True):
        proper = np.asarray(haar(jax.random.key(_SEED), num // 2))
    return np.concatenate([proper, -proper])


def _inputs(problem: Problem, displacement: float) -> tuple[Any, Any]:
    """The input, and the input with a random change of its round-off or asymmetry."""
    rng = np.random.default_rng(_SEED)

    def nudge(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        size = max(
            _NUDGE * np.finfo(leaf.dtype).eps * float(np.abs(leaf).max(initial=0.0)),
            displacement,
        )
        return (leaf + size * rng.standard_normal(leaf.shape)).astype(leaf.dtype)

    return problem.x, jax.tree.map(nudge, problem.x)


def _answers(
    prepared: Prepared, x: Any, rotations: np.ndarray
) -> dict[str, Float[np.ndarray, "orientations samples components channels"]]:
    """Real samples at all orientations, rotated back, in spherical components."""
    leaves = prepared.leaves
    responses = orbit.respond(
        prepared.function,
        prepared.action,
        x,
        rotations,
        args=prepared.args,
        keep=tuple(leaf.index for leaf in leaves.values()),
        batch_size=len(rotations) // 2,
    )
    out = {}
    for (name, leaf), values in zip(leaves.items(), responses, strict=True):
        real = prepared.masks[name].reshape(-1)
        rows = rotated_rows(leaf.compact, np.asarray(values), rotations, real)
        _, components, channels = leaf.axes
        out[name] = rows.reshape(len(rotations), -1, components, channels)
    return out


class _Forbidden(NamedTuple):
    """Root mean square of a forbidden part over orientations, and its error."""

    size: float
    error: float

    @classmethod
    def of(cls, forbidden: np.ndarray, noise: np.ndarray) -> "_Forbidden | None":
        """None if it does not exceed its noise; the first axes are orientations."""
        found, background = _squares(forbidden), _squares(noise)
        # An F test for the orientations alone, as components are not independent.
        limit = float(special.fdtri(len(found), len(found), 1 - FALSE_ALARM))
        if not found.mean() > limit * background.mean():
            return None
        size = math.sqrt(found.mean())
        error = float(found.std(ddof=1)) / math.sqrt(len(found)) / (2 * size)
        return cls(size, error)


def _squares(array: np.ndarray) -> np.ndarray:
    return np.square(array.reshape(len(array), -1)).mean(axis=1)


def _rms(array: np.ndarray) -> float:
    return math.sqrt(_squares(array).mean())
