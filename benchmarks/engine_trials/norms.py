"""LayerNorm over the channels from two moments, for engines."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["HalfMomentNorm", "MomentNorm"]

EPSILON = 1e-6


class MomentNorm(nn.Module):
    """LayerNorm from the mean and the mean square of the channels, which need not be last; float32.

    TensorRT does the operator in two steps, in float32 and with the channels last, and keeps the
    centred values between. Neither moment waits for the other here, and nothing is transposed.
    """

    def __init__(self, weight: Tensor, bias: Tensor, channel_axis: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.channel_axis = channel_axis

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        mean, length = self.moments(wide)
        normed = (wide - mean) / length
        return (normed * self.along(self.weight.float(), x) + self.along(self.bias.float(), x)).to(
            x.dtype
        )

    def moments(self, wide: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of float32 `wide` over the channels."""
        mean = wide.mean(self.channel_axis, keepdim=True)
        variance = (wide * wide).mean(self.channel_axis, keepdim=True) - mean * mean
        return mean, torch.sqrt(variance.clamp(min=0) + EPSILON)  # rounding may leave it below zero

    def along(self, values: Tensor, x: Tensor) -> Tensor:
        """[C] for broadcasting against `x`."""
        shape = [1] * x.ndim
        shape[self.channel_axis] = -1
        return values.reshape(shape)


class HalfMomentNorm(MomentNorm):
    """Moments in float32; what is done to each value in the type of `x`."""

    def forward(self, x: Tensor) -> Tensor:
        mean, length = self.moments(x.float())
        normed = (x - mean.to(x.dtype)) * (1 / length).to(x.dtype)
        return normed * self.along(self.weight, x) + self.along(self.bias, x)
