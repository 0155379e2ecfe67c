"""OpenVINO as a candidate: our graphs, compiled and run by it, caches included.

Its ONNX Runtime provider (`onnxruntime-ep-openvino`) lists Intel's devices alone, so this is the
library itself. It needs `pip install openvino`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import BackendUnavailable
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.runtime import Bundle, StreamDecoder, StreamEncoder
from vidtok_edge.runtime.backends.step import BackendInfo, OnDevice, StepTimes
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.manifest.graphs import GraphSpec

__all__ = ["OpenVinoStep", "open_openvino", "with_openvino"]

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
"""Where a processor has bfloat16, OpenVINO would take it, unasked."""


def with_openvino(bundle: Path, precision: str) -> Candidate:
    """The graphs of `bundle` in OpenVINO."""
    return Candidate(str(bundle), "openvino", precision, opener=f"{__name__}:open_openvino")


def open_openvino(
    bundle: Bundle, candidate: Candidate, decode: bool
) -> tuple[StreamEncoder, StreamDecoder | None]:
    """The `Opener` of these candidates; BackendUnavailable where OpenVINO is not installed."""
    manifest = bundle.manifest
    encoder, decoder = (
        OpenVinoStep(bundle.path, manifest.graph(kind, candidate.precision)) for kind in KINDS
    )
    return StreamEncoder(manifest, encoder), StreamDecoder(manifest, decoder) if decode else None


class OpenVinoStep:
    """A graph in OpenVINO as a `runtime.backends.step.Step`, its caches in two sets in turn."""

    def __init__(self, folder: Path, graph: GraphSpec) -> None:
        try:
            import openvino
        except ImportError:
            raise BackendUnavailable(
                "OpenVINO is not installed. Install it with: pip install openvino"
            ) from None
        self.graph, self.times = graph, StepTimes(0, 0, 0)
        self.device: OnDevice | None = None
        self.info = BackendInfo("openvino", "cpu", f"openvino {openvino.__version__}", "")
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(folder / graph.file), "CPU", EXACT)
        self.inputs: Mapping[str, NDArray[Any]] = _zeros(graph.host_inputs)
        self.outputs: Mapping[str, NDArray[Any]] = _zeros(graph.host_outputs)
        sets = [_zeros(tuple(old for old, _ in graph.caches)) for _ in range(2)]
        self._sets = sets
        self._requests = [self._bound(openvino, compiled, *pair) for pair in (sets, sets[::-1])]
        self._turn = 0

    def _bound(
        self, openvino: Any, compiled: Any, read: Mapping[str, Any], write: Mapping[str, Any]
    ) -> Any:
        request = compiled.create_infer_request()
        news = {new.name: write[old.name] for old, new in self.graph.caches}
        for name, array in {**self.inputs, **read, **self.outputs, **news}.items():
            request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        return request

    def run(self) -> None:
        start = time.perf_counter_ns()
        self._requests[self._turn].infer()
        self.times = StepTimes(0, time.perf_counter_ns() - start, 0)
        self._turn = 1 - self._turn

    def caches(self) -> dict[str, NDArray[Any]]:
        return {name: array.copy() for name, array in self._sets[self._turn].items()}

    def set_caches(self, values: Mapping[str, NDArray[Any]]) -> None:
        for name, value in values.items():
            self._sets[self._turn][name][...] = value

    def close(self) -> None:
        self._requests.clear()

    def __enter__(self) -> OpenVinoStep:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _zeros(specs: Any) -> dict[str, NDArray[Any]]:
    return {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs}
