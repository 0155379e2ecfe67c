"""The two forms of a step graph: the same computation, laid out for different backends.

A form says in which layout activations live and how one convolution, norm or resampler is written
in it. `lowering` composes them and knows nothing of layouts.
Weights come in as `[O, I, kt, kh, kw]`.

    conv2d   home [B, T, C, H, W]: time rides in the batch axis and every convolution is 2-D;
             the taps of a temporal kernel are concatenated along the channels.
    conv3d   home [B, C, T, H, W]: every convolution is 3-D. Moves the least data, by count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FORMS", "Conv2dForm", "Conv3dForm", "Form", "FormName", "Padding"]

FormName = Literal["conv2d", "conv3d"]


@dataclass(frozen=True, slots=True)
class Padding:
    """Zero rows and columns around a frame."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    @property
    def symmetric(self) -> bool:
        """True where a convolution can pad by itself."""
        return self.top == self.bottom and self.left == self.right


class Form(Protocol):
    """How activations are laid out and computed."""

    name: FormName
    time_axis: int

    def conv(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> nn.Module:
        """A convolution of an input that already has its past (and future) frames."""

    def upsample_space(self, weight: Tensor, bias: Tensor) -> nn.Module:
        """Nearest 2x in height and width, then a 3x3 convolution with padding 1."""

    def norm(self, weight: Tensor, bias: Tensor) -> nn.Module:
        """LayerNorm over the channels."""

    def interleave(self, x: Tensor) -> Tensor:
        """2C channels of T frames, as (first frame, second frame) of each pair, to C of 2T."""

    def to_sequence(self, x: Tensor) -> Tensor:
        """Home to [B*T, C, H*W]."""

    def from_sequence(self, x: Tensor, like: Tensor) -> Tensor:
        """[B*T, C, H*W] to home, sizes as in `like`."""

    def from_btchw(self, x: Tensor) -> Tensor:
        """[B, T, C, H, W] to home."""

    def to_btchw(self, x: Tensor) -> Tensor:
        """Home to [B, T, C, H, W]."""


class Conv2dForm:
    """Time in the batch axis; see the module's docstring."""

    name: FormName = "conv2d"
    time_axis = 1

    def conv(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> nn.Module:
        return _Conv2d(weight, bias, padding, time_stride, space_stride)

    def upsample_space(self, weight: Tensor, bias: Tensor) -> nn.Module:
        return _PhaseUpsample(weight, bias)

    def norm(self, weight: Tensor, bias: Tensor) -> nn.Module:
        return _ChannelNorm(weight, bias, channel_axis=2)

    def interleave(self, x: Tensor) -> Tensor:
        batch, frames, channels, height, width = x.shape  # channels are (phase, C): a plain reshape
        return x.reshape(batch, frames * 2, channels // 2, height, width)

    def to_sequence(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).flatten(2)

    def from_sequence(self, x: Tensor, like: Tensor) -> Tensor:
        return x.reshape(like.shape[0], like.shape[1], -1, like.shape[3], like.shape[4])

    def from_btchw(self, x: Tensor) -> Tensor:
        return x

    def to_btchw(self, x: Tensor) -> Tensor:
        return x


class Conv3dForm:
    """Every convolution 3-D; see the module's docstring."""

    name: FormName = "conv3d"
    time_axis = 2

    def conv(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> nn.Module:
        return _Conv3d(weight, bias, padding, time_stride, space_stride)

    def upsample_space(self, weight: Tensor, bias: Tensor) -> nn.Module:
        return _NearestUpsample(weight, bias)

    def norm(self, weight: Tensor, bias: Tensor) -> nn.Module:
        return _ChannelNorm(weight, bias, channel_axis=1)

    def interleave(self, x: Tensor) -> Tensor:
        batch, channels, *sizes = x.shape
        pairs = x.reshape(batch, 2, channels // 2, *sizes)
        return pairs.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)

    def to_sequence(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(0, 1).flatten(2)

    def from_sequence(self, x: Tensor, like: Tensor) -> Tensor:
        batch, _, frames, height, width = like.shape
        return x.reshape(batch, frames, -1, height, width).transpose(1, 2)

    def from_btchw(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)

    def to_btchw(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class _Conv2d(nn.Module):
    """A temporal kernel as one 2-D convolution over its taps, concatenated along the channels."""

    def __init__(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> None:
        super().__init__()
        self.taps = weight.shape[2]
        self.weight = nn.Parameter(weight.transpose(1, 2).flatten(1, 2))  # [O, kt*I, kh, kw]
        self.bias = nn.Parameter(bias)
        self.padding, self.time_stride, self.space_stride = padding, time_stride, space_stride

    def forward(self, x: Tensor) -> Tensor:
        batch, stride = x.shape[0], self.time_stride
        if self.taps > 1:
            frames = (x.shape[1] - self.taps) // stride + 1
            last = (frames - 1) * stride + 1
            x = torch.cat([x[:, k : k + last : stride] for k in range(self.taps)], dim=2)
        y = _conv2d(x.flatten(0, 1), self.weight, self.bias, self.padding, self.space_stride)
        return y.reshape(batch, -1, *y.shape[1:])


def _conv2d(x: Tensor, weight: Tensor, bias: Tensor, pad: Padding, stride: int) -> Tensor:
    if pad.symmetric:
        return F.conv2d(x, weight, bias, stride, (pad.top, pad.left))
    return F.conv2d(F.pad(x, (pad.left, pad.right, pad.top, pad.bottom)), weight, bias, stride)


class _PhaseUpsample(nn.Module):
    """Nearest 2x then 3x3, exactly, as four 2x2 convolutions of the small frame: 4/9 of the work.

    Output row 2i sees rows i-1, i, i of the small frame and row 2i+1 sees i, i, i+1; the doubled
    row's two weights add up.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        square = weight.squeeze(2)
        self.phases = nn.ParameterList(
            [
                nn.Parameter(_merge_taps(_merge_taps(square, 2, row), 3, column))
                for row in (0, 1)
                for column in (0, 1)
            ]
        )
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        x = x.flatten(0, 1)
        pads = [Padding(1 - r, r, 1 - c, c) for r in (0, 1) for c in (0, 1)]
        outputs = [
            _conv2d(x, weight, self.bias, pad, 1)
            for weight, pad in zip(self.phases, pads, strict=True)
        ]
        y = F.pixel_shuffle(torch.stack(outputs, dim=2).flatten(1, 2), 2)
        return y.reshape(batch, -1, *y.shape[1:])


def _merge_taps(weight: Tensor, axis: int, phase: int) -> Tensor:
    """3 taps of a kernel over a doubled axis to the 2 taps over the original one."""
    a, b, c = weight.unbind(axis)
    return torch.stack([a, b + c] if phase == 0 else [a + b, c], dim=axis)


class _Conv3d(nn.Module):
    def __init__(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.padding = padding
        self.stride = (time_stride, space_stride, space_stride)

    def forward(self, x: Tensor) -> Tensor:
        pad = self.padding
        if pad.symmetric:
            return F.conv3d(x, self.weight, self.bias, self.stride, (0, pad.top, pad.left))
        x = F.pad(x, (pad.left, pad.right, pad.top, pad.bottom))
        return F.conv3d(x, self.weight, self.bias, self.stride)


class _NearestUpsample(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.conv = _Conv3d(weight, bias, Padding(1, 1, 1, 1), 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(F.interpolate(x, scale_factor=(1.0, 2.0, 2.0), mode="nearest"))
        return result


class _ChannelNorm(nn.Module):
    """The LayerNormalization operator between two transposes.

    Written out with ReduceMean it draws TensorRT's overflow warning in fp16; the operator does not.
    """

    def __init__(self, weight: Tensor, bias: Tensor, channel_axis: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.channel_axis = channel_axis

    def forward(self, x: Tensor) -> Tensor:
        last = x.movedim(self.channel_axis, -1)
        normed = F.layer_norm(last, self.weight.shape, self.weight, self.bias, eps=1e-6)
        return normed.movedim(-1, self.channel_axis)


FORMS: dict[FormName, Form] = {"conv2d": Conv2dForm(), "conv3d": Conv3dForm()}
