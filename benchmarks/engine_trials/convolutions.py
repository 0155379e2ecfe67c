"""Convolutions as engines might like them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtok_edge.lowering.forms import Conv2dForm, Convolution
from vidtok_edge.lowering.kernels import Kernels, Padding

__all__ = ["FramesConv", "FramesUpsample", "OneConvUpsample", "TapProducts"]


class FramesConv(Convolution):
    """A convolution of [B*T, C, H, W]; the taps of a kernel in time joined along the channels.

    Where one frame comes out, its taps lie side by side already, and nothing is sliced.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> None:
        super().__init__()
        self.taps = weight.shape[2]
        self.kernels = Kernels([weight.transpose(1, 2).flatten(1, 2)], bias)  # [O, kt*I, kh, kw]
        self.padding, self.time_stride, self.space_stride = padding, time_stride, space_stride

    def forward(self, x: Tensor) -> Tensor:
        if self.taps > 1:  # [B, T, C, H, W], with its past
            one = x.shape[1] == self.taps
            x = x.flatten(1, 2) if one else _joined(x, self.taps, self.time_stride, 2)
        return self.kernels.leave(self.kernels.convolve(x, self.padding, self.space_stride))


class FramesUpsample(Convolution):
    """The four phases of `Conv2dForm`, of [B*T, C, H, W]."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.kernels = Conv2dForm().upsample_space(weight, bias).kernels

    def forward(self, x: Tensor) -> Tensor:
        pads = [Padding(1 - r, r, 1 - c, c) for r in (0, 1) for c in (0, 1)]
        phases = [self.kernels.convolve(x, pad, 1, i) for i, pad in enumerate(pads)]
        y = F.pixel_shuffle(torch.stack(phases, dim=2).flatten(1, 2), 2)
        return self.kernels.leave(y)


class TapProducts(Convolution):
    """A kernel in time alone, or 1x1, channels last: one product with a matrix [kt*I, O].

    Not for INT8: nothing is rounded to a grid on its way into the product.
    """

    def __init__(self, weight: Tensor, bias: Tensor, time_stride: int) -> None:
        super().__init__()
        self.taps, self.time_stride = weight.shape[2], time_stride
        matrix = weight[..., 0, 0].permute(2, 1, 0).flatten(0, 1)
        self.kernels = Kernels([matrix.contiguous()], bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.taps > 1:  # [B, T, H, W, C], with its past
            x = _joined(x, self.taps, self.time_stride, 4)
        return torch.matmul(x, self.kernels.weights[0]) + self.kernels.bias


def _joined(x: Tensor, taps: int, stride: int, channel_axis: int) -> Tensor:
    """[B, T, ...] with its past to [B*T', ...], the frames that a kernel meets side by side along
    the channels."""
    frames = (x.shape[1] - taps) // stride + 1
    last = (frames - 1) * stride + 1
    met = [x[:, k : k + last : stride] for k in range(taps)]
    return torch.cat(met, dim=channel_axis).flatten(0, 1)


class OneConvUpsample(Convolution):
    """Nearest 2x then 3x3, exactly, as one 3-D convolution of the small frame with 4 O outputs.

    The four phases of `Conv2dForm` in one kernel, each 2x2 in a corner of 3x3; then a shuffle.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        phases = Conv2dForm().upsample_space(weight, bias).kernels.weights  # each [O, I, 2, 2]
        places = [(row, column) for row in (0, 1) for column in (0, 1)]
        placed = [
            F.pad(phase.detach(), (column, 1 - column, row, 1 - row))
            for phase, (row, column) in zip(phases, places, strict=True)
        ]
        self.kernels = Kernels([torch.cat(placed).unsqueeze(2)], bias.repeat(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.kernels.leave(self.kernels.convolve(x, Padding(1, 1, 1, 1), (1, 1, 1)))
        batch, channels, frames, height, width = y.shape
        y = y.reshape(batch, 2, 2, channels // 4, frames, height, width)
        y = y.permute(0, 3, 4, 5, 1, 6, 2)  # [B, O, T, h, (2), w, (2)]
        return y.reshape(batch, channels // 4, frames, 2 * height, 2 * width)
