"""How much of a graph's work each convolution does."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor, nn

from vidtok_edge.export.forms import Convolution
from vidtok_edge.export.interface import Kind, traced_without_data
from vidtok_edge.export.numerics import FP32, convolutions
from vidtok_edge.export.step import StepOptions
from vidtok_edge.vidtok_ref import Variant

__all__ = ["multiply_adds", "share"]


@cache
def multiply_adds(variant: Variant, options: StepOptions, kind: Kind) -> dict[str, int]:
    """Multiply-adds of one call by layer, in the order of the graph; computes on shapes alone."""
    counts: dict[str, int] = {}
    with torch.device("meta"):
        step, run = traced_without_data(variant, options, kind, FP32)
        layers = {id(module): name for name, module in convolutions(step).items()}

        def count(module: nn.Module, given: object, result: Tensor) -> None:
            assert isinstance(module, Convolution)
            weights = module.kernels.weights
            per_value = sum(w[0].numel() for w in weights) // len(weights)
            counts[layers[id(module)]] = result.numel() * per_value

        for module in convolutions(step).values():
            module.register_forward_hook(count)
        run()
    return counts


def share(variant: Variant, options: StepOptions, kind: Kind, layers: Iterable[str]) -> float:
    """The share, 0 to 1, of the convolutions' work that `layers` do."""
    work = multiply_adds(variant, options, kind)
    return sum(work[name] for name in layers) / sum(work.values())
