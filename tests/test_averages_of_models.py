"""Predicted errors of averages against averages of events and calculators."""

import ase.build
import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from scipy.spatial.transform import Rotation
from small_models import drawn_pointmae

from symjax.data.point_clouds import SMALL, generate_event
from symjax.interop import AveragedCalculator, calculator_problem
from symjax.metrics import Grid, measure
from symjax.metrics.orbit import respond_in_batches
from symjax.models.pointmae import averaged_problem, event_problem
from symjax.models.pointmae.source import prepare_cloud


class Leaning(Calculator):
    """Springs to the center with a quartic preference for an axis."""

    implemented_properties = ("energy", "forces")
    axis = np.array([0.6, 0.0, 0.8])

    strength = 0.02

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        super().calculate(atoms, properties, changes)
        r = self.atoms.positions - self.atoms.positions.mean(axis=0)
        along = r @ self.axis
        slope = 4 * self.strength * along**3
        self.results = {
            "energy": (r**2).sum() + self.strength * (along**4).sum(),
            "forces": -2 * r - np.outer(slope - slope.mean(), self.axis),
        }


@pytest.fixture(scope="module")
def cluster():
    atoms = ase.build.molecule("CH3OH")
    atoms.rattle(0.1, seed=0)
    return atoms


@pytest.fixture(scope="module")
def whole(cluster):
    """Of degree 4, so that a rule of degree 8 integrates it exactly."""
    problem = calculator_problem(Leaning, cluster, outputs=("energy", "forces"))
    return measure(problem, over=Grid(8), max_degree=4)


@pytest.mark.parametrize("average", ["D2", "Td"])
def test_a_calculator_with_a_preferred_axis(cluster, whole, average):
    elements = Rotation.random(40, random_state=0).as_matrix()
    elements[::2] *= -1
    calculator = AveragedCalculator(Leaning(), average=average)
    problem = calculator_problem(calculator, cluster, outputs=("energy", "forces"))
    responses = respond_in_batches(
        problem.function,
        problem.action,
        problem.x,
        elements,
        keep=(0, 1),
        batch_size=8,
    )
    for name, leaf in whole.items():
        predicted = leaf.response.after(average)
        assert predicted.uncertainty < 1e-6
        assert 0.01 * whole[name].equivariance_error < predicted.error
        assert predicted.error < 0.9 * whole[name].equivariance_error
        values = responses[list(whole).index(name)]
        turned = np.asarray(values)
        if name == "forces":
            turned = np.einsum("gai,gij->gaj", turned, elements)
        squares = np.square(turned - np.asarray(leaf.mean)).reshape(40, -1).mean(1)
        spread = squares.std() / np.sqrt(40)
        assert predicted.error**2 == pytest.approx(squares.mean(), abs=4 * spread)


def test_an_event():
    """Class probabilities of a small network, tokens frozen, averaged over D2."""
    model = drawn_pointmae()
    event = prepare_cloud(model, "a", generate_event(12, SMALL))
    result = measure(
        event_problem(model, event, layers="none"), over=Grid(5), max_degree=2
    )
    leaf = result["class_probabilities"]
    averaged = measure(
        averaged_problem(model, event, "D2", tokens="frozen"),
        over=Grid(5),
        max_degree=2,
    )["class_probabilities"]
    predicted = leaf.response.after("D2")
    assert predicted.error == pytest.approx(
        averaged.equivariance_error, abs=max(predicted.uncertainty, 1e-6)
    )
    assert predicted.uncertainty < 0.2 * leaf.equivariance_error
    assert predicted.error < 0.9 * leaf.equivariance_error
