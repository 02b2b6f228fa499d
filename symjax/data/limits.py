"""Largest equivariance errors that are admitted, in units that people write."""

import math
import re
from typing import NamedTuple

from symjax.data.units import conversion
from symjax.errors import ArgumentError

_LIMIT = re.compile(r"(?P<name>[^=]+)=\s*(?P<value>[-+.\deE]+)\s*(?P<unit>\S.*)?")


class Limit(NamedTuple):
    """The largest admitted A of an output.

    Attributes:
      name: The output.
      value: The largest A, in ``unit``.
      unit: As it was written; empty for that of the output.

    Example:
      >>> from symjax.data.limits import Limit
      >>> Limit.parse("forces=2 meV/angstrom", "fail_above")
      Limit(name='forces', value=2.0, unit='meV/angstrom')
    """

    name: str
    value: float
    unit: str

    @classmethod
    def parse(cls, text: str, argument: str) -> "Limit":
        """Reads ``NAME=VALUE UNIT``, such as ``"energy=1 meV"``."""
        match = _LIMIT.fullmatch(text.strip())
        try:
            if match is None:
                raise ValueError
            value = float(match["value"])
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError
        except ValueError:
            raise ArgumentError(
                argument,
                text,
                "is not NAME=VALUE with a unit",
                "Pass for instance 'energy=1 meV'",
            ) from None
        return cls(match["name"].strip(), value, (match["unit"] or "").strip())

    def within(self, unit: str) -> float:
        """The value in the unit of an output, which must measure the same."""
        return self.value * conversion(self.unit or unit, unit, self.name)
