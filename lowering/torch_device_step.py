"""Lowered steps in PyTorch on a device: frames go up, tokens come down, caches stay there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol, cast

import torch
from numpy.typing import NDArray
from torch import Tensor

from vidtok_edge.lowering.interface import zeros
from vidtok_edge.lowering.step import StepDecoder, StepEncoder
from vidtok_edge.lowering.torch_step import TorchStep
from vidtok_edge.runtime.backends.step import StepTimes
from vidtok_edge.runtime.manifest.graphs import CACHE_PREFIX, NEW_CACHE_PREFIX, GraphSpec

__all__ = ["CUDA_GRAPH_MODES", "DeviceStep"]

CUDA_GRAPH_MODES = ("reduce-overhead", "max-autotune")
"""Modes of torch.compile that put a module's calls into CUDA graphs."""
_MARKS = 4


class DeviceStep(TorchStep):
    """A step module on `on`: the GPU, or the CPU for tests.

    The host's arrays are pinned. `times` are between CUDA events of the current stream: the inputs
    copied to the device, the module with what keeps its caches, the outputs copied to the host; on
    the CPU between readings of the host's clock.
    """

    def __init__(
        self, module: StepEncoder | StepDecoder, graph: GraphSpec, on: torch.device
    ) -> None:
        super().__init__(module, graph)
        module.hold_constants()
        module.to(on)
        self._on = on
        self._marks: _Marks = _Events() if on.type == "cuda" else _HostClock()
        self._graph_memory = False
        with torch.inference_mode():  # as the caches that calls leave: else it is compiled twice
            self._tensors = dict(zip(self._tensors, zeros(graph.inputs, on), strict=True))
        self._up = self._on_host(graph, up=True)
        self._down = self._on_host(graph, up=False)
        self.inputs = {name: tensor.numpy() for name, tensor in self._up.items()}
        self.outputs = {name: tensor.numpy() for name, tensor in self._down.items()}
        self._written = {self._tensors[name].untyped_storage().data_ptr() for name in self._up}

    def _on_host(self, graph: GraphSpec, up: bool) -> dict[str, Tensor]:
        specs = graph.host_inputs if up else graph.host_outputs
        tensors = zeros(specs)
        if self._on.type == "cuda":
            tensors = tuple(tensor.pin_memory() for tensor in tensors)
        return {spec.name: tensor for spec, tensor in zip(specs, tensors, strict=True)}

    def compile(self, mode: str | None) -> None:
        super().compile(mode)
        self._graph_memory = mode in CUDA_GRAPH_MODES

    @torch.inference_mode()
    def run(self) -> None:
        if self._graph_memory:
            # Nothing is read any more of what the call before put out, so this one may replace it.
            cast(Any, torch.compiler.cudagraph_mark_step_begin)()  # untyped in PyTorch
        self._marks.note(0)
        for name, given in self._up.items():
            self._tensors[name].copy_(given, non_blocking=True)
        self._marks.note(1)
        named = zip(self.graph.outputs, self.module(*self._tensors.values()), strict=True)
        results = {spec.name: result for spec, result in named}
        for name in [name for name in results if name not in self._down]:
            cache = CACHE_PREFIX + name.removeprefix(NEW_CACHE_PREFIX)
            self._tensors[cache] = self._kept(results[name])
        self._marks.note(2)
        for name, host in self._down.items():
            host.copy_(results[name], non_blocking=True)
        self._marks.note(3)
        self.times = self._marks.times()

    def _kept(self, cache: Tensor) -> Tensor:
        if self._graph_memory:
            # It lies in memory of a CUDA graph, which the next call writes while it reads it.
            return cache.clone(memory_format=torch.contiguous_format)
        return super()._kept(cache)

    def caches(self) -> dict[str, NDArray[Any]]:
        names = [spec.name for spec, _ in self.graph.caches]
        return {name: self._tensors[name].cpu().numpy().copy() for name in names}

    @torch.inference_mode()
    def set_caches(self, values: Mapping[str, NDArray[Any]]) -> None:
        for name, value in values.items():
            self._tensors[name] = torch.from_numpy(value.copy()).to(self._on)


class _Marks(Protocol):
    """Four times in a call: before it, with the inputs there, computed, with the outputs there."""

    def note(self, mark: int) -> None: ...

    def times(self) -> StepTimes:
        """Of the marks; waits for the last one."""


class _HostClock:
    def __init__(self) -> None:
        self._ns = [0] * _MARKS

    def note(self, mark: int) -> None:
        self._ns[mark] = time.perf_counter_ns()

    def times(self) -> StepTimes:
        began, up, computed, down = self._ns
        return StepTimes(up - began, computed - up, down - computed)


class _Events:
    def __init__(self) -> None:
        event = cast(Any, torch.cuda.Event)  # untyped in PyTorch
        self._events = [event(enable_timing=True) for _ in range(_MARKS)]

    def note(self, mark: int) -> None:
        self._events[mark].record()

    def times(self) -> StepTimes:
        began, up, computed, down = self._events
        down.synchronize()
        pairs = (began, up), (up, computed), (computed, down)
        return StepTimes(*(round(a.elapsed_time(b) * 1e6) for a, b in pairs))
