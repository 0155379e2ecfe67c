"""Encoder, decoder and the model around them, offline (docs/model.md, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtok_edge.errors import UnsupportedSize, UsageError
from vidtok_edge.variants import Variant
from vidtok_edge.vidtok_ref.layers import (
    Attention,
    LayerNorm,
    MiddleBlock,
    SpatialBlock,
    SpatialDownsample,
    SpatialUpsample,
    TemporalBlock,
    TemporalDownsample,
    TemporalUpsample,
    conv3d,
    per_frame,
    per_pixel,
)
from vidtok_edge.vidtok_ref.regularizer import Latents, codes_from_tokens, regularize

__all__ = ["Decoder", "Encoder", "Level", "Middle", "VidTok", "paired"]


class Level(nn.Module):
    """The blocks of one level and the resampler behind them, for space or for time."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.block = nn.ModuleList(blocks)
        self.downsample: nn.Module | None = None
        self.upsample: nn.Module | None = None


def paired(space: nn.ModuleList, time: nn.ModuleList) -> list[tuple[Level, Level]]:
    """The levels of space and time, side by side, finest first."""
    levels = [[m for m in modules if isinstance(m, Level)] for modules in (space, time)]
    return list(zip(*levels, strict=True))


class Middle(nn.Module):
    """Block, attention, block at the coarsest level (docs/model.md, section 3.1)."""

    def __init__(self, channels: int, repeat_first: bool, causal: bool) -> None:
        super().__init__()
        self.block_1 = MiddleBlock(channels, repeat_first, causal)
        self.attn_1 = Attention(channels, repeat_first, causal)
        self.block_2 = MiddleBlock(channels, repeat_first, causal)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return result


class Encoder(nn.Module):
    """Video [B, 3, T, H, W] in [-1, 1] to [B, C, t, h, w]; no padding at the start of its own.

    docs/model.md, section 3.1.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        repeat_first, causal = variant.repeat_first, variant.causal
        widths = [variant.ch * m for m in variant.ch_mult]
        self.conv_in = conv3d(3, variant.ch, 3, repeat_first, causal)
        self.down = nn.ModuleList()
        self.down_temporal = nn.ModuleList()
        for i, width in enumerate(widths):
            inputs = [widths[i - 1] if i else variant.ch] + [width] * (variant.num_res_blocks - 1)
            space = Level([SpatialBlock(c, width) for c in inputs])
            time = Level([TemporalBlock(width, repeat_first, causal) for _ in inputs])
            if i in variant.spatial_down:
                space.downsample = SpatialDownsample(width)
                if i in variant.temporal_down:
                    time.downsample = TemporalDownsample(width, repeat_first, causal)
            self.down.append(space)
            self.down_temporal.append(time)
        self.mid = Middle(widths[-1], repeat_first, causal)
        self.norm_out = LayerNorm(widths[-1])
        self.conv_out = conv3d(widths[-1], variant.encoder_channels, 3, repeat_first, causal)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for space, time in paired(self.down, self.down_temporal):
            for spatial, temporal in zip(space.block, time.block, strict=True):
                x = per_pixel(temporal, per_frame(spatial, x))
            if space.downsample is not None:
                x = per_frame(space.downsample, x)
            if time.downsample is not None:
                x = time.downsample(x)
        result: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(x))))
        return result


class Decoder(nn.Module):
    """Latents [B, z, t, h, w] to video [B, 3, ft, H, W], all of its frames.

    docs/model.md, section 3.2.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        repeat_first, causal = variant.repeat_first, variant.causal
        widths = [variant.ch * m for m in variant.ch_mult]
        self.conv_in = conv3d(variant.z_channels, widths[-1], 3, repeat_first, causal)
        self.mid = Middle(widths[-1], repeat_first, causal)
        self.up = nn.ModuleList()
        self.up_temporal = nn.ModuleList()
        for i, width in enumerate(widths):
            above = widths[min(i + 1, len(widths) - 1)]
            inputs = [above] + [width] * variant.num_res_blocks
            space = Level([SpatialBlock(c, width) for c in inputs])
            time = Level([TemporalBlock(width, repeat_first, causal) for _ in inputs])
            if i in variant.spatial_up:
                space.upsample = SpatialUpsample(width)
                if i in variant.temporal_up:
                    time.upsample = TemporalUpsample(width, repeat_first, causal, variant.linear)
            self.up.append(space)
            self.up_temporal.append(time)
        self.norm_out = LayerNorm(widths[0])
        self.conv_out = conv3d(widths[0], 3, 3, repeat_first, causal)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        lead = 1  # frames that belong to latent 0
        for space, time in reversed(paired(self.up, self.up_temporal)):
            for spatial, temporal in zip(space.block, time.block, strict=True):
                x = per_pixel(temporal, per_frame(spatial, x))
            if space.upsample is not None:
                x = per_frame(space.upsample, x)
            if time.upsample is not None:
                x = time.upsample(x, lead)
                lead *= 2
        result: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return result


class VidTok(nn.Module):
    """A VidTok model whose state dict has the official keys. Holds no state between calls."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.encoder = Encoder(variant)
        self.decoder = Decoder(variant)

    def encode(self, video: Tensor, generator: torch.Generator | None = None) -> Latents:
        """Encode a whole clip.

        Args:
            video: [B, 3, T, H, W] in [-1, 1], RGB. T of 1 or more; of f or more if not causal.
            generator: for KL, draw the latent with it; without one the latent is the mean.

        Raises:
            UnsupportedSize: T, H or W that the variant cannot take.
            UsageError: not `[B, 3, T, H, W]`, or a generator for an FSQ model.
        """
        variant = self.variant
        if video.ndim != 5 or video.shape[1] != 3 or not video.is_floating_point():
            raise UsageError(
                f"Expected float video [B, 3, T, H, W] in [-1, 1], got {video.dtype} "
                f"{list(video.shape)}. Stack RGB frames along axis 2; bytes become x / 127.5 - 1."
            )
        if generator is not None and variant.latent != "kl":
            raise UsageError(f"{variant.name} is FSQ and has nothing to sample; pass no generator.")
        variant.check_size(int(video.shape[3]), int(video.shape[4]))
        frames, f = int(video.shape[2]), variant.time_factor
        least = 1 if variant.causal else f
        if frames < least:
            raise UnsupportedSize(
                f"{variant.name} needs at least {least} frame(s), got {frames}. Add frames."
            )
        encoded = self.encoder(self._pad_front(video))
        return regularize(encoded, variant, generator)

    def _pad_front(self, video: Tensor) -> Tensor:
        """Repeat the first frame until the causal windows line up (docs/model.md, section 3.4)."""
        rest, f = video.shape[2] % self.variant.time_factor, self.variant.time_factor
        if not self.variant.causal or rest == 0:
            return video
        copies = f - rest if self.variant.delayed else f - 1
        return torch.cat([video[:, :, :1].repeat_interleave(copies, dim=2), video], dim=2)

    def decode(self, latent: Tensor) -> Tensor:
        """Decode `latent` [B, z, t, h, w] to video [B, 3, T, H, W], not clamped.

        v1.0 drops the first f - 1 frames itself. v1.1 returns all ft frames: keep the last T.
        Non-causal returns ft frames.
        """
        if latent.ndim != 5 or latent.shape[1] != self.variant.z_channels or not latent.numel():
            raise UsageError(
                f"Expected latents [B, {self.variant.z_channels}, t, h, w], t of 1 or more, "
                f"got {list(latent.shape)}. Pass what `encode` returned as `.latent`."
            )
        video: Tensor = self.decoder(latent)
        if self.variant.causal and not self.variant.delayed:
            video = video[:, :, self.variant.time_factor - 1 :]
        return video

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        """Decode FSQ `tokens` int32 [B, t, h, w]; as `decode`."""
        size = self.variant.codebook_size
        if not size:
            raise UsageError(f"{self.variant.name} is KL and has no tokens; use decode.")
        if tokens.ndim != 4 or not tokens.numel() or tokens.is_floating_point():
            raise UsageError(
                f"Expected integer tokens [B, t, h, w], got {tokens.dtype} {list(tokens.shape)}. "
                "Pass what `encode` returned as `.tokens`."
            )
        tokens = tokens.to(torch.int32)  # uint8 would wrap around
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= size:
            raise UsageError(
                f"{self.variant.name} has tokens 0 to {size - 1}, got {low} to {high}. "
                "Decode with the variant that wrote them."
            )
        return self.decode(codes_from_tokens(tokens, self.variant.levels))
