"""Laws of nature beside rotations, and how far a model is from them: the record."""

import dataclasses

# Deviations below this many times their own error are none.
_SIGNIFICANCE = 5.0


@dataclasses.dataclass(frozen=True)
class PhysicalCheck:
    """One law, and how far a calculator is from it on a structure.

    Attributes:
      law: What was done, for instance ``"moved by 0.1 angstrom"``.
      quantity: What should not have changed, or should agree.
      deviation: Root mean square of the difference, in ``unit``.
      error: What round-off and finite steps make of it; a deviation below five times
        this is none.
      scale: Root mean square of the quantity itself, in ``unit``; NaN for an energy,
        whose zero has no meaning.
      unit: Unit of the three.

    Example:
      >>> from symjax.metrics.physical_check import PhysicalCheck
      >>> PhysicalCheck("moved", "forces", 1e-7, 1e-6, 0.5, "eV/angstrom").holds
      True
    """

    law: str
    quantity: str
    deviation: float
    error: float
    scale: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether the deviation is within its error."""
        return bool(self.deviation <= _SIGNIFICANCE * self.error)
