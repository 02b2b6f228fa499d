"""symjax: how well has a model learned the symmetry of three-dimensional space?"""

__version__ = "0.1.0"
