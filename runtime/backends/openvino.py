"""OpenVINO on the CPU: in FP32 faster than ONNX Runtime on some processors, slower in INT8.

It reads the same ONNX files. It is taken where it is asked for by name. Intel supports it on
Intel's and ARM's processors; it was measured on AMD's (docs/performance.md).
"""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import (
    BackendUnavailable,
    BundleError,
    BundleMismatch,
    GraphFailed,
    OutOfMemory,
)
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.step import (
    BackendInfo,
    OnDevice,
    StepTimes,
    check_caches,
    step_closed,
)
from vidtok_edge.runtime.manifest.graphs import GraphSpec, TensorSpec

__all__ = ["OpenVinoStep"]

_DEVICE = "CPU"
_INSTALL = 'Install it with: pip install "vidtok-edge[openvino]"'
_OPTIONS: Mapping[str, str | int | bool] = {
    # Where a processor has bfloat16, OpenVINO takes it, unasked: that is not what fp32 promises.
    "INFERENCE_PRECISION_HINT": "f32",
    # One call at a time, on all cores that it is given.
    "PERFORMANCE_HINT": "LATENCY",
    # Else every process binds its calls to the same cores, counted from the first, busy or not.
    "ENABLE_CPU_PINNING": False,
}
_DTYPES = {
    "f32": "float32",
    "f16": "float16",
    "u8": "uint8",
    "i8": "int8",
    "i32": "int32",
    "boolean": "bool",
}


class OpenVinoStep:
    """A step graph in OpenVINO, its caches in two sets used in turn.

    Two requests are made once, one for each direction, on arrays of ours, so that a call binds and
    allocates nothing.
    """

    def __init__(
        self, graph: GraphSpec, path: Path, threads: int | None = None, to_compare: bool = False
    ) -> None:
        self.graph = graph
        openvino = _library()
        name = Backend.OPENVINO.value
        self.info = BackendInfo(name, name, f"openvino {_version(openvino)}", "")
        self.times = StepTimes(0, 0, 0)
        self.device: OnDevice | None = None
        compiled = _compiled(path, threads)
        _check_interface(graph, compiled)
        self.inputs: Mapping[str, NDArray[Any]] = _zeros(graph.host_inputs)
        # OpenVINO's tensors hold no reference to these, so all of them live as long as the step.
        self._written = _zeros(graph.host_outputs)
        read = {spec.name for spec in graph.stream_outputs}
        self.outputs: Mapping[str, NDArray[Any]] = {
            name: array for name, array in self._written.items() if to_compare or name in read
        }
        specs = tuple(old for old, _ in graph.caches)
        self._sets = (_zeros(specs), _zeros(specs))
        self._news = {old.name: new.name for old, new in graph.caches}
        self._requests = [
            self._request(openvino, compiled, *sets) for sets in (self._sets, self._sets[::-1])
        ]
        self._turn = 0

    def run(self) -> None:
        self._require_open()
        start = time.perf_counter_ns()
        try:
            self._requests[self._turn].infer(share_outputs=True)  # else it copies all, caches too
        except (RuntimeError, MemoryError) as error:
            self.close()
            if OutOfMemory.is_told_by(error):
                raise OutOfMemory(f"{self.graph.file}: {_reason(error)}") from error
            raise GraphFailed(
                f"{self.graph.file} fails in OpenVINO: {_reason(error)}. Try it in ONNX Runtime: "
                "--backend cpu."
            ) from error
        self.times = StepTimes(0, time.perf_counter_ns() - start, 0)
        self._turn = 1 - self._turn

    def caches(self) -> dict[str, NDArray[Any]]:
        self._require_open()
        return {name: array.copy() for name, array in self._sets[self._turn].items()}

    def set_caches(self, values: Mapping[str, NDArray[Any]]) -> None:
        self._require_open()
        check_caches(self.graph, values)
        for name, array in self._sets[self._turn].items():
            array[...] = values[name]

    def close(self) -> None:
        self._requests.clear()

    def __enter__(self) -> OpenVinoStep:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _require_open(self) -> None:
        if not self._requests:
            raise step_closed()

    def _request(
        self,
        openvino: Any,
        compiled: Any,
        read: Mapping[str, NDArray[Any]],
        write: Mapping[str, NDArray[Any]],
    ) -> Any:
        """A request that reads one set of caches and writes the other."""
        request = compiled.create_infer_request()
        news = {self._news[name]: array for name, array in write.items()}
        for name, array in {**self.inputs, **read, **self._written, **news}.items():
            request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        return request


@functools.cache
def _library() -> Any:
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "openvino"
        why = "is not installed" if missing else f"does not load: {error}"
        raise BackendUnavailable(f"OpenVINO {why}. {_INSTALL}") from None


@functools.cache
def _core() -> Any:
    return _library().Core()


def _version(openvino: Any) -> str:
    return str(openvino.__version__).split("-")[0]


def _compiled(path: Path, threads: int | None) -> Any:
    options = dict(_OPTIONS)
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        return _core().compile_model(_core().read_model(path), _DEVICE, options)
    except RuntimeError as error:
        if OutOfMemory.is_told_by(error):
            raise OutOfMemory(f"{path}: {_reason(error)}") from None
        raise BundleError(
            f"OpenVINO cannot load {path}: {_reason(error)}. Try ONNX Runtime, --backend cpu, or "
            "export the bundle again."
        ) from None


def _reason(error: Exception) -> str:
    """The summary of its message, else its last line: what is before are places in a source."""
    lines = [line.strip().removeprefix("-- ") for line in str(error).splitlines() if line.strip()]
    told = lines[lines.index("Summary:") + 1 :] if "Summary:" in lines else lines[-1:]
    return "; ".join(told).rstrip(".") or type(error).__name__


def _check_interface(graph: GraphSpec, compiled: Any) -> None:
    for said, found in ((graph.inputs, compiled.inputs), (graph.outputs, compiled.outputs)):
        in_manifest = {spec.name: str(spec) for spec in said}
        in_graph = {_told(port, in_manifest) for port in found}
        if odd := sorted(in_graph ^ set(in_manifest.values())):
            raise BundleMismatch(
                f"{graph.file} and manifest.json disagree on {len(odd)} tensor(s): "
                f"{'; '.join(odd[:4])}. Export the bundle again."
            )


def _told(port: Any, expected: Collection[str]) -> str:
    """As `str` of a TensorSpec; a port has the names of all tensors that are the same."""
    names: set[str] = port.get_names()
    name = next((name for name in expected if name in names), port.any_name)
    kind = str(port.element_type.get_type_name())
    shape = ", ".join(map(str, port.partial_shape))
    return f"{name} {_DTYPES.get(kind, kind)} [{shape}]"


def _zeros(specs: tuple[TensorSpec, ...]) -> dict[str, NDArray[Any]]:
    return {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs}
