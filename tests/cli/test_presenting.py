"""What a command says at its end."""

import types

import pytest

from symjax.cli.presenting import exceeded
from symjax.data.limits import Limit
from symjax.errors import ArgumentError


def report(**errors):
    """A report whose outputs have the given A, in eV and eV/angstrom."""
    units = {"energy": "eV", "forces": "eV/angstrom", "dipole": "e*angstrom"}
    leaves = {
        name: types.SimpleNamespace(
            unit=units[name], totals=types.SimpleNamespace(equivariance_error=error)
        )
        for name, error in errors.items()
    }
    return types.SimpleNamespace(aggregate=lambda: leaves)


def test_only_what_is_above_is_named():
    found = report(energy=2e-3, forces=5e-3)
    limits = [
        Limit.parse("energy=1 meV", "fail_above"),
        Limit.parse("forces=10 meV/angstrom", "fail_above"),
    ]
    assert exceeded(found, limits) == ["energy: A = 0.002 eV is above 0.001 eV"]
    assert exceeded(found, [Limit.parse("energy=2 meV", "fail_above")]) == []
    assert exceeded(
        report(energy=float("nan")), [Limit.parse("energy=1 eV", "fail_above")]
    )
    with pytest.raises(ArgumentError, match=r"fail_above='stress'.*energy, forces"):
        exceeded(found, [Limit.parse("stress=1", "fail_above")])
