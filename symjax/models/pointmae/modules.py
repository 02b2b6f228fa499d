"""Point-MAE and PoLAr-MAE as a Flax module: encoder, decoders and segmentation.

The input is the tokens of one event; the configuration decides which heads exist.
Submodules have the names of the released implementation, under which features are sown.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from symjax.models._parameters import Dense, Module, lecun_normal, truncated_normal
from symjax.models.pointmae.config import PointMAEConfig
from symjax.models.pointmae.grouping import Groups
from symjax.models.pointmae.layers import (
    APPLIED,
    Mask,
    MaskedBatchNorm,
    MiniPointNet,
    Mode,
    PositionEncoder,
    Tokens,
    masked_norm,
    sow,
)
from symjax.models.pointmae.transformer import BlockOptions, Transformer


class Reconstruction(NamedTuple):
    """Predictions of the decoders for hidden tokens; other tokens are meaningless.

    Attributes:
      points: Coordinates of the points relative to the centre, in radii, and energies
        if the first decoder predicts them, ``(tokens, group_points, 3 or 4)``.
      energies: Energies at the true positions of the points, ``(tokens,
        group_points)``; None without energy infilling.

    Example:
      >>> from symjax.models.pointmae import Reconstruction
      >>> Reconstruction._fields
      ('points', 'energies')
    """

    points: Float[Array, "tokens group_points channels"]
    energies: Float[Array, "tokens group_points"] | None


class Tokenizer(nn.Module):
    """Embeds the points of each token; padded tokens are 0."""

    config: PointMAEConfig
    mode: Mode = APPLIED

    @nn.compact
    def __call__(self, groups: Groups) -> Tokens:
        """Returns the tokens."""
        config = self.config
        embedding = MiniPointNet(
            config.embed_dim,
            config.pointnet_widths,
            config.pool_padding,
            edge_harmonics=config.edge_harmonics,
            reach=config.reach,
            mode=self.mode,
            name="embedding",
        )
        # Padded tokens must not enter the batch statistics.
        mask = groups.point_mask & groups.mask[:, None]
        tokens = embedding(groups.points, mask) * groups.mask[:, None]
        sow(self, "embedding", tokens)
        return tokens


class Encoder(nn.Module):
    """Tokenizer, position encoder and transformer."""

    config: PointMAEConfig
    mode: Mode = APPLIED

    @nn.compact
    def __call__(
        self, groups: Groups, visible: Mask
    ) -> tuple[Tokens, list[Tokens], Tokens]:
        """Returns output tokens, tokens after each block, and encoded positions."""
        config = self.config
        tokens = Tokenizer(config, self.mode, name="tokenizer")(groups)
        positions = PositionEncoder(config.embed_dim, name="pos_embed")(groups.centers)
        sow(self, "pos_embed", positions)
        transformer = Transformer(
            BlockOptions(
                config.num_heads,
                config.mlp_ratio,
                config.attention_scale,
                config.dropout,
                config.attention_dropout,
            ),
            config.drop_paths(config.depth),
            config.position_at_every_layer,
            config.encoder_norm,
            self.mode,
            name="transformer",
        )
        out, hidden = transformer(tokens, positions, visible)
        return out, hidden, positions


class Decoder(nn.Module):
    """The transformer that reconstructs hidden tokens."""

    config: PointMAEConfig
    mode: Mode = APPLIED

    @nn.compact
    def __call__(self, tokens: Tokens, positions: Tokens, mask: Mask) -> Tokens:
        """Returns the decoded tokens."""
        config = self.config
        every_layer = config.decoder_position_at_every_layer
        transformer = Transformer(
            BlockOptions(
                config.decoder_heads or config.num_heads,
                config.decoder_mlp_ratio or config.mlp_ratio,
                config.attention_scale,
                config.dropout,
                config.attention_dropout,
            ),
            config.drop_paths(config.decoder_depth),
            config.position_at_every_layer if every_layer is None else every_layer,
            config.decoder_norm,
            self.mode,
            name="transformer",
        )
        return transformer(tokens, positions, mask)[0]


class Upsampler(nn.Module):
    """Features of points: interpolation from the nearest tokens, then two layers.

    The weights of the interpolation are proportional to 1 / d^2, with the distances d
    to the centres (Qi et al., PointNet++, arXiv:1706.02413, Sec. 3.4).

    Attributes:
      features: Width of the layers.
      repeat_first: Whether missing tokens are replaced by the first one, at distance 0.
      mode: How the network is applied.
    """

    features: int
    repeat_first: bool = False
    mode: Mode = APPLIED

    @nn.compact
    def __call__(
        self,
        positions: Float[Array, "points 3"],
        mask: Bool[Array, "points"],
        tokens: Tokens,
        centers: Float[Array, "tokens 3"],
        neighbors: Int[Array, "points neighbors"],
    ) -> Float[Array, "points features"]:
        """Returns the features of each point."""
        found, neighbors = neighbors >= 0, jnp.maximum(neighbors, 0)
        near = centers[neighbors]
        squares = jnp.sum(jnp.square(positions[:, None] - near), axis=-1)
        if self.repeat_first:
            squares, found = jnp.where(found, squares, 0), jnp.ones_like(found)
        # The epsilon of float32 in any precision, so that precisions agree.
        inverse = jnp.where(found, 1 / (squares + jnp.finfo(jnp.float32).eps), 0)
        total = jnp.sum(inverse, axis=1, keepdims=True)
        weights = inverse / jnp.where(total > 0, total, 1)
        x = jnp.einsum("pk,pkf->pf", weights, tokens[neighbors])
        sow(self, "interpolated", x)
        x = jnp.concatenate([positions, x], axis=-1)
        for index in range(2):
            x = Dense(self.features, use_bias=False, name=f"mlp_convs_{index}")(x)
            x = MaskedBatchNorm(self.mode, name=f"mlp_bns_{index}")(x, mask)
            x = jax.nn.relu(x)
        sow(self, "out", x)
        return x


class SegmentationHead(Module):
    """Logits of every point: two layers with batch norm and a linear layer."""

    hidden: int
    classes: int
    dropout: float = 0.0
    mode: Mode = APPLIED

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "points features"],
        shared: Float[Array, "shared"] | None,
        mask: Bool[Array, "points"],
    ) -> Float[Array, "points classes"]:
        """Returns the logits; ``shared`` are features of the whole event."""
        width = x.shape[-1]
        extra = 0 if shared is None else shared.shape[-1]
        kernel = self.param("conv1", lecun_normal, (width + extra, self.hidden))
        y = x @ kernel[:width]
        if shared is not None:
            y = y + shared @ kernel[width:]
        y = jax.nn.relu(MaskedBatchNorm(self.mode, name="bn1")(y, mask))
        y = nn.Dropout(self.dropout, deterministic=not self.mode.training)(y)
        y = Dense(self.hidden // 2, use_bias=False, name="conv2")(y)
        y = jax.nn.relu(MaskedBatchNorm(self.mode, name="bn2")(y, mask))
        sow(self, "hidden", y)
        return Dense(self.classes, name="conv3")(y)


class PointMAE(Module):
    """The whole network, for one event.

    Its methods take the tokens of the event (``groups``), the normalised coordinates of
    its points (``positions``) with a ``mask`` that is True for real ones, the indices
    of the tokens that each point is interpolated from (``neighbors``), and a mask of
    the tokens to hide from the encoder and reconstruct (``hidden``).

    Attributes:
      config: Hyperparameters, which decide which heads exist.
      mode: How the network is applied.

    Example:
      >>> from symjax.models.pointmae import PointMAE, PointMAEConfig
      >>> PointMAE(PointMAEConfig()).config.depth
      12
    """

    config: PointMAEConfig
    mode: Mode = APPLIED

    def setup(self) -> None:
        """Creates the encoder and the heads of the configuration."""
        config, mode = self.config, self.mode
        self.encoder = Encoder(config, mode)
        if config.decoder_depth:
            self.decoder = Decoder(config, mode)
            width = (config.embed_dim,)
            self.mask_token = self.param("mask_token", truncated_normal(0.02), width)
            self.increase_dim = Dense(config.decoder_channels * config.group_points)
            if config.energy_infilling:
                self.equivariant_patch_encoder = MiniPointNet(
                    config.embed_dim,
                    config.pointnet_widths,
                    config.pool_padding,
                    order_encoding=True,
                    mode=mode,
                )
                self.energy_decoder = Dense(config.group_points)
        if config.num_classes:
            self.upsampler = Upsampler(config.embed_dim, config.repeat_first, mode)
            self.seg_head = SegmentationHead(
                config.seg_head_dim, config.num_classes, config.head_dropout, mode
            )

    def encode(self, groups: Groups) -> Tokens:
        """Features of all tokens, with none hidden."""
        return self.encoder(groups, groups.mask)[0]

    def reconstruct(self, groups: Groups, hidden: Mask) -> Reconstruction:
        """Reconstructs the points of hidden tokens from the visible ones."""
        config = self.config
        hidden = hidden & groups.mask
        visible = groups.mask & ~hidden
        encoded, _, positions = self.encoder(groups, visible)
        corrupted = jnp.where(visible[:, None], encoded, 0)
        corrupted = jnp.where(hidden[:, None], self.mask_token, corrupted)
        decoded = self.decoder(corrupted, positions, groups.mask)
        points = self.increase_dim(decoded)
        points = points.reshape(len(decoded), -1, config.decoder_channels)
        if not config.energy_infilling:
            return Reconstruction(points, None)
        mask = groups.point_mask & hidden[:, None]
        shape = self.equivariant_patch_encoder(groups.points[..., :3], mask)
        energies = self.energy_decoder(jnp.concatenate([shape, decoded], axis=-1))
        return Reconstruction(points, energies)

    def segment(
        self,
        groups: Groups,
        positions: Float[Array, "points 3"],
        mask: Bool[Array, "points"],
        neighbors: Int[Array, "points neighbors"],
    ) -> Float[Array, "points classes"]:
        """Logits of the classes of every point."""
        config = self.config
        _, blocks, _ = self.encoder(groups, groups.mask)
        chosen = [masked_norm(blocks[n], groups.mask) for n in config.fetch_layers]
        tokens = sum(chosen) / len(chosen) * groups.mask[:, None]
        shared = None
        if config.global_features:
            lowest = jnp.finfo(tokens.dtype).min
            best = jnp.max(jnp.where(groups.mask[:, None], tokens, lowest), axis=0)
            best = jnp.where(jnp.any(groups.mask), best, 0)
            mean = jnp.sum(tokens, axis=0) / jnp.maximum(jnp.sum(groups.mask), 1)
            shared = jnp.concatenate([best, mean])
        x = self.upsampler(positions, mask, tokens, groups.centers, neighbors)
        return self.seg_head(x, shared, mask)

    def __call__(
        self,
        groups: Groups,
        positions: Float[Array, "points 3"],
        mask: Bool[Array, "points"],
        neighbors: Int[Array, "points neighbors"],
        hidden: Mask,
    ) -> tuple[Float[Array, "points classes"] | None, Reconstruction | None]:
        """Evaluates all heads, for initialisation and joint training.

        Returns:
          Logits and reconstruction; None for heads that do not exist.
        """
        config = self.config
        logits = None
        if config.num_classes:
            logits = self.segment(groups, positions, mask, neighbors)
        reconstruction = None
        if config.decoder_depth:
            reconstruction = self.reconstruct(groups, hidden)
        if logits is None and reconstruction is None:
            self.encode(groups)
        return logits, reconstruction
