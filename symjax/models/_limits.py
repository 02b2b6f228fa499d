"""Upper limits of the sizes in a configuration, far beyond those of real networks.

They keep a damaged or malicious file from exhausting memory or time.
"""

from typing import Annotated

from pydantic import Field

MOST_LAYERS = 1000
"""Largest number of layers or blocks in a stack."""
WIDEST = 2**16
"""Largest feature width, and number of classes, tokens, neighbors and the like."""
HIGHEST_DEGREE = 64
"""Largest degree of the tensors and spherical harmonics in a network."""

Count = Annotated[int, Field(ge=1, le=WIDEST)]
CountFromZero = Annotated[int, Field(ge=0, le=WIDEST)]
Layers = Annotated[int, Field(ge=1, le=MOST_LAYERS)]
Degree = Annotated[int, Field(ge=1, le=HIGHEST_DEGREE)]
Positive = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(ge=0, lt=1)]
