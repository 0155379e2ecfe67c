"""The embedded model in a layout that trains fast: channels last, and no 3-D convolution.

Source: docs/model.md. `training/embedded.py` holds it to the reference before it trains.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidtok_edge.vidtok_ref import VidTok

__all__ = ["FastModel"]


class _NormSilu(torch.autograd.Function):
    """silu(LayerNorm(x)) in float32; of what has the size of x, backward needs x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        shape = [x.shape[-1]]
        y, mean, rstd = torch.native_layer_norm(x.float(), shape, weight, bias, eps)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        return F.silu(y).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        x32 = x.float()
        y = torch.addcmul(bias, (x32 - mean).mul_(rstd), weight)
        gradient = torch.ops.aten.silu_backward(gradient.float(), y)
        gx, gw, gb = torch.ops.aten.native_layer_norm_backward(
            gradient, x32, [x.shape[-1]], mean, rstd, weight, bias, [True, True, True]
        )
        return gx.to(x.dtype), gw, gb, None


class FastModel:
    """What a causal FSQ model of version 1.0 computes, with activations [B, T, H, W, C].

    Convolutions run in `dtype`, whose weights stay float32; norms and the quantiser in float32.

    Args:
        model: its parameters are used, not copied.
        dtype: float32 or bfloat16.

    Raises:
        ValueError: another kind of model.
    """

    def __init__(self, model: VidTok, dtype: torch.dtype = torch.float32) -> None:
        variant = model.variant
        if variant.version != "1.0" or not variant.causal or variant.latent != "fsq":
            raise ValueError(f"{variant.name} is no causal FSQ model of version 1.0.")
        self._encoder: Any = model.encoder
        self._decoder: Any = model.decoder
        self._dtype, self._factor = dtype, variant.time_factor
        levels = torch.tensor(variant.levels, dtype=torch.float32)
        half = (levels - 1) * (1 + 1e-3) / 2
        offset = torch.where(levels % 2 == 0, 0.5, 0.0)
        device = next(model.parameters()).device
        self._half, self._offset = half.to(device), offset.to(device)
        self._shift, self.width = torch.atanh(offset / half).to(device), (levels // 2).to(device)

    def encode(self, video: Tensor) -> Tensor:
        """[B, 3, T, H, W] to [B, t, h, w, z] in float32, not yet quantised."""
        if video.shape[2] % self._factor:
            first = video[:, :, :1].expand(-1, -1, self._factor - 1, -1, -1)
            video = torch.cat([first, video], dim=2)
        encoder = self._encoder
        x = _conv3(video.permute(0, 2, 3, 4, 1).to(self._dtype), encoder.conv_in.conv)
        for space, time in zip(encoder.down, encoder.down_temporal, strict=True):
            for spatial, temporal in zip(space.block, time.block, strict=True):
                x = _temporal(temporal, _spatial(spatial, x))
            if space.downsample is not None:
                conv = space.downsample.conv
                x = _conv2(F.pad(x, (0, 0, 0, 1, 0, 1)), conv.weight, conv.bias, stride=2, pad=0)
            if time.downsample is not None:
                down, past = time.downsample, F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0))
                mean = (past[:, 0:-2:2].float() + past[:, 1:-1:2] + past[:, 2::2]) / 3
                share = torch.sigmoid(down.mix_factor)
                x = share * mean + (1 - share) * _conv3(x, down.conv.conv, stride=2)
                x = x.to(self._dtype)
        x = _middle(encoder.mid, x)
        return _conv3(_norm_silu(encoder.norm_out, x.float()), encoder.conv_out.conv)

    def quantise(self, z: Tensor) -> Tensor:
        """Codes in [-1, 1], float32; the gradient passes straight through the rounding."""
        bounded = torch.tanh(z + self._shift) * self._half - self._offset
        return (bounded + (torch.round(bounded) - bounded).detach()) / self.width

    def decode(self, codes: Tensor) -> Tensor:
        """[B, t, h, w, z] to [B, T, H, W, 3] in float32."""
        decoder = self._decoder
        x = _middle(decoder.mid, _conv3(codes.to(self._dtype), decoder.conv_in.conv))
        levels = zip(reversed(decoder.up), reversed(decoder.up_temporal), strict=True)
        for space, time in levels:
            for spatial, temporal in zip(space.block, time.block, strict=True):
                x = _temporal(temporal, _spatial(spatial, x))
            if space.upsample is not None:
                b, t, h, w, c = x.shape
                wide = x[:, :, :, None, :, None].expand(b, t, h, 2, w, 2, c)
                conv = space.upsample.conv
                x = _conv2(wide.reshape(b, t, 2 * h, 2 * w, c), conv.weight, conv.bias)
            if time.upsample is not None:
                b, t, h, w, c = x.shape
                long = x[:, :, None].expand(b, t, 2, h, w, c).reshape(b, 2 * t, h, w, c)
                share = torch.sigmoid(time.upsample.mix_factor)
                x = share * long.float() + (1 - share) * _conv3(long, time.upsample.conv.conv)
                x = x.to(self._dtype)
        y = _conv3(_norm_silu(decoder.norm_out, x), decoder.conv_out.conv)
        return y[:, self._factor - 1 :].float()


def _norm_silu(block: Any, x: Tensor) -> Tensor:
    norm = block.norm
    made = _NormSilu.apply(x, norm.weight, norm.bias, norm.eps)  # type: ignore[no-untyped-call]
    return cast("Tensor", made)


def _conv2(x: Tensor, weight: Tensor, bias: Tensor, *, stride: int = 1, pad: int = 1) -> Tensor:
    """2-D, over each frame."""
    frames = x.flatten(0, 1).permute(0, 3, 1, 2)
    y = F.conv2d(frames, weight.to(x.dtype), bias.to(x.dtype), stride, pad)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:2], *y.shape[2:], y.shape[1])


def _conv1(x: Tensor, conv: nn.Module) -> Tensor:
    """Over time, causal, kernel 3: 2-D over time and all pixels of a frame in a row."""
    padded = F.pad(x.flatten(2, 3), (0, 0, 0, 0, 2, 0)).permute(0, 3, 1, 2)
    weight, bias = cast("Tensor", conv.weight), cast("Tensor", conv.bias)
    y = F.conv2d(padded, weight[..., None].to(x.dtype), bias.to(x.dtype))
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:4], -1)


def _conv3(x: Tensor, conv: nn.Module, *, stride: int = 1) -> Tensor:
    """3x3x3, causal: 2-D over three frames that lie side by side in the channels."""
    past = 3 - stride
    padded = F.pad(x, (0, 0, 0, 0, 0, 0, past, 0))
    count = (x.shape[1] + past - 3) // stride + 1
    three = [padded[:, k : k + stride * (count - 1) + 1 : stride] for k in range(3)]
    weight = cast("Tensor", conv.weight).permute(0, 2, 1, 3, 4).flatten(1, 2)
    return _conv2(torch.cat(three, dim=4), weight, cast("Tensor", conv.bias))


def _linear(x: Tensor, conv: nn.Module) -> Tensor:
    weight, bias = cast("Tensor", conv.weight), cast("Tensor", conv.bias)
    return F.linear(x, weight.flatten(1).to(x.dtype), bias.to(x.dtype))


def _spatial(block: Any, x: Tensor) -> Tensor:
    h = _conv2(_norm_silu(block.norm1, x), block.conv1.weight, block.conv1.bias)
    h = _conv2(_norm_silu(block.norm2, h), block.conv2.weight, block.conv2.bias)
    return (x if block.nin_shortcut is None else _linear(x, block.nin_shortcut)) + h


def _temporal(block: Any, x: Tensor) -> Tensor:
    h = _conv1(_norm_silu(block.norm1, x), block.conv1.conv)
    return x + _conv1(_norm_silu(block.norm2, h), block.conv2.conv)


def _middle(mid: Any, x: Tensor) -> Tensor:
    return _dense(mid.block_2, _attention(mid.attn_1, _dense(mid.block_1, x)))


def _dense(block: Any, x: Tensor) -> Tensor:
    h = _conv3(_norm_silu(block.norm1, x), block.conv1.conv)
    return x + _conv3(_norm_silu(block.norm2, h), block.conv2.conv)


def _attention(block: Any, x: Tensor) -> Tensor:
    norm = block.norm.norm
    h = F.layer_norm(x.float(), norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    h = h.to(x.dtype)
    q, k, v = (
        _linear(h, part.conv).flatten(2, 3).flatten(0, 1)[:, None]
        for part in (block.q, block.k, block.v)
    )
    h = F.scaled_dot_product_attention(q, k, v).reshape(x.shape)
    return x + _linear(h, block.proj_out.conv)
