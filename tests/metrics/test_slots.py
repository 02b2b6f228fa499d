"""Every element of a rule is evaluated once, with its weight under every rule."""

import jax.numpy as jnp
import numpy as np
import pytest

from symjax.metrics.planning import Elements, plan_passes
from symjax.metrics.problem import Execution, Output, Problem, prepare
from symjax.metrics.slots import Slots, check_rotations
from symjax.so3 import FEATURE, finite_group, quadrature
from symjax.so3.reduction import reduce_rule

RULE = quadrature(7)


@pytest.fixture(params=[None, "D3"], ids=["all elements", "one element of each coset"])
def planned(request):
    """Slots of a plan with several calls, and the elements that they are of."""
    reduced = request.param and reduce_rule(RULE, finite_group(request.param).elements)
    elements = Elements(RULE, reduced)
    problem = Problem(jnp.sin, np.eye(3), {"output": Output(FEATURE)})
    prepared = prepare(problem, Execution(batch_size=16))
    ((_, plan),) = plan_passes(prepared, elements, 3)
    assert plan.num_calls > 1
    return elements, plan, Slots(elements, plan)


def test_weights_are_those_of_the_rules(planned):
    """Sums of products of entries are those of each rule, which is exact for them."""
    elements, plan, slots = planned
    index = np.concatenate([slots.of_call(call) for call in range(plan.num_calls)])
    rotations, weights = slots.rotations(index), slots.element_weights(index)
    used = weights[0] != 0
    assert used.sum() == 2 * elements.rule.num_rotations
    assert len(np.unique(rotations[used].round(9), axis=0)) == used.sum()
    np.testing.assert_allclose(rotations[1::2], -rotations[::2])
    assert len(weights) == 1 + len(elements.nested) > 1
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-14)
    flat = rotations.reshape(-1, 9)
    for weight in weights:
        squares = np.einsum("g,gi,gj->ij", weight, flat, flat)
        if elements.reduced is None:
            # E[R_ij R_kl] = delta_ik delta_jl / 3
            np.testing.assert_allclose(squares, np.eye(9) / 3, atol=1e-12)
        assert np.trace(squares) == pytest.approx(3, abs=1e-12)


def test_random_elements_come_behind_the_nodes_without_weight(planned):
    elements, plan, slots = planned
    index = np.arange(plan.num_nodes, plan.num_nodes + plan.num_checks)
    assert not slots.element_weights(index).any()
    found = slots.rotations(index)[::2]
    np.testing.assert_allclose(found, check_rotations(elements), atol=1e-14)
    # What fills up the last call repeats the last of them.
    last = slots.rotations(np.array([slots.num_used - 1]))
    np.testing.assert_array_equal(slots.rotations(np.array([10**6])), last)
