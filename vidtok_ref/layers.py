"""The layers of VidTok, offline, on `[B, C, T, H, W]` (docs/model.md, section 2).

Module and parameter names are those of the official checkpoints (docs/model.md, section 5.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "Attention",
    "CausalConv",
    "LayerNorm",
    "MiddleBlock",
    "SpatialBlock",
    "SpatialDownsample",
    "SpatialUpsample",
    "TemporalBlock",
    "TemporalDownsample",
    "TemporalUpsample",
    "upsample_linear",
]


class LayerNorm(nn.Module):
    """LayerNorm over the channel axis, axis 1, at every position (docs/model.md, section 2.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x.movedim(1, -1))
        return normed.movedim(-1, 1)


class CausalConv(nn.Module):
    """A convolution over time (axis 2) that sees no future frame.

    Before the start it sees zeros (v1.0) or copies of its own first input frame (v1.1).
    docs/model.md, section 2.2.
    """

    def __init__(self, conv: nn.Conv1d | nn.Conv3d, repeat_first: bool) -> None:
        super().__init__()
        self.conv = conv
        self.repeat_first = repeat_first
        self.past = conv.kernel_size[0] - 1 + (1 - conv.stride[0])

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(pad_past(x, self.past, self.repeat_first))
        return result


def pad_past(x: Tensor, frames: int, repeat_first: bool) -> Tensor:
    """`x` with `frames` frames of past in front: copies of the first frame, or zeros.

    docs/model.md, section 2.2.
    """
    if frames == 0:
        return x
    past = x[:, :, :1].repeat_interleave(frames, dim=2)
    return torch.cat([past if repeat_first else torch.zeros_like(past), x], dim=2)


def conv1d(channels: int, repeat_first: bool, causal: bool) -> nn.Module:
    """Kernel 3 along time."""
    conv = nn.Conv1d(channels, channels, 3, padding=0 if causal else 1)
    return CausalConv(conv, repeat_first) if causal else conv


def conv3d(c_in: int, c_out: int, kernel: int, repeat_first: bool, causal: bool) -> nn.Module:
    """`kernel` along time, height and width; space is padded so that its size stays."""
    pad = kernel // 2
    conv = nn.Conv3d(c_in, c_out, kernel, padding=(0 if causal else pad, pad, pad))
    return CausalConv(conv, repeat_first) if causal else conv


def per_frame(function: nn.Module, x: Tensor) -> Tensor:
    """Apply a 2-D module to every frame of `[B, C, T, H, W]`."""
    batch, frames = x.shape[0], x.shape[2]
    y: Tensor = function(x.transpose(1, 2).flatten(0, 1))
    return y.reshape(batch, frames, *y.shape[1:]).transpose(1, 2)


def per_pixel(function: nn.Module, x: Tensor) -> Tensor:
    """Apply a 1-D module along time at every pixel of `[B, C, T, H, W]`."""
    batch, _, _, height, width = x.shape
    y: Tensor = function(x.permute(0, 3, 4, 1, 2).flatten(0, 2))
    return y.reshape(batch, height, width, *y.shape[1:]).permute(0, 3, 4, 1, 2)


class _ResidualBlock(nn.Module):
    """x + conv2(silu(norm2(conv1(silu(norm1(x)))))); subclasses say which convolutions.

    docs/model.md, section 2.3.
    """

    norm1: LayerNorm
    conv1: nn.Module
    norm2: LayerNorm
    conv2: nn.Module
    nin_shortcut: nn.Conv2d | None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        skip = x if self.nin_shortcut is None else self.nin_shortcut(x)
        result: Tensor = skip + h
        return result


class SpatialBlock(_ResidualBlock):
    """2-D residual block, each frame on its own: `[N, C, H, W]`, frames in the batch axis.

    docs/model.md, section 2.3.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = LayerNorm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else None


class TemporalBlock(_ResidualBlock):
    """1-D residual block along time, each pixel on its own: `[N, C, T]`, pixels in the batch.

    docs/model.md, section 2.3.
    """

    def __init__(self, channels: int, repeat_first: bool, causal: bool) -> None:
        super().__init__()
        self.norm1 = LayerNorm(channels)
        self.conv1 = conv1d(channels, repeat_first, causal)
        self.norm2 = LayerNorm(channels)
        self.conv2 = conv1d(channels, repeat_first, causal)
        self.nin_shortcut = None


class MiddleBlock(_ResidualBlock):
    """3-D residual block of the middle: `[B, C, T, H, W]` (docs/model.md, section 2.3)."""

    def __init__(self, channels: int, repeat_first: bool, causal: bool) -> None:
        super().__init__()
        self.norm1 = LayerNorm(channels)
        self.conv1 = conv3d(channels, channels, 3, repeat_first, causal)
        self.norm2 = LayerNorm(channels)
        self.conv2 = conv3d(channels, channels, 3, repeat_first, causal)
        self.nin_shortcut = None


class Attention(nn.Module):
    """Single-head attention over the positions of each frame, plus the skip.

    docs/model.md, section 2.4.
    """

    def __init__(self, channels: int, repeat_first: bool, causal: bool) -> None:
        super().__init__()
        self.norm = LayerNorm(channels)
        self.q = conv3d(channels, channels, 1, repeat_first, causal)
        self.k = conv3d(channels, channels, 1, repeat_first, causal)
        self.v = conv3d(channels, channels, 1, repeat_first, causal)
        self.proj_out = conv3d(channels, channels, 1, repeat_first, causal)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, frames, height, width = x.shape
        h = self.norm(x)
        q, k, v = (  # [B, T, HW, C]
            conv(h).permute(0, 2, 3, 4, 1).flatten(2, 3) for conv in (self.q, self.k, self.v)
        )
        h = F.scaled_dot_product_attention(q, k, v)  # scale C^-0.5 is its default
        h = h.reshape(batch, frames, height, width, channels).permute(0, 4, 1, 2, 3)
        result: Tensor = x + self.proj_out(h)
        return result


class SpatialDownsample(nn.Module):
    """Halves height and width: `[N, C, H, W]` to `[N, C, H/2, W/2]`.

    docs/model.md, section 2.5.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return result


class SpatialUpsample(nn.Module):
    """Doubles height and width: `[N, C, H, W]` to `[N, C, 2H, 2W]`.

    docs/model.md, section 2.5.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return result


class TemporalDownsample(nn.Module):
    """Halves the frame rate: a mean and a convolution of the same windows, mixed by a scalar.

    docs/model.md, section 2.6.
    """

    def __init__(self, channels: int, repeat_first: bool, causal: bool) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.zeros(1))
        conv = nn.Conv3d(channels, channels, 3, stride=(2, 1, 1), padding=(0, 1, 1))
        self.conv: nn.Module = CausalConv(conv, repeat_first) if causal else conv
        self.causal = causal
        self.repeat_first = repeat_first

    def forward(self, x: Tensor) -> Tensor:
        if self.causal:
            window = pad_past(x, 1, self.repeat_first)
        else:
            window = x = F.pad(x, (0, 0, 0, 0, 0, 1))
        a = torch.sigmoid(self.mix_factor)
        mean = F.avg_pool3d(window, (3, 1, 1), stride=(2, 1, 1))
        result: Tensor = a * mean + (1 - a) * self.conv(x)
        return result


class TemporalUpsample(nn.Module):
    """Doubles the frame rate: u is x upsampled in time, the result mixes u and conv(u).

    docs/model.md, section 2.7.
    """

    def __init__(self, channels: int, repeat_first: bool, causal: bool, linear: bool) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.zeros(1))
        self.conv = conv3d(channels, channels, 3, repeat_first, causal)
        self.linear = linear

    def forward(self, x: Tensor, lead: int) -> Tensor:
        """`lead`: how many of the first frames belong to latent 0."""
        if self.linear:
            parts = [upsample_linear(x[:, :, :lead]), upsample_linear(x[:, :, lead:])]
            u = torch.cat(parts, dim=2)
        else:
            u = x.repeat_interleave(2, dim=2)
        a = torch.sigmoid(self.mix_factor)
        result: Tensor = a * u + (1 - a) * self.conv(u)
        return result


def upsample_linear(x: Tensor) -> Tensor:
    """Linear in time, half-pixel centres, borders clamped: T frames to 2T.

    docs/model.md, section 2.7.
    """
    before = torch.cat([x[:, :, :1], x[:, :, :-1]], dim=2)
    after = torch.cat([x[:, :, 1:], x[:, :, -1:]], dim=2)
    pairs = torch.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], dim=3)
    return pairs.flatten(2, 3)
