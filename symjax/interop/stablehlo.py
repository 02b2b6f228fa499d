"""A PET as one compiled function, which runs without symjax.

``jax.export`` writes StableHLO, whose sizes stay open: one file serves structures of
any size. The file holds the parameters, and derivatives are part of it.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jaxtyping import Array, Bool, Float, Int

from symjax._files import replace_atomically, unwritable
from symjax.data.graph import Graph, Surroundings
from symjax.errors import ModelError, needs_extra
from symjax.models.pet.config import PETConfig
from symjax.models.pet.cutoff import adaptive_radii
from symjax.models.pet.derivatives import evaluate
from symjax.models.pet.energies import choose_energy
from symjax.models.pet.evaluation import Evaluation
from symjax.models.pet.model import PETModel, without_uncertainties
from symjax.models.pet.uncertainty import uncertain_outputs
from symjax.models.precision import cast_parameters

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""Platforms for which the function is compiled, as JAX names them."""


class Arguments(NamedTuple):
    """What the exported function takes, in this order.

    Attributes:
      numbers: Atomic numbers; 0 for padding.
      pairs: Indices i, j of all pairs of atoms and images within the cutoff, both of
        them (i, j) and (j, i), in any order; -1 for padding.
      shifts: Cell shift S of every pair, in units of the cell vectors.
      vectors: r_j - r_i + S @ cell of every pair, in angstrom.
      cell: Rows are the cell vectors in angstrom, those along directions without
        periods included, whose vacuum is part of the volume; zeros where there is none.
        Read for stresses only.
      periodic: Along which of them the structure is periodic.
      charge: Total charge, in elementary charges.
      spin_multiplicity: 2 S + 1.
      pair_slots: Anything as long as the largest number of pairs of one atom, or
        longer.
      edge_slots: Anything as long as the largest number of neighbors that an adaptive
        cutoff keeps of one atom, or longer; for other models of any length.
    """

    numbers: Int[Array, "atoms"]
    pairs: Int[Array, "pairs 2"]
    shifts: Int[Array, "pairs 3"]
    vectors: Float[Array, "pairs 3"]
    cell: Float[Array, "3 3"]
    periodic: Bool[Array, "3"]
    charge: Int[Array, ""]
    spin_multiplicity: Int[Array, ""]
    pair_slots: Int[Array, "slots"]
    edge_slots: Int[Array, "edges"]


def export_function(
    model: PETModel,
    *,
    average: str | None = None,
    dtype: Any = "float32",
    energy: str | None = None,
    platforms: Sequence[str] = PLATFORMS,
) -> jax_export.Exported:
    """The function of a PET, compiled for any number of atoms and pairs.

    It returns all targets of the model by name and, where it has the energy,
    ``"forces"`` (minus the derivative by positions) and ``"stress"`` (the derivative by
    strain over the volume of the cell, of slabs and wires within their periodic
    directions, 0 of what has none or no volume), for one structure. What it cannot
    compute is NaN, never a number: species, charges or spins that the model does not
    know, and more pairs of an atom than there are slots for.

    With an average over elements g of O(3), it returns the mean of
    rho(g)^-1 f(g x), of which forces are the exact derivative, and no uncertainties,
    which are those of single predictions.

    Args:
      model: The model.
      average: A finite group such as ``"O"``, ``"haar DEGREE"`` or ``"frames NUMBER"``,
        see :class:`symjax.models.biases.Average`; None for none.
      dtype: ``"float32"``, or ``"float64"``, which needs JAX's x64 mode, here and where
        it runs.
      energy: Name of the target that is differentiated, see
        :func:`symjax.models.pet.choose_energy`.
      platforms: Where it can run.

    Returns:
      What ``serialize()`` makes a file of, and ``call`` runs; see :class:`Arguments`.

    Raises:
      ModelError: The model is no PET, has no such energy, is averaged over something
        already, or moves its input in another way.

    Example:
      >>> from symjax.interop.stablehlo import Arguments, export_function
      >>> from symjax.models import load_model
      >>> exported = export_function(load_model("pet-ethanol"), platforms=["cpu"])
      >>> len(exported.in_avals) == len(Arguments._fields)
      True
    """
    if not isinstance(model, PETModel):
        raise ModelError(
            "model",
            getattr(model, "name", model),
            "is no PET, and only a PET can be exported as a function",
            "Use a PET, such as pet-ethanol",
        )
    config = model.config
    if config.long_range is not None:
        raise ModelError(
            "model",
            model.name,
            "has long-range features, whose mesh depends on the cell",
            "Write a checkpoint of metatrain: symjax export -o model.ckpt",
        )
    if average is not None:
        biases = dataclasses.replace(config.biases, output_average=average)
        if config.biases.output_average:
            raise ModelError(
                "average",
                average,
                f"the model is averaged over {config.biases.output_average} already",
                "Leave it out",
            )
        model = without_uncertainties(model)
        config = dataclasses.replace(model.config, biases=biases)
    dtype = np.dtype(dtype)
    parameters = cast_parameters(model.parameters, dtype)
    energy = choose_energy(config, energy)
    derived = energy is not None
    evaluation = Evaluation(config, energy=energy, forces=derived, stress=derived)
    per_atom = {"forces"}
    per_atom |= {name for name, target, _ in config.outputs if target.per_atom}
    for name, own in uncertain_outputs(config).items():
        per_atom |= {name} if config.target(own.target).per_atom else set()

    def function(*arguments: Array) -> dict[str, Array]:
        given = Arguments(*arguments)
        graph, good = _graph(config, given)
        return {
            # Values of the single structure, or one row per atom.
            name: jnp.where(good, value if name in per_atom else value[0], jnp.nan)
            for name, value in evaluate(evaluation, parameters, graph).items()
        }

    integer = np.dtype(np.int32)
    sizes = jax_export.symbolic_shape("atoms, pairs, slots, edges")
    atoms, pairs, slots, edges = sizes
    shapes: dict[str, tuple[tuple[Any, ...], np.dtype]] = {
        "numbers": ((atoms,), integer),
        "pairs": ((pairs, 2), integer),
        "shifts": ((pairs, 3), integer),
        "vectors": ((pairs, 3), dtype),
        "cell": ((3, 3), dtype),
        "periodic": ((3,), np.dtype(bool)),
        "charge": ((), integer),
        "spin_multiplicity": ((), integer),
        "pair_slots": ((slots,), integer),
        "edge_slots": ((edges,), integer),
    }
    return jax_export.export(jax.jit(function), platforms=list(platforms))(
        *(jax.ShapeDtypeStruct(*shapes[name]) for name in Arguments._fields)
    )


def save_stablehlo(model: PETModel, path: str | Path, **options: Any) -> None:
    """Writes what :func:`export_function` makes.

    ``jax.export.deserialize`` reads it; symjax is not needed.

    Args:
      model: The model.
      path: The file, ``model.stablehlo``; replaced if it exists.
      **options: Those of :func:`export_function`.

    Raises:
      ModelError: What :func:`export_function` refuses; the extra ``[export]`` is not
        installed; or the file cannot be written.

    Example:
      >>> from symjax.interop.stablehlo import save_stablehlo
      >>> from symjax.models import load_model
      >>> save_stablehlo(load_model("polarmae-events"), "model.stablehlo")
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: model='polarmae-events': is no PET...
    """
    exported = export_function(model, **options)
    with needs_extra("export", "path", str(path)):
        data = exported.serialize()
    try:
        replace_atomically(
            Path(path), lambda part: part.write_bytes(data), lambda: len(data)
        )
    except OSError as error:
        raise unwritable(ModelError, "path", Path(path), error) from error


def _graph(config: PETConfig, given: Arguments) -> tuple[Graph, Bool[Array, ""]]:
    """The graph of one structure from its pairs, and whether it can be computed."""
    numbers = given.numbers
    species = jnp.asarray(config.species)
    real = numbers > 0
    good = jnp.all(~real | jnp.any(numbers[:, None] == species, axis=1))
    if config.system_conditioning:
        spin = given.spin_multiplicity
        good &= jnp.abs(given.charge) <= config.max_charge
        good &= (spin >= 1) & (spin <= config.max_spin_multiplicity)
    around, fits = _rows(config, given)
    good &= fits
    if config.num_neighbors_adaptive is None:
        rows, kept = around, None
    else:
        rows, fits = _select(config, around, real, given.edge_slots.shape[0])
        good &= fits
        kept = around
    dtype = given.vectors.dtype
    one = jnp.ones(1, bool)
    # As in symjax.data.cells.stress_volume.
    volume = jnp.abs(jnp.linalg.det(given.cell)) * jnp.any(given.periodic)
    return (
        Graph(
            positions=jnp.zeros((numbers.shape[0], 3), dtype),
            cells=jnp.where(given.periodic[:, None], given.cell, 0)[None],
            volumes=volume[None],
            species=jnp.where(good, numbers, species[0]),
            structure=jnp.zeros_like(numbers),
            atom_mask=real,
            charge=given.charge[None],
            spin_multiplicity=given.spin_multiplicity[None],
            structure_mask=one,
            cutoff=config.cutoff,
            surroundings=kept,
            neighbors=rows.neighbors,
            shifts=rows.shifts,
            vectors=rows.vectors,
            lengths=rows.lengths,
            edge_mask=rows.edge_mask,
            reverse=rows.reverse,
        ),
        good,
    )


def _rows(config: PETConfig, given: Arguments) -> tuple[Surroundings, Bool[Array, ""]]:
    """Pairs in rows by their first atoms, and whether all of them fit."""
    atoms, width = given.numbers.shape[0], given.pair_slots.shape[0]
    vectors = given.vectors
    lengths = jnp.sqrt(jnp.sum(vectors**2, axis=1))
    # Neighbor lists with a skin or a larger cutoff contain pairs beyond the cutoff.
    real = (given.pairs[:, 0] >= 0) & (lengths < config.cutoff)
    first = jnp.where(real, given.pairs[:, 0], atoms)
    order = jnp.argsort(first)
    counts = jax.ops.segment_sum(real.astype(jnp.int32), first, num_segments=atoms)
    starts = jnp.cumsum(counts) - counts
    row = first[order]
    slot = jnp.arange(order.shape[0]) - starts[jnp.minimum(row, atoms - 1)]

    def scatter(values: Array, empty: Array) -> Array:
        return empty.at[row, slot].set(values[order], mode="drop")

    own = jnp.broadcast_to(jnp.arange(atoms, dtype=jnp.int32)[:, None], (atoms, width))
    neighbors = scatter(given.pairs[:, 1], own)
    shifts = scatter(given.shifts, jnp.zeros((atoms, width, 3), jnp.int32))
    mask = scatter(real, jnp.zeros((atoms, width), bool))
    # The reverse is the pair of the neighbor that points back.
    back = (
        mask[neighbors]
        & (neighbors[neighbors] == own[:, :1, None])
        & jnp.all(shifts[neighbors] == -shifts[:, :, None], axis=-1)
    )
    flat = neighbors * width + jnp.argmax(back, axis=2).astype(jnp.int32)
    places = jnp.arange(atoms * width, dtype=jnp.int32).reshape(atoms, width)
    # Exactly once: no reverse is missing and no pair is given twice.
    found = jnp.all((jnp.sum(back, axis=2) == 1) | ~mask)
    inside = jnp.all((given.pairs >= 0) & (given.pairs < atoms), axis=1)
    found &= jnp.all(inside | ~real)
    rows = Surroundings(
        neighbors=neighbors,
        shifts=shifts,
        vectors=scatter(vectors, jnp.zeros((atoms, width, 3), vectors.dtype)),
        lengths=scatter(lengths, jnp.ones((atoms, width), vectors.dtype)),
        edge_mask=mask,
        reverse=jnp.where(mask, flat, places),
    )
    return rows, found & (jnp.max(counts, initial=0) <= width)


def _select(
    config: PETConfig, around: Surroundings, real: Bool[Array, "atoms"], width: int
) -> tuple[Surroundings, Bool[Array, ""]]:
    """The pairs that an adaptive cutoff keeps, packed, and whether all of them fit."""
    lengths, mask = around.lengths, around.edge_mask
    radii = jax.lax.stop_gradient(adaptive_radii(config, lengths, mask, real))
    seen = mask & (lengths <= (radii[:, None] + radii[around.neighbors]) / 2)
    seen = seen & seen.reshape(-1)[around.reverse]
    atoms, old = mask.shape
    place = jnp.cumsum(seen, axis=1) - 1
    own = jnp.broadcast_to(jnp.arange(atoms, dtype=jnp.int32)[:, None], (atoms, width))
    slot = jnp.where(seen, place, width)
    row = jnp.broadcast_to(jnp.arange(atoms)[:, None], (atoms, old))

    def pack(values: Array, empty: Array) -> Array:
        return empty.at[row, slot].set(values, mode="drop")

    back = around.reverse // old * width + place.reshape(-1)[around.reverse]
    places = jnp.arange(atoms * width, dtype=jnp.int32).reshape(atoms, width)
    dtype = lengths.dtype
    rows = Surroundings(
        neighbors=pack(around.neighbors, own),
        shifts=pack(around.shifts, jnp.zeros((atoms, width, 3), jnp.int32)),
        vectors=pack(around.vectors, jnp.zeros((atoms, width, 3), dtype)),
        lengths=pack(lengths, jnp.ones((atoms, width), dtype)),
        edge_mask=pack(seen, jnp.zeros((atoms, width), bool)),
        reverse=pack(back.astype(jnp.int32), places),
    )
    return rows, jnp.max(jnp.sum(seen, axis=1), initial=0) <= width
