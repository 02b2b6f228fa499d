"""The groups SO(3) and O(3): elements, representations, harmonics and quadratures."""

from symjax.so3.action import act
from symjax.so3.conversions import from_e3nn, from_e3x, to_e3nn, to_e3x
from symjax.so3.finite_groups import FiniteGroup, finite_group
from symjax.so3.harmonics import spherical_harmonics
from symjax.so3.irreps import Irrep, products
from symjax.so3.quadratures import Quadrature, nested, quadrature
from symjax.so3.representations import (
    FEATURE,
    MATRIX,
    PSEUDOSCALAR,
    PSEUDOVECTOR,
    SCALAR,
    VECTOR,
    Representation,
    direct_sum,
    from_spherical,
    spherical,
    to_spherical,
)
from symjax.so3.sampling import haar
from symjax.so3.wigner import irrep_matrix, wigner_d

__all__ = [
    "FEATURE", "MATRIX", "PSEUDOSCALAR", "PSEUDOVECTOR", "SCALAR", "VECTOR",
    "FiniteGroup", "Irrep", "Quadrature", "Representation", "act",
    "direct_sum", "finite_group", "from_e3nn",
    "from_e3x", "from_spherical", "haar", "irrep_matrix", "nested", "products",
    "quadrature", "spherical", "spherical_harmonics", "to_e3nn", "to_e3x",
    "to_spherical", "wigner_d",
]  # fmt: skip
