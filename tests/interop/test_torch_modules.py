"""PyTorch modules in place: outputs, layers, batches, and what is refused."""

import numpy as np
import pytest

from symjax.errors import ArgumentError, ModelError
from symjax.interop import torch_problem
from symjax.metrics import Grid, Output, measure
from symjax.so3 import SCALAR, VECTOR

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

X = np.random.default_rng(0).normal(size=(5, 3))
REPORT = Grid(5, on_aliasing="report")


class Transformer(torch.nn.Module):
    """Attention over points: equivariant to no rotation, invariant to permutations."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Linear(3, 8)
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, positions, charges=None):
        tokens = self.embed(positions)
        mixed, _ = self.attention(tokens, tokens, tokens)
        forces = self.head(tokens + mixed)
        weights = 1.0 if charges is None else charges[..., None]
        return {"forces": forces, "dipole": (weights * positions).sum(dim=-2)}


class Norms(torch.nn.Module):
    """An invariant and an equivariant output in closed form."""

    def __init__(self):
        super().__init__()
        self.square = torch.nn.Sequential()

    def forward(self, positions):
        return self.square(positions**2).sum(dim=(-1, -2)), positions


KINDS = {"forces": VECTOR, "dipole": Output(VECTOR, unit="e*angstrom")}


@pytest.mark.parametrize("batched", [True, False])
def test_outputs_and_layers(batched):
    module = Transformer()
    problem = torch_problem(
        module, X, outputs=KINDS, layers=["embed", "atten[a-z]*"], batched=batched
    )
    assert [*problem.outputs] == ["forces", "dipole", "embed", "attention"]
    result = measure(problem, over=REPORT, max_degree=2)
    assert result["dipole"].relative_error < 1e-6
    assert result["forces"].relative_error > 0.1
    # An affine map of a vector: degrees 0 and 1 alone.
    embed = result["embed"]
    assert embed.content_of("0+") + embed.content_of("1+") == pytest.approx(1, abs=1e-6)
    assert not module.embed._forward_hooks


def test_values_are_those_of_the_module():
    problem = torch_problem(Transformer(), X, outputs=KINDS)
    direct = Transformer()(torch.tensor(X, dtype=torch.float32)[None])
    found = problem.function(problem.x)
    for name in KINDS:
        np.testing.assert_allclose(
            found[name], direct[name][0].detach().numpy(), atol=1e-6
        )


def test_tuples_and_arguments_that_do_not_rotate():
    result = measure(
        torch_problem(Norms(), X, outputs={"0": SCALAR, "1": VECTOR}),
        over=Grid(5),
        max_degree=2,
    )
    assert all(leaf.relative_error < 1e-6 for leaf in result.values())
    problem = torch_problem(
        Transformer(),
        {"positions": X, "charges": np.arange(5.0)},
        action={"positions": VECTOR, "charges": None},
        outputs=KINDS,
    )
    found = problem.function(problem.x)
    np.testing.assert_allclose(found["dipole"], np.arange(5.0) @ X, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"module": np.sum}, ModelError, "is not a torch.nn.Module"),
        ({"layers": ["decoder"]}, ModelError, "layers='decoder'.*embed"),
        ({"layers": ["("]}, ModelError, "is not a regular expression"),
        ({"action": {"x": VECTOR}}, ArgumentError, "how each of 0 rotates"),
        ({"action": (None,)}, ArgumentError, "rotates none"),
        (
            {"outputs": {**KINDS, "embed": VECTOR}, "layers": ["embed"]},
            ArgumentError,
            "name of an output",
        ),
    ],
)
def test_bad_input(change, error, text):
    options = {"module": Transformer(), "inputs": X, "outputs": KINDS} | change
    module, inputs = options.pop("module"), options.pop("inputs")
    with pytest.raises(error, match=text):
        torch_problem(module, inputs, **options)


def test_a_layer_that_is_not_called_is_refused():
    """MultiheadAttention reads the weights of its projection without calling it."""
    problem = torch_problem(Transformer(), X, outputs=KINDS, layers=["attention.o.*"])
    with pytest.raises(ArgumentError, match=r"attention.out_proj'.*was not called"):
        measure(problem, over=Grid(3), max_degree=1)


@pytest.mark.parametrize("layer", [torch.nn.BatchNorm1d(5), torch.nn.Dropout(0.1)])
def test_a_module_in_training_is_refused(layer):
    """A batch norm would mix orientations, and change with every call."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), layer)
    with pytest.raises(ModelError, match="in training mode"):
        torch_problem(module, X, outputs=VECTOR)
    assert torch_problem(module.eval(), X, outputs=VECTOR).outputs


def test_a_module_without_a_batch_axis():
    class Total(torch.nn.Module):
        def forward(self, positions):
            return (positions**2).sum()

    with pytest.raises(ArgumentError, match="Pass batched=False"):
        measure(torch_problem(Total(), X, outputs=SCALAR), over=Grid(3), max_degree=1)
    problem = torch_problem(Total(), X, outputs=SCALAR, batched=False)
    leaf = measure(problem, over=Grid(3), max_degree=1)["output"]
    assert leaf.relative_error < 1e-6


def test_layers_of_a_module_in_a_report(tmp_path):
    """Through a function in a file: measured, written, read back, and shown."""
    import ase.build

    from symjax.diagnose import diagnose
    from symjax.interop.foreign_sources import FunctionSource
    from symjax.report import read_report
    from symjax.report.html import to_html
    from symjax.report.tables import to_text
    from symjax.runs import Options, measure_items

    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\n"
        "from symjax.interop import torch_problem\n"
        "from symjax.so3 import VECTOR\n"
        "torch.manual_seed(0)\n"
        "net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 3))\n"
        "def problem(atoms):\n"
        "    return torch_problem(net, atoms.positions, outputs=VECTOR, layers=['0'])\n"
    )
    options = Options(max_degree=1, grid=5, dtype="float64")
    source, items = FunctionSource(f"{path}:problem"), {"a": ase.build.molecule("H2O")}
    measure_items(source, items, options, tmp_path / "out")
    report = read_report(tmp_path / "out")
    kinds = {leaf.name: leaf.kind for leaf in report.aggregate().values()}
    assert kinds == {"output": "output", "0": "layer"}
    assert "0" in to_text(report, 80)
    assert "<html" in to_html(report)
    assert diagnose(report).findings
