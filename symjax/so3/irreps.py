"""The irreducible representations of O(3): labels, parities and products."""

import dataclasses
import re

from symjax.errors import ArgumentError
from symjax.so3._arguments import check_integer

_LABEL = re.compile(r"(\d{1,6})([+-])", re.ASCII)


@dataclasses.dataclass(frozen=True, order=True)
class Irrep:
    """An irreducible representation (l, sigma) of O(3), of dimension 2 l + 1.

    Under the inversion it is multiplied by sigma (-1)^l: sigma = +1 for proper
    tensors (an energy is 0+, a force 1+), -1 for pseudotensors (a torque is 1-).
    The sign in the label is sigma, not the parity; e3nn's ``1o`` is ``1+`` here.

    Attributes:
      degree: The degree l, at least 0.
      sigma: +1 or -1.

    Raises:
      ArgumentError: ``degree`` is not an integer of at least 0, or ``sigma`` is
        neither +1 nor -1.

    Example:
      >>> from symjax.so3 import Irrep
      >>> torque = Irrep(1, -1)
      >>> str(torque), torque.dimension, torque.parity
      ('1-', 3, 1)
    """

    degree: int
    sigma: int

    def __post_init__(self) -> None:
        # NumPy integers are stored as int, so that labels and hashes agree.
        object.__setattr__(self, "degree", check_integer("degree", self.degree))
        if isinstance(self.sigma, bool) or self.sigma not in (1, -1):
            raise ArgumentError(
                "sigma",
                self.sigma,
                "is neither +1 nor -1",
                "Pass +1 for a proper tensor, -1 for a pseudotensor",
            )
        object.__setattr__(self, "sigma", int(self.sigma))

    @property
    def dimension(self) -> int:
        """Number of components, 2 l + 1."""
        return 2 * self.degree + 1

    @property
    def parity(self) -> int:
        """Factor under the inversion, sigma (-1)^l."""
        return self.sigma * (-1) ** self.degree

    def __str__(self) -> str:
        return f"{self.degree}{'+' if self.sigma == 1 else '-'}"

    @classmethod
    def parse(cls, label: str) -> "Irrep":
        """Parses a label such as ``"2+"``; the inverse of ``str``.

        Args:
          label: The degree in decimal digits, then the sign of sigma.

        Returns:
          The irrep.

        Raises:
          ArgumentError: ``label`` is not a string of this form.

        Example:
          >>> from symjax.so3 import Irrep
          >>> Irrep.parse("2+")
          Irrep(degree=2, sigma=1)
        """
        match = _LABEL.fullmatch(label) if isinstance(label, str) else None
        if match is None:
            raise ArgumentError(
                "label",
                label,
                "is not the label of an irrep",
                "Write the degree and the sign of sigma, for instance '0+' or '2-'",
            )
        return cls(int(match[1]), 1 if match[2] == "+" else -1)


def check_irrep(argument: str, value: object) -> None:
    """Raises an ArgumentError unless ``value`` is an :class:`Irrep`."""
    if not isinstance(value, Irrep):
        raise ArgumentError(
            argument,
            value,
            "is not an Irrep",
            "Pass Irrep(degree, sigma) or Irrep.parse('1+')",
        )


def products(a: Irrep, b: Irrep) -> list[Irrep]:
    """Irreps in the tensor product of two irreps (the Clebsch-Gordan series).

    The degrees are abs(l_a - l_b), ..., l_a + l_b, each once. The inversion multiplies
    the product by both parities, and sigma_c (-1)^{l_c} must equal that factor, so
    sigma_c = sigma_a sigma_b (-1)^{l_a + l_b + l_c}.

    Args:
      a: First factor.
      b: Second factor.

    Returns:
      The irreps of the product, in order of increasing degree.

    Raises:
      ArgumentError: A factor is not an :class:`Irrep`.

    Example:
      >>> from symjax.so3 import Irrep, products
      >>> vector = Irrep(1, 1)
      >>> [str(irrep) for irrep in products(vector, vector)]
      ['0+', '1-', '2+']
    """
    check_irrep("a", a)
    check_irrep("b", b)
    return [
        Irrep(degree, a.sigma * b.sigma * (-1) ** (a.degree + b.degree + degree))
        for degree in range(abs(a.degree - b.degree), a.degree + b.degree + 1)
    ]


def all_irreps(max_degree: int) -> list[Irrep]:
    """All irreps through a degree, ordered by degree, sigma = +1 first.

    Raises:
      ArgumentError: ``max_degree`` is not an integer of at least 0.

    Example:
      >>> from symjax.so3.irreps import all_irreps
      >>> [str(irrep) for irrep in all_irreps(1)]
      ['0+', '0-', '1+', '1-']
    """
    max_degree = check_integer("max_degree", max_degree)
    return [
        Irrep(degree, sigma) for degree in range(max_degree + 1) for sigma in (1, -1)
    ]
