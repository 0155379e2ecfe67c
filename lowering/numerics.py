"""In what arithmetic a step computes: float32, float16, or INT8 where a grid is known.

The quantiser of the latents, pixels as bytes and what the host reads are always float32; caches
are what the convolution behind them reads, float16 or one byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from vidtok_edge.lowering.forms import Convolution, FormName
from vidtok_edge.lowering.kernels import Grids, Kernels, PixelKernels, QuantizedKernels
from vidtok_edge.runtime.manifest.graphs import Placement, Precision

__all__ = ["FP16", "FP32", "Numerics", "convolutions"]


@dataclass(frozen=True, slots=True)
class Numerics:
    """The arithmetic of one step.

    Attributes:
        precision: what a user asks for.
        placement: for INT8, the backends that its nodes are placed for.
        grids: for INT8, by layer; the other layers stay in floating point.
    """

    precision: Precision
    placement: Placement = Placement.ANY
    grids: Mapping[str, Grids] = field(default_factory=dict)

    @property
    def dtype(self) -> torch.dtype:
        """Of activations that are not integers: a CPU has no float16 kernels worth the name."""
        half = self.precision == "fp16" or self.placement == Placement.TENSORRT
        return torch.float16 if half else torch.float32

    def apply(self, step: nn.Module, pixels: bool) -> None:
        """Turn a float32 `step` into one of this arithmetic, in place.

        Args:
            step: a step that was just lowered.
            pixels: its input is bytes, so its first cache can be.
        """
        for name, grids in self.grids.items():
            if grids.int8:
                _join(step, name)
        layers = convolutions(step)
        unknown = sorted(set(self.grids) - set(layers))
        assert not unknown, f"grids of layers that the step does not have: {unknown}"
        kernels: dict[str, Kernels] = {
            name: QuantizedKernels(layers[name].kernels, grids, self.dtype)
            for name, grids in self.grids.items()
        }
        if self.precision == "int8" and pixels:
            kernels["encoder.conv_in"] = PixelKernels(layers["encoder.conv_in"].kernels)
        step.to(self.dtype)
        for name, replacement in kernels.items():
            layers[name].kernels = replacement.to(self.dtype)

    def form(self, chosen: FormName) -> FormName:
        """The form to lower in, where `chosen` is asked for.

        ONNX Runtime's INT8 has its own. Of `channels_last` no engine is built, so FP16 and
        TensorRT's INT8 are `conv2d` where it is chosen.
        """
        if self.placement == Placement.ONNXRUNTIME:
            return "channels_last"
        if self.precision != "fp32" and chosen == "channels_last":
            return "conv2d"
        return chosen

    @property
    def int8_layers(self) -> tuple[str, ...]:
        """The layers whose kernels are INT8."""
        return tuple(name for name, grids in self.grids.items() if grids.int8)


def _join(step: nn.Module, layer: str) -> None:
    """Lay a convolution out as suits INT8."""
    parent = step.get_submodule(layer)
    assert isinstance(parent.conv, Convolution)
    parent.conv = parent.conv.joined()


FP32 = Numerics("fp32")
FP16 = Numerics("fp16")


def convolutions(step: nn.Module) -> dict[str, Convolution]:
    """Every convolution of a lowered step, by the name of its layer."""
    return {
        name.removesuffix(".conv"): module
        for name, module in step.named_modules()
        if isinstance(module, Convolution)
    }
