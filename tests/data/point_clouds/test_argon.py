"""Energy loss and scattering against tabulated values for liquid argon."""

import numpy as np
import pytest

from symjax.data.point_clouds import argon


@pytest.mark.parametrize(
    ("kinetic", "mass", "expected"),
    [
        # MeV cm^2 / g: muons of Groom et al., protons and electrons of NIST
        (100.0, argon.MUON_MASS, 1.67),
        (266.0, argon.MUON_MASS, 1.51),
        (10.0, argon.MUON_MASS, 5.7),
        (100.0, argon.PROTON_MASS, 5.55),
        (1.0, argon.ELECTRON_MASS, 1.37),
    ],
)
def test_energy_loss(kinetic, mass, expected):
    loss = argon.stopping_power(kinetic, mass) / argon.DENSITY
    assert loss == pytest.approx(expected, rel=0.12)


def test_energy_loss_falls_then_rises():
    losses = [argon.stopping_power(t, argon.MUON_MASS) for t in (5, 50, 300, 3000)]
    assert losses[0] > losses[1] > losses[2] < losses[3]


def test_scattering_grows_as_energy_falls():
    angles = [argon.scattering_angle(t, argon.MUON_MASS, 0.15) for t in (10, 100)]
    assert angles[0] > angles[1] > 0


def test_directions_are_isotropic():
    generator = np.random.default_rng(0)
    mean = np.mean([argon.random_direction(generator) for _ in range(2000)], axis=0)
    assert np.abs(mean).max() < 5 / np.sqrt(3 * 2000)


def test_turns_have_their_angle_and_any_azimuth():
    generator = np.random.default_rng(0)
    axis = np.array([0.6, 0.0, 0.8])
    turned = np.array([argon.deflect(axis, 0.4, generator) for _ in range(2000)])
    np.testing.assert_allclose(turned @ axis, np.cos(0.4))
    across = (turned - np.cos(0.4) * axis).mean(axis=0)
    assert np.linalg.norm(across) < 5 * np.sin(0.4) / np.sqrt(2000)


def test_michel_spectrum():
    generator = np.random.default_rng(0)
    x = np.array([argon.michel_energy(generator) for _ in range(4000)]) / 52.83
    # density 2 x^2 (3 - 2 x): mean 7/10, variance 8/15 - 49/100
    assert x.mean() == pytest.approx(0.7, abs=5 * np.sqrt((8 / 15 - 0.49) / 4000))
    assert x.max() <= 1


def test_delta_spectrum():
    generator = np.random.default_rng(0)
    t = np.array([argon.delta_energy(3.0, 60.0, generator) for _ in range(4000)])
    share = (1 / 3 - 1 / 10) / (1 / 3 - 1 / 60)
    assert np.mean(t < 10) == pytest.approx(share, abs=5 * 0.5 / np.sqrt(4000))
    assert t.min() >= 3
    assert t.max() <= 60
    assert argon.delta_rate(20.0, argon.MUON_MASS, 3.0)[0] == 0
