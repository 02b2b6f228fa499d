"""Layers that are read by hooks."""

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("metatomic.torch", reason="needs the extra [torch]")
from torch_closed import closed, water  # noqa: E402

from symjax.errors import ModelError  # noqa: E402
from symjax.interop import metatomic_problem  # noqa: E402
from symjax.metrics import Grid, measure  # noqa: E402


def test_layers_of_a_module_are_read_by_hooks():
    model = closed()
    problem = metatomic_problem(model, water(), layers="all")
    assert problem.outputs["readout"].kind == "edge"
    rule = Grid(5, on_aliasing="report")
    found = measure(problem, over=rule, max_degree=2)["readout"]
    # Components x and y of six vectors.
    assert found.variance.shape == (6, 1)
    assert found.content_of("1+") == pytest.approx(1)
    with pytest.raises(ModelError, match="matches no layer"):
        metatomic_problem(model, water(), layers="nothing")
