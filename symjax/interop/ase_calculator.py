"""PET as an ASE calculator, with averages over rotations and their spread."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase
import jax.numpy as jnp
import numpy as np
from ase.calculators.calculator import PropertyNotImplementedError
from jaxtyping import Float

from symjax.data.build import Edges, assemble, find_edges
from symjax.data.cells import stress_volume
from symjax.data.conditions import spin_multiplicity, total_charge
from symjax.data.graph import (
    Graph,
    GraphShape,
    bucket_shape,
    checked_dtype,
    graph_shape,
    pad_graph,
)
from symjax.data.neighbor_list import NeighborList, find_neighbors
from symjax.data.structures import check_without_distances
from symjax.data.symmetry import find_symmetry
from symjax.errors import ArgumentError, ModelError
from symjax.interop._averages import (
    SPREAD,
    Values,
    collected,
    fixed_rotations,
    mean_and_spread,
)
from symjax.interop._prediction import (
    average_within,
    dipole_target,
    energy_target,
    predictions_of,
)
from symjax.interop._stateful import StatefulCalculator
from symjax.models import load_model
from symjax.models.pet.energies import energy_of_forces
from symjax.models.pet.graphs import as_read, check_conditioning
from symjax.models.pet.model import PETModel
from symjax.models.precision import cast_parameters
from symjax.so3._arguments import check_integer
from symjax.so3.finite_groups import FiniteGroup
from symjax.so3.quadratures import Quadrature

# Edge slots (atoms times neighbors times rotated copies) of one evaluation: they take a
# few hundred megabytes for a PET of the default size, and keep two cores busy.
_SLOTS = 2**14


class SymjaxCalculator(StatefulCalculator):
    """A PET for ASE: energies, forces, stress and dipole, averaged over rotations.

    With an average over elements g of O(3), every result is the mean of
    z(g) = rho(g)^-1 f(g x), the prediction for the rotated structure rotated back, and
    ``results["energy_rotational_std"]``, ``"forces_rotational_std"`` and so on hold the
    standard deviation sqrt(<z^2> - <z>^2) of every entry: how far a single prediction
    is from being equivariant. Over all of O(3) the mean is exactly equivariant.

    Results are in ASE's units and conventions, float64: ``energy`` (eV),
    ``free_energy`` (the same), ``energies`` (of atoms), ``forces`` (eV/angstrom),
    ``stress`` (eV/angstrom^3, Voigt's order, the symmetric part; for structures with a
    periodic direction and a cell with a volume, over which slabs and wires have the
    components within their periodic directions, the others being 0), and ``dipole`` (e
    angstrom) where the model has it. All are computed at once. Energies of atoms are
    summed in float64.

    Neighbors are found again when an atom has moved by more than skin / 2, or the cell
    has changed. Pairs beyond the cutoff are dropped first, so that the skin changes no
    result. Arrays are padded to sizes with headroom: while atoms move, the compiled
    function stays the same. ``calculator.neighbor_searches`` counts searches.

    Args:
      model: A PET, or what ``symjax.models.load_model`` reads.
      average: What to average over: None; the degree of a quadrature of SO(3), exact
        for what is band-limited within it; a :class:`symjax.so3.Quadrature`; a finite
        group or its Schoenflies symbol, such as ``"Oh"``.
      average_for: Instead of ``average``, limits on the equivariance errors with their
        units, such as ``{"energy": "0.1 meV"}``. The average with the fewest elements
        that keeps them on ``structures`` is chosen, see
        :func:`symjax.metrics.cheapest`. It is chosen once, as a choice that changed in
        a simulation would break energy conservation.
      structures: Structures representative of those to come, for ``average_for``.
      symmetrize: Whether to average also over the operations that map the structure
        onto itself: the point group of a molecule, or the rotations of a crystal's
        space group, found by spglib. They permute atoms and need no evaluations.
      include_inversion: Whether a quadrature of SO(3) is extended to O(3). Groups are
        averaged over as they are.
      batch_size: Rotated copies of structures that are evaluated at once; by default
        as many as fit a few hundred megabytes.
      skin: Distance in angstrom by which the neighbor list exceeds the cutoff.
      dtype: ``"float32"``, or ``"float64"``, which needs JAX's x64 mode.
      energy: Name of the energy target, see :func:`symjax.models.pet.choose_energy`.
      dipole: Name of the dipole target; ``"auto"`` for ``"dipole"`` or
        ``"mtt::dipole"`` where there is one, None for none.
      tolerance: Largest distance in angstrom between an atom and its image, for
        ``symmetrize``.

    Raises:
      ModelError: The model is no PET, has no such target, several energies of which
        none was named, or one in a unit that cannot be converted.
      ArgumentError: An argument has an impossible value.
      GridError: There is no such quadrature.

    Source: averages over rotations at inference, arXiv:2603.24638, Sec. II.

    Example:
      >>> import ase.build
      >>> from symjax.interop import SymjaxCalculator
      >>> water = ase.build.molecule("H2O")
      >>> water.calc = SymjaxCalculator("pet-ethanol", average=3)
      >>> water.get_forces().shape, "forces_rotational_std" in water.calc.results
      ((3, 3), True)
    """

    def __init__(
        self,
        model: PETModel | str | Path,
        *,
        average: int | str | Quadrature | FiniteGroup | None = None,
        average_for: Mapping[str, str] | None = None,
        structures: Sequence[ase.Atoms] = (),
        symmetrize: bool = False,
        include_inversion: bool = True,
        batch_size: int | None = None,
        skin: float = 0.5,
        dtype: Any = "float32",
        energy: str | None = None,
        dipole: str | None = "auto",
        tolerance: float = 1e-5,
    ) -> None:
        super().__init__()
        if isinstance(model, str | Path):
            model = load_model(model)
        if not isinstance(model, PETModel):
            raise ModelError(
                "model",
                getattr(model, "name", model),
                "is no PET, and predicts no energies of atoms",
                "Use a PET, such as load_model('pet-ethanol')",
            )
        if batch_size is not None:
            check_integer("batch_size", batch_size, 1)
        self.model = model
        self.rotations = fixed_rotations(average, include_inversion)
        if average_for is not None:
            if average is not None:
                raise ArgumentError(
                    "average_for",
                    dict(average_for),
                    f"chooses an average, and average={average!r} names one",
                    "Pass one of the two",
                )
            self.rotations = average_within(
                model, average_for, structures, include_inversion, energy, dtype
            )
        self.symmetrize = bool(symmetrize)
        self.batch_size = batch_size
        self.neighbor_searches = 0
        # Checks skin and tolerance before anything is computed.
        lone = ase.Atoms(numbers=model.config.species[:1])
        find_neighbors(lone, model.config.cutoff, skin)
        find_symmetry(lone, tolerance)
        self._skin, self._tolerance = float(skin), float(tolerance)
        self._dtype = checked_dtype(dtype)
        self._energy = energy_of_forces(model.config, energy)
        self._energy_unit, self._baseline = energy_target(model, self._energy)
        self._dipole = dipole_target(model.config, dipole)
        self._device_parameters = cast_parameters(model.parameters, self._dtype)
        self._neighbors: NeighborList | None = None
        self._shape: GraphShape | None = None
        self.implemented_properties = [
            *("energy", "free_energy", "energies", "forces", "stress"),
            *(["dipole"] if self._dipole else []),
        ]
        # What ASE writes into trajectories.
        self.parameters.update(
            model=model.name,
            energy=self._energy,
            average=self.rotations.name,
            symmetrize=self.symmetrize,
            dtype=str(self._dtype),
            skin=self._skin,
        )

    def _results_of(self, properties: Sequence[str]) -> dict[str, Any]:
        """All results, whichever are requested."""
        check_without_distances(self.atoms, self.model.config.species)
        (results,) = self._evaluate(self._reused_graph(self.atoms), [self.atoms])
        return results

    def compute(self, structures: Sequence[ase.Atoms]) -> list[dict[str, Any]]:
        """Results of several structures, evaluated together where they fit.

        Args:
          structures: The structures, of any sizes.

        Returns:
          For each structure what ``results`` would hold after ``calculate``, which
          itself stays as it was.

        Raises:
          StructureError: A structure cannot be used; the message says which.
          ModelError: A charge or spin multiplicity is unknown to the model.
          AliasingError: The quadrature does not resolve the predictions.

        Example:
          >>> import ase.build
          >>> from symjax.interop import SymjaxCalculator
          >>> calculator = SymjaxCalculator("pet-ethanol")
          >>> pair = [ase.build.molecule(name) for name in ("H2O", "CH4")]
          >>> [len(results["forces"]) for results in calculator.compute(pair)]
          [3, 5]
        """
        if isinstance(structures, ase.Atoms) or not isinstance(structures, Sequence):
            raise ArgumentError(
                "structures",
                structures,
                "is not a list of structures",
                "Pass a list, with one entry for one structure",
            )
        edges, cutoff = [], self.model.config.cutoff
        for index, atoms in enumerate(structures):
            check_without_distances(atoms, self.model.config.species, index)
            edges.append(find_edges(atoms, cutoff, index))
        results = []
        for start, stop in self._chunks(edges, [len(atoms) for atoms in structures]):
            some = list(structures[start:stop])
            graph = assemble(some, edges[start:stop], cutoff, self._dtype)
            graph = as_read(self.model.config, graph, some)
            results += self._evaluate(pad_graph(graph, bucket_shape(graph)), some)
        return results

    def get_property(
        self, name: str, atoms: ase.Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """One result; ASE calls it.

        Args:
          name: ASE's name of it.
          atoms: The structure; by default the one of the last calculation.
          allow_calculation: Whether it may be computed.

        Raises:
          PropertyNotImplementedError: The calculator or the structure has no such
            property; for a stress the message says what the structure lacks.

        Example:
          >>> import ase.build
          >>> from symjax.interop import SymjaxCalculator
          >>> calculator = SymjaxCalculator("pet-ethanol")
          >>> try:
          ...     calculator.get_property("stress", ase.build.molecule("H2O"))
          ... except NotImplementedError as error:
          ...     print(str(error)[:31])
          stress: this structure has none
        """
        structure = self.atoms if atoms is None else atoms
        if name == "stress" and structure is not None and not stress_volume(structure):
            raise PropertyNotImplementedError(
                "stress: this structure has none, as it has no periodic direction or "
                f"its cell no volume (pbc={structure.pbc.tolist()}); set atoms.pbc and "
                "all three vectors of atoms.cell"
            )
        return super().get_property(name, atoms, allow_calculation)

    def _conditions(self, atoms: ase.Atoms) -> tuple[int, int]:
        return total_charge(atoms), spin_multiplicity(atoms)

    def _reused_graph(self, atoms: ase.Atoms) -> Graph:
        """Graph from the neighbor list, padded to a size that rarely changes."""
        known = self._neighbors
        if known is None or not known.holds(atoms):
            same_size = known is not None and len(known.atoms) == len(atoms)
            self._shape = self._shape if same_size else None
            self._neighbors = find_neighbors(
                atoms, self.model.config.cutoff, self._skin
            )
            self.neighbor_searches += 1
        assert self._neighbors is not None
        graph = self._neighbors.graph(atoms, dtype=self._dtype)
        # Selected again at every step: as atoms move, an adaptive cutoff gains edges.
        graph = as_read(self.model.config, graph, [atoms])
        shape = graph_shape(graph)
        known_shape = self._shape or shape._replace(num_neighbors=0, num_surroundings=0)
        most = shape.num_atoms - 1 if not np.any(atoms.pbc) else None
        self._shape = shape._replace(
            num_neighbors=_roomy(shape[1], known_shape[1], most),
            num_surroundings=_roomy(shape[3], known_shape[3], most),
        )
        return pad_graph(graph, self._shape)

    def _chunks(
        self, edges: Sequence[Edges], sizes: Sequence[int]
    ) -> Iterator[tuple[int, int]]:
        """Ranges of structures that are evaluated together."""
        copies = len(self.rotations.elements)
        start, atoms, width = 0, 0, 1
        for index, (found, size) in enumerate(zip(edges, sizes, strict=True)):
            widest = max(width, int(found.slots.max(initial=0)) + 1)
            count = index - start
            if self.batch_size is None:
                full = (atoms + size) * widest * copies > _SLOTS
            else:
                full = (count + 1) * copies > self.batch_size
            # Structures differ in symmetry.
            if count and (full or self.symmetrize):
                yield start, index
                start, atoms, widest = index, 0, int(found.slots.max(initial=0)) + 1
            atoms, width = atoms + size, widest
        if len(sizes):
            yield start, len(sizes)

    def _evaluate(
        self, graph: Graph, structures: Sequence[ase.Atoms]
    ) -> list[dict[str, Any]]:
        """Means and standard deviations for the structures of a graph."""
        check_conditioning(self.model.config, graph)
        symmetry = None
        if self.symmetrize:
            symmetry = find_symmetry(structures[0], self._tolerance)
        numbers = np.concatenate([atoms.numbers for atoms in structures])
        baseline = self._baseline[np.searchsorted(self.model.config.species, numbers)]
        first = np.cumsum([0, *(len(atoms) for atoms in structures[:-1])])
        responses = (
            (elements, weights, self._in_ase_units(outputs, baseline, first))
            for elements, weights, outputs in self._responses(graph)
        )
        sums = collected(responses, symmetry)
        epsilon = float(np.finfo(self._dtype).eps)
        means, spreads = mean_and_spread(sums, self.rotations, epsilon)
        several = len(self.rotations.elements) > 1 or symmetry is not None
        return [
            _results(index, atoms, first[index], means, spreads if several else {})
            for index, atoms in enumerate(structures)
        ]

    def _responses(
        self, graph: Graph
    ) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
        """Elements, weights and predictions for rotated copies, batch after batch."""
        _, elements, weights = self.rotations
        slots = graph.neighbors.size
        copies = max(1, _SLOTS // slots) if self.batch_size is None else self.batch_size
        copies = min(copies, len(elements))
        dipole = self._dipole[0] if self._dipole else None
        function = predictions_of(self.model.config, self._energy, dipole)
        for start in range(0, len(elements), copies):
            some = elements[start : start + copies]
            # The last batch is filled up, as another size would be compiled again.
            filled = np.concatenate([some, np.tile(np.eye(3), (copies, 1, 1))])[:copies]
            outputs = function(
                jnp.asarray(filled, self._dtype), self._device_parameters, graph
            )
            arrays = {
                name: np.asarray(array, np.float64)[: len(some)]
                for name, array in outputs.items()
            }
            yield some, weights[start : start + copies], arrays

    def _in_ase_units(
        self,
        outputs: Values,
        baseline: Float[np.ndarray, "atoms"],
        first: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Predictions for the real atoms and structures, with total energies."""
        num_atoms, num_structures = len(baseline), len(first)
        energies = (outputs["energies"][:, :num_atoms] + baseline) * self._energy_unit
        values = {
            "energies": energies,
            "energy": np.add.reduceat(energies, first, axis=1),
            "forces": outputs["forces"][:, :num_atoms] * self._energy_unit,
            "stress": outputs["stress"][:, :num_structures] * self._energy_unit,
        }
        if self._dipole:
            values["dipole"] = outputs["dipole"][:, :num_structures] * self._dipole[1]
        return values


def _roomy(needed: int, known: int, most: int | None) -> int:
    """The known size if it suffices; otherwise one an eighth larger than needed.

    It is rounded up to one less than a multiple of 4, at most ``most``: attention is
    among the edges and the atom, and products of multiples of 4 are faster on CPUs.
    """
    if needed <= known:
        return known
    size = -(-(max(needed, needed * 9 // 8 - 1) + 2) // 4) * 4 - 1
    return size if most is None else max(needed, min(size, most))


def _results(
    index: int, atoms: ase.Atoms, first: int, means: Values, spreads: Values
) -> dict[str, Any]:
    """Results of one structure, under ASE's names."""
    results: dict[str, Any] = {}
    for values, suffix in ((means, ""), (spreads, SPREAD)):
        for name, array in values.items():
            if name in ("energies", "forces"):
                results[name + suffix] = array[first : first + len(atoms)].copy()
            elif name == "energy":
                results[name + suffix] = float(array[index])
            elif name == "dipole" or stress_volume(atoms) > 0:
                results[name + suffix] = array[index].copy()
    results["free_energy"] = results["energy"]
    return results
