"""Hyperparameters of Point-MAE and PoLAr-MAE: plain data, hashable, from JSON."""

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
"""Width, depth and number of heads of the encoders of arXiv:2502.02558."""

_TOKENIZERS: dict[float, dict[str, Any]] = {
    # voxel radius: context, points, and points before reduction, of the original
    2.5: {"context_length": 1024, "group_points": 16, "upscale_points": 64},
    5: {"context_length": 512, "group_points": 32, "upscale_points": 256},
    25: {"context_length": 128, "group_points": 128, "upscale_points": 2048},
}

_Width = Annotated[int, Field(ge=2, le=WIDEST)]


class PointMAEConfig(Declared):
    """Hyperparameters, under the names of the original where it has one.

    Attributes:
      detector_size: Voxels along an edge of the detector.
      center: What is subtracted from positions, in voxels; None for the middle of the
        detector. Events turn about it.
      scale: What positions are multiplied with then; None for 1 over half the diagonal
        of the detector.
      energy_threshold: Points of at most this energy in MeV are dropped; 0 keeps all.
      energy_offset: Energy e in MeV of the scale log(E + e) that the network reads.
      energy_maximum: Energy in MeV that the scale maps to 1.
      low_energy: Which scattered deposits of low energy are dropped: ``"label"``
        (those that are labelled so), ``"first cluster"`` (the first one of an event,
        whatever it is, as the released implementation does: equal on files that put
        them first) or ``"keep"``.
      channels: Channels of a point: x, y, z and energy.
      group_radius: Radius of a token's ball in normalised coordinates; None to group
        the nearest points instead.
      context_length: Room for tokens; an event with more of them gets more.
      group_points: Points in a token.
      upscale_points: Points in a ball, by index, before they are reduced to
        ``group_points``; None for all.
      reduction: Which points of a ball stay: ``"fps"`` (farthest points) or
        ``"energy"`` (largest energies).
      overlap_factor: Overlap of tokens in the suppression; None for no suppression.
      num_seeds: Farthest points that are candidates for centres; None for all points.
      max_neighbors: Neighbours that count in the suppression; None for all.
      snap_distances: Whether squared distances are rounded to 1/64 of a voxel squared
        when tokens are found, so that round-off decides no tie between lattice points.
      mean_centers: Whether a token's centre is the mean of its points.
      pool_padding: Whether padded slots of a token take part in its maximum, as in
        the released implementation; otherwise they do not.
      repeat_first: Whether nearest neighbours and seeds that are missing, in an event
        with fewer points or tokens than are asked for, are replaced by the first point
        or token at distance 0, as in the released implementation; otherwise they are
        left out.
      pointnet_widths: Widths of the mini-PointNet's three hidden layers.
      edge_harmonics: Largest degree of the real spherical harmonics of each point's
        direction from its token's centre, times radial functions, that the tokens
        see; None for none.
      embed_dim: Width of the tokens.
      depth: Blocks of the encoder.
      num_heads: Attention heads; divides ``embed_dim``.
      mlp_ratio: Hidden width of the MLPs over ``embed_dim``.
      attention_scale: Factor of the attention scores; None for 1 over the root of the
        width of a head.
      position_at_every_layer: Whether the position embedding is added before every
        block, or once.
      encoder_norm: Whether the encoder ends with a norm.
      decoder_depth: Blocks of the decoder; 0 for no reconstruction.
      decoder_heads: Attention heads of the decoder; None for the encoder's number.
      decoder_mlp_ratio: Its ``mlp_ratio``; None for the encoder's.
      decoder_position_at_every_layer: Its ``position_at_every_layer``; None for the
        encoder's.
      decoder_norm: Whether the decoder ends with a norm.
      energy_infilling: Whether there is a second decoder for energies (PoLAr-MAE).
      reconstruct_energy: Whether the first decoder predicts energies too.
      masking_ratio: Share of tokens that are hidden in pretraining.
      num_classes: Classes of the segmentation; 0 for none.
      fetch_layers: Blocks whose outputs the segmentation averages.
      global_features: Whether it reads maximum and mean over all tokens too.
      num_upsampling_neighbors: Tokens that a point's features are interpolated from.
      seg_head_dim: Hidden width of the segmentation head.
      dropout: Rate of dropout after attention and in MLPs, in training; 0 in the
        published configurations.
      attention_dropout: Rate of dropout of attention weights; published: 0.05.
      drop_path: Rate at which a token skips the last block's branches; it grows from 0
        at the first block; published: 0.25.
      drop_path_uniform: Whether all blocks have that rate.
      head_dropout: Rate of dropout in the segmentation head; published: 0.5.

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
                "without suppression, centres are farthest points, of a given number",
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
        """What is subtracted from positions, in voxels."""
        half = self.detector_size / 2
        return self.center if self.center is not None else (half, half, half)

    @property
    def unit(self) -> float:
        """Edge of a voxel in normalised coordinates."""
        return (
            self.scale if self.scale is not None else voxel_length(self.detector_size)
        )

    @property
    def decoder_channels(self) -> int:
        """Channels that the first decoder predicts for each point."""
        return 4 if self.reconstruct_energy else 3

    @property
    def reach(self) -> float:
        """Largest distance of a member from its token's centre, over the radius."""
        return 2.0 if self.mean_centers else 1.0

    def drop_paths(self, depth: int) -> tuple[float, ...]:
        """Rates of the drop paths of a stack of blocks, one for each."""
        if self.drop_path_uniform or depth == 1:
            first = self.drop_path if self.drop_path_uniform else 0.0
            return (first,) * depth
        return tuple(self.drop_path * n / (depth - 1) for n in range(depth))

    @property
    def quantum(self) -> float | None:
        """What squared distances are rounded to; None if they are not."""
        return self.unit**2 / 64 if self.snap_distances else None

    @property
    def suppression_radius(self) -> float:
        """Distance 2 r f below which two centres exclude each other."""
        assert self.group_radius is not None
        assert self.overlap_factor is not None
        return 2 * self.group_radius * self.overlap_factor

    @classmethod
    def named(
        cls, architecture: str, voxel_radius: float = 5, **changes: Any
    ) -> "PointMAEConfig":
        """One of the published encoders, grouped as the released implementation does.

        Args:
          architecture: ``"vit_tiny"``, ``"vit_small"`` or ``"vit_base"``.
          voxel_radius: Radius of a token in voxels: 2.5, 5 or 25.
          **changes: Fields that differ.

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
                "is none of the published ones",
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
