"""Plans fit the memory they are given, and estimates say what a measurement does."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from two_widths import LEAVES, X, features, tables_of

from symjax.errors import ArgumentError
from symjax.metrics import Grid, measure
from symjax.metrics.characters import (
    Projector,
    factorised_tables,
)
from symjax.metrics.pieces import Leaf
from symjax.metrics.planning import Checks, Elements, plan_passes, table_bytes
from symjax.metrics.problem import Execution, Output, Problem, prepare
from symjax.so3 import FEATURE, VECTOR, quadrature
from symjax.so3.quadratures import nested_rules


def planned(function, leaves, memory, degree, max_degree):
    """Passes with so many bytes beside the tables of the projection."""
    execution = Execution(memory + tables_of(degree, max_degree, leaves))
    problem = Problem(function, X, {n: Output(FEATURE) for n in leaves})
    elements = Elements(quadrature(degree), None)
    prepared = dataclasses.replace(prepare(problem, execution), leaves=leaves)
    return plan_passes(prepared, elements, max_degree)


def passes_of(memory, degree=9, max_degree=4):
    """Passes with so many bytes beside the tables of the projection."""
    return planned(features, LEAVES, memory, degree, max_degree)


@pytest.mark.parametrize("memory", [2 * 10**5, 10**6, 10**9])
def test_plans_fit_their_memory(memory):
    for pieces, plan in passes_of(memory):
        assert plan.num_bytes - tables_of(9, 4) <= 1.3 * memory, (memory, pieces)


@pytest.mark.parametrize("memory", [2 * 10**5, 10**9])
def test_every_sample_is_in_a_pass(memory):
    seen = {"wide": set(), "narrow": set()}
    for pieces, _ in passes_of(memory):
        for piece in pieces:
            seen[piece.name] |= set(range(piece.start, piece.start + piece.num_samples))
    assert seen == {"wide": set(range(6)), "narrow": set(range(6))}


@pytest.mark.parametrize(("degree", "max_degree"), [(13, 6), (35, 12)])
def test_tables_need_what_is_said(degree, max_degree):
    rule = quadrature(degree)
    elements = Elements(rule, None)
    leaf = Leaf(VECTOR, (2, 3), "float32")
    said = table_bytes([leaf], elements, max_degree)
    held = 0
    # An output is projected to what each nested rule resolves.
    rules = [(2 * max_degree, rule.sphere_weights), *elements.nested]
    for exact, sphere in rules:
        through = min(max_degree, exact // 2)
        projector = Projector(through, rule.in_plane)
        held += sum(t.nbytes for t in factorised_tables(projector, rule, sphere)[1])
    # Twice, and the matrices of the rule.
    assert 2 * held <= said < 3 * held


def test_a_climb_compares_with_the_finest_of_the_nested_rules():
    rule = quadrature(15)
    degree, weights = nested_rules(rule)[0]
    (found,) = Elements(rule, None, Checks(np.eye(3)[None])).nested
    assert found[0] == degree
    np.testing.assert_array_equal(found[1], weights)


def test_tables_that_do_not_fit_are_refused_before_they_are_made():
    with pytest.raises(ArgumentError, match="tables of the projection"):
        measure(features, X, representations=FEATURE, max_degree=4, memory=2 * 10**5)


def test_every_node_is_in_a_call():
    for degree in (3, 9, 25):
        rule = quadrature(degree)
        for _, plan in passes_of(10**9, degree, 1):
            assert plan.num_calls * plan.nodes_per_call > len(rule.alpha)
            filled = plan.num_buffers * plan.calls_per_buffer
            assert plan.num_calls <= filled < plan.num_calls + plan.calls_per_buffer


def test_only_tables_grow_with_the_grid():
    memory = 3 * 10**6
    sizes = [
        max(plan.num_bytes for _, plan in passes_of(memory, degree))
        - tables_of(degree, 4)
        for degree in (9, 35, 59)
    ]
    assert max(sizes) <= 1.3 * memory


@pytest.mark.parametrize(
    ("memory", "least"),
    # Four of 87 calls where that saves the second of two passes.
    [(4 * 10**6, 12), (10**7, 4), (3 * 10**7, 12)],
)
def test_coefficients_are_not_touched_after_every_few_calls(memory, least):
    for pieces, plan in passes_of(memory, 35, 12):
        # A sample by itself is not divided any further.
        if any(piece.num_samples > 1 for piece in pieces):
            assert plan.calls_per_buffer >= min(least, plan.num_calls), (memory, plan)


def test_passes_of_an_expensive_function_are_few(monkeypatch):
    """Room for sixteen calls would take another pass of a model that is deep."""
    leaves = {f"layer {n}": Leaf(FEATURE, (6, 20), "float32", n) for n in range(5)}

    def deep(x):
        middle = jnp.tanh(jnp.outer(x.ravel(), jnp.ones(100_000)))
        return dict.fromkeys(leaves, x @ middle[:3, :20])

    def num_passes():
        return len(planned(deep, leaves, 10**6, 25, 3))

    assert num_passes() == 2
    monkeypatch.setattr("symjax.metrics.planning.BUFFERED_CALLS", (16,))
    assert num_passes() == 3


def test_pieces_of_a_leaf_give_the_same_result():
    options = {
        "representations": FEATURE,
        "max_degree": 4,
        "over": Grid(on_aliasing="report"),
    }
    whole = measure(features, X, **options)
    split = measure(features, X, memory=2 * 10**5 + tables_of(9, 4), **options)
    for name, leaf in whole.items():
        other = split[name]
        # The same sums; only the last sums over batches run in another order.
        np.testing.assert_allclose(other.power, leaf.power, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(other.variance, leaf.variance, rtol=1e-9)
        np.testing.assert_allclose(other.mean, leaf.mean, rtol=1e-9, atol=1e-13)
        assert other.convergence.excess == pytest.approx(
            leaf.convergence.excess, rel=1e-6, abs=1e-12
        )
