"""PoLAr-MAE in plain torch modules, written from the paper for comparison.

Names of parameters are those of the released checkpoints. One event at a time; the
tokens are given.
"""

import dataclasses
import math

import torch
from torch import nn


class Norm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, 1, size))
        self.beta = nn.Parameter(torch.zeros(1, 1, size))

    def forward(self, x, mask):
        return self.gamma * plain_norm(x, mask) + self.beta


def plain_norm(x, mask):
    chosen = x[mask]
    mean = chosen.mean()
    std = torch.sqrt(((chosen - mean) ** 2).mean() + 1e-13)
    return (x - mean) / (std + 1e-13)


class BatchNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.register_buffer("running_mean", torch.zeros(size))
        self.register_buffer("running_var", torch.ones(size))

    def forward(self, x, mask):  # (batch, channels, length), (batch, 1, length)
        def column(v):
            return v.view(1, -1, 1)

        x = (x - column(self.running_mean)) / torch.sqrt(
            column(self.running_var) + 1e-5
        )
        return x * mask * column(self.weight) + column(self.bias)


class Order(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.time_embed = nn.Sequential(
            nn.Identity(), nn.Linear(width, width), nn.ReLU()
        )

    def forward(self, num, like):
        half = self.width // 2
        rates = torch.exp(-math.log(10000) / (half - 1) * torch.arange(half)).to(like)
        angles = torch.arange(num)[:, None].to(like) * rates
        return self.time_embed(torch.cat([angles.sin(), angles.cos()], -1))


class PointNet(nn.Module):
    def __init__(self, channels, features, widths, ordered=False):
        super().__init__()
        a, b, c = widths
        self.first_conv = nn.Sequential(
            nn.Conv1d(channels, a, 1, bias=False),
            BatchNorm(a),
            nn.ReLU(),
            nn.Conv1d(a, b, 1),
        )
        self.second_conv = nn.Sequential(
            nn.Conv1d(2 * b, c, 1, bias=False),
            BatchNorm(c),
            nn.ReLU(),
            nn.Conv1d(c, features, 1),
        )
        if ordered:
            self.position_encoder = Order(b)

    def forward(self, points, mask):
        x, mask = points.transpose(1, 2), mask[:, None].to(points)

        def run(layers, x):
            for layer in layers:
                x = layer(x, mask) if isinstance(layer, BatchNorm) else layer(x)
            return x

        x = run(self.first_conv, x)
        if hasattr(self, "position_encoder"):
            x = x + self.position_encoder(x.shape[2], x).T
        x = torch.cat([x.amax(2, keepdim=True).expand_as(x), x], 1)
        return run(self.second_conv, x).amax(2)


class Attention(nn.Module):
    def __init__(self, width, heads, scale):
        super().__init__()
        self.heads = heads
        self.scale = scale or (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x, mask):
        n, width = x.shape
        q, k, v = self.qkv(x).view(n, 3, self.heads, -1).permute(1, 2, 0, 3)
        scores = q @ k.transpose(1, 2) * self.scale
        scores = scores.masked_fill(~mask, -1e9)
        return self.proj((scores.softmax(-1) @ v).transpose(0, 1).reshape(n, width))


class MLP(nn.Module):
    def __init__(self, width, ratio):
        super().__init__()
        self.fc1 = nn.Linear(width, int(ratio * width))
        self.fc2 = nn.Linear(int(ratio * width), width)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.embed_dim
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.attn = Attention(width, config.num_heads, config.attention_scale)
        self.mlp = MLP(width, config.mlp_ratio)

    def forward(self, x, mask):
        x = x + self.attn(self.norm1(x, mask)[0, :], mask)
        return x + self.mlp(self.norm2(x, mask)[0, :]) * mask[:, None]


class Transformer(nn.Module):
    def __init__(self, config, depth, norm):
        super().__init__()
        self.blocks = nn.ModuleList(Block(config) for _ in range(depth))
        self.every = config.position_at_every_layer
        if norm:
            self.norm = Norm(config.embed_dim)

    def forward(self, x, positions, mask):
        hidden = []
        for number, block in enumerate(self.blocks):
            if self.every or number == 0:
                x = x + positions
            x = block(x, mask)
            hidden.append(x)
        if hasattr(self, "norm"):
            x = self.norm(x, mask)[0, :]
        return x, hidden


def of_decoder(config):
    """The configuration as the decoder's blocks read it."""
    every = config.decoder_position_at_every_layer
    return dataclasses.replace(
        config,
        num_heads=config.decoder_heads or config.num_heads,
        mlp_ratio=config.decoder_mlp_ratio or config.mlp_ratio,
        position_at_every_layer=config.position_at_every_layer
        if every is None
        else every,
    )


class Wrapped(nn.Module):
    """A module that holds one submodule under a name."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


class PoLArMAE(nn.Module):
    """Encoder, decoders and segmentation, whichever the configuration has."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        width = config.embed_dim
        parts = {
            "tokenizer": Wrapped(embedding=PointNet(4, width, config.pointnet_widths)),
            "pos_embed": Wrapped(
                pos_enc=nn.Sequential(
                    nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width)
                )
            ),
            "transformer": Transformer(config, config.depth, config.encoder_norm),
        }
        self.encoder = Wrapped(**parts)
        points = config.group_points
        if config.decoder_depth:
            self.decoder = Wrapped(
                transformer=Transformer(
                    of_decoder(config), config.decoder_depth, config.decoder_norm
                )
            )
            self.mask_token = nn.Parameter(torch.randn(width))
            self.increase_dim = nn.Conv1d(width, config.decoder_channels * points, 1)
            if config.energy_infilling:
                self.equivariant_patch_encoder = PointNet(
                    3, width, config.pointnet_widths, True
                )
                self.energy_decoder = nn.Conv1d(2 * width, points, 1)
        if config.num_classes:
            self.upsampler = Wrapped(
                mlp_convs=nn.ModuleList(
                    nn.Conv1d(n, width, 1, bias=False) for n in (width + 3, width)
                ),
                mlp_bns=nn.ModuleList(BatchNorm(width) for _ in range(2)),
            )
            hidden = config.seg_head_dim
            inputs = 3 * width if config.global_features else width
            self.seg_head = Wrapped(
                conv1=nn.Conv1d(inputs, hidden, 1, bias=False),
                bn1=BatchNorm(hidden),
                conv2=nn.Conv1d(hidden, hidden // 2, 1, bias=False),
                bn2=BatchNorm(hidden // 2),
                conv3=nn.Conv1d(hidden // 2, config.num_classes, 1),
            )

    def encode(self, groups, visible):
        points, point_mask, centers, mask = groups
        tokens = torch.zeros(len(points), self.config.embed_dim).to(points)
        tokens[mask] = self.encoder.tokenizer.embedding(points[mask], point_mask[mask])
        positions = self.encoder.pos_embed.pos_enc(centers)
        return *self.encoder.transformer(tokens, positions, visible), positions

    def reconstruct(self, groups, hidden):
        points, point_mask, _, mask = groups
        visible = mask & ~hidden
        encoded, _, positions = self.encode(groups, visible)
        corrupted = encoded * visible[:, None] + self.mask_token * hidden[:, None]
        decoded, _ = self.decoder.transformer(corrupted, positions, mask)
        out = self.increase_dim(decoded[hidden].T).T
        out = out.reshape(len(out), -1, self.config.decoder_channels)
        if not self.config.energy_infilling:
            return out, None
        shape = self.equivariant_patch_encoder(
            points[hidden][..., :3], point_mask[hidden]
        )
        both = torch.cat([shape, decoded[hidden]], 1)
        return out, self.energy_decoder(both.T).T

    def segment(self, groups, positions, mask, neighbors):
        _, _, centers, used = groups
        _, blocks, _ = self.encode(groups, used)
        chosen = [plain_norm(blocks[n], used) for n in self.config.fetch_layers]
        tokens = torch.stack(chosen).mean(0)
        squares = ((positions[:, None] - centers[neighbors]) ** 2).sum(-1)
        weights = 1 / (squares + torch.finfo(torch.float32).eps)
        weights = weights / weights.sum(1, keepdim=True)
        x = (weights[..., None] * tokens[neighbors]).sum(1)
        x = torch.cat([positions, x], 1).T[None]
        valid = mask[None, None].to(x)
        for conv, norm in zip(
            self.upsampler.mlp_convs, self.upsampler.mlp_bns, strict=True
        ):
            x = torch.relu(norm(conv(x), valid))
        if self.config.global_features:
            shared = torch.cat([tokens[used].amax(0), tokens[used].mean(0)])
            x = torch.cat([x, shared[None, :, None].expand(-1, -1, x.shape[2])], 1)
        head = self.seg_head
        x = torch.relu(head.bn1(head.conv1(x), valid))
        x = torch.relu(head.bn2(head.conv2(x), valid))
        return head.conv3(x)[0].T


def randomise(model, seed=0):
    """Random weights and statistics, none of them trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            draw = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            if name.endswith("running_var"):
                value.copy_(1 + draw.abs())
            elif name.endswith("gamma"):
                value.copy_(1 + 0.2 * draw)
            else:
                fan = math.prod(value.shape[1:]) if value.ndim > 1 else 4
                value.copy_(draw / math.sqrt(max(fan, 1)))
    return model.eval()
