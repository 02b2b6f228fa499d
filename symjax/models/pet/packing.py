"""Evaluates a PET on many structures at once, each at its own group elements.

Structures with similar numbers of neighbors are joined into packs. The shape of a pack
is one of a few, fixed by the number of neighbors, so that a data set of mixed sizes
compiles only a handful of programs. The group elements are an axis of a ``vmap``, so
that everything that depends on lengths alone is computed once.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ase
import jax
import numpy as np
from jaxtyping import Array, Float

from symjax.data.cells import stress_volume
from symjax.data.graph import Graph, GraphShape, bucket_shape, graph_shape, join_graphs
from symjax.data.transform import rotate_graph
from symjax.metrics.packs import Pack
from symjax.models.pet.derivatives import evaluate
from symjax.models.pet.evaluation import Evaluation
from symjax.models.pet.graphs import pet_graph
from symjax.models.pet.model import PETModel
from symjax.models.pet.orbits import choose_outputs, describe_outputs
from symjax.models.precision import cast_parameters

# Edge slots of one call: atoms times neighbors times elements.
_SLOTS = 2**14
# Edge slots evaluated at once on a CPU core, so that intermediates fit into its cache.
_CACHED = 2**11


class Item(NamedTuple):
    """A structure, ready to be joined with others.

    Attributes:
      label: Name of the structure.
      graph: Its graph for the model, without padding.
      has_stress: Whether it has a stress (:func:`symjax.data.cells.stress_volume`).
    """

    label: str
    graph: Graph
    has_stress: bool


@dataclasses.dataclass(frozen=True)
class Packing:
    """Joins structures into packs for a model.

    Attributes:
      model: The model.
      num_elements: Number of group elements for each structure.
      layers: Layers to evaluate, see :func:`symjax.models.pet.select_layers`.
      energy: Name of the target that forces and stress are derivatives of.
      dtype: ``"float32"`` or ``"float64"``.
      num_atoms: Number of atoms of all structures, which limits the size of packs; None
        for no limit.
      outputs: Outputs to evaluate, see :func:`symjax.models.pet.orbit_problem`; stress
        is left out for packs of structures without one.
    """

    model: PETModel
    num_elements: int
    layers: str = "none"
    energy: str | None = None
    dtype: str = "float32"
    num_atoms: int | None = None
    outputs: tuple[str, ...] | None = None

    @functools.cached_property
    def parameters(self) -> Any:
        """Parameters of the model, cast and on the device."""
        return jax.device_put(cast_parameters(self.model.parameters, self.dtype))

    def capacity(self, num_neighbors: int) -> int:
        """Number of atoms of a pack with so many neighbors each; a power of two."""
        full = max(_SLOTS // (num_neighbors * self.num_elements), 8)
        capacity = 1 << (full.bit_length() - 1)
        if self.num_atoms is None:
            return capacity
        return min(capacity, max(8, 1 << (self.num_atoms - 1).bit_length()))

    def shape(self, graphs: Sequence[Graph]) -> GraphShape:
        """The shape, one of a few, of a pack of graphs.

        Its number of neighbors is the smallest bucket that holds all of them. A
        structure that is larger than a pack gets a pack of its own, of a larger shape.
        """
        rungs = [bucket_shape(graph_shape(graph)) for graph in graphs]
        width = max(rung.num_neighbors for rung in rungs)
        around = max(rung.num_surroundings for rung in rungs)
        atoms = max(self.capacity(width), *(rung.num_atoms for rung in rungs), 0)
        return GraphShape(atoms, width, max(atoms // 4, 1), around)

    def at_a_time(self, shape: GraphShape) -> int:
        """Number of group elements of a pack of this shape that are evaluated at once.

        On an accelerator these are all. On a CPU they are as many as fit into the cache
        of a core, since each pack is evaluated on one core.
        """
        if jax.default_backend() != "cpu":
            return self.num_elements
        slots = shape.num_atoms * shape.num_neighbors
        return min(max(_CACHED // max(slots, 1), 1), self.num_elements)

    def item(self, label: str, atoms: ase.Atoms) -> Item:
        """Prepares a structure; raises if the model cannot evaluate it."""
        graph = pet_graph(self.model.config, atoms, dtype=self.dtype)
        return Item(label, graph, stress_volume(atoms) > 0)

    def join(self, items: Sequence[Item]) -> list[list[Item]]:
        """Divides structures into packs, deterministically.

        Structures are sorted by bucket, those with few neighbors first. If the last
        pack of a bucket is less than half full, its structures move to the next bucket.
        """
        packs: list[list[Item]] = []
        for has_stress in (False, True):
            rungs: dict[tuple[int, int], list[Item]] = {}
            for item in items:
                rung = bucket_shape(graph_shape(item.graph))
                if item.has_stress == has_stress:
                    key = rung.num_neighbors, rung.num_surroundings
                    rungs.setdefault(key, []).append(item)
            left: list[Item] = []
            for key in sorted(rungs):
                full = self._fill([*left, *rungs[key]])
                left = []
                if key != max(rungs) and 2 * _atoms(full[-1]) < self.capacity(key[0]):
                    left = full.pop()
                packs += full
        return packs

    def packs(self, structures: Mapping[str, ase.Atoms]) -> Iterator[Pack]:
        """Packs of structures; raises if the model cannot evaluate one of them."""
        items = [self.item(label, atoms) for label, atoms in structures.items()]
        return map(self.pack, self.join(items))

    def _fill(self, items: Sequence[Item]) -> list[list[Item]]:
        shape = self.shape([item.graph for item in items])
        capacity = self.capacity(shape.num_neighbors)
        packs: list[list[Item]] = [[]]
        for item in items:
            too_large = _atoms([*packs[-1], item]) > capacity
            if packs[-1] and (too_large or len(packs[-1]) >= max(capacity // 4, 1)):
                packs.append([])
            packs[-1].append(item)
        return packs

    def pack(self, items: Sequence[Item]) -> Pack:
        """Makes a pack of structures that :meth:`join` grouped.

        Raises:
          ModelError: The model has no such layer or energy.
        """
        config = self.model.config
        outputs, has_stress = self.outputs, items[0].has_stress
        if outputs is not None and not has_stress:
            outputs = tuple(name for name in outputs if name != "stress")
        evaluation = choose_outputs(
            config, self.layers, outputs, self.energy, has_stress
        )
        graphs = [item.graph for item in items]
        shape = self.shape(graphs)
        graph = join_graphs(graphs, shape)
        structure = np.asarray(graph.structure)
        owners = {
            "atom": structure,
            "edge": np.repeat(structure[:, None], shape.num_neighbors, axis=1),
            "structure": np.arange(shape.num_structures),
        }
        described, per = describe_outputs(config, evaluation, graph)
        function = _compiled(evaluation, self.at_a_time(shape))

        def respond(elements: Float[np.ndarray, "g items 3 3"]) -> Mapping[str, Array]:
            filled = np.zeros((len(elements), shape.num_structures, 3, 3), self.dtype)
            filled[:] = np.eye(3)
            filled[:, : len(items)] = elements
            return function(filled, self.parameters, graph)

        return Pack(
            tuple(item.label for item in items),
            tuple(_atoms([item]) for item in items),
            respond,
            described,
            {name: owners[sample] for name, sample in per.items()},
        )


def _atoms(items: Sequence[Item]) -> int:
    return sum(len(item.graph.species) for item in items)


@functools.lru_cache(maxsize=32)
def _compiled(
    evaluation: Evaluation, at_a_time: int
) -> Callable[..., dict[str, Array]]:
    """Function of elements, one for each structure of a pack; cached."""

    def responses(
        elements: Float[Array, "g structures 3 3"], parameters: Any, graph: Graph
    ) -> dict[str, Array]:
        def response(element: Float[Array, "structures 3 3"]) -> dict[str, Array]:
            return evaluate(evaluation, parameters, rotate_graph(graph, element))

        if at_a_time >= len(elements):
            return jax.vmap(response)(elements)
        return jax.lax.map(response, elements, batch_size=at_a_time)

    return jax.jit(responses)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Structures with their edges, for models that differ only in their parameters.

    A training loop uses it to survey its validation set: edges are found once, and
    compiled programs are reused.

    Attributes:
      packing: How the structures are evaluated.
      groups: The structures of each pack.

    Example:
      >>> import ase.build
      >>> from symjax.models import load_model
      >>> from symjax.models.pet.packing import Prepared
      >>> model = load_model("pet-ethanol")
      >>> water = {"water": ase.build.molecule("H2O")}
      >>> prepared = Prepared.of(model, water, num_elements=8)
      >>> [pack.labels for pack in prepared.packs(model)]
      [('water',)]
    """

    packing: Packing
    groups: Sequence[Sequence[Item]]

    @classmethod
    def of(
        cls,
        model: PETModel,
        structures: Mapping[str, ase.Atoms],
        num_elements: int,
        **options: Any,
    ) -> "Prepared":
        """Prepares structures.

        Args:
          model: A model.
          structures: Structures by label.
          num_elements: Number of group elements for each structure.
          **options: Other fields of :class:`Packing`.

        Returns:
          The prepared structures.

        Raises:
          SymjaxError: The model cannot evaluate one of them.
        """
        total = sum(map(len, structures.values()))
        packing = Packing(model, num_elements, num_atoms=total, **options)
        items = [packing.item(label, atoms) for label, atoms in structures.items()]
        return cls(packing, packing.join(items))

    def packs(self, model: PETModel) -> Iterator[Pack]:
        """Packs for a model with the configuration of the first one."""
        return map(dataclasses.replace(self.packing, model=model).pack, self.groups)
