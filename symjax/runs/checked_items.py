"""Checks of other physical laws on some structures of a run."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any

import ase
import numpy as np

from symjax._signals import interruptions
from symjax.errors import SymjaxError
from symjax.metrics.verdicts import PhysicalCheck

_log = logging.getLogger(__name__)

Laws = Callable[[ase.Atoms], tuple[PhysicalCheck, ...]]


@dataclasses.dataclass(frozen=True)
class Checks:
    """Checks of physical laws for some structures of a run.

    Such laws are properties of the model, and checking them takes a few dozen
    evaluations, so only the smallest structure of each periodicity is checked.

    Attributes:
      laws: Function that checks a structure, picklable for worker processes; None for
        no checks.
      labels: Labels of the structures to check.
    """

    laws: Laws | None = None
    labels: frozenset[str] = frozenset()

    def __call__(self, label: str, item: Any) -> tuple[PhysicalCheck, ...]:
        """Checks one item; empty for one that is not to be checked, or cannot be."""
        if self.laws is None or label not in self.labels:
            return ()
        try:
            with interruptions():
                return self.laws(item)
        except (SymjaxError, RuntimeError, OSError, MemoryError) as error:
            # The measurement stands, even if a doubled cell cannot be evaluated.
            _log.warning("%s: other laws were not checked: %s", label, error)
            return ()


def choose_checks(laws: Laws | None, items: Mapping[str, Any]) -> Checks:
    """Chooses the smallest structure of each periodicity for checks; none for events.

    Example:
      >>> import ase.build
      >>> from symjax.runs.checked_items import choose_checks
      >>> items = {name: ase.build.molecule(name) for name in ("H2O", "CO", "CH4")}
      >>> sorted(choose_checks(lambda atoms: (), items).labels)
      ['CO']
    """
    if laws is None:
        return Checks()
    smallest: dict[int, tuple[int, str]] = {}
    for label, item in items.items():
        if isinstance(item, ase.Atoms):
            entry = (len(item), label)
            kind = int(np.sum(item.pbc))
            smallest[kind] = min(smallest.get(kind, entry), entry)
    return Checks(laws, frozenset(label for _, label in smallest.values()))
