"""Attaches the reference labels of structures and events to a problem."""

import dataclasses
import functools

import ase
import jax
import numpy as np

from symjax.data import LabelFields
from symjax.data.point_clouds import PointCloud
from symjax.metrics import Output, Problem


@functools.singledispatch
def with_labels(item: object, problem: Problem, fields: LabelFields) -> Problem:
    """Adds the labels of a structure or event to the outputs of its problem.

    Labels of a structure are those of the fields that match an output, in the unit of
    the output and minus its offset. Labels of an event belong to
    ``class_probabilities``: 1 for the class of a point and 0 for the others, so that
    the squared error summed over classes is the Brier score; NaN for points whose class
    the model does not have. Other items have no labels.

    Args:
      item: The structure (``ase.Atoms``) or event (``PointCloud``).
      problem: Its problem.
      fields: Where structures hold their labels.

    Returns:
      The problem, whose outputs have ``labels`` where there are any.

    Raises:
      SymjaxError: A field that was named explicitly is missing, or a label has the
        wrong shape or unit.

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


@with_labels.register
def _(item: PointCloud, problem: Problem, fields: LabelFields) -> Problem:
    name = "class_probabilities"
    if name not in problem.outputs:
        return problem
    output = problem.outputs[name]
    assert output.samples is not None
    assert output.mask is not None
    shapes = jax.eval_shape(problem.function, problem.x, *problem.args)
    classes = shapes[name].shape[-1]
    labels = output.samples[output.mask]
    rows = np.eye(classes)[np.clip(labels, 0, classes - 1)]
    rows[(labels < 0) | (labels >= classes)] = np.nan
    outputs = {**problem.outputs, name: dataclasses.replace(output, labels=rows)}
    return dataclasses.replace(problem, outputs=outputs)


def _labelled(
    atoms: ase.Atoms, name: str, output: Output, fields: LabelFields
) -> Output:
    if output.kind != "output" or output.representation.has_channels:
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
