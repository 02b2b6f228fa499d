"""What random elements say of a grid, beside its nodes."""

import jax.numpy as jnp
import numpy as np
import pytest
from rare_jumps import AXIS, X, jump

from symjax.metrics import Grid, measure
from symjax.so3 import SCALAR, quadrature


@pytest.mark.parametrize("offset", [10.0, 0.0])
def test_what_no_node_of_a_grid_meets(offset):
    """A change far from all nodes, in two thirds of the orbit: random elements see it.

    The verdict of the grid was that A is 0, and resolved.
    """
    rotations = quadrature(5).rotations
    axis = X[0] / np.linalg.norm(X[0])
    nodes = np.concatenate([rotations, -rotations]) @ axis

    def function(x, nodes):
        cosine = jnp.max(nodes @ x[0]) / jnp.linalg.norm(x[0])
        return offset + jnp.where(cosine < np.cos(0.1), 1.0, 0.0)

    over = Grid(5, on_aliasing="report")
    leaf = measure(
        function, X, args=(nodes,), representations=SCALAR, max_degree=2, over=over
    )["output"]
    assert leaf.equivariance_error == 0
    assert not leaf.convergence.resolved


def test_a_resolved_grid_says_what_it_does_not_exclude():
    """Of a jump in 0.2 % of orientations neither nodes nor random elements know."""
    for over, pairs in ((Grid(9), 10), (Grid(5), 6)):
        leaf = measure(
            *(jump(0.002), X),
            args=(AXIS,),
            representations=SCALAR,
            max_degree=2,
            over=over,
        )["output"]
        assert leaf.equivariance_error == 0
        assert leaf.convergence.excluded == pytest.approx(1 - 0.05 ** (1 / pairs))
