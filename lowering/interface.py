"""Inputs and outputs of a step graph, found by running the step on shapes alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vidtok_edge.lowering.numerics import FP32, Numerics
from vidtok_edge.lowering.step import StepDecoder, StepEncoder, StepOptions, lower
from vidtok_edge.lowering.timeline import CausalTimeline, Timeline
from vidtok_edge.runtime.manifest.graphs import (
    CACHE_PREFIX,
    KINDS,
    NEW_CACHE_PREFIX,
    DType,
    Kind,
    TensorSpec,
)
from vidtok_edge.variants import Variant
from vidtok_edge.vidtok_ref import VidTok

__all__ = ["KINDS", "OPSET", "Interface", "Kind", "interface_of", "traced_without_data", "zeros"]

OPSET = 20
"""The one opset that TensorRT 10.3 parses and ONNX Runtime's quantiser handles."""

_NAMES: dict[torch.dtype, DType] = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.int8: "int8",
    torch.uint8: "uint8",
    torch.int32: "int32",
    torch.bool: "bool",
}
_TYPES = {name: dtype for dtype, name in _NAMES.items()}


@dataclass(frozen=True, slots=True)
class Interface:
    """A step graph from outside, in the order of its forward."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def interface_of(
    variant: Variant, options: StepOptions, kind: Kind, numerics: Numerics = FP32
) -> Interface:
    """The interface of a step graph; needs no weights and computes nothing.

    Raises:
        UsageError: `options` that `variant` cannot be lowered with.
    """
    options.check(variant)
    data = _data_inputs(variant, options, kind)
    controls = _control_inputs(variant, options, kind)
    with torch.device("meta"):
        _, run = traced_without_data(variant, options, kind, numerics)
        outputs, time = run()
    caches_in = time.caches_in if isinstance(time, CausalTimeline) else []
    caches_out = time.caches_out if isinstance(time, CausalTimeline) else []
    return Interface(
        (*data, *controls, *_cache_specs(CACHE_PREFIX, caches_in)),
        (*_output_specs(variant, kind, outputs), *_cache_specs(NEW_CACHE_PREFIX, caches_out)),
    )


def traced_without_data(
    variant: Variant, options: StepOptions, kind: Kind, numerics: Numerics
) -> tuple[StepEncoder | StepDecoder, Callable[[], tuple[tuple[Tensor, ...], Timeline]]]:
    """A step without weights and one call of it; both for inside `torch.device("meta")`."""
    step = lower(VidTok(variant), options, kind, numerics)
    specs = (*_data_inputs(variant, options, kind), *_control_inputs(variant, options, kind))
    tensors = [_zeros(spec, "meta") for spec in specs]
    return step, lambda: step.trace(tensors[0], tensors[1:], probe=True)


def zeros(specs: tuple[TensorSpec, ...]) -> tuple[Tensor, ...]:
    """Example tensors for tracing."""
    return tuple(_zeros(spec, "cpu") for spec in specs)


def _zeros(spec: TensorSpec, device: str) -> Tensor:
    return torch.zeros(spec.shape, dtype=_TYPES[spec.dtype], device=device)


def _data_inputs(variant: Variant, options: StepOptions, kind: Kind) -> tuple[TensorSpec, ...]:
    b, n, s = options.streams, options.chunk, variant.space_factor
    if kind == "encoder":
        shape = (b, n * variant.time_factor, options.height, options.width, 3)
        return (TensorSpec("frames", "uint8" if options.io == "uint8" else "float32", shape),)
    grid = (options.height // s, options.width // s)
    if variant.latent == "fsq":
        return (TensorSpec("tokens", "int32", (b, n, *grid)),)
    return (TensorSpec("latent", "float32", (b, n, variant.z_channels, *grid)),)


def _control_inputs(variant: Variant, options: StepOptions, kind: Kind) -> tuple[TensorSpec, ...]:
    if not variant.causal:
        return ()
    b = options.streams
    controls = [TensorSpec("start", "bool", (b, 1))]
    if kind == "decoder" and variant.delayed:
        controls.append(TensorSpec("end", "bool", (b, options.chunk)))
    if b > 1:
        controls.append(TensorSpec("ready", "bool", (b, 1)))
    return tuple(controls)


def _output_specs(
    variant: Variant, kind: Kind, outputs: tuple[Tensor, ...]
) -> tuple[TensorSpec, ...]:
    if kind == "decoder":
        names = ["frames"]
    else:
        names = ["tokens", "latent"] if variant.latent == "fsq" else ["mean", "logvar"]
    return tuple(_spec(name, tensor) for name, tensor in zip(names, outputs, strict=True))


def _cache_specs(prefix: str, caches: list[Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(f"{prefix}{i:03d}", cache) for i, cache in enumerate(caches))


def _spec(name: str, tensor: Tensor) -> TensorSpec:
    return TensorSpec(name, _NAMES[tensor.dtype], tuple(tensor.shape))
