"""Inputs and outputs of a step graph, found by running the step on shapes alone.

What they are: docs/streaming.md, section 3.1, and docs/streaming.md, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from vidtok_edge.lowering.facts import facts_of
from vidtok_edge.lowering.numerics import FP32, Numerics
from vidtok_edge.lowering.step import StepDecoder, StepEncoder, StepOptions, lower
from vidtok_edge.lowering.timeline import CausalTimeline, Timeline
from vidtok_edge.runtime.manifest.graphs import (
    CACHE_PREFIX,
    CALL_BEFORE,
    KINDS,
    NEW_CACHE_PREFIX,
    DType,
    Kind,
    TensorSpec,
)
from vidtok_edge.runtime.manifest.interface import Interface, host_interface
from vidtok_edge.variants import Variant
from vidtok_edge.vidtok_ref import VidTok

__all__ = ["KINDS", "Interface", "Kind", "interface_of", "traced_without_data", "zeros"]

_NAMES: dict[torch.dtype, DType] = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.int8: "int8",
    torch.uint8: "uint8",
    torch.int32: "int32",
    torch.bool: "bool",
}
_TYPES = {name: dtype for dtype, name in _NAMES.items()}


def interface_of(
    variant: Variant, options: StepOptions, kind: Kind, numerics: Numerics = FP32
) -> Interface:
    """The interface of a step graph; needs no weights and computes nothing.

    Raises:
        UsageError: `options` that `variant` cannot be lowered with.
    """
    options.check(variant)
    host = _host(variant, options, kind)
    with torch.device("meta"):
        step, run = traced_without_data(variant, options, kind, numerics)
        with _cache_layers(step) as layers:
            outputs, time = run()
    caches_in = time.caches_in if isinstance(time, CausalTimeline) else []
    caches_out = time.caches_out if isinstance(time, CausalTimeline) else []
    made = zip(host.outputs, outputs, strict=True)
    assert all(spec == _spec(spec.name, tensor) for spec, tensor in made)
    return Interface(
        (*host.inputs, *_cache_specs(CACHE_PREFIX, caches_in)),
        (*host.outputs, *_cache_specs(NEW_CACHE_PREFIX, caches_out)),
        tuple(layers.get(i, CALL_BEFORE) for i in range(len(caches_in))),
    )


@contextmanager
def _cache_layers(step: nn.Module) -> Iterator[dict[int, str]]:
    """Which module asked the timeline for each cache, by the cache's number: the innermost."""
    layers: dict[int, str] = {}
    counts: list[int] = []

    def before(module: nn.Module, given: tuple[object, ...]) -> None:
        counts.append(_caches_so_far(given))

    def after(name: str, module: nn.Module, given: tuple[object, ...], result: object) -> None:
        for i in range(counts.pop(), _caches_so_far(given)):
            layers.setdefault(i, name)

    hooks = []
    for name, module in step.named_modules():
        hooks.append(module.register_forward_pre_hook(before))
        hooks.append(module.register_forward_hook(partial(after, name)))
    try:
        yield layers
    finally:
        for hook in hooks:
            hook.remove()


def _caches_so_far(given: tuple[object, ...]) -> int:
    return sum(len(value.caches_in) for value in given if isinstance(value, CausalTimeline))


def traced_without_data(
    variant: Variant, options: StepOptions, kind: Kind, numerics: Numerics
) -> tuple[StepEncoder | StepDecoder, Callable[[], tuple[tuple[Tensor, ...], Timeline]]]:
    """A step without weights and one call of it; both for inside `torch.device("meta")`."""
    step = lower(VidTok(variant), options, kind, numerics)
    tensors = [_zeros(spec, "meta") for spec in _host(variant, options, kind).inputs]
    return step, lambda: step.trace(tensors[0], tensors[1:], probe=True)


def zeros(specs: tuple[TensorSpec, ...], device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
    """Tensors of these shapes: examples for tracing, or what a step begins with."""
    return tuple(_zeros(spec, device) for spec in specs)


def _zeros(spec: TensorSpec, device: torch.device | str) -> Tensor:
    return torch.zeros(spec.shape, dtype=_TYPES[spec.dtype], device=device)


def _host(variant: Variant, options: StepOptions, kind: Kind) -> Interface:
    return host_interface(
        facts_of(variant),
        kind,
        height=options.height,
        width=options.width,
        streams=options.streams,
        chunk=options.chunk,
        io=options.io,
    )


def _cache_specs(prefix: str, caches: list[Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(f"{prefix}{i:03d}", cache) for i, cache in enumerate(caches))


def _spec(name: str, tensor: Tensor) -> TensorSpec:
    return TensorSpec(name, _NAMES[tensor.dtype], tuple(tensor.shape))
