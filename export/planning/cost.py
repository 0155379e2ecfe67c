"""What a step graph will cost, before it is made: memory, work, bytes, and bounds on its time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from vidtok_edge.errors import UnsupportedSize
from vidtok_edge.export.planning.devices import Device
from vidtok_edge.lowering.facts import facts_of
from vidtok_edge.lowering.interface import interface_of
from vidtok_edge.lowering.numerics import FP32, Numerics, convolutions
from vidtok_edge.lowering.step import Kind, StepOptions, lower
from vidtok_edge.lowering.work import all_multiply_adds, work_by_layer
from vidtok_edge.runtime.manifest.graphs import CACHE_PREFIX, Precision
from vidtok_edge.variants import Variant
from vidtok_edge.vidtok_ref import VidTok

__all__ = ["Bound", "GraphCost", "Rates", "bound", "cost_of", "rates_of", "require_countable"]

_MOST_PIXELS = 2**32  # of a call: far below where PyTorch's sizes of tensors overflow

_SYSTEM_GB = 1.5  # of a board without a desktop


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphCost:
    """One graph. Memory in bytes; work and bytes moved per call.

    Attributes:
        weights: as the graph stores them.
        caches: one set, all slots; a running graph holds two.
        host: inputs and outputs that are no caches.
        activations: what the convolution that holds most reads and writes.
        multiply_adds: of convolutions and attention.
        int8_multiply_adds: of them, what runs in INT8: convolutions, never attention.
    """

    kind: Kind
    precision: Precision
    weights: int
    caches: int
    host: int
    activations: int
    multiply_adds: int
    int8_multiply_adds: int

    @property
    def int8_share(self) -> float:
        """Of all multiply-adds, 0 to 1, what runs in INT8."""
        return self.int8_multiply_adds / self.multiply_adds

    @property
    def memory(self) -> int:
        """At least: weights, both sets of caches, inputs, outputs, the largest activations.

        A backend holds more of them at once, copies, and its own code.
        """
        return self.weights + 2 * self.caches + self.host + self.activations

    @property
    def moved(self) -> int:
        """Bytes that a call must move at least: weights, caches in and out, inputs and outputs.

        Activations are left out: how many of them leave the chip depends on the engine.
        """
        return self.weights + 2 * self.caches + self.host


@dataclass(frozen=True, slots=True)
class Rates:
    """What streaming at a frame rate comes to, per stream and per call.

    Attributes:
        period_ms: between two calls.
        tokens_per_second: latent positions, of one stream.
        bits_per_second: of one stream; KL latents as 16 bits per value.
        raw_bits_per_second: of the frames as bytes, for comparison.
    """

    period_ms: float
    tokens_per_second: float
    bits_per_second: float
    raw_bits_per_second: float


@dataclass(frozen=True, slots=True)
class Bound:
    """The least time that one call can take on a device, were both peaks reached."""

    compute_ms: float
    memory_ms: float
    fits: bool
    """False: the memory does not suffice. A board's system is left 1.5 GB."""

    @property
    def ms(self) -> float:
        return max(self.compute_ms, self.memory_ms)

    @property
    def limit(self) -> str:
        """What the device waits for."""
        return "compute" if self.compute_ms >= self.memory_ms else "memory"


def require_countable(options: StepOptions) -> None:
    """Raise UnsupportedSize where a call is too large for its work to be counted."""
    pixels = options.height * options.width * options.streams * options.chunk
    if pixels > _MOST_PIXELS:
        raise UnsupportedSize(
            f"{options.height}x{options.width} pixels with {options.streams} stream(s) and "
            f"{options.chunk} latent(s) per call are {pixels:.3g} pixels; at most {_MOST_PIXELS} "
            "can be planned. Name a smaller size."
        )


def cost_of(variant: Variant, options: StepOptions, kind: Kind, numerics: Numerics) -> GraphCost:
    """The cost of the graph of `kind`; needs no weights.

    Raises:
        UnsupportedSize, UsageError: `options` that `variant` cannot be lowered with.
    """
    interface = interface_of(variant, options, kind, numerics)
    caches = [spec for spec in interface.inputs if spec.name.startswith(CACHE_PREFIX)]
    host = sum(
        spec.nbytes
        for spec in (*interface.inputs, *interface.outputs)
        if CACHE_PREFIX not in spec.name
    )
    layers = work_by_layer(variant, options, kind)
    return GraphCost(
        kind=kind,
        precision=numerics.precision,
        weights=_weight_bytes(variant, options, kind, numerics),
        caches=sum(spec.nbytes for spec in caches),
        host=host,
        activations=_activation_bytes(variant, options, kind, numerics),
        multiply_adds=all_multiply_adds(variant, options, kind),
        int8_multiply_adds=sum(layers[name].multiply_adds for name in numerics.int8_layers),
    )


def _weight_bytes(variant: Variant, options: StepOptions, kind: Kind, numerics: Numerics) -> int:
    with torch.device("meta"):
        step = lower(VidTok(variant), options, kind, FP32)
    int8 = set(numerics.int8_layers)
    layers = convolutions(step)
    in_layers: dict[int, str] = {
        id(weight): name for name, layer in layers.items() for weight in layer.kernels.weights
    }
    width = _width(numerics)
    total = 0
    tensors: list[torch.Tensor | nn.Parameter] = [*step.parameters(), *step.buffers()]
    for tensor in tensors:
        total += tensor.numel() * (1 if in_layers.get(id(tensor)) in int8 else width)
    return total


def _activation_bytes(
    variant: Variant, options: StepOptions, kind: Kind, numerics: Numerics
) -> int:
    """Of the convolution with most; while it runs, at least these are there."""
    int8 = set(numerics.int8_layers)
    width = _width(numerics)
    return max(
        layer.values_in * (1 if name in int8 else width) + layer.values_out * width
        for name, layer in work_by_layer(variant, options, kind).items()
    )


def _width(numerics: Numerics) -> int:
    """Bytes of a value that is no integer."""
    return torch.finfo(numerics.dtype).bits // 8


def rates_of(variant: Variant, options: StepOptions, fps: float) -> Rates:
    """What a stream of `fps` frames per second comes to."""
    per_second = fps / variant.time_factor
    grid = options.height // variant.space_factor * (options.width // variant.space_factor)
    bits = facts_of(variant).bits_per_position
    return Rates(
        1000 * options.chunk / per_second,
        grid * per_second,
        grid * per_second * bits,
        24.0 * options.height * options.width * fps,
    )


def bound(costs: list[GraphCost], device: Device) -> Bound:
    """The least time for one call of each graph in `costs`, one after the other.

    Work in INT8 at the INT8 rate, the rest of an INT8 graph at the FP16 rate. What is moved is
    taken to go through the device's memory: an L2 cache that keeps weights or streaming caches
    from one call to the next can beat that bound.
    """
    compute = 0.0
    for cost in costs:
        rest: Precision = "fp16" if cost.precision == "int8" else cost.precision
        others = cost.multiply_adds - cost.int8_multiply_adds
        compute += 2.0 * cost.int8_multiply_adds / device.operations_per_second("int8")
        compute += 2.0 * others / device.operations_per_second(rest)
    moved = sum(cost.moved for cost in costs)
    free = device.memory_gb - (_SYSTEM_GB if device.shared else 0)
    return Bound(
        1000 * compute,
        moved / device.bandwidth_gbs / 1e6,
        sum(cost.memory for cost in costs) <= free * 1e9,
    )
