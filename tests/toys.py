"""Small networks of closed form, each with one failure planted.

Every feature is an exact polynomial in the positions, equivariant under rotations, the
inversion and permutations; ``PLANTED`` says what is wrong with each variant and where.
"""

import dataclasses
import functools
import json

import jax.numpy as jnp
import numpy as np
from pydantic import TypeAdapter
from typer.testing import CliRunner

from symjax import cli
from symjax.data.symmetry import Symmetry
from symjax.diagnose import diagnose, symmetry_traps
from symjax.diagnose.document import DiagnosisFile
from symjax.metrics import Grid, Output, Problem, SampleSymmetry, measure
from symjax.report import Report, StructureReport, schema, write_report
from symjax.report.records import leaves_of
from symjax.report.storage import dumps, plain
from symjax.so3 import FEATURE, PSEUDOSCALAR, SCALAR, VECTOR, spherical
from symjax.so3.point_groups import octahedral_group

MAX_DEGREE = 3
LAYERS = ("gnn_layers.0.out_node", "gnn_layers.1.out_node")
HEADS = {name: f"node_heads.{name}.0" for name in ("energy", "dipole", "tensor", "chi")}
REPRESENTATIONS = {
    "energy": SCALAR,
    "dipole": VECTOR,
    "tensor": spherical(2),
    "chi": PSEUDOSCALAR,
    **dict.fromkeys((*LAYERS, *HEADS.values()), FEATURE),
}
# No symmetry, no plane of atoms.
POSITIONS = np.array(
    [
        [0.9, 0.1, -0.3],
        [-0.4, 0.8, 0.2],
        [0.2, -0.7, 0.6],
        [-0.5, -0.3, -0.8],
        [0.3, 0.5, 0.7],
    ]
)
TETRAHEDRON = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
VARIANTS = (
    "exact",
    "missing",
    "starved",
    "bottleneck",
    "lost",
    "late",
    "blind",
    "noisy",
    "leaking",
    "aliased",
    "trapped",
)


def second(a, b):
    """Symmetric traceless product, m = -2, ..., 2."""
    x, y, z = a[:, 0], a[:, 1], a[:, 2]
    u, v, w = b[:, 0], b[:, 1], b[:, 2]
    return jnp.stack(
        [
            (x * v + y * u) / np.sqrt(2),
            (y * w + z * v) / np.sqrt(2),
            (2 * z * w - x * u - y * v) / np.sqrt(6),
            (x * w + z * u) / np.sqrt(2),
            (x * u - y * v) / np.sqrt(2),
        ],
        axis=-1,
    )


def rich(x, scale):
    """One copy of 0+, 0-, 1+, 1-, 2+ and 2- for each atom, in this order."""
    square = jnp.sum(x**2, axis=-1, keepdims=True)
    pooled = jnp.sum(x * square, axis=0)
    skew = jnp.sum(x * square**2, axis=0)
    axial = jnp.cross(x, pooled)
    triple = jnp.sum(axial * skew, axis=-1, keepdims=True)
    parts = {
        "0+": square,
        "0-": triple,
        "1+": x,
        "1-": axial,
        "2+": second(x, x),
        "2-": second(x, axial),
    }
    return {irrep: part * (1 + scale * square) for irrep, part in parts.items()}


def without(features, *irreps):
    return {k: jnp.zeros_like(v) if k in irreps else v for k, v in features.items()}


def join(features):
    return jnp.concatenate(list(features.values()), axis=-1)


def network(variant, x):
    first, middle, last = (rich(x, scale) for scale in (0.0, 0.3, 0.5))
    if variant == "missing":
        first, middle, last = (without(f, "2+") for f in (first, middle, last))
    if variant == "starved":
        first, middle, last = (
            {**f, "2+": 1e-4 * f["2+"]} for f in (first, middle, last)
        )
    if variant == "bottleneck":
        middle = without(middle, "2+")
    if variant == "lost":
        middle, last = without(middle, "2+"), without(last, "2+")
    if variant == "late":
        first, middle = without(first, "2+"), without(middle, "2+")
    if variant in ("blind", "noisy"):
        odd = ("0-", "1-", "2-")
        first, middle, last = (without(f, *odd) for f in (first, middle, last))
    heads = {name: join(last) for name in HEADS}
    layers = [join(first), join(middle)]
    outputs = {
        "energy": jnp.sum(last["0+"]),
        "dipole": jnp.sum(last["1+"], axis=0),
        "tensor": jnp.sum(last["2+"], axis=0),
        "chi": jnp.sum(last["0-"]),
    }
    if variant == "noisy":
        # Odd under the inversion, and so rough that the grid sees white noise.
        noise = jnp.sin(3e3 * (x @ jnp.array([[1.0], [1.7], [-2.3]])))
        layers = [layer.at[:, 1:2].add(1e-4 * noise) for layer in layers]
        heads = {
            name: head.at[:, 1:2].add(1e-4 * noise) for name, head in heads.items()
        }
    if variant == "leaking":
        # Eight channels of one vector that nearly cancel in the readout.
        weights = jnp.where(jnp.arange(8) % 2, -1.0, 1.001)
        copies = x[:, :1] * jnp.ones(8)
        heads["energy"] = jnp.concatenate([0.1 * last["0+"], 3 * copies], axis=-1)
        outputs["energy"] = jnp.sum(last["0+"]) + jnp.sum(3 * copies @ weights) / 8
    if variant == "aliased":
        layers[0] = layers[0].at[:, 0].set(jnp.cos(40 * x[:, 2]))
        layers[0] = layers[0].at[:, 1:].multiply(0.1)
    if variant == "trapped":
        # A fixed axis: not equivariant, at a tenth of the typical dipole.
        length = jnp.sum(jnp.sum(x**2, axis=-1))
        outputs["dipole"] += 0.01 * length * jnp.array([0.0, 0.0, 1.0])
    named = dict(zip(LAYERS, layers, strict=True))
    return outputs | named | {HEADS[name]: head for name, head in heads.items()}


FUNCTIONS = {name: functools.partial(network, name) for name in VARIANTS}
KINDS = {
    **dict.fromkeys(LAYERS, "node"),
    **dict.fromkeys(HEADS.values(), "node"),
    **dict.fromkeys(HEADS, "output"),
}


def structures(num=1, dtype=np.float32):
    rng = np.random.default_rng(3)
    moves = [np.zeros_like(POSITIONS)]
    moves += [0.2 * rng.standard_normal(POSITIONS.shape) for _ in range(num - 1)]
    return [(POSITIONS + move).astype(dtype) for move in moves]


@functools.cache
def report(variant, num=1, layers="all", dtype="float32"):
    """The report of a variant."""
    outputs = {
        name: Output(
            REPRESENTATIONS[name],
            kind=kind,
            reads=(HEADS[name],) if name in HEADS else (),
        )
        for name, kind in KINDS.items()
    }
    parts = []
    for number, x in enumerate(structures(num, dtype)):
        result = measure(
            FUNCTIONS[variant],
            x,
            representations=REPRESENTATIONS,
            max_degree=MAX_DEGREE,
            over=Grid(on_aliasing="report"),
        )
        leaves = leaves_of(result, outputs, ())
        parts.append(StructureReport(f"toy:{number}", "X5", 5, "ab", leaves))
    settings = schema.Settings(
        MAX_DEGREE,
        result.grid,
        result.degree,
        result.num_elements,
        layers,
        dtype,
        0.05,
        energy="energy",
    )
    return Report(
        schema.Software("0", "0", "cpu"),
        schema.ModelInfo(variant, "ab"),
        settings,
        tuple(parts),
    )


@functools.cache
def diagnosis(variant):
    """What is found in it, traps of a tetrahedron included."""
    traps = [symmetry_traps(problem(variant), "tetrahedron")]
    return diagnose(report(variant), traps=traps)


def without_layers(whole, keep=lambda leaf: leaf.kind == "output"):
    parts = tuple(
        dataclasses.replace(part, leaves=tuple(filter(keep, part.leaves)))
        for part in whole.structures
    )
    return dataclasses.replace(whole, structures=parts)


def tetrahedral_symmetry():
    """The 24 elements of T_d and how they permute the corners."""
    elements, permutations = [], []
    for element in octahedral_group():
        distance = np.linalg.norm(
            (TETRAHEDRON @ element.T)[:, None] - TETRAHEDRON, axis=-1
        )
        if distance.min(axis=1).max() < 1e-12:
            elements.append(element)
            permutations.append(distance.argmin(axis=1))
    return Symmetry(np.array(elements), np.array(permutations), 0.0)


def problem(variant, dtype=np.float32):
    """The outputs of a variant on a tetrahedron, with its symmetry."""
    group = tetrahedral_symmetry()

    def function(x):
        out = network(variant, x)
        return {
            name: jnp.atleast_1d(out[name]) if out[name].ndim == 0 else out[name]
            for name in HEADS
        }

    one = {"energy", "chi"}
    masks = {name: np.ones(1 if name in one else (), bool) for name in HEADS}
    return Problem(
        function,
        TETRAHEDRON.astype(dtype),
        {name: Output(REPRESENTATIONS[name], "u", mask=masks[name]) for name in HEADS},
        symmetry=SampleSymmetry(group.elements, {}, name=group.name),
    )


def renamed(whole, names):
    """The same report with other names of leaves."""
    parts = tuple(
        dataclasses.replace(
            part,
            leaves=tuple(
                dataclasses.replace(leaf, name=names.get(leaf.name, leaf.name))
                for leaf in part.leaves
                if leaf.name not in {HEADS[name] for name in names}
            ),
        )
        for part in whole.structures
    )
    return dataclasses.replace(whole, structures=parts)


def resized(whole, num_atoms):
    """The same report of structures that are said to have other sizes."""
    parts = tuple(
        dataclasses.replace(part, num_atoms=num_atoms) for part in whole.structures
    )
    return dataclasses.replace(whole, structures=parts)


def read_back(path):
    """What the file of a diagnosis says, after it was read back as it was written."""
    read = TypeAdapter(DiagnosisFile).validate_json(path.read_text())
    assert dumps(plain(read)) + "\n" == path.read_text()
    return json.loads(path.read_text())


def command(folder, monkeypatch):
    """Runs ``symjax diagnose`` in a folder, in this process."""
    monkeypatch.chdir(folder)
    # The state of the process, which other tests share, stays as it is.
    monkeypatch.setattr(cli.diagnose, "configure_jax", lambda *args: None)

    def run(*args):
        return CliRunner().invoke(cli.app, ["diagnose", *map(str, args)])

    return run


def written(folder, variant="exact", whole=None):
    """The file of a report: that of a variant, or another."""
    path = folder / "report.json"
    write_report(whole or report(variant), path)
    return path
