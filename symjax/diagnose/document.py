"""The file that ``symjax diagnose --json`` writes: a diagnosis, traces and probes."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

from symjax.diagnose.findings import Diagnosis
from symjax.diagnose.tracing import Traced
from symjax.metrics import Decoded, Probes, SectorShares, Trace
from symjax.report.stored import AnyNumbers, Count, Positive, Stored, Text
from symjax.report.stored import StoredIrrep as Sector

_Arrays = Mapping[Text, AnyNumbers]
_StoredTrace = Annotated[
    Trace,
    Stored(
        {
            "units": Mapping[Text, str],
            **dict.fromkeys(("errors", "without", "bare"), _Arrays),
            **dict.fromkeys(("label_errors", "label_errors_without"), _Arrays),
        }
    ),
]
_StoredShares = Annotated[
    SectorShares,
    Stored(
        {
            "sectors": tuple[Sector | None, ...],
            **dict.fromkeys(("values", "errors"), _Arrays),
            "left": Mapping[Text, float],
        }
    ),
]
_StoredTraced = Annotated[
    Traced,
    Stored(
        {
            "trace": _StoredTrace,
            "alone": _StoredTrace | None,
            "shares": tuple[_StoredShares, ...],
        }
    ),
]
_Read = Mapping[
    Text, Mapping[Sector, Annotated[Decoded, Stored(derived=("decodable",))]]
]
_StoredProbes = Annotated[
    Probes,
    Stored(
        {
            **dict.fromkeys(("sectors", "products"), _Read),
            "structures": tuple[Count, Count],
            "comparisons": Positive,
        }
    ),
]


@dataclasses.dataclass(frozen=True, eq=False)
class DiagnosisFile(Diagnosis):
    """A diagnosis with its traces and probes.

    Attributes:
      traces: Traces by structure.
      probes: Tensors that can be read from layers; None if they were not probed.
      carried: Largest degree that each layer carries, of proper tensors (``1``) and of
        pseudotensors (``-1``).
      schema: Name and version of the format.

    Example:
      >>> from symjax.diagnose.document import DiagnosisFile
      >>> from symjax.report.storage import plain
      >>> plain(DiagnosisFile("pet-ethanol", (), ()))["schema"]
      'symjax-diagnosis/1'
    """

    traces: Mapping[Text, _StoredTraced] = dataclasses.field(default_factory=dict)
    probes: _StoredProbes | None = None
    carried: Mapping[Text, Mapping[int, Count | None]] = dataclasses.field(
        default_factory=dict
    )
    schema: Literal["symjax-diagnosis/1"] = "symjax-diagnosis/1"
