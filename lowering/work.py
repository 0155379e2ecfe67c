"""How much of a graph's work each convolution does, and how many values it holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vidtok_edge.lowering.forms import Convolution
from vidtok_edge.lowering.interface import Kind, traced_without_data
from vidtok_edge.lowering.numerics import FP32, convolutions
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.variants import Variant

__all__ = ["LayerWork", "all_multiply_adds", "multiply_adds", "share", "work_by_layer"]


@dataclass(frozen=True, slots=True)
class LayerWork:
    """What one call of a convolution comes to.

    Attributes:
        values_in: with the frames that its kernel reaches back to.
        values_out: of its result.
    """

    multiply_adds: int
    values_in: int
    values_out: int


def work_by_layer(variant: Variant, options: StepOptions, kind: Kind) -> dict[str, LayerWork]:
    """By layer, in the order of the graph; computes on shapes alone."""
    return _counted(variant, options, kind)[0]


def all_multiply_adds(variant: Variant, options: StepOptions, kind: Kind) -> int:
    """Of every convolution and matrix product of one call."""
    return _counted(variant, options, kind)[1]


@cache
def _counted(
    variant: Variant, options: StepOptions, kind: Kind
) -> tuple[dict[str, LayerWork], int]:
    """What the convolutions do, each, and the multiply-adds of all operators together."""
    found: dict[str, LayerWork] = {}
    if options.form == "channels_last":  # as much work, but some of it is told per tap
        options = replace(options, form="conv2d")
    with torch.device("meta"):
        step, run = traced_without_data(variant, options, kind, FP32)
        layers = {id(module): name for name, module in convolutions(step).items()}

        def count(module: nn.Module, given: tuple[Tensor], result: Tensor) -> None:
            assert isinstance(module, Convolution)
            weights = module.kernels.weights
            per_value = sum(w[0].numel() for w in weights) // len(weights)
            values = result.numel()
            found[layers[id(module)]] = LayerWork(values * per_value, given[0].numel(), values)

        for module in convolutions(step).values():
            module.register_forward_hook(count)
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            run()
    return found, counter.get_total_flops() // 2


def multiply_adds(variant: Variant, options: StepOptions, kind: Kind) -> dict[str, int]:
    """Multiply-adds of one call by layer, in the order of the graph."""
    layers = work_by_layer(variant, options, kind)
    return {name: layer.multiply_adds for name, layer in layers.items()}


def share(variant: Variant, options: StepOptions, kind: Kind, layers: Iterable[str]) -> float:
    """The share, 0 to 1, of the convolutions' work that `layers` do."""
    counted = set(layers)
    if not counted:
        return 0.0
    work = multiply_adds(variant, options, kind)
    return sum(work[name] for name in counted) / sum(work.values())
