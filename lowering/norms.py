"""LayerNorm over the channels, as each form writes it."""

from __future__ import annotations

import math
from typing import Any

import torch
from onnxscript import opset20
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FEW_CHANNELS", "NORM_TRANSLATIONS", "ChannelNorm", "TurnedNorm", "unit_rows"]

FEW_CHANNELS = 16
"""Up to as many two products with a matrix cost less than ONNX Runtime's LayerNormalization,
which gets slower with a second thread (docs/decisions/43-norms-of-few-channels.md)."""
EPSILON = 1e-6


class ChannelNorm(nn.Module):
    """The LayerNormalization operator between two transposes.

    Written out with ReduceMean it draws TensorRT's overflow warning in fp16; the operator does not.
    """

    def __init__(self, weight: Tensor, bias: Tensor, channel_axis: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.channel_axis = channel_axis

    def forward(self, x: Tensor) -> Tensor:
        last = x.movedim(self.channel_axis, -1)  # nothing, where they are last already
        normed = F.layer_norm(last, self.weight.shape, self.weight, self.bias, eps=EPSILON)
        return normed.movedim(-1, self.channel_axis)


class TurnedNorm(nn.Module):
    """LayerNorm over the last axis: two products with a matrix, and a division by a length between.

    An orthogonal matrix turns the C channels so that the first holds their mean, times sqrt(C). A
    constant that stands for epsilon takes its place, which makes the length of the row
    sqrt(C (variance + epsilon)). Rows of length 1 are turned back, scaled and shifted.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        root = math.sqrt(len(weight))
        turn = _turn(len(weight), weight.device)
        turn[:, 0] = 0
        back = turn.T * (root * weight.double())
        constant = torch.zeros_like(bias)
        constant[0] = root * math.sqrt(EPSILON)
        self.turn, self.constant = nn.Parameter(turn.to(weight.dtype)), nn.Parameter(constant)
        self.back, self.bias = nn.Parameter(back.to(weight.dtype)), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        turned = torch.matmul(x, self.turn) + self.constant
        rows: Tensor = unit_rows(turned)
        return torch.matmul(rows, self.back) + self.bias


def _turn(channels: int, device: torch.device) -> Tensor:
    """An orthogonal matrix, float64, with a constant first column: the reflection that gives it."""
    options: dict[str, Any] = {"dtype": torch.float64, "device": device}
    normal = torch.full((channels,), -(channels**-0.5), **options)
    normal[0] += 1
    identity = torch.eye(channels, **options)
    return identity - torch.outer(normal, normal) * (2 / normal.square().sum().clamp(min=1e-9))


@torch.library.custom_op("vidtok_edge::unit_rows", mutates_args=())
def unit_rows(x: Tensor) -> Tensor:
    """`x` [..., C] over the length of each row, of which none is zero."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length


@unit_rows.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def _lp_normalization(x: Any) -> Any:
    return opset20.LpNormalization(x, axis=-1, p=2)


NORM_TRANSLATIONS: dict[Any, Any] = {
    torch.ops.vidtok_edge.unit_rows.default: _lp_normalization,
}
"""For `torch.onnx.export`."""
