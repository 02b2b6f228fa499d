"""Labels that structures carry, laid beside the outputs of a problem."""

import dataclasses
import functools

import ase
import numpy as np

from symjax.data import LabelFields
from symjax.data.units import measures
from symjax.metrics import Output, Problem


@functools.singledispatch
def with_labels(item: object, problem: Problem, fields: LabelFields) -> Problem:
    """The problem of an item whose outputs have its labels, on the zero of the model.

    Events have classes, whose error is no difference; they are left as they are.

    Raises:
      SymjaxError: A label that was named is not there or cannot be used.

    Example:
      >>> import ase.build
      >>> from symjax.data import LabelFields
      >>> from symjax.metrics import Output, Problem
      >>> from symjax.models.labelled import with_labels
      >>> from symjax.so3 import SCALAR
      >>> water = ase.build.molecule("H2O")
      >>> water.info["energy"] = -14.0
      >>> outputs = {"energy": Output(SCALAR, "eV", offset=-13.0)}
      >>> problem = Problem(lambda x: {"energy": x.sum()}, water.positions, outputs)
      >>> with_labels(water, problem, LabelFields()).outputs["energy"].labels.tolist()
      [-1.0]
    """
    return problem


@with_labels.register
def _(item: ase.Atoms, problem: Problem, fields: LabelFields) -> Problem:
    outputs = {
        name: _labelled(item, name, output, fields)
        for name, output in problem.outputs.items()
    }
    return dataclasses.replace(problem, outputs=outputs)


def _labelled(
    atoms: ase.Atoms, name: str, output: Output, fields: LabelFields
) -> Output:
    # A stress has signs, orders and, of slabs, directions of its own.
    is_stress = measures(output.unit, "eV/angstrom^3")
    if output.kind != "output" or output.representation.has_channels or is_stress:
        return output
    per_atom = output.samples is not None
    shape = output.representation.shape
    values = fields.read(atoms, name, output.unit, shape, per_atom)
    if values is None:
        return output
    rows = values if per_atom else values[None]
    offset = np.asarray(output.offset, np.float64)
    rows = rows - (offset[: len(rows)] if offset.ndim else offset)
    return dataclasses.replace(output, labels=rows)
