"""The forms of a step graph: the same computation, laid out for different backends.

A form says in which layout activations live and how one convolution, norm or resampler is written
in it. `lowering` composes them and knows nothing of layouts.
Weights come in as `[O, I, kt, kh, kw]`.

    conv2d   home [B, T, C, H, W]: time rides in the batch axis and every convolution is 2-D;
             the taps of a temporal kernel are concatenated along the channels.
    conv3d   home [B, C, T, H, W]: every convolution is 3-D. Moves the least data, by count.
    channels_last   as conv2d, but home [B*T, H, W, C]: norms need no transposes, and ONNX Runtime
             merges those around the convolutions into its own reordering, which it cannot where a
             reshape follows. So only what needs a time axis has one.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtok_edge.lowering.kernels import Kernels, Padding
from vidtok_edge.lowering.norms import FEW_CHANNELS, ChannelNorm, TurnedNorm
from vidtok_edge.runtime.manifest.graphs import FormName

__all__ = [
    "FORMS",
    "ChannelsLastForm",
    "Conv2dForm",
    "Conv3dForm",
    "Convolution",
    "Form",
    "FormName",
]


class Convolution(nn.Module):
    """A convolution laid out in a form.

    Its forward takes an input that already has its past (and future) frames, and that has entered
    `kernels`.
    """

    kernels: Kernels

    def joined(self) -> Convolution:
        """The layout of the same convolution that suits INT8."""
        return self


class Form(Protocol):
    """How activations are laid out and computed.

    Attributes:
        name: as users write it.
        time_axis: of what `to_frames` gives.
    """

    name: FormName
    time_axis: int

    def conv(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> Convolution:
        """A convolution in height, width and time."""

    def upsample_space(self, weight: Tensor, bias: Tensor) -> Convolution:
        """Nearest 2x in height and width, then a 3x3 convolution with padding 1."""

    def norm(self, weight: Tensor, bias: Tensor) -> nn.Module:
        """LayerNorm over the channels."""

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """The sum of two activations."""

    def interleave(self, x: Tensor) -> Tensor:
        """2C channels of T frames, as (first frame, second frame) of each pair, to C of 2T."""

    def to_sequence(self, x: Tensor) -> Tensor:
        """Home to [B*T, C, H*W]."""

    def from_sequence(self, x: Tensor, like: Tensor) -> Tensor:
        """[B*T, C, H*W] to home, sizes as in `like`."""

    def to_frames(self, x: Tensor, batch: int) -> Tensor:
        """Home of `batch` streams to five axes, time apart; what a kernel in time takes."""

    def from_frames(self, x: Tensor) -> Tensor:
        """The inverse of `to_frames`."""

    def from_btchw(self, x: Tensor) -> Tensor:
        """[B, T, C, H, W] to home."""

    def to_btchw(self, x: Tensor, batch: int) -> Tensor:
        """Home of `batch` streams to [B, T, C, H, W]."""


class Conv2dForm:
    """Time in the batch axis; see the module's docstring."""

    name: FormName = "conv2d"
    time_axis = 1

    def conv(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> Convolution:
        return _Conv2d(weight, bias, padding, time_stride, space_stride)

    def upsample_space(self, weight: Tensor, bias: Tensor) -> Convolution:
        return _PhaseUpsample(weight, bias)

    def norm(self, weight: Tensor, bias: Tensor) -> nn.Module:
        return ChannelNorm(weight, bias, channel_axis=2)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def interleave(self, x: Tensor) -> Tensor:
        batch, frames, channels, height, width = x.shape  # channels are (phase, C): a plain reshape
        return x.reshape(batch, frames * 2, channels // 2, height, width)

    def to_sequence(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).flatten(2)

    def from_sequence(self, x: Tensor, like: Tensor) -> Tensor:
        return x.reshape(like.shape[0], like.shape[1], -1, like.shape[3], like.shape[4])

    def to_frames(self, x: Tensor, batch: int) -> Tensor:
        return x

    def from_frames(self, x: Tensor) -> Tensor:
        return x

    def from_btchw(self, x: Tensor) -> Tensor:
        return x

    def to_btchw(self, x: Tensor, batch: int) -> Tensor:
        return x


class Conv3dForm:
    """Every convolution 3-D; see the module's docstring."""

    name: FormName = "conv3d"
    time_axis = 2

    def conv(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> Convolution:
        return _Conv3d(weight, bias, padding, time_stride, space_stride)

    def upsample_space(self, weight: Tensor, bias: Tensor) -> Convolution:
        return _NearestUpsample(weight, bias)

    def norm(self, weight: Tensor, bias: Tensor) -> nn.Module:
        return ChannelNorm(weight, bias, channel_axis=1)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def interleave(self, x: Tensor) -> Tensor:
        batch, channels, *sizes = x.shape
        pairs = x.reshape(batch, 2, channels // 2, *sizes)
        return pairs.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)

    def to_sequence(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(0, 1).flatten(2)

    def from_sequence(self, x: Tensor, like: Tensor) -> Tensor:
        batch, _, frames, height, width = like.shape
        return x.reshape(batch, frames, -1, height, width).transpose(1, 2)

    def to_frames(self, x: Tensor, batch: int) -> Tensor:
        return x

    def from_frames(self, x: Tensor) -> Tensor:
        return x

    def from_btchw(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)

    def to_btchw(self, x: Tensor, batch: int) -> Tensor:
        return x.transpose(1, 2)


class ChannelsLastForm:
    """As `Conv2dForm` with the channels on the last axis; see the module's docstring."""

    name: FormName = "channels_last"
    time_axis = 1

    def conv(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> Convolution:
        if weight.shape[2] > 1 and weight.shape[3:] == (1, 1):
            return _ConvAlongTime(weight, bias, time_stride)
        if weight.shape[2] > 1 and weight.shape[0] * weight.shape[2] <= _BLOCK:
            return _FewOutputs(weight, bias, padding, time_stride, space_stride)
        return _Conv2d(weight, bias, padding, time_stride, space_stride, channels_last=True)

    def upsample_space(self, weight: Tensor, bias: Tensor) -> Convolution:
        return _PhaseUpsample(weight, bias, channels_last=True)

    def norm(self, weight: Tensor, bias: Tensor) -> nn.Module:
        if len(weight) <= FEW_CHANNELS:
            return TurnedNorm(weight, bias)
        return ChannelNorm(weight, bias, channel_axis=3)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        # Pixels in one row: else ONNX Runtime moves the transpose behind a float convolution of an
        # INT8 graph past the sum, and quantises once more for it (5 of 107 ms).
        return (a.flatten(1, 2) + b.flatten(1, 2)).reshape(b.shape)

    def interleave(self, x: Tensor) -> Tensor:
        frames, height, width, channels = x.shape
        pairs = x.reshape(frames, height, width, 2, channels // 2)
        return pairs.permute(0, 3, 1, 2, 4).flatten(0, 1)

    def to_sequence(self, x: Tensor) -> Tensor:
        return x.flatten(1, 2).transpose(1, 2)

    def from_sequence(self, x: Tensor, like: Tensor) -> Tensor:
        return x.transpose(1, 2).reshape(*like.shape[:3], -1)

    def to_frames(self, x: Tensor, batch: int) -> Tensor:
        return x.reshape(batch, -1, *x.shape[1:])

    def from_frames(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1)

    def from_btchw(self, x: Tensor) -> Tensor:
        return x.permute(0, 1, 3, 4, 2).flatten(0, 1)

    def to_btchw(self, x: Tensor, batch: int) -> Tensor:
        return self.to_frames(x, batch).permute(0, 1, 4, 2, 3)


class _Conv2d(Convolution):
    """A temporal kernel as one 2-D convolution over its taps, concatenated along the channels."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        padding: Padding,
        time_stride: int,
        space_stride: int,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.taps = weight.shape[2]
        self.kernels = Kernels([weight.transpose(1, 2).flatten(1, 2)], bias)  # [O, kt*I, kh, kw]
        self.padding, self.time_stride, self.space_stride = padding, time_stride, space_stride
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        batch, stride = x.shape[0], self.time_stride
        if self.taps > 1:
            frames = (x.shape[1] - self.taps) // stride + 1
            last = (frames - 1) * stride + 1
            taps = [x[:, k : k + last : stride] for k in range(self.taps)]
            x = torch.cat(taps, dim=4 if self.channels_last else 2)
        y = self.kernels.convolve(_to_nchw(x, self.channels_last), self.padding, self.space_stride)
        return self.kernels.leave(_from_nchw(y, batch, self.channels_last))


def _to_nchw(x: Tensor, channels_last: bool) -> Tensor:
    """Home, or five axes, to what a 2-D convolution takes."""
    if x.ndim == 5:
        x = x.flatten(0, 1)
    return x.permute(0, 3, 1, 2) if channels_last else x


def _from_nchw(y: Tensor, batch: int, channels_last: bool) -> Tensor:
    """What a 2-D convolution gives to home."""
    return y.permute(0, 2, 3, 1) if channels_last else y.reshape(batch, -1, *y.shape[1:])


_BLOCK = 16  # ONNX Runtime computes a float convolution's outputs in blocks of so many channels


class _FewOutputs(Convolution):
    """A kernel in space and time with few outputs, channels last: taps are summed, not joined.

    Each frame meets each tap in one convolution with taps * O outputs, that fit into a block which
    O alone would leave empty. For floating point: INT8 would round each tap by itself, so `joined`
    gives the other kind.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> None:
        super().__init__()
        self.taps = weight.shape[2]
        self._whole = (weight, bias)
        first = torch.cat([bias, torch.zeros_like(bias).repeat(self.taps - 1)])
        self.kernels = Kernels([torch.cat(weight.unbind(2))], first)  # [taps*O, I, kh, kw]
        self.padding, self.time_stride, self.space_stride = padding, time_stride, space_stride

    def joined(self) -> Convolution:
        """The same with its taps as input channels."""
        strides = (self.time_stride, self.space_stride)
        return _Conv2d(*self._whole, self.padding, *strides, channels_last=True)

    def forward(self, x: Tensor) -> Tensor:
        batch, stride = x.shape[0], self.time_stride
        frames = (x.shape[1] - self.taps) // stride + 1
        last = (frames - 1) * stride + 1
        y = self.kernels.convolve(_to_nchw(x, True), self.padding, self.space_stride)
        y = self.kernels.leave(_from_nchw(y, batch, True))
        each = y.reshape(batch, -1, *y.shape[1:]).chunk(self.taps, dim=4)
        result = each[0][:, :last:stride]
        for k in range(1, self.taps):
            result = result + each[k][:, k : k + last : stride]
        return result.flatten(0, 1)


class _ConvAlongTime(Convolution):
    """A kernel in time alone, channels last: a (kt, 1) convolution of [B, C, T, H*W], no copies."""

    def __init__(self, weight: Tensor, bias: Tensor, time_stride: int) -> None:
        super().__init__()
        self.kernels = Kernels([weight.squeeze(4)], bias)  # [O, I, kt, 1]
        self.stride = (time_stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:4]
        y = self.kernels.convolve(x.flatten(2, 3).permute(0, 3, 1, 2), Padding(), self.stride)
        y = y.permute(0, 2, 3, 1)  # [B, T, H*W, O]
        return self.kernels.leave(y.reshape(-1, height, width, y.shape[3]))


class _PhaseUpsample(Convolution):
    """Nearest 2x then 3x3, exactly, as four 2x2 convolutions of the small frame: 4/9 of the work.

    Output row 2i sees rows i-1, i, i of the small frame and row 2i+1 sees i, i, i+1; the doubled
    row's two weights add up.
    """

    def __init__(self, weight: Tensor, bias: Tensor, channels_last: bool = False) -> None:
        super().__init__()
        square = weight.squeeze(2)
        phases = [
            _merge_taps(_merge_taps(square, 2, row), 3, column)
            for row in (0, 1)
            for column in (0, 1)
        ]
        self.kernels = Kernels(phases, bias)
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        x = _to_nchw(x, self.channels_last)
        pads = [Padding(1 - r, r, 1 - c, c) for r in (0, 1) for c in (0, 1)]
        phases = [self.kernels.convolve(x, pad, 1, i) for i, pad in enumerate(pads)]
        if self.channels_last:
            phases = [y.permute(0, 2, 3, 1) for y in phases]  # [B*T, h, w, O]
            rows = [torch.cat(phases[i : i + 2], dim=3).flatten(2) for i in (0, 2)]
            y = torch.cat(rows, dim=2)  # [B*T, h, (2, w, 2, O)]
            y = y.reshape(x.shape[0], 2 * x.shape[2], 2 * x.shape[3], -1)
        else:
            y = F.pixel_shuffle(torch.stack(phases, dim=2).flatten(1, 2), 2)
            y = y.reshape(batch, -1, *y.shape[1:])
        return self.kernels.leave(y)


def _merge_taps(weight: Tensor, axis: int, phase: int) -> Tensor:
    """3 taps of a kernel over a doubled axis to the 2 taps over the original one."""
    a, b, c = weight.unbind(axis)
    return torch.stack([a, b + c] if phase == 0 else [a + b, c], dim=axis)


class _Conv3d(Convolution):
    def __init__(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> None:
        super().__init__()
        self.kernels = Kernels([weight], bias)
        self.padding = padding
        self.stride = (time_stride, space_stride, space_stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.kernels.leave(self.kernels.convolve(x, self.padding, self.stride))


class _NearestUpsample(Convolution):
    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.kernels = Kernels([weight], bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=(1.0, 2.0, 2.0), mode="nearest")
        return self.kernels.leave(self.kernels.convolve(x, Padding(1, 1, 1, 1), (1, 1, 1)))


FORMS: dict[FormName, Form] = {
    form.name: form for form in (Conv2dForm(), Conv3dForm(), ChannelsLastForm())
}
