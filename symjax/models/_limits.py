"""Sizes far beyond any network: what is larger would be built for ever.

Files of others are read before anything is made of them; a size in one must not take
the memory of a machine, nor its hours.
"""

MOST_LAYERS = 1000
"""Layers, blocks or copies of a module in a row."""
WIDEST = 2**16
"""Width of an array of features, or number of copies, classes, tokens or neighbors."""
HIGHEST_DEGREE = 64
"""Degree of the tensors and harmonics of a network."""
