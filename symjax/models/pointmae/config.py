"""Hyperparameters of Point-MAE and PoLAr-MAE: plain data, hashable, from JSON."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from symjax.data.point_clouds import voxel_length
from symjax.errors import ModelError

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
_COUNTS = (
    "channels",
    "context_length",
    "group_points",
    "embed_dim",
    "depth",
    "num_heads",
    "mlp_ratio",
    "num_upsampling_neighbors",
    "seg_head_dim",
)


@dataclasses.dataclass(frozen=True)
class PointMAEConfig:
    """Hyperparameters, under the names of the original where it has one.

    Attributes:
      detector_size: Voxels along an edge of the detector.
      channels: Channels of a point: x, y, z and energy.
      group_radius: Radius of a token's ball in normalised coordinates; None to group
        the nearest points instead.
      context_length: Largest number of tokens.
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
      full_groups_only: Count tokens as the released implementation does: as many
        tokens as there are full ones are used, the first ones. Otherwise every token
        with a point is.
      pool_padding: Whether padded slots of a token take part in its maximum, as in
        the released implementation; otherwise they do not.
      pointnet_widths: Widths of the mini-PointNet's three hidden layers.
      edge_harmonics: Largest degree of the real spherical harmonics of each point's
        direction from its token's centre, times radial functions, that the tokens
        see; None for none.
      embed_dim: Width of the tokens.
      depth: Blocks of the encoder.
      num_heads: Attention heads; divides ``embed_dim``.
      mlp_ratio: Hidden width of the MLPs over ``embed_dim``.
      position_at_every_layer: Whether the position embedding is added before every
        block, or once.
      encoder_norm: Whether the encoder ends with a norm.
      relative_bins: Bins in each direction of the relative position bias; 0 for none.
      decoder_depth: Blocks of the decoder; 0 for no reconstruction.
      energy_infilling: Whether there is a second decoder for energies (PoLAr-MAE).
      reconstruct_energy: Whether the first decoder predicts energies too.
      masking_ratio: Share of tokens that are hidden in pretraining.
      num_classes: Classes of the segmentation; 0 for none.
      fetch_layers: Blocks whose outputs the segmentation averages.
      global_features: Whether it reads maximum and mean over all tokens too.
      num_upsampling_neighbors: Tokens that a point's features are interpolated from.
      seg_head_dim: Hidden width of the segmentation head.

    Raises:
      ModelError: A field has an impossible value.

    Example:
      >>> from symjax.models.pointmae import PointMAEConfig
      >>> PointMAEConfig.named("vit_tiny", voxel_radius=5).embed_dim
      192
    """

    detector_size: int = 768
    channels: int = 4
    group_radius: float | None = 5 * voxel_length(768)
    context_length: int = 512
    group_points: int = 32
    upscale_points: int | None = None
    reduction: str = "fps"
    overlap_factor: float | None = 0.72
    num_seeds: int | None = None
    max_neighbors: int | None = None
    snap_distances: bool = False
    mean_centers: bool = False
    full_groups_only: bool = False
    pool_padding: bool = False
    pointnet_widths: tuple[int, int, int] = (128, 256, 512)
    edge_harmonics: int | None = None
    embed_dim: int = 384
    depth: int = 12
    num_heads: int = 6
    mlp_ratio: int = 4
    position_at_every_layer: bool = True
    encoder_norm: bool = False
    relative_bins: int = 0
    decoder_depth: int = 4
    energy_infilling: bool = True
    reconstruct_energy: bool = True
    masking_ratio: float = 0.6
    num_classes: int = 0
    fetch_layers: tuple[int, ...] = (3, 7, 11)
    global_features: bool = True
    num_upsampling_neighbors: int = 5
    seg_head_dim: int = 512

    def __post_init__(self) -> None:
        for field in ("detector_size", *_COUNTS, *self._optional_counts()):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise _impossible(self, field, "is not a positive integer")
        for field in ("relative_bins", "decoder_depth", "num_classes"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise _impossible(self, field, "is not a non-negative integer")
        if self.channels != 4:
            raise _impossible(self, "channels", "is not 4: x, y, z and energy")
        for field in ("group_radius", "overlap_factor"):
            value = getattr(self, field)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise _impossible(self, field, "is not positive")
        if self.overlap_factor is not None and self.group_radius is None:
            raise _impossible(self, "group_radius", "is needed for an overlap factor")
        if self.overlap_factor is None and self.num_seeds is None:
            raise ModelError(
                "num_seeds",
                None,
                "without suppression, centres are farthest points, of a given number",
                "Pass num_seeds, or an overlap_factor",
            )
        if self.relative_bins and self.group_radius is None:
            raise _impossible(self, "group_radius", "is the bin of the relative bias")
        if self.edge_harmonics is not None and self.group_radius is None:
            raise _impossible(self, "group_radius", "is the range of edge harmonics")
        if self.reduction not in ("fps", "energy"):
            raise _impossible(self, "reduction", "is neither 'fps' nor 'energy'")
        if self.embed_dim % self.num_heads:
            raise _impossible(self, "num_heads", f"does not divide {self.embed_dim}")
        if not 0 < self.masking_ratio < 1:
            raise _impossible(self, "masking_ratio", "is not between 0 and 1")
        upscale = self.upscale_points
        if upscale is not None and upscale < self.group_points:
            raise _impossible(
                self, "upscale_points", f"is less than group_points={self.group_points}"
            )
        if len(self.pointnet_widths) != 3 or min(self.pointnet_widths) < 2:
            raise _impossible(self, "pointnet_widths", "is not three widths")
        if self.num_classes and not all(0 <= n < self.depth for n in self.fetch_layers):
            raise _impossible(self, "fetch_layers", f"is not within {self.depth}")
        if self.num_classes and not self.fetch_layers:
            raise _impossible(self, "fetch_layers", "is empty")

    def _optional_counts(self) -> list[str]:
        optional = ("upscale_points", "num_seeds", "max_neighbors", "edge_harmonics")
        return [field for field in optional if getattr(self, field) is not None]

    @property
    def decoder_channels(self) -> int:
        """Channels that the first decoder predicts for each point."""
        return 4 if self.reconstruct_energy else 3

    @property
    def reach(self) -> float:
        """Largest distance of a member from its token's centre, over the radius."""
        return 2.0 if self.mean_centers else 1.0

    @property
    def quantum(self) -> float | None:
        """What squared distances are rounded to; None if they are not."""
        return (
            voxel_length(self.detector_size) ** 2 / 64 if self.snap_distances else None
        )

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
            "full_groups_only": True,
            "pool_padding": True,
            **_TOKENIZERS[voxel_radius],
        }
        return cls(**{**fields, **changes})

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON-serialisable data."""
        data = dataclasses.asdict(self)
        if self.edge_harmonics is None:
            # Files and fingerprints of models without it stay as they were.
            del data["edge_harmonics"]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PointMAEConfig":
        """Inverse of :meth:`to_json`.

        Args:
          data: What ``to_json`` returned, possibly read from a file.

        Returns:
          The configuration.

        Raises:
          ModelError: A field is unknown or impossible.
        """
        if not isinstance(data, Mapping):
            raise ModelError("config", data, "is not an object", "Use a file of symjax")
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise ModelError(
                "config",
                unknown,
                "has unknown hyperparameters",
                f"Known hyperparameters: {', '.join(sorted(known))}",
            )
        values = dict(data)
        try:
            for field in ("pointnet_widths", "fetch_layers"):
                if field in values:
                    values[field] = tuple(values[field])
            return cls(**values)
        except TypeError as error:
            raise ModelError(
                "config",
                error,
                "is not a configuration of Point-MAE",
                "Use a file of symjax",
            ) from error


def _impossible(config: PointMAEConfig, field: str, problem: str) -> ModelError:
    default = PointMAEConfig.__dataclass_fields__[field].default
    example = 3 if field == "edge_harmonics" else default
    return ModelError(
        field, getattr(config, field), problem, f"Use for instance {example}"
    )
