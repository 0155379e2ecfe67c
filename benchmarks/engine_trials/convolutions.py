"""Convolutions as engines might like them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtok_edge.lowering.forms import Conv2dForm, Convolution
from vidtok_edge.lowering.kernels import Kernels, Padding

__all__ = ["OneConvUpsample", "TapProducts"]


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
            frames = (x.shape[1] - self.taps) // self.time_stride + 1
            last = (frames - 1) * self.time_stride + 1
            taps = [x[:, k : k + last : self.time_stride] for k in range(self.taps)]
            x = torch.cat(taps, dim=4).flatten(0, 1)
        return torch.matmul(x, self.kernels.weights[0]) + self.kernels.bias


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
