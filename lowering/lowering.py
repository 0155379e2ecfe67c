"""From the reference model to step modules: one call of a stream, explicit caches, any form.

What is folded is exact algebra: the mean pool into the strided convolution, the mix factors into
the kernels, nearest upsampling in time into two kernel-2 phases, q, k and v into one convolution
with the softmax scale inside (docs/model.md, section 6.1). Lowered modules carry the
reference's parameter paths.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtok_edge.lowering.forms import Convolution, Form
from vidtok_edge.lowering.kernels import Padding
from vidtok_edge.lowering.timeline import Timeline
from vidtok_edge.vidtok_ref import layers
from vidtok_edge.vidtok_ref.model import Decoder, Encoder, Level, Middle, paired

__all__ = ["Edges", "LoweredDecoder", "LoweredEncoder"]


class _Conv(nn.Module):
    """A convolution of the reference, asking the timeline for the frames that its kernel needs."""

    def __init__(
        self,
        form: Form,
        weight: Tensor,
        bias: Tensor,
        *,
        before: int = 0,
        after: int = 0,
        padding: Padding | None = None,
        time_stride: int = 1,
        space_stride: int = 1,
    ) -> None:
        super().__init__()
        self.before, self.after = before, after
        if padding is None:
            p = weight.shape[3] // 2
            padding = Padding(p, p, p, p)
        self.conv = form.conv(weight, bias, padding, time_stride, space_stride)

    def forward(self, x: Tensor, time: Timeline) -> Tensor:
        kernels = self.conv.kernels
        x = kernels.enter(x)
        if self.before or self.after:
            x = time.extend(x, self.before, self.after, kernels)
        result: Tensor = self.conv(x)
        return result


def _plain(module: nn.Module) -> tuple[nn.Conv1d | nn.Conv2d | nn.Conv3d, bool]:
    """The convolution inside `module`, and whether it is causal."""
    if isinstance(module, layers.CausalConv):
        return module.conv, True
    assert isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    return module, False


def _kernel(module: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight [O, I, kt, kh, kw] and bias [O] of a 1-D (time), 2-D (space) or 3-D convolution."""
    conv, _ = _plain(module)
    weight = conv.weight.detach()
    assert conv.bias is not None
    if weight.ndim == 3:
        weight = weight[..., None, None]
    elif weight.ndim == 4:
        weight = weight.unsqueeze(2)
    return weight, conv.bias.detach()


def _conv(form: Form, module: nn.Module) -> _Conv:
    """A stride-1 convolution of the reference."""
    weight, bias = _kernel(module)
    reach = weight.shape[2] - 1
    causal = _plain(module)[1]
    before, after = (reach, 0) if causal else (reach // 2, reach // 2)
    return _Conv(form, weight, bias, before=before, after=after)


def _norm(form: Form, norm: layers.LayerNorm) -> nn.Module:
    return form.norm(norm.norm.weight.detach(), norm.norm.bias.detach())


class _Block(nn.Module):
    """Any residual block: spatial, temporal or 3-D (docs/model.md, section 2.3)."""

    def __init__(self, form: Form, block: nn.Module) -> None:
        super().__init__()
        self.form = form
        assert isinstance(block, (layers.SpatialBlock, layers.TemporalBlock, layers.MiddleBlock))
        self.norm1, self.conv1 = _norm(form, block.norm1), _conv(form, block.conv1)
        self.norm2, self.conv2 = _norm(form, block.norm2), _conv(form, block.conv2)
        shortcut = block.nin_shortcut
        self.nin_shortcut = None if shortcut is None else _conv(form, shortcut)

    def forward(self, x: Tensor, time: Timeline) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)), time)
        h = self.conv2(F.silu(self.norm2(h)), time)
        skip = x if self.nin_shortcut is None else self.nin_shortcut(x, time)
        return self.form.add(skip, h)


class _Attention(nn.Module):
    def __init__(self, form: Form, attention: layers.Attention) -> None:
        super().__init__()
        self.form = form
        self.norm = _norm(form, attention.norm)
        (wq, bq), (wk, bk), (wv, bv) = map(_kernel, (attention.q, attention.k, attention.v))
        scale = wq.shape[0] ** -0.5
        self.qkv = _Conv(form, torch.cat([wq * scale, wk, wv]), torch.cat([bq * scale, bk, bv]))
        self.proj_out = _conv(form, attention.proj_out)

    def forward(self, x: Tensor, time: Timeline) -> Tensor:
        qkv = self.form.to_sequence(self.qkv(self.norm(x), time))
        q, k, v = qkv.chunk(3, dim=1)  # [B*T, C, H*W]
        weights = torch.softmax(torch.matmul(q.transpose(1, 2), k), dim=-1)
        h = torch.matmul(v, weights.transpose(1, 2))
        return self.form.add(x, self.proj_out(self.form.from_sequence(h, x), time))


class _Middle(nn.Module):
    def __init__(self, form: Form, middle: Middle) -> None:
        super().__init__()
        self.block_1 = _Block(form, middle.block_1)
        self.attn_1 = _Attention(form, middle.attn_1)
        self.block_2 = _Block(form, middle.block_2)

    def forward(self, x: Tensor, time: Timeline) -> Tensor:
        result: Tensor = self.block_2(self.attn_1(self.block_1(x, time), time), time)
        return result


def _spatial_downsample(form: Form, module: layers.SpatialDownsample) -> _Conv:
    weight, bias = _kernel(module.conv)
    return _Conv(form, weight, bias, padding=Padding(bottom=1, right=1), space_stride=2)


def _temporal_downsample(form: Form, module: layers.TemporalDownsample) -> _Conv:
    """a * mean of 3 frames + (1 - a) * convolution of the same 3 frames, as one convolution.

    docs/model.md, section 2.6, folded as docs/model.md, section 6.1 says.
    """
    weight, bias = _kernel(module.conv)
    a = torch.sigmoid(module.mix_factor.detach())
    weight = (1 - a) * weight
    identity = torch.eye(weight.shape[0], dtype=weight.dtype, device=weight.device)
    weight[:, :, :, 1, 1] += (a / 3) * identity.unsqueeze(-1)
    before, after = (1, 0) if module.causal else (0, 1)
    return _Conv(form, weight, (1 - a) * bias, before=before, after=after, time_stride=2)


def _mixed_kernel(module: layers.TemporalUpsample) -> tuple[Tensor, Tensor, bool]:
    """The kernel that gives a * u + (1 - a) * conv(u), its bias, and whether it is causal."""
    weight, bias = _kernel(module.conv)
    causal = _plain(module.conv)[1]
    a = torch.sigmoid(module.mix_factor.detach())
    weight = (1 - a) * weight
    identity = torch.eye(weight.shape[0], dtype=weight.dtype, device=weight.device)
    weight[:, :, 2 if causal else 1, 1, 1] += a * identity
    return weight, (1 - a) * bias, causal


class _SpatialUpsample(nn.Module):
    def __init__(self, conv: Convolution) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(self.conv.kernels.enter(x))
        return result


class _NearestTemporalUpsample(nn.Module):
    """Every frame twice, then the mixed kernel: both output frames from the frames as they came in.

    docs/model.md, section 6.1.

    Causal, frame 2i sees frames i-1, i-1, i and frame 2i+1 sees i-1, i, i; not causal, i-1, i, i
    and i, i, i+1. Weights of equal frames add up.
    """

    def __init__(self, form: Form, module: layers.TemporalUpsample) -> None:
        super().__init__()
        weight, bias, causal = _mixed_kernel(module)
        a, b, c = weight.unbind(2)
        if causal:
            phases = [[a + b, c], [a, b + c]]
        else:
            phases = [[a, b + c, torch.zeros_like(a)], [torch.zeros_like(a), a + b, c]]
        both = torch.cat([torch.stack(taps, dim=2) for taps in phases])
        after = 0 if causal else 1
        self.form = form
        self.conv = _Conv(form, both, torch.cat([bias, bias]), before=1, after=after)

    def forward(self, x: Tensor, time: Timeline, edges: Edges | None) -> Tensor:
        return self.form.interleave(self.conv(x, time))


class _LinearTemporalUpsample(nn.Module):
    """v1.1: the delay line, two frames out per frame in, one frame late.

    docs/streaming.md, section 5.1.
    """

    def __init__(self, form: Form, module: layers.TemporalUpsample) -> None:
        super().__init__()
        weight, bias, _ = _mixed_kernel(module)
        self.form = form
        self.conv = _Conv(form, weight, bias, before=2)

    def forward(self, x: Tensor, time: Timeline, edges: Edges | None) -> Tensor:
        assert edges is not None
        axis = self.form.time_axis
        before = time.extend(x, 1, 0)
        x = self.form.to_frames(x, before.shape[0])
        frames = x.shape[axis]
        before = before.narrow(axis, 0, frames)
        clamp, seam = edges.at(frames)
        x = torch.where(self._per_frame(clamp), before, x)
        zero = torch.zeros((), dtype=x.dtype, device=x.device)
        near = self._per_frame(torch.where(seam, zero, zero + 0.25))
        far = 1 - near
        pair = torch.stack([far * before + near * x, near * before + far * x], dim=axis + 1)
        pair = self.form.from_frames(pair.flatten(axis, axis + 1))
        result: Tensor = self.conv(pair, time)
        return result

    def _per_frame(self, values: Tensor) -> Tensor:
        """[B, T] for broadcasting against home."""
        return (
            values[:, :, None, None, None]
            if self.form.time_axis == 1
            else values[:, None, :, None, None]
        )


class Edges:
    """Where the delay line departs from plain interpolation, per slot.

    docs/streaming.md, section 5.2 (`seam`) and docs/streaming.md, section 5.3 (`clamp`).

    Args:
        start, second: bool [B, 1], this call is a stream's first, or follows a first call of one
            latent.
        end: bool [B, N], true at the first latent after a stream's last.
    """

    def __init__(self, start: Tensor, second: Tensor, end: Tensor) -> None:
        self.start, self.second, self.end = start, second, end

    def at(self, frames: int) -> tuple[Tensor, Tensor]:
        """Masks bool [B, frames]: frames clamped to the one before; pairs across the seam."""
        latents = self.end.shape[1]
        per_latent = frames // latents
        position = torch.arange(frames, device=self.end.device)
        last_of_latent = position % per_latent == per_latent - 1
        ending = self.end.unsqueeze(-1).expand(-1, -1, per_latent).flatten(1)
        clamp = torch.logical_and(ending, last_of_latent)
        seam = torch.logical_or(
            torch.logical_and(self.second, position == per_latent - 1),
            torch.logical_and(self.start, position == 2 * per_latent - 1),
        )
        return clamp, seam


class _Level(nn.Module):
    """The blocks of one level, for space or for time, and the resampler behind them, if any."""

    def __init__(self, form: Form, level: Level) -> None:
        super().__init__()
        self.block = nn.ModuleList(_Block(form, block) for block in level.block)
        self.downsample = _downsample(form, level.downsample)
        self.upsample = _upsample(form, level.upsample)


def _downsample(form: Form, module: nn.Module | None) -> _Conv | None:
    if isinstance(module, layers.SpatialDownsample):
        return _spatial_downsample(form, module)
    if isinstance(module, layers.TemporalDownsample):
        return _temporal_downsample(form, module)
    assert module is None
    return None


def _upsample(form: Form, module: nn.Module | None) -> nn.Module | None:
    if isinstance(module, layers.SpatialUpsample):
        return _SpatialUpsample(form.upsample_space(*_kernel(module.conv)))
    if isinstance(module, layers.TemporalUpsample):
        kind = _LinearTemporalUpsample if module.linear else _NearestTemporalUpsample
        return kind(form, module)
    assert module is None
    return None


class LoweredEncoder(nn.Module):
    """Frames to the encoder's output, both in the form's layout (docs/model.md, section 3.1)."""

    def __init__(self, form: Form, encoder: Encoder) -> None:
        super().__init__()
        self.conv_in = _conv(form, encoder.conv_in)
        levels = _paired(form, encoder.down, encoder.down_temporal)
        self._levels = levels
        self.down = nn.ModuleList(space for space, _ in levels)
        self.down_temporal = nn.ModuleList(time for _, time in levels)
        self.mid = _Middle(form, encoder.mid)
        self.norm_out = _norm(form, encoder.norm_out)
        self.conv_out = _conv(form, encoder.conv_out)

    def forward(self, x: Tensor, time: Timeline) -> Tensor:
        x = self.conv_in(x, time)
        for space, temporal in self._levels:
            x = _blocks(space, temporal, x, time)
            if space.downsample is not None:
                x = space.downsample(x, time)
            if temporal.downsample is not None:
                x = temporal.downsample(x, time)
        x = self.mid(x, time)
        result: Tensor = self.conv_out(F.silu(self.norm_out(x)), time)
        return result


class LoweredDecoder(nn.Module):
    """Latents to frames, both in the form's layout (docs/model.md, section 3.2)."""

    def __init__(self, form: Form, decoder: Decoder) -> None:
        super().__init__()
        self.conv_in = _conv(form, decoder.conv_in)
        self.mid = _Middle(form, decoder.mid)
        levels = _paired(form, decoder.up, decoder.up_temporal)
        self._levels = levels
        self.up = nn.ModuleList(space for space, _ in levels)
        self.up_temporal = nn.ModuleList(time for _, time in levels)
        self.norm_out = _norm(form, decoder.norm_out)
        self.conv_out = _conv(form, decoder.conv_out)

    def forward(self, x: Tensor, time: Timeline, edges: Edges | None) -> Tensor:
        x = self.mid(self.conv_in(x, time), time)
        for space, temporal in reversed(self._levels):
            x = _blocks(space, temporal, x, time)
            if space.upsample is not None:
                x = space.upsample(x)
            if temporal.upsample is not None:
                x = temporal.upsample(x, time, edges)
        result: Tensor = self.conv_out(F.silu(self.norm_out(x)), time)
        return result


def _paired(form: Form, space: nn.ModuleList, time: nn.ModuleList) -> list[tuple[_Level, _Level]]:
    return [(_Level(form, a), _Level(form, b)) for a, b in paired(space, time)]


def _blocks(space: _Level, temporal: _Level, x: Tensor, time: Timeline) -> Tensor:
    for spatial, along_time in zip(space.block, temporal.block, strict=True):
        x = along_time(spatial(x, time), time)
    return x
