"""Numbers on a grid of 256 values: ONNX's QuantizeLinear and DequantizeLinear, and what feeds them.

The two operators are torch operators of our own, so that a step module computes on a CPU exactly
what its graph will say. real = (q - zero_point) * scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from onnxscript import opset20
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "ONNX_TRANSLATIONS",
    "Affine",
    "dequantize",
    "pair_safe_weight",
    "quantize",
    "quantized_bias",
    "quantized_weight",
]

_TYPES = {"int8": torch.int8, "uint8": torch.uint8}


@dataclass(frozen=True, slots=True)
class Affine:
    """The grid of an activation: one scale and zero point for the whole tensor."""

    scale: float
    zero_point: int
    dtype: Literal["int8", "uint8"]

    @classmethod
    def symmetric(cls, limit: float) -> Affine:
        """[-limit, limit] in S8, zero point 0, as TensorRT demands."""
        return cls(_scale(limit / 127), 0, "int8")

    @classmethod
    def asymmetric(cls, low: float, high: float) -> Affine:
        """[low, high], which holds 0, in U8, which ONNX Runtime has fast kernels for."""
        scale = _scale((high - low) / 255)
        return cls(scale, min(255, max(0, round(-low / scale))), "uint8")

    def rounded_to(self, dtype: torch.dtype) -> Affine:
        """The grid whose scale `dtype` holds exactly."""
        kind = np.float16 if dtype == torch.float16 else np.float32
        return replace(self, scale=max(float(kind(self.scale)), _least(dtype)))

    def zero_tensor(self) -> Tensor:
        """The zero point as the operators take it."""
        return torch.tensor(self.zero_point, dtype=_TYPES[self.dtype])


def _least(dtype: torch.dtype) -> float:
    """A scale may be rounded, but never to zero."""
    return 2.0**-24 if dtype == torch.float16 else 2.0**-126


def _scale(value: float) -> float:
    """A scale that can be divided by: a tensor that is constantly zero has none of its own."""
    return value if math.isfinite(value) and value > 0 else 1.0


def quantized_weight(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A kernel [O, ...] float32 to int8 in -127..127 and the scale [O] of each output channel.

    The scale is rounded to `dtype` first, so that it means the same in the graph.
    """
    return _in_127_steps(weight, weight.flatten(1).abs().amax(dim=1), dtype)


def pair_safe_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """As `quantized_weight` in float32, and no pair of neighbours saturates a sum of 16 bits.

    `runtime.manifest.pair_sums` says what neighbours are. Of one sign they come to 127 steps at
    most, which rounding makes 128: each gains half a step at most.

    Args:
        weight: [O, I, ...]; neighbours lie on the flattened (..., I) axis.
    """
    flat = weight.movedim(1, -1).flatten(1)
    flat = F.pad(flat, (0, flat.shape[1] % 2))
    rises, falls = flat.clamp(min=0), -flat.clamp(max=0)
    one_sign = [part[:, ::2] + part[:, 1::2] for part in (rises, falls)]
    return _in_127_steps(weight, torch.maximum(*one_sign).amax(dim=1), torch.float32)


def _in_127_steps(weight: Tensor, limits: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Integers and scales for which the `limits` [O] of the output channels are 127 steps."""
    scale = torch.where(limits > 0, limits / 127, 1.0).to(dtype).float().clamp(min=_least(dtype))
    steps = weight / scale.reshape(-1, *[1] * (weight.ndim - 1))
    return steps.round().clamp(-127, 127).to(torch.int8), scale.to(dtype)


def quantized_bias(bias: Tensor, input_scale: float, weight_scale: Tensor) -> tuple[Tensor, Tensor]:
    """A bias [O] to int32 on the grid of the products, and the scale [O] of that grid."""
    scale = weight_scale.float() * input_scale
    limit = 2.0**31 - 129  # float32 has no 2^31 - 1
    return (bias / scale).round().clamp(-limit, limit).to(torch.int32), scale


@torch.library.custom_op("vidtok_edge::quantize", mutates_args=())
def quantize(x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """Real `x` to the grid; scalars `scale`, of the type of `x`, and `zero_point`."""
    info = torch.iinfo(zero_point.dtype)
    q = (x.float() / scale.float()).round_().add_(zero_point.item())
    return q.clamp_(info.min, info.max).to(zero_point.dtype)


@quantize.register_fake
def _(x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    return torch.empty_like(x, dtype=zero_point.dtype)


@torch.library.custom_op("vidtok_edge::dequantize", mutates_args=())
def dequantize(q: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """The grid to real numbers of the type of `scale`; that is a scalar, or one per channel 0."""
    if scale.ndim:
        scale = scale.reshape(-1, *[1] * (q.ndim - 1))
        zero_point = zero_point.reshape(scale.shape)
    return ((q.float() - zero_point.float()) * scale.float()).to(scale.dtype)


@dequantize.register_fake
def _(q: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    return torch.empty_like(q, dtype=scale.dtype)


def _quantize_linear(x: Any, scale: Any, zero_point: Any) -> Any:
    return opset20.QuantizeLinear(x, scale, zero_point)


def _dequantize_linear(q: Any, scale: Any, zero_point: Any) -> Any:
    return opset20.DequantizeLinear(q, scale, zero_point, axis=0)


ONNX_TRANSLATIONS: dict[Any, Any] = {
    torch.ops.vidtok_edge.quantize.default: _quantize_linear,
    torch.ops.vidtok_edge.dequantize.default: _dequantize_linear,
}
"""For `torch.onnx.export`."""
