"""Sizes far beyond any network: what is larger would be built for ever.

Files of others are read before anything is made of them; a size in one must not take
the memory of a machine, nor its hours.
"""

from typing import Annotated

from pydantic import Field

MOST_LAYERS = 1000
"""Layers, blocks or copies of a module in a row."""
WIDEST = 2**16
"""Width of an array of features, or number of copies, classes, tokens or neighbors."""
HIGHEST_DEGREE = 64
"""Degree of the tensors and harmonics of a network."""

Count = Annotated[int, Field(ge=1, le=WIDEST)]
CountFromZero = Annotated[int, Field(ge=0, le=WIDEST)]
Layers = Annotated[int, Field(ge=1, le=MOST_LAYERS)]
Degree = Annotated[int, Field(ge=1, le=HIGHEST_DEGREE)]
Positive = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(ge=0, lt=1)]
