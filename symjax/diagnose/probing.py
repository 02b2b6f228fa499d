"""Which tensors can be read from the layers of a model, with tables and figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase
import jax
import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from symjax._text import drawn
from symjax.diagnose.spectra import check_model, spectra
from symjax.errors import ArgumentError, SymjaxError
from symjax.labels.analytic import environment_tensors
from symjax.metrics import Probes, probe
from symjax.metrics.orbit import respond_in_batches
from symjax.metrics.probes import check_enough
from symjax.metrics.problem import Execution, prepare
from symjax.models.pet import PETModel, orbit_problem
from symjax.models.pet.source import padded_shapes
from symjax.report.figures import STYLE
from symjax.report.files import FIGURE_FORMATS
from symjax.report.layout import Display, Row, Table, shorten_all
from symjax.report.schema import Report
from symjax.report.storage import write_atomically
from symjax.so3.irreps import Irrep
from symjax.so3.sampling import haar
from symjax.so3.wigner import irrep_matrix

_ELEMENTS = 8
"""Number of elements of O(3) for each structure, half of them improper."""
_WIDEST_NAME = 30


def probe_layers(
    model: Any,
    structures: Mapping[str, ase.Atoms],
    *,
    layers: str = "all",
    max_degree: int = 4,
    products: bool = False,
    dtype: str = "float32",
) -> tuple[Probes, dict[str, SymjaxError]]:
    """Probes which tensors of atomic environments the layers of a PET contain.

    Each structure is evaluated at eight random elements of O(3), half of them improper.
    Features of edges are summed over the neighbors of an atom, as in readouts. The
    tensors are those of :func:`~symjax.labels.analytic.environment_tensors` within the
    model's cutoff, transformed with the structure.

    Args:
      model: A PET.
      structures: Structures by label, at least eight.
      layers: As in :func:`symjax.models.pet.select_layers`.
      max_degree: Largest degree of the tensors.
      products: As in :func:`symjax.metrics.probe`.
      dtype: Type in which the model computes.

    Returns:
      The probes, and errors by label of structures that cannot be used.

    Raises:
      ArgumentError: The model is no PET, or there are too few structures.
      ModelError: There is no such layer.
    """
    if not isinstance(model, PETModel):
        raise ArgumentError(
            "model",
            getattr(model, "name", model),
            "has no layers on atomic structures",
            "Use a PET, or call symjax.metrics.probe with your own features",
        )
    shapes, failed = padded_shapes(structures, model.config)
    check_enough(len(shapes))
    features: dict[str, list[np.ndarray]] = {}
    tensors: dict[Irrep, list[np.ndarray]] = {}
    owner: list[np.ndarray] = []
    for number, label in enumerate(shapes):
        atoms = structures[label]
        elements = _elements(number)
        problem = orbit_problem(
            model,
            atoms,
            layers=layers,
            outputs=(),
            dtype=dtype,
            shape=shapes[label],
        )
        ready = prepare(problem, Execution())
        values = respond_in_batches(
            ready.function,
            ready.action,
            ready.x,
            elements,
            args=ready.args,
            keep=tuple(leaf.index for leaf in ready.leaves.values()),
            batch_size=_ELEMENTS,
        )
        rows_of = dict(zip(ready.leaves, map(np.asarray, values), strict=True))
        # In the order of the network.
        for name in (name for name in problem.outputs if name in rows_of):
            pooled = _of_atoms(rows_of[name], problem.outputs[name].mask, len(atoms))
            features.setdefault(name, []).append(pooled)
        own = environment_tensors(atoms, max_degree, cutoff=model.config.cutoff)
        for irrep, tensor in own.items():
            with jax.enable_x64(True):
                matrices = np.asarray(irrep_matrix(irrep, jax.device_put(elements)))
            transformed = np.einsum("gij,ajc->gaic", matrices, tensor)
            rows = transformed.reshape(-1, *tensor.shape[1:])
            tensors.setdefault(irrep, []).append(rows)
        owner.append(np.full(len(elements) * len(atoms), number))
    found = probe(
        {name: np.concatenate(rows) for name, rows in features.items()},
        {irrep: np.concatenate(rows) for irrep, rows in tensors.items()},
        np.concatenate(owner),
        products=products,
        epsilon=float(np.finfo(dtype).eps),
    )
    return found, failed


def _elements(number: int) -> Float[np.ndarray, "elements 3 3"]:
    key = jax.random.fold_in(jax.random.key(0), number)
    with jax.enable_x64(True):
        elements = np.array(haar(key, _ELEMENTS))
    elements[1::2] *= -1
    return elements


def _of_atoms(
    rows: np.ndarray, mask: np.ndarray | None, num: int
) -> Float[np.ndarray, "samples features"]:
    """Features of atoms; those of edges are summed over neighbors."""
    values = np.asarray(rows, np.float64)
    if values.ndim == 4:
        assert mask is not None
        values = np.where(mask[..., None], values, 0.0).sum(axis=2)
    return values[:, :num].reshape(-1, values.shape[-1])


def report_probes(
    report: Report,
    model: Any,
    structures: Mapping[str, ase.Atoms],
    *,
    products: bool = False,
) -> tuple[Probes, dict[str, SymjaxError]]:
    """As :func:`probe_layers`, of the layers of a report, to its degree, in its type.

    Raises:
      ArgumentError: As there; or the model is not that of the report.
    """
    check_model(report, model)
    settings = report.settings
    return probe_layers(
        model,
        structures,
        layers=settings.layers,
        max_degree=settings.max_degree,
        products=products,
        dtype=settings.dtype,
    )


def carried(report: Report) -> dict[str, dict[int, int | None]]:
    """Largest degree at which B is above its floor, by layer and sigma, or None."""
    return {
        name: {
            sigma: max(
                (
                    degree
                    for degree in range(len(spectrum.content))
                    if spectrum.present(Irrep(degree, sigma))
                ),
                default=None,
            )
            for sigma in (1, -1)
        }
        for name, spectrum in spectra(report).items()
        if spectrum.kind != "output"
    }


def _degrees(held: Mapping[int, int | None]) -> str:
    """The largest degrees of both parities as text, such as ``4+ 2-``."""
    parts = [
        f"{degree}{sign}"
        for sign, degree in (("+", held[1]), ("-", held[-1]))
        if degree is not None
    ]
    return " ".join(parts) or "none"


def probes_to_text(
    probes: Probes,
    held: Mapping[str, Mapping[int, int | None]],
    display: Display,
) -> str:
    """A table of the largest degrees that each layer carries and that can be read.

    Args:
      probes: From :func:`probe_layers`.
      held: From :func:`carried`.
      display: Width and symbols of the text.

    Example:
      >>> from symjax.diagnose.probing import probes_to_text
      >>> from symjax.metrics import Decoded, Probes
      >>> from symjax.report.layout import Display
      >>> from symjax.so3 import Irrep
      >>> found = Probes({"a": {Irrep(1, 1): Decoded(0.9, 0, 0.8)}}, {}, (4, 4), 1)
      >>> text = probes_to_text(found, {"a": {1: 3, -1: 2}}, Display(60, True))
      >>> print(text.splitlines()[4])
      a        3+ 2-     1+      0.90
    """
    rows = []
    names = list(probes.sectors)
    for name, short in zip(names, shorten_all(names, _WIDEST_NAME), strict=True):
        cells = [short, _degrees(held[name]) if name in held else "-"]
        largest = {sigma: probes.largest(name, sigma) for sigma in (1, -1)}
        best = (
            None if largest[1] is None else probes.sectors[name][Irrep(largest[1], 1)]
        )
        cells += [_degrees(largest), "-" if best is None else f"{best.score:.2f}"]
        if probes.products:
            largest = {
                sigma: probes.largest(name, sigma, products=True) for sigma in (1, -1)
            }
            cells.append(_degrees(largest))
        rows.append(Row(cells))
    columns = ["layer", "carries", "reads", "R^2 of +"]
    columns += ["reads with products"] if probes.products else []
    title = "Largest degree that each layer carries (B), and that can be read from it"
    table = Table(title, columns, rows).text(display)
    trained, held_out = probes.structures
    notes = display.lines(
        "Read: a ridge regression to tensors of atomic environments predicts held-out "
        "structures better than zero and than tensors of other structures "
        f"({trained} structures for training, {held_out} held out), with 95 % "
        f"confidence over {probes.comparisons} comparisons.",
        0,
    )
    return f"{table.plain}\n\n{notes}\n"


def probes_figure(probes: Probes) -> Figure:
    """Plots scores by layer and degree, with a panel for each sigma and kind of probe.

    Dots mark decodable tensors.

    Example:
      >>> from symjax.diagnose.probing import probes_figure
      >>> from symjax.metrics import Decoded, Probes
      >>> from symjax.so3 import Irrep
      >>> found = Probes({"a": {Irrep(1, 1): Decoded(0.9, 0, 0.8)}}, {}, (4, 4), 1)
      >>> len(probes_figure(found).axes)  # two panels and the color bar
      3
    """
    names = list(probes.sectors)
    kinds = [("", probes.sectors)]
    if probes.products:
        kinds.append((", products", probes.products))
    num = 1 + max(
        (i.degree for held in probes.sectors.values() for i in held), default=0
    )
    with matplotlib.rc_context(STYLE):
        wide = 0.055 * max(map(len, names), default=1)
        size = (
            wide + 2 * len(kinds) * max(0.24 * num, 1.1) + 1.2,
            1.2 + 0.19 * len(names),
        )
        figure = Figure(figsize=(size[0], max(size[1], 2.2)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 2 * len(kinds), sharey=True, squeeze=False)[0]
        panels = [(kind, held, sigma) for kind, held in kinds for sigma in (1, -1)]
        for axis, (kind, held, sigma) in zip(axes, panels, strict=True):
            scores = np.full((len(names), num), np.nan)
            for row, name in enumerate(names):
                for irrep, one in held[name].items():
                    if irrep.sigma != sigma:
                        continue
                    scores[row, irrep.degree] = max(one.score, 0.0)
                    if one.decodable:
                        axis.plot(irrep.degree, row, "o", color="w", ms=2.5)
            image = axis.imshow(scores, vmin=0, vmax=1, cmap="viridis", aspect="auto")
            axis.set_title(rf"$\sigma = {'+' if sigma == 1 else '-'}${kind}")
            axis.set_xlabel(r"degree $\ell$")
            axis.set_xticks(range(num))
            axis.tick_params(length=2, width=0.6)
        axes[0].set_yticks(range(len(names)), list(map(drawn, names)))
        bar = figure.colorbar(image, ax=list(axes), pad=0.02, aspect=30)
        bar.set_label("$R^2$ on structures held out")
    return figure


def save_probes(probes: Probes, path: Path) -> None:
    """Writes :func:`probes_figure` to a ``.png``, ``.svg`` or ``.pdf`` file.

    Raises:
      ArgumentError: The path has another extension.
    """
    end = path.suffix.removeprefix(".")
    if end not in FIGURE_FORMATS:
        raise ArgumentError("path", str(path), "is no figure", "Use .png, .svg or .pdf")
    figure = probes_figure(probes)

    def write(part: Path) -> None:
        with matplotlib.rc_context(STYLE):
            figure.savefig(part, format=end, dpi=200)

    write_atomically(path, write)
