"""Predictions, units and averages for the calculator of a PET."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.data.graph import Graph
from symjax.data.limits import Limit
from symjax.data.quantities import Target
from symjax.data.transform import rotate_graph
from symjax.data.units import conversion
from symjax.errors import ArgumentError, ModelError
from symjax.metrics import (
    ResponseSpectrum,
    add_spectra,
    cheapest,
    response_spectra,
)
from symjax.models.pet.config import PETConfig
from symjax.models.pet.derivatives import evaluate
from symjax.models.pet.energies import energy_of_forces
from symjax.models.pet.evaluation import Evaluation
from symjax.models.pet.model import PETModel
from symjax.models.pet.orbits import orbit_problem
from symjax.so3.averages import Rotations

_DIPOLE = "e*angstrom"
_DIPOLE_NAMES = ("dipole", "mtt::dipole")


@functools.lru_cache(maxsize=32)
def predictions_of(
    config: PETConfig, energy: str, dipole: str | None
) -> Callable[..., dict[str, Array]]:
    """Function that predicts a batch of rotations of a graph; one per model.

    Whatever depends only on lengths is computed once for all rotations.
    """
    evaluation = Evaluation(
        config,
        (energy,) if dipole is None else (energy, dipole),
        energy=energy,
        forces=True,
        stress=True,
        baseline=False,
    )

    def rotated(
        rotation: Float[Array, "3 3"], parameters: Any, graph: Graph
    ) -> dict[str, Array]:
        structure = jnp.asarray(graph.structure)
        # Each atom becomes a structure, so that sums over structures are atomic values.
        split = graph.replace(
            structure=jnp.arange(len(structure), dtype=structure.dtype),
            cells=jnp.asarray(graph.cells)[structure],
            volumes=jnp.asarray(graph.volumes)[structure],
            charge=jnp.asarray(graph.charge)[structure],
            spin_multiplicity=jnp.asarray(graph.spin_multiplicity)[structure],
            structure_mask=graph.atom_mask,
        )
        graph_at = rotate_graph(split, jnp.asarray(rotation))
        outputs = evaluate(evaluation, parameters, graph_at)

        def total(values: Array) -> Array:
            return jax.ops.segment_sum(values, structure, len(graph.cells))

        values = {
            "energies": outputs[energy],
            "forces": outputs["forces"],
            "stress": total(outputs["stress"]),
        }
        if dipole is not None:
            values["dipole"] = total(outputs[dipole])
        return values

    return jax.jit(jax.vmap(rotated, in_axes=(0, None, None)))


def average_within(
    model: PETModel,
    limits: Mapping[str, str],
    structures: Sequence[ase.Atoms],
    include_inversion: bool,
    energy: str | None,
    dtype: Any,
) -> Rotations:
    """The cheapest average that keeps errors on some structures within limits."""
    if not limits or not structures:
        raise ArgumentError(
            "average_for" if not limits else "structures",
            limits if not limits else structures,
            "is empty",
            "Pass limits, such as {'energy': '0.1 meV'}, and structures",
        )
    # The calculator's energy is the target that its forces are derived from.
    known = {"energy": energy_of_forces(model.config, energy)}
    written = [
        Limit.parse(f"{known.get(name, name)}={value}", "average_for")
        for name, value in limits.items()
    ]
    for limit in written:
        if not limit.unit:
            raise ArgumentError(
                "average_for",
                dict(limits),
                f"{limit.value:g} has no unit, and the model's need not be ASE's",
                "Write the unit, such as '0.1 meV'",
            )
    found: dict[str, list[ResponseSpectrum]] = {limit.name: [] for limit in written}
    for atoms in structures:
        problem = orbit_problem(
            model, atoms, layers="none", outputs=[*found], energy=energy, dtype=dtype
        )
        for name, spectrum in response_spectra(problem).items():
            found.setdefault(name, []).append(spectrum)
    spectra = {name: add_spectra(parts) for name, parts in found.items()}
    return cheapest(
        spectra,
        {limit.name: limit.within(spectra[limit.name].unit) for limit in written},
        include_inversion=include_inversion,
    )


def energy_target(model: PETModel, name: str) -> tuple[float, np.ndarray]:
    """Factor to eV, and the baseline of each species in the unit of the model."""
    target = model.config.target(name)
    unit = _in_ase_units(target, "eV")
    baseline = model.parameters["baseline"][name][target.blocks[0].key]
    return unit, np.asarray(baseline, np.float64)[:, 0]


def dipole_target(config: PETConfig, name: str | None) -> tuple[str, float] | None:
    """Name of the dipole target, and factor to e angstrom."""
    if name is None:
        return None
    if name == "auto":
        known = {target.name: target for target in config.targets}
        found = [known[name] for name in _DIPOLE_NAMES if name in known]
        if not found:
            return None
        target = found[0]
    else:
        target = config.target(name)
    block = target.blocks[0]
    if len(target.blocks) > 1 or block.kind != "vector" or block.properties > 1:
        raise ModelError(
            "dipole",
            target.name,
            "is not one Cartesian vector",
            "Name another target, or pass dipole=None",
        )
    if target.per_atom:
        raise ModelError(
            "dipole",
            target.name,
            "is a property of atoms",
            "Name a target of structures, or pass dipole=None",
        )
    return target.name, _in_ase_units(target, _DIPOLE)


def _in_ase_units(target: Target, unit: str) -> float:
    """Factor to a unit of ASE, which is assumed if the target has none."""
    own = f"targets[{target.name!r}].unit"
    written = target.unit or unit
    if unit == _DIPOLE and written.lower() == "a.u.":
        written = "e*bohr"  # the atomic unit of a dipole
    return conversion(written, unit, own, ModelError)
