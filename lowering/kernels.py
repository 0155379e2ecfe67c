"""How the kernel of a convolution is computed: in floating point, or with INT8 inside the graph.

A form lays activations out and hands them to its kernels; the kernels say what a frame looks like
on its way there (`enter`), in a cache (`store`, `load`), and in the padding (`zero`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtok_edge.lowering.affine import (
    Affine,
    dequantize,
    pair_safe_weight,
    quantize,
    quantized_bias,
    quantized_weight,
)

__all__ = ["Grids", "Kernels", "Padding", "PixelKernels", "QuantizedKernels"]


@dataclass(frozen=True, slots=True)
class Padding:
    """Rows and columns of zeros around a frame."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    @property
    def symmetric(self) -> bool:
        """True where a convolution can pad by itself."""
        return self.top == self.bottom and self.left == self.right


class Kernels(nn.Module):
    """One convolution, or several of the same input, in floating point.

    Args:
        weights: each [O, I, kh, kw] or [O, I, kt, kh, kw].
        bias: [O], the same for all.
    """

    def __init__(self, weights: Sequence[Tensor], bias: Tensor) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(w, requires_grad=False) for w in weights)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def enter(self, x: Tensor) -> Tensor:
        """The activation as it travels to `convolve`."""
        return x

    def zero(self, like: Tensor) -> Tensor:
        """What stands for 0 in `like`, an activation that has entered; a scalar."""
        return torch.zeros((), dtype=like.dtype, device=like.device)

    def store(self, x: Tensor) -> Tensor:
        """Frames that have entered, as a cache keeps them."""
        return x

    def load(self, cache: Tensor) -> Tensor:
        """The inverse of `store`, exactly."""
        return cache

    def convolve(
        self, x: Tensor, padding: Padding, stride: int | tuple[int, ...], index: int = 0
    ) -> Tensor:
        """What kernel `index` makes of `x`, before `leave`."""
        return _convolve(x, self.weights[index], self.bias, padding, stride)

    def leave(self, y: Tensor) -> Tensor:
        """What `convolve` gave, rearranged perhaps, as the activation that others read."""
        return y


class PixelKernels(Kernels):
    """The first convolution of an encoder that is fed bytes: its cache holds the bytes. Exact."""

    def __init__(self, kernels: Kernels) -> None:
        super().__init__(list(kernels.weights), kernels.bias)

    def store(self, x: Tensor) -> Tensor:
        return ((x.float() + 1.0) * 127.5).round().to(torch.uint8)

    def load(self, cache: Tensor) -> Tensor:
        return (cache.to(torch.float32) / 127.5 - 1.0).to(self.bias.dtype)


@dataclass(frozen=True, slots=True)
class Grids:
    """Where the input and the output of a convolution are rounded to.

    Attributes:
        input: the grid of the input, and of its cache.
        output: the grid of the output; None: left as it is (TensorRT's fused kernels want that).
        int8: also the weights are INT8, per output channel; else the kernel stays in floating
            point and only the cache shrinks.
        early: ONNX Runtime's placement: quantise at once and let integers travel, with the bias
            in int32, so that the whole becomes QLinearConv. Else TensorRT's: integers only in
            caches and right before the convolution, for its parser takes them nowhere else.
    """

    input: Affine
    output: Affine | None
    int8: bool
    early: bool


class QuantizedKernels(Kernels):
    """Kernels whose input is on a grid of 256 values, and with it what their caches hold.

    Args:
        kernels: in float32.
        grids: where values are rounded to.
        dtype: of everything that is not an integer, scales included.
    """

    def __init__(self, kernels: Kernels, grids: Grids, dtype: torch.dtype) -> None:
        super().__init__(list(kernels.weights), kernels.bias)
        self.early = grids.early
        self.input = _Grid(grids.input, dtype)
        self.output = None if grids.output is None else _Grid(grids.output, dtype)
        self.int8 = nn.ModuleList(
            _Int8Weight(w, kernels.bias, self.input if grids.early else None, dtype)
            for w in (kernels.weights if grids.int8 else [])
        )
        if grids.int8:
            self.weights = nn.ParameterList()

    def enter(self, x: Tensor) -> Tensor:
        return self.input.quantize(x) if self.early else x

    def zero(self, like: Tensor) -> Tensor:
        return self.input.zero_point if self.early else super().zero(like)

    def store(self, x: Tensor) -> Tensor:
        return x if self.early else self.input.quantize(x)

    def load(self, cache: Tensor) -> Tensor:
        return cache if self.early else self.input.dequantize(cache)

    def convolve(
        self, x: Tensor, padding: Padding, stride: int | tuple[int, ...], index: int = 0
    ) -> Tensor:
        x = self.input.dequantize(x if self.early else self.input.quantize(x))
        if self.int8:
            weight, bias = self.int8[index](self.bias)
        else:
            weight, bias = self.weights[index], self.bias
        y = _convolve(x, weight, bias, padding, stride)
        return y if self.output is None else self.output.quantize(y)

    def leave(self, y: Tensor) -> Tensor:
        return y if self.output is None else self.output.dequantize(y)


class _Grid(nn.Module):
    """An `Affine` as tensors of a graph."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, affine: Affine, dtype: torch.dtype) -> None:
        super().__init__()
        self.affine = affine.rounded_to(dtype)
        self.register_buffer("scale", torch.tensor(self.affine.scale, dtype=dtype))
        self.register_buffer("zero_point", self.affine.zero_tensor())

    def quantize(self, x: Tensor) -> Tensor:
        result: Tensor = quantize(x, self.scale, self.zero_point)
        return result

    def dequantize(self, q: Tensor) -> Tensor:
        result: Tensor = dequantize(q, self.scale, self.zero_point)
        return result


class _Int8Weight(nn.Module):
    """A kernel in int8 and, where the grid of its input is given, its bias in int32.

    Then it is for ONNX Runtime, whose sums of products without VNNI have 16 bits.
    """

    weight: Tensor
    scale: Tensor
    zero: Tensor
    bias: Tensor
    bias_scale: Tensor
    bias_zero: Tensor

    def __init__(
        self, weight: Tensor, bias: Tensor, input: _Grid | None, dtype: torch.dtype
    ) -> None:
        super().__init__()
        if input is None:
            values, scale = quantized_weight(weight, dtype)
        else:
            values, scale = pair_safe_weight(weight)
        self.register_buffer("weight", values)
        self.register_buffer("scale", scale)
        self.register_buffer("zero", torch.zeros_like(scale, dtype=torch.int8))
        self.whole = input is not None
        if input is not None:
            integers, bias_scale = quantized_bias(bias, input.affine.scale, scale)
            self.register_buffer("bias", integers)
            self.register_buffer("bias_scale", bias_scale)
            self.register_buffer("bias_zero", torch.zeros_like(integers))

    def forward(self, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The weight, and the bias where it is not an integer: `bias`."""
        if self.whole:
            bias = dequantize(self.bias, self.bias_scale, self.bias_zero)
        return dequantize(self.weight, self.scale, self.zero), bias


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor, pad: Padding, stride: int | tuple[int, ...]
) -> Tensor:
    """2-D or 3-D, by the rank of `weight`; in time nothing is padded."""
    if not pad.symmetric:
        x, pad = F.pad(x, (pad.left, pad.right, pad.top, pad.bottom)), Padding()
    if weight.ndim == 4:
        return F.conv2d(x, weight, bias, stride, (pad.top, pad.left))
    return F.conv3d(x, weight, bias, stride, (0, pad.top, pad.left))
