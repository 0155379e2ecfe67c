"""INT8 graphs for engines that quantise and dequantise elsewhere than those that ship."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from vidtok_edge.lowering.kernels import Kernels, Padding, QuantizedKernels
from vidtok_edge.lowering.numerics import Numerics, convolutions
from vidtok_edge.lowering.step import StepDecoder, StepEncoder

__all__ = ["Placing", "fp16_caches", "int8_outputs", "wide_layers"]

MakeStep = Callable[[], StepEncoder | StepDecoder]
Placing = Callable[[Numerics, MakeStep], Numerics]
"""The arithmetic of a trial, from that of the graph that ships and what lowers it in float32."""

_WIDE = 32
"""Channels that an INT8 product of tensor cores takes at once."""


def fp16_caches(numerics: Numerics, make_step: MakeStep) -> Numerics:
    """Inputs are quantised right before an INT8 convolution alone; caches hold FP16."""
    grids = {name: grids for name, grids in numerics.grids.items() if grids.int8}
    return _Fp16Caches(numerics.precision, numerics.placement, grids)


def int8_outputs(numerics: Numerics, make_step: MakeStep) -> Numerics:
    """Also what an INT8 convolution gives is quantised, on the grid of its input."""
    grids = {
        name: replace(grids, output=grids.input) if grids.int8 else grids
        for name, grids in numerics.grids.items()
    }
    return replace(numerics, grids=grids)


def wide_layers(numerics: Numerics, make_step: MakeStep) -> Numerics:
    """Convolutions of few channels, taps joined, stay in FP16, and so do their caches."""
    layers = convolutions(make_step())
    grids = {
        name: grids
        for name, grids in numerics.grids.items()
        if min(layers[name].kernels.weights[0].shape[:2]) >= _WIDE
    }
    return replace(numerics, grids=grids)


class _Fp16Caches(Numerics):
    def apply(self, step: nn.Module, pixels: bool) -> None:
        super().apply(step, pixels)
        for layer in convolutions(step).values():
            if isinstance(layer.kernels, QuantizedKernels):
                layer.kernels = _Unstored(layer.kernels)


class _Unstored(Kernels):
    """Quantised kernels whose caches hold what the convolution is given, not yet quantised."""

    def __init__(self, kernels: QuantizedKernels) -> None:
        super().__init__([], kernels.bias)
        self.quantized = kernels

    def convolve(
        self, x: Tensor, padding: Padding, stride: int | tuple[int, ...], index: int = 0
    ) -> Tensor:
        return self.quantized.convolve(x, padding, stride, index)

    def leave(self, y: Tensor) -> Tensor:
        return self.quantized.leave(y)
