"""Which layers each output reads, which irreps it needs, and the order of layers.

A report stores which layers each output reads, if the model declares them. Otherwise
the caller names them, or the last layers are assumed.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from symjax.data.quantities import DERIVATIVES
from symjax.errors import ArgumentError
from symjax.report.leaves import Leaf, ReportError
from symjax.report.schema import Report
from symjax.so3.irreps import Irrep
from symjax.so3.representations import MATRIX


@dataclasses.dataclass(frozen=True)
class Readout:
    """What an output, or a target that the model does not have yet, reads.

    Attributes:
      output: Its name.
      irreps: The irreps that it needs.
      layers: The layers that it reads, in the order of the network.
      before: The layers before these, in the order of the network, without the heads
        of other outputs; empty if the layers it reads are assumed, as it is unknown
        whether these are heads.
      measured: Whether the report contains the output itself.
    """

    output: str
    irreps: tuple[Irrep, ...]
    layers: tuple[str, ...]
    before: tuple[str, ...]
    measured: bool = True


def readouts_of(
    report: Report,
    leaves: Mapping[str, Leaf],
    *,
    targets: Mapping[str, Sequence[str]] | None = None,
    layers_read: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[Readout], list[str]]:
    """Readouts of all outputs of a report and of further targets.

    An output needs the irreps of its representation. A matrix needs the antisymmetric
    part only if that is present, as most physical matrices are symmetric.

    Args:
      report: The report.
      leaves: Its layers and outputs over all structures.
      targets: Irreps that a target needs, by name; for an output of the report, instead
        of those of its representation.
      layers_read: Layers that an output or target reads, by name; by default its heads,
        or else the last layer of each kind.

    Returns:
      The readouts, and reasons why others are not available. There are no readouts for
      a report without layers.

    Raises:
      ReportError: The report has no layers although targets or layers are given, or
        neither layers nor outputs.
      ArgumentError: A target or layer is unknown, or a label is no irrep.
    """
    layers = [name for name, leaf in leaves.items() if leaf.kind != "output"]
    outputs = {name: leaf for name, leaf in leaves.items() if leaf.kind == "output"}
    if not layers and (targets or layers_read or not outputs):
        raise ReportError(
            "report",
            report.settings.layers,
            "has no layers in which a failure could be located",
            "Measure again with {layers}",
            layers="all",
        )
    if not layers:
        return [], ["the report has no layers"]
    wanted = {
        name: tuple(Irrep.parse(label) for label in labels)
        for name, labels in (targets or {}).items()
    }
    read = dict(layers_read or {})
    heads = {layer for leaf in outputs.values() for layer in leaf.reads}
    _check_names(read, layers, [*outputs, *wanted])
    found, refused = [], []
    for name in dict.fromkeys([*outputs, *wanted]):
        leaf = outputs.get(name)
        irreps = wanted.get(name) or _needed_irreps(leaf)
        named = read.get(name, leaf.reads if leaf is not None else ())
        own = tuple(layer for layer in layers if layer in named)
        if not own and name in DERIVATIVES and report.settings.energy:
            refused.append(f"{name} is a derivative of {report.settings.energy}")
        elif not own and report.settings.layers != "all":
            refused.append(
                f"the layers that {name} reads are not among those measured "
                f"({report.settings.layers})"
            )
        elif not own:
            last = {leaves[layer].kind: layer for layer in layers if layer not in heads}
            ordered = tuple(layer for layer in layers if layer in last.values())
            found.append(Readout(name, irreps, ordered, (), leaf is not None))
        else:
            first = layers.index(own[0])
            before = tuple(layer for layer in layers[:first] if layer not in heads)
            found.append(Readout(name, irreps, own, before, leaf is not None))
    return found, refused


def _needed_irreps(leaf: Leaf | None) -> tuple[Irrep, ...]:
    """Irreps that an output must read, each once; empty for None.

    Those of a matrix without an antisymmetric part are 0+ and 2+.
    """
    if leaf is None:
        return ()
    irreps = [Irrep.parse(label) for label in leaf.irreps]
    norm = leaf.totals.norm
    # Half of the digits of float32, as for the content of layers.
    if tuple(irreps) == MATRIX.irreps and norm[1] <= 1e-7 * norm.sum():
        del irreps[1]
    return tuple(dict.fromkeys(irreps))


def main_path(readout: Readout, leaves: Mapping[str, Leaf]) -> list[tuple[str, str]]:
    """Pairs of consecutive layers of the same kind on the path to an output.

    Embeddings of inputs and side branches are left out.
    """
    path = [name for name in leaves if name in (*readout.before, *readout.layers)]
    if not readout.before:
        heads = {layer for leaf in leaves.values() for layer in leaf.reads}
        path = [name for name, leaf in leaves.items() if leaf.kind != "output"]
        path = [name for name in path if name not in heads]
    path = [name for name in path if not leaves[name].beside]
    pairs = []
    for kind in dict.fromkeys(leaves[name].kind for name in path):
        line = [name for name in path if leaves[name].kind == kind]
        pairs += list(itertools.pairwise(line))
    return pairs


def _check_names(
    read: Mapping[str, Sequence[str]], layers: list[str], outputs: list[str]
) -> None:
    for name, chosen in read.items():
        if name not in outputs:
            raise ArgumentError(
                "layers_read",
                name,
                "is neither an output of the report nor a target",
                f"Use {', '.join(outputs)}, or name its irreps in targets",
            )
        unknown = [layer for layer in chosen if layer not in layers]
        if unknown or not chosen:
            raise ArgumentError(
                "layers_read",
                f"{name}={','.join(unknown or chosen)}",
                "names no layer of the report",
                f"Use names from {', '.join(layers)}",
            )
