"""Long-range features: electrostatic potentials of learned charges.

The features of each atom are mapped to charges, one for each channel. The charges of
all atoms create a potential at each atom, which is mapped to additional features. The
potential is switched off between atoms closer than the cutoff, where the rest of the
model acts. Potentials are linear in the charges, V = K q, and K depends on geometry
alone: one matrix serves all channels, see :func:`potential_kernel`.

The Coulomb potential is that of ``jax-pme``. The mesh and its influence function are
those of torch-pme, which metatrain uses; they break the symmetry of the model, see
:func:`potential_kernel`.
"""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from pydantic import Field

from symjax._declared import Declared
from symjax.data.mesh import Mesh, whole_cells
from symjax.errors import needs_extra
from symjax.models._limits import Positive
from symjax.models._parameters import Dense

# Waves summed at a time; memory grows with this times the number of atoms.
_WAVES_AT_ONCE = 1024


class LongRange(Declared):
    """Hyperparameters of the long-range features, under metatrain's names.

    Attributes:
      smearing: Width of the Gaussian charges on the mesh, in angstrom.
      kspace_resolution: Resolution of the mesh in angstrom, see
        :func:`symjax.data.mesh.mesh_sizes`.
      interpolation_nodes: Number of mesh points along each axis over which the charge
        of an atom is spread, 1 to 5.

    Raises:
      ModelError: A field has an impossible value.
    """

    smearing: Positive = 1.4
    kspace_resolution: Positive = 1.33
    interpolation_nodes: Annotated[int, Field(ge=1, le=5)] = 5


def potential_kernel(
    options: LongRange,
    cutoff: float,
    mesh: Mesh,
    distances: Float[Array, "atoms neighbors"],
    neighbors: Int[Array, "atoms neighbors"],
    edge_mask: Bool[Array, "atoms neighbors"],
) -> Float[Array, "atoms atoms"]:
    """The matrix K of potentials V = K q, in 1/angstrom.

    Without a cell, K_ij = (1 - f(r_ij)) / (2 r_ij) for i != j, with the cosine switch
    f(r) = (1 + cos(pi r / cutoff)) / 2, which is 0 beyond the cutoff. With a cell, K is
    the sum over periodic images by the particle-particle particle-mesh method (Hockney
    and Eastwood; Deserno and Holm, J. Chem. Phys. 109, 7678, 1998). Let sigma be the
    smearing, w_i(k) the Fourier transform of the B-spline that spreads atom i over the
    mesh, U(k) that of the B-spline itself, and
    G(k) = 4 pi exp(-sigma^2 k^2 / 2) / k^2. Then

      2 K_ij = sum_k G(k) / U(k)^2 Re(w_i(k)^* w_j(k)) / volume
               - delta_ij sqrt(2 / pi) / sigma - 2 pi sigma^2 / volume
               - sum over edges from i to j of f(r) erf(r / (sqrt(2) sigma)) / r.

    As in torch-pme, U is a product of sinc(k_a h_a / 2 pi)^nodes over Cartesian axes a,
    with the mesh spacings h_a along the cell vectors. This is the transform of the
    B-spline only if the cell vectors are parallel to the axes. For other cells K
    changes with the orientation, which breaks the symmetry of the model.

    Args:
      options: Hyperparameters.
      cutoff: Radius of the switch in angstrom.
      mesh: Meshes of the structures.
      distances: Edge lengths in angstrom; positive for padding.
      neighbors: Index of the atom at the end of each edge.
      edge_mask: True for edges.

    Returns:
      The matrix, 0 between different structures and for padding.
    """
    pme = _jax_pme()
    coulomb = pme.potentials.coulomb()
    potential = pme.potentials.potential(exclusion_radius=cutoff)
    positions = jnp.asarray(mesh.positions)
    atoms = len(positions)
    index = jnp.arange(atoms)
    structure = jnp.asarray(mesh.structure)
    real = jnp.asarray(mesh.atom_mask)
    same = (structure[:, None] == structure) & real[:, None] & real
    periodic = jnp.asarray(mesh.sizes)[:, 0] > 0
    smearing = jnp.asarray(options.smearing, distances.dtype)

    pairs = same & (index[:, None] != index)
    between = positions[:, None] - positions
    squares = jnp.where(pairs, jnp.sum(between**2, axis=-1), 1)
    apart = jnp.sqrt(squares)
    switch = jnp.where(apart < cutoff, (1 + jnp.cos(apart * (jnp.pi / cutoff))) / 2, 0)
    direct = jnp.where(pairs, (1 - switch) / apart, 0)

    cells = whole_cells(mesh, jnp.asarray(mesh.cells))
    volumes = jnp.abs(jnp.linalg.det(cells))
    sums = _sum_over_waves(options, potential, smearing, mesh, cells)
    sums = (sums - 2 * coulomb.correction_background(smearing)) / volumes[structure]
    sums = jnp.where(same, sums, 0)
    sums = sums - jnp.where(real, coulomb.correction_self(smearing), 0) * jnp.eye(
        atoms, dtype=distances.dtype
    )
    close = jnp.where(edge_mask, potential.sr(smearing, distances), 0)
    sums = sums.at[index[:, None], neighbors].add(close)
    return jnp.where(periodic[structure][:, None], sums, direct) / 2


def _sum_over_waves(
    options: LongRange,
    potential: Any,
    smearing: Float[Array, ""],
    mesh: Mesh,
    cells: Float[Array, "structures 3 3"],
) -> Float[Array, "atoms atoms"]:
    """The sum over waves, before it is divided by the volume."""
    structure = jnp.asarray(mesh.structure)
    sizes = jnp.maximum(jnp.asarray(mesh.sizes), 1)
    weights = jnp.asarray(mesh.weights)
    number = weights.shape[1]
    blocks = -(-number // _WAVES_AT_ONCE)
    width = -(-number // blocks)
    extra = [(0, 0), (0, blocks * width - number)]
    weights = jnp.pad(weights, extra).reshape(len(sizes), blocks, width)
    waves = jnp.pad(jnp.asarray(mesh.waves), [*extra, (0, 0)])
    waves = waves.reshape(len(sizes), blocks, width, 3)
    lengths = jnp.linalg.norm(cells, axis=-1)
    reciprocal = 2 * jnp.pi * jnp.swapaxes(jnp.linalg.inv(cells), -1, -2)

    # Derivatives recompute each block: memory does not grow with the number of waves.
    @jax.checkpoint
    def add(total: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        indices, shares = block
        vectors = jnp.einsum(
            "skr,src->skc", indices.astype(cells.dtype), reciprocal, precision="highest"
        )
        strengths = shares * jax.vmap(_strength, in_axes=(None, None, None, 0, 0, 0))(
            options, potential, smearing, vectors, lengths, sizes
        )
        spread = _spread(options.interpolation_nodes, mesh, structure, sizes, indices)
        parts = jnp.concatenate([spread.real, spread.imag], axis=-1)
        strengths = jnp.concatenate([strengths, strengths], axis=-1)[structure]
        return total + jnp.matmul(parts * strengths, parts.T, precision="highest"), None

    atoms = len(structure)
    total, _ = jax.lax.scan(
        add,
        jnp.zeros((atoms, atoms), cells.dtype),
        (jnp.swapaxes(waves, 0, 1), jnp.swapaxes(weights, 0, 1)),
    )
    return total


def _strength(
    options: LongRange,
    potential: Any,
    smearing: Float[Array, ""],
    vectors: Float[Array, "waves 3"],
    lengths: Float[Array, "3"],
    sizes: Int[Array, "3"],
) -> Float[Array, "waves"]:
    """G(k) / U(k)^2 of the waves of one structure."""
    influence = _jax_pme().kspace.p3m_influence(
        vectors, jnp.diag(lengths), sizes, options.interpolation_nodes
    )
    return potential.lr(smearing, jnp.sum(vectors**2, axis=-1)) * influence


def _spread(
    nodes: int,
    mesh: Mesh,
    structure: Int[Array, "atoms"],
    sizes: Int[Array, "structures 3"],
    waves: Int[Array, "structures waves 3"],
) -> Any:
    """Fourier transforms w_i(k), complex, of shape ``(atoms, waves)``."""
    fractional = jnp.asarray(mesh.fractional)
    own = sizes[structure]
    # jax-pme's B-splines are shifted by half a mesh point against torch-pme's.
    weights_of, _, _ = _jax_pme().mesh.bspline(nodes)
    places = fractional * own
    weights = weights_of(
        jnp.eye(3, dtype=places.dtype), places + 0.5, jnp.zeros((1, 1, 1))
    )[0]
    if nodes % 2:
        first = jnp.floor(places + 0.5).astype(jnp.int32) - (nodes - 1) // 2
    else:
        first = jnp.floor(places).astype(jnp.int32) - nodes // 2 + 1
    # Integers modulo the mesh size, so that phases are accurate in float32.
    steps = jnp.arange(nodes)
    phases = waves[:, :, :, None] * steps % sizes[:, None, :, None]
    angles = -2 * jnp.pi * phases.astype(places.dtype) / sizes[:, None, :, None]
    table = jax.lax.complex(jnp.cos(angles), jnp.sin(angles))[structure]
    along = jnp.einsum("pac,akcp->akc", weights.astype(table.dtype), table)
    start = waves[structure] * first[:, None, :] % own[:, None, :]
    angle = -2 * jnp.pi * jnp.sum(start.astype(places.dtype) / own[:, None, :], axis=-1)
    phase = jax.lax.complex(jnp.cos(angle), jnp.sin(angle))
    return phase * along[..., 0] * along[..., 1] * along[..., 2]


class LongRangeFeatures(nn.Module):
    """Maps features to charges, their potentials to additional features.

    Attributes:
      width: Number of charges of each atom, and of features.
    """

    width: int

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "atoms features"],
        kernel: Float[Array, "atoms atoms"],
    ) -> Float[Array, "atoms features"]:
        """Returns the additional features; ``kernel`` is :func:`potential_kernel`."""
        charges = Dense(self.width, name="charges_map")(features)
        wide = jnp.promote_types(charges.dtype, kernel.dtype)
        potentials = jnp.matmul(kernel, charges.astype(wide), precision="highest")
        hidden = Dense(self.width, name="out_projection_0")(
            potentials.astype(charges.dtype)
        )
        return Dense(self.width, name="out_projection_2")(jax.nn.silu(hidden))


def _jax_pme() -> Any:
    with needs_extra("long-range", "long_range", True):
        import jaxpme
        import jaxpme.kspace
        import jaxpme.mesh
        import jaxpme.potentials
    return jaxpme
