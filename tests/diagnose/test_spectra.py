"""The noise model: floors, uncertainties, thresholds of severity."""

import numpy as np
import pytest

from symjax.diagnose.spectra import spectrum_of
from symjax.metrics import Convergence, Totals, add_totals
from symjax.report import Leaf
from symjax.so3 import Irrep

EPSILON = float(np.finfo(np.float32).eps)
MODES = np.square(2 * np.arange(7) + 1.0)[:, None]
NUM = 2072


def spectrum(content, parts=None, norm=1.0, degree=13):
    content = np.asarray(content, float)
    totals = [
        Totals(np.zeros(1), np.full(1, norm), part[None], np.full(1, 12.0))
        for part in ([content * norm] if parts is None else parts)
    ]
    verdict = Convergence(True, 0.0, 0.01, 0.0, degree)
    leaf = Leaf("a", "node", "", "feature", ("0+",), 4, add_totals(totals), {}, verdict)
    return spectrum_of(
        leaf, totals, num_elements=NUM, epsilon=EPSILON, degree=degree, num_tests=280
    )


def invariant(**sectors):
    content = np.zeros((7, 2))
    content[0, 0] = 1.0
    for name, value in sectors.items():
        content[int(name[1]), 0 if name[2] == "p" else 1] = value
    return content


def noisy(eta, seed=0):
    """An invariant with white noise of relative amplitude eta."""
    rng = np.random.default_rng(seed)
    freedom = np.broadcast_to(MODES, (7, 2))
    content = invariant() * (1 - eta**2)
    return content + eta**2 / NUM * rng.chisquare(freedom)


@pytest.mark.parametrize("eta", [1e-5, 1e-4, 1e-2])
def test_white_floor_is_measured(eta):
    # two sectors of 121 and 169 modes: 12 % each in power
    assert spectrum(noisy(eta)).noise == pytest.approx(eta, rel=0.25)


def test_without_a_floor_it_is_the_epsilon():
    assert spectrum(invariant()).noise == pytest.approx(EPSILON)
    assert spectrum(invariant(l6p=1e-8, l5m=1e-4)).noise == pytest.approx(EPSILON)


def test_flat_content_is_no_noise_where_nothing_lies_above():
    """White noise would leave a large remainder."""
    content = np.broadcast_to(MODES, (7, 2)) / MODES.sum() / 2
    assert spectrum(content).noise == pytest.approx(EPSILON)


def test_noise_alone_is_not_content():
    for seed in range(20):
        found = spectrum(noisy(1e-4, seed))
        for degree in range(7):
            for sigma in (1, -1):
                irrep = Irrep(degree, sigma)
                assert found.present(irrep) == (str(irrep) == "0+"), irrep


def test_content_above_the_floor_is_seen():
    content = noisy(1e-4)
    content[1, 1] += 1e-9
    assert spectrum(content).present(Irrep(1, -1))


@pytest.mark.parametrize(
    ("share", "starved"),
    [(0.0, True), (0.99 * EPSILON, True), (1.01 * EPSILON, False), (0.5, False)],
)
def test_starved_below_the_noise_amplitude(share, starved):
    found = spectrum(invariant(l2p=share))
    assert found.starved(Irrep(2, 1)) == starved
    if share:
        error = EPSILON / np.sqrt(share)
        assert found.readout_error(Irrep(2, 1)) == pytest.approx(error, rel=1e-6)


def test_what_a_slow_decay_folds_back_counts_as_noise():
    decay = 0.5 ** np.arange(7.0)
    content = np.stack([decay, np.zeros(7)], axis=1)
    content *= 0.99 / content.sum()
    found = spectrum(content)
    # degrees above 13 - l, continued: never more than the remainder
    assert 0 < found.floor_of(Irrep(1, -1)) < 0.01 + 1e-6
    assert found.floor_of(Irrep(1, -1)) < found.floor_of(Irrep(6, -1))
    assert found.floor_of(Irrep(0, 1)) == pytest.approx(
        content[6, 0] * 0.5**8 / 0.5, rel=1e-3
    )


def test_structures_that_differ_widen_the_uncertainty():
    parts = [invariant(l2p=share) for share in (1e-3, 3e-3, 2e-3)]
    found = spectrum(parts[0], parts)
    irrep = Irrep(2, 1)
    assert found.of(irrep) == pytest.approx(2e-3)
    # the jackknife of a mean is its standard error
    error = np.std([1e-3, 3e-3, 2e-3], ddof=1) / np.sqrt(3)
    assert found.uncertainty_of(irrep) == pytest.approx(error, rel=1e-2)
    assert found.upper_of(irrep) == pytest.approx(2e-3 + 2 * error, rel=1e-2)


def test_vanishing_response():
    found = spectrum(np.zeros((7, 2)), norm=0.0)
    assert found.starved(Irrep(0, 1))
    assert found.readout_error(Irrep(0, 1)) == 1.0
