"""Lowered steps in PyTorch behind the protocol of the runtime: streams without a graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vidtok_edge.lowering.facts import graph_spec, manifest_of
from vidtok_edge.lowering.interface import KINDS, Kind, interface_of
from vidtok_edge.lowering.numerics import Numerics
from vidtok_edge.lowering.step import StepDecoder, StepEncoder, StepOptions, lower
from vidtok_edge.runtime import StreamDecoder, StreamEncoder
from vidtok_edge.runtime.backends.step import BackendInfo, OnDevice, StepTimes
from vidtok_edge.runtime.manifest.graphs import CACHE_PREFIX, NEW_CACHE_PREFIX, GraphSpec
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.vidtok_ref import VidTok

__all__ = ["TorchStep", "TorchStreams"]


class TorchStep:
    """A step module as a `runtime.backend.Step`."""

    def __init__(self, module: StepEncoder | StepDecoder, graph: GraphSpec) -> None:
        self.module, self.graph = module, graph
        self.info = BackendInfo("torch", "torch", f"torch {torch.__version__}", "")
        self.times = StepTimes(0, 0, 0)
        self.device: OnDevice | None = None
        self._tensors = {s.name: torch.from_numpy(np.zeros(s.shape, s.dtype)) for s in graph.inputs}
        self.inputs: Mapping[str, NDArray[Any]] = {
            spec.name: self._tensors[spec.name].numpy() for spec in graph.host_inputs
        }
        self._written = {_memory_of(self._tensors[name]) for name in self.inputs}
        self.outputs: Mapping[str, NDArray[Any]] = {
            spec.name: np.zeros(spec.shape, spec.dtype) for spec in graph.host_outputs
        }

    def compile(self, mode: str | None) -> None:
        """By torch.compile, in the first calls from now on; `mode` is its own, None its default."""
        self.module.compile(mode=mode)

    def run(self) -> None:
        start = time.perf_counter_ns()
        with torch.inference_mode():
            results = self.module(*self._tensors.values())
        self.times = StepTimes(0, time.perf_counter_ns() - start, 0)
        for spec, result in zip(self.graph.outputs, results, strict=True):
            if spec.name in self.outputs:
                self.outputs[spec.name][...] = result.numpy()
            else:
                name = CACHE_PREFIX + spec.name.removeprefix(NEW_CACHE_PREFIX)
                self._tensors[name] = self._kept(result)

    def _kept(self, cache: torch.Tensor) -> torch.Tensor:
        """`cache` in memory that the host does not write: v1.1 decoders put out `start` itself."""
        return cache.clone() if _memory_of(cache) in self._written else cache

    def caches(self) -> dict[str, NDArray[Any]]:
        return {spec.name: self._tensors[spec.name].numpy().copy() for spec, _ in self.graph.caches}

    def set_caches(self, values: Mapping[str, NDArray[Any]]) -> None:
        for name, value in values.items():
            self._tensors[name] = torch.from_numpy(value.copy())

    def close(self) -> None:
        pass

    def __enter__(self) -> TorchStep:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _memory_of(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class TorchStreams:
    """Both steps of a model, lowered, and streams through them.

    Args:
        model: the reference, float32.
        options: how to lower.
        numerics: of each graph.
        make: of a module and its graph; where it runs.
    """

    def __init__(
        self,
        model: VidTok,
        options: StepOptions,
        numerics: Mapping[Kind, Numerics],
        make: Callable[[StepEncoder | StepDecoder, GraphSpec], TorchStep] = TorchStep,
    ) -> None:
        graphs = []
        steps = []
        for kind in KINDS:
            interface = interface_of(model.variant, options, kind, numerics[kind])
            graphs.append(graph_spec(kind, options, numerics[kind], interface))
            steps.append(make(lower(model, options, kind, numerics[kind]), graphs[-1]))
        self.manifest: Manifest = manifest_of(model.variant, options, graphs=tuple(graphs))
        self.steps: Mapping[Kind, TorchStep] = dict(zip(KINDS, steps, strict=True))

    def encoder(self) -> StreamEncoder:
        """A stream through the encoder step; the next one begins where this one is dropped."""
        return StreamEncoder(self.manifest, self.steps["encoder"])

    def decoder(self) -> StreamDecoder:
        """A stream through the decoder step."""
        return StreamDecoder(self.manifest, self.steps["decoder"])
