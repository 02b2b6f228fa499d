"""Hyperparameters of Point-MAE and PoLAr-MAE; hashable, to and from JSON."""

from typing import Annotated, Any, Literal

from pydantic import Field

from symjax._declared import Declared
from symjax.data.point_clouds import voxel_length
from symjax.data.point_clouds.clouds import ENERGY_MAXIMUM, ENERGY_THRESHOLD
from symjax.data.point_clouds.selection import LowEnergyRule
from symjax.errors import ModelError
from symjax.models._limits import (
    MOST_LAYERS,
    WIDEST,
    Count,
    CountFromZero,
    Degree,
    Layers,
    Positive,
    Rate,
)

ARCHITECTURES: dict[str, tuple[int, int, int]] = {
    "vit_tiny": (192, 12, 6),
    "vit_small": (384, 12, 6),
    "vit_base": (768, 12, 12),
}
"""Width, depth and number of heads of the encoders in arXiv:2502.02558."""

_TOKENIZERS: dict[float, dict[str, Any]] = {
    # By voxel radius, as in the released implementation.
    2.5: {"context_length": 1024, "group_points": 16, "upscale_points": 64},
    5: {"context_length": 512, "group_points": 32, "upscale_points": 256},
    25: {"context_length": 128, "group_points": 128, "upscale_points": 2048},
}

_Width = Annotated[int, Field(ge=2, le=WIDEST)]


class PointMAEConfig(Declared):
    """Hyperparameters, under the names of the released implementation.

    Attributes:
      detector_size: Number of voxels along an edge of the detector.
      center: Position in voxels that is subtracted from positions, and about which
        events are rotated; None for the middle of the detector.
      scale: Factor that positions are multiplied with afterwards; None for 1 over half
        the diagonal of the detector, in voxels.
      energy_threshold: Energy in MeV at or below which points are dropped; 0 keeps all.
      energy_offset: Energy e in MeV of the scale log(E + e) that the network reads.
      energy_maximum: Energy in MeV that the scale maps to 1.
      low_energy: Which scattered low-energy deposits are dropped: ``"label"`` (points
        with that label), ``"first cluster"`` (the first cluster of an event, as in the
        released implementation, which is the same for files that put these deposits
        first) or ``"keep"`` (none).
      channels: Number of channels of a point: x, y, z and energy.
      group_radius: Radius of a token's ball in normalised coordinates; None to group
        the nearest points instead.
      context_length: Number of slots for tokens; events with more tokens get more.
      group_points: Number of points in a token.
      upscale_points: Number of points of a ball, in order of index, that are reduced to
        ``group_points``; None for all.
      reduction: Which points of a ball are kept: ``"fps"`` (farthest points) or
        ``"energy"`` (largest energies).
      overlap_factor: Overlap of tokens in the suppression; None for no suppression.
      num_seeds: Number of farthest points that are candidates for centres; None for all
        points.
      max_neighbors: Largest number of neighbors in the suppression; None for all.
      snap_distances: Whether squared distances are rounded to 1/64 of a squared voxel
        when tokens are formed, so that round-off does not break ties between lattice
        points.
      mean_centers: Whether a token's centre is the mean of its points.
      pool_padding: Whether padding takes part in the maxima over a token's points, as
        in the released implementation.
      repeat_first: Whether missing nearest neighbors and seeds, in events with too few
        points or tokens, are replaced by the first point or token at distance 0, as in
        the released implementation; otherwise they are left out.
      pointnet_widths: Widths of the three hidden layers of the mini-PointNet.
      edge_harmonics: Largest degree of the real spherical harmonics of each point's
        direction from its token's centre, times radial functions, that enter the
        tokens; None for none.
      embed_dim: Width of the tokens.
      depth: Number of blocks of the encoder.
      num_heads: Number of attention heads; must divide ``embed_dim``.
      mlp_ratio: Hidden width of the MLPs, divided by ``embed_dim``.
      attention_scale: Factor of the attention scores; None for 1 / sqrt(width of a
        head).
      position_at_every_layer: Whether the position embedding is added before every
        block, or once.
      encoder_norm: Whether the encoder ends with a norm.
      decoder_depth: Number of blocks of the decoder; 0 for no reconstruction.
      decoder_heads: ``num_heads`` of the decoder; None for that of the encoder.
      decoder_mlp_ratio: ``mlp_ratio`` of the decoder; None for that of the encoder.
      decoder_position_at_every_layer: ``position_at_every_layer`` of the decoder; None
        for that of the encoder.
      decoder_norm: Whether the decoder ends with a norm.
      energy_infilling: Whether there is a second decoder for energies (PoLAr-MAE).
      reconstruct_energy: Whether the first decoder also predicts energies.
      masking_ratio: Fraction of tokens that are hidden in pretraining.
      num_classes: Number of classes of the segmentation; 0 for no segmentation.
      fetch_layers: Indices of the blocks whose outputs the segmentation averages.
      global_features: Whether the segmentation also reads the maximum and mean over all
        tokens.
      num_upsampling_neighbors: Number of tokens that the features of a point are
        interpolated from.
      seg_head_dim: Hidden width of the segmentation head.
      dropout: Dropout rate after attention and in MLPs, in training; 0 in the published
        configurations.
      attention_dropout: Dropout rate of attention weights, in training; 0.05 as
        published.
      drop_path: Rate at which tokens skip the branches of the last block, in training;
        it grows linearly from 0 at the first block. 0.25 as published.
      drop_path_uniform: Whether all blocks have that rate.
      head_dropout: Dropout rate in the segmentation head, in training; 0.5 as
        published.

    Raises:
      ModelError: A field has an impossible value.

    Example:
      >>> from symjax.models.pointmae import PointMAEConfig
      >>> PointMAEConfig.named("vit_tiny", voxel_radius=5).embed_dim
      192
    """

    detector_size: Count = 768
    center: tuple[float, float, float] | None = None
    scale: Positive | None = None
    energy_threshold: Annotated[float, Field(ge=0)] = ENERGY_THRESHOLD
    energy_offset: Positive = ENERGY_THRESHOLD
    energy_maximum: Positive = ENERGY_MAXIMUM
    low_energy: LowEnergyRule = "label"
    channels: Literal[4] = 4
    group_radius: Positive | None = 5 * voxel_length(768)
    context_length: Count = 512
    group_points: Count = 32
    upscale_points: Count | None = None
    reduction: Literal["fps", "energy"] = "fps"
    overlap_factor: Positive | None = 0.72
    num_seeds: Count | None = None
    max_neighbors: Count | None = None
    snap_distances: bool = False
    mean_centers: bool = False
    pool_padding: bool = False
    repeat_first: bool = False
    pointnet_widths: tuple[_Width, _Width, _Width] = (128, 256, 512)
    edge_harmonics: Degree | None = None
    embed_dim: Count = 384
    depth: Layers = 12
    num_heads: Count = 6
    mlp_ratio: Positive = 4.0
    attention_scale: Positive | None = None
    position_at_every_layer: bool = True
    encoder_norm: bool = False
    decoder_depth: Annotated[int, Field(ge=0, le=MOST_LAYERS)] = 4
    decoder_heads: Count | None = None
    decoder_mlp_ratio: Positive | None = None
    decoder_position_at_every_layer: bool | None = None
    decoder_norm: bool = True
    energy_infilling: bool = True
    reconstruct_energy: bool = True
    masking_ratio: Rate = 0.6
    num_classes: CountFromZero = 0
    fetch_layers: tuple[int, ...] = (3, 7, 11)
    global_features: bool = True
    num_upsampling_neighbors: Count = 5
    seg_head_dim: Count = 512
    dropout: Rate = 0.0
    attention_dropout: Rate = 0.0
    drop_path: Rate = 0.0
    drop_path_uniform: bool = False
    head_dropout: Rate = 0.0

    def __post_init__(self) -> None:
        if self.overlap_factor is not None and self.group_radius is None:
            raise _impossible(self, "group_radius", "is needed for an overlap factor")
        if self.overlap_factor is None and self.num_seeds is None:
            raise ModelError(
                "num_seeds",
                None,
                "is needed without suppression: the number of centres",
                "Pass num_seeds, or an overlap_factor",
            )
        if self.edge_harmonics is not None and self.group_radius is None:
            raise _impossible(self, "group_radius", "is the range of edge harmonics")
        for field in ("num_heads", "decoder_heads"):
            heads = getattr(self, field)
            if heads is not None and self.embed_dim % heads:
                raise _impossible(self, field, f"does not divide {self.embed_dim}")
        upscale = self.upscale_points
        fewer = upscale is not None and upscale < self.group_points
        if fewer and self.reduction == "energy":
            raise _impossible(
                self, "upscale_points", f"is less than group_points={self.group_points}"
            )
        for field in ("mlp_ratio", "decoder_mlp_ratio"):
            ratio = getattr(self, field)
            if ratio is not None and ratio * self.embed_dim > WIDEST:
                problem = f"makes MLPs wider than {WIDEST}"
                raise _impossible(self, field, problem)
        fetched = self.fetch_layers
        if self.num_classes and not (
            all(0 <= n < self.depth for n in fetched) and len(fetched) <= MOST_LAYERS
        ):
            raise _impossible(self, "fetch_layers", f"is not within {self.depth}")
        if self.num_classes and not self.fetch_layers:
            raise _impossible(self, "fetch_layers", "is empty")

    @property
    def middle(self) -> tuple[float, float, float]:
        """Position that is subtracted from positions, in voxels."""
        half = self.detector_size / 2
        return self.center if self.center is not None else (half, half, half)

    @property
    def unit(self) -> float:
        """Edge length of a voxel in normalised coordinates."""
        return (
            self.scale if self.scale is not None else voxel_length(self.detector_size)
        )

    @property
    def decoder_channels(self) -> int:
        """Number of channels that the first decoder predicts for each point."""
        return 4 if self.reconstruct_energy else 3

    @property
    def reach(self) -> float:
        """Largest distance of a point from its token's centre, in radii."""
        return 2.0 if self.mean_centers else 1.0

    def drop_paths(self, depth: int) -> tuple[float, ...]:
        """Drop path rate of each block of a stack."""
        if self.drop_path_uniform or depth == 1:
            first = self.drop_path if self.drop_path_uniform else 0.0
            return (first,) * depth
        return tuple(self.drop_path * n / (depth - 1) for n in range(depth))

    @property
    def quantum(self) -> float | None:
        """Unit to which squared distances are rounded; None for no rounding."""
        return self.unit**2 / 64 if self.snap_distances else None

    @property
    def suppression_radius(self) -> float:
        """Distance 2 r f below which one centre suppresses another."""
        assert self.group_radius is not None
        assert self.overlap_factor is not None
        return 2 * self.group_radius * self.overlap_factor

    @classmethod
    def named(
        cls, architecture: str, voxel_radius: float = 5, **changes: Any
    ) -> "PointMAEConfig":
        """Configuration of a published encoder, with its tokenisation.

        Args:
          architecture: ``"vit_tiny"``, ``"vit_small"`` or ``"vit_base"``.
          voxel_radius: Radius of a token in voxels: 2.5, 5 or 25.
          **changes: Fields to change.

        Returns:
          The configuration.

        Raises:
          ModelError: The name is unknown, or a field has an impossible value.

        Example:
          >>> from symjax.models.pointmae import PointMAEConfig
          >>> PointMAEConfig.named("vit_base", 25).mean_centers
          True
        """
        if architecture not in ARCHITECTURES or voxel_radius not in _TOKENIZERS:
            raise ModelError(
                "architecture",
                (architecture, voxel_radius),
                "is not a published configuration",
                f"Use {', '.join(ARCHITECTURES)} with a radius of 2.5, 5 or 25 voxels",
            )
        width, depth, heads = ARCHITECTURES[architecture]
        size = changes.get("detector_size", 768)
        coarse = voxel_radius == 25
        fields: dict[str, Any] = {
            "embed_dim": width,
            "depth": depth,
            "num_heads": heads,
            "group_radius": voxel_radius * voxel_length(size),
            "overlap_factor": 0.73 if voxel_radius == 2.5 else 0.72,
            "num_seeds": 256 if coarse else None,
            "max_neighbors": 256,
            "mean_centers": coarse,
            "pool_padding": True,
            "repeat_first": True,
            "low_energy": "first cluster",
            "attention_dropout": 0.05,
            "drop_path": 0.25,
            "head_dropout": 0.5,
            **_TOKENIZERS[voxel_radius],
        }
        return cls(**{**fields, **changes})


def _impossible(config: PointMAEConfig, field: str, problem: str) -> ModelError:
    default = PointMAEConfig.__dataclass_fields__[field].default
    example = 3 if field == "edge_harmonics" else default
    return ModelError(
        field, getattr(config, field), problem, f"Use for instance {example}"
    )
