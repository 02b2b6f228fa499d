"""Upper limits on equivariance errors, written as ``NAME=VALUE UNIT``."""

import math
import re
from typing import NamedTuple

from symjax.data.units import conversion
from symjax.errors import ArgumentError

_LIMIT = re.compile(r"(?P<name>[^=]+)=\s*(?P<value>[-+.\deE]+)\s*(?P<unit>\S.*)?")


class Limit(NamedTuple):
    """Upper limit on the equivariance error A of an output.

    Attributes:
      name: Name of the output.
      value: Largest allowed A, in ``unit``.
      unit: Unit of the value, as written; empty for the unit of the output.

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
        """Parses ``NAME=VALUE UNIT``, such as ``"energy=1 meV"``.

        Args:
          text: The limit; the unit may be left out.
          argument: Name of the argument that ``text`` was passed for, for messages.

        Raises:
          ArgumentError: The text has another form, or the value is negative or not
            finite.
        """
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
                "is not of the form NAME=VALUE UNIT, with a value of at least 0",
                "Pass for instance 'energy=1 meV'",
            ) from None
        return cls(match["name"].strip(), value, (match["unit"] or "").strip())

    def within(self, unit: str) -> float:
        """Returns the value in the unit of the output.

        Raises:
          ArgumentError: The unit of the limit cannot be converted to it.
        """
        return self.value * conversion(self.unit or unit, unit, self.name)
