"""A GPU made of host memory: enough of CUDA and TensorRT for the engine backend to run on it.

Streams are queues that do nothing until they are waited for, captures record, memory is full of
ones at first, and every call can be made to fail. Engines are ONNX files, run by ONNX Runtime.
What real hardware would do differently, this cannot show.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnxruntime as ort

from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.api import TensorRT
from vidtok_edge.runtime.backends.engines.cuda import Cuda
from vidtok_edge.runtime.backends.engines.sidecar import EngineHost
from vidtok_edge.runtime.backends.engines.step import EngineStep
from vidtok_edge.runtime.manifest.graphs import GraphSpec

__all__ = ["HERE", "FakeApi", "FakeTensorRT", "fake_engine"]

HERE = EngineHost(Target.TENSORRT, "10.3.0", "sm87", "Orin", "Linux aarch64")
_TYPES = {
    "tensor(float)": ("FLOAT", np.float32),
    "tensor(float16)": ("HALF", np.float16),
    "tensor(uint8)": ("UINT8", np.uint8),
    "tensor(int8)": ("INT8", np.int8),
    "tensor(int32)": ("INT32", np.int32),
    "tensor(bool)": ("BOOL", np.bool_),
}


class Error(IntEnum):
    SUCCESS = 0
    OUT_OF_MEMORY = 2
    LAUNCH_FAILURE = 719
    STREAM_CAPTURE_INVALIDATED = 901


@dataclass(eq=False)
class Stream:
    address: int
    waiting: list[Callable[[], None]] = field(default_factory=list)
    recording: list[Callable[[], None]] | None = None
    recorded: list[Callable[[], None]] | None = None

    def __int__(self) -> int:
        return self.address

    def put(self, work: Callable[[], None]) -> None:
        (self.waiting if self.recording is None else self.recording).append(work)


class FakeApi:
    """`cuda.bindings.runtime`.

    Attributes:
        failing: calls that fail from now on, and how; `launch` is a fault inside a running graph.
        calls: how often each was called.
        copies: which way and how many bytes, of each.
        live: buffers, streams, events and graphs that were made and not yet freed.
    """

    cudaStreamNonBlocking = 1
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self) -> None:
        self.failing: dict[str, Error] = {}
        self.calls: Counter[str] = Counter()
        self.copies: list[tuple[str, int]] = []
        self.memory: dict[int, Any] = {}
        self.streams: dict[int, Stream] = {}
        self.live: Counter[str] = Counter()
        self.clock = 0.0

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if not name.startswith("cuda") or not callable(found):
            return found

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls[name] += 1
            if name == "cudaStreamEndCapture":  # it ends also where it fails
                arguments[0].recorded, arguments[0].recording = arguments[0].recording, None
            if name in self.failing:
                return self.failing[name], None
            result = found(*arguments)
            if result is None:
                return (Error.SUCCESS,)
            return (Error.SUCCESS, *result) if isinstance(result, tuple) else (0, result)

        return found if name.startswith("cudaGetError") else call

    def cudaGetErrorName(self, error: Error) -> tuple[int, bytes]:
        return 0, f"cudaError{error.name.title().replace('_', '')}".encode()

    def cudaGetErrorString(self, error: Error) -> tuple[int, bytes]:
        return 0, error.name.lower().replace("_", " ").encode()

    def cudaGetDeviceCount(self) -> int:
        return 1

    def cudaMemGetInfo(self) -> tuple[int, int]:
        return 6 << 30, 8 << 30

    def cudaMalloc(self, size: int) -> int:
        memory = ctypes.create_string_buffer(b"\xff" * size, size)
        address = ctypes.addressof(memory)
        self.memory[address] = memory
        self.live["buffer"] += 1
        return address

    cudaMallocHost = cudaMalloc

    def cudaFree(self, address: int) -> None:
        del self.memory[address]
        self.live["buffer"] -= 1

    cudaFreeHost = cudaFree

    def cudaStreamCreateWithFlags(self, flags: int) -> Stream:
        stream = Stream(1000 + len(self.streams))
        self.streams[stream.address] = stream
        self.live["stream"] += 1
        return stream

    def cudaStreamDestroy(self, stream: Stream) -> None:
        self.live["stream"] -= 1

    def cudaStreamSynchronize(self, stream: Stream) -> None:
        waiting, stream.waiting = stream.waiting, []
        for work in waiting:
            work()

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: int, stream: Stream
    ) -> None:
        self.copies.append(({1: "up", 2: "down"}[kind], size))
        stream.put(lambda: cast(None, ctypes.memmove(target, source, size)))

    def cudaEventCreate(self) -> dict[str, float]:
        self.live["event"] += 1
        return {}

    def cudaEventDestroy(self, event: dict[str, float]) -> None:
        self.live["event"] -= 1

    def cudaEventRecord(self, event: dict[str, float], stream: Stream) -> None:
        def note() -> None:
            self.clock += 0.25
            event["ms"] = self.clock

        stream.put(note)

    def cudaEventElapsedTime(self, first: dict[str, float], second: dict[str, float]) -> float:
        return second["ms"] - first["ms"]

    def cudaStreamBeginCapture(self, stream: Stream, mode: int) -> None:
        assert not stream.waiting, "capturing a stream that has work to do"
        stream.recording = []

    def cudaStreamEndCapture(self, stream: Stream) -> list[Callable[[], None]]:
        assert stream.recorded is not None, "no capture had begun"
        self.live["recording"] += 1
        return stream.recorded

    def cudaGraphInstantiate(self, recorded: list[Any], flags: int) -> list[Any]:
        assert recorded, "nothing was captured"
        self.live["graph"] += 1
        return list(recorded)

    def cudaGraphDestroy(self, recorded: list[Any]) -> None:
        self.live["recording"] -= 1

    def cudaGraphLaunch(self, graph: list[Callable[[], None]], stream: Stream) -> None:
        for work in graph:
            stream.put(work)

    def cudaGraphExecDestroy(self, graph: list[Any]) -> None:
        self.live["graph"] -= 1


class _Logger:
    def __init__(self) -> None:
        pass


class FakeTensorRT:
    """The module `tensorrt`, for running.

    Attributes:
        failing: what fails from now on: `deserialize`, `context`, `address`, `execute`, `capture`.
    """

    __version__ = "10.3.0"
    ILogger = _Logger
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="ours")

    def __init__(self, api: FakeApi) -> None:
        self.api, self.failing = api, set[str]()
        self.loggers: list[Any] = []

    def Runtime(self, logger: Any) -> Any:
        self.loggers.append(logger)
        return SimpleNamespace(deserialize_cuda_engine=self._deserialize)

    def _deserialize(self, content: bytes) -> Any:
        if "deserialize" in self.failing:
            self.loggers[-1].log(1, "[runtime.cpp] Out of memory")
            return None
        return _Engine(content, self)


class _Engine:
    device_memory_size_v2 = 1024

    def __init__(self, content: bytes, library: FakeTensorRT) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        # A path, not the graph itself: its weights lie in a file beside it.
        self.session = ort.InferenceSession(
            content.decode(), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = {node.name: node for node in self.session.get_inputs()}
        self.nodes = self.inputs | {node.name: node for node in self.session.get_outputs()}
        self.num_io_tensors, self.library = len(self.nodes), library

    def get_tensor_name(self, index: int) -> str:
        return str(list(self.nodes)[index])

    def get_tensor_mode(self, name: str) -> Any:
        return SimpleNamespace(name="INPUT" if name in self.inputs else "OUTPUT")

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=_TYPES[self.nodes[name].type][0])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.nodes[name].shape)

    def create_execution_context(self, strategy: str) -> Any:
        assert strategy == "ours", "TensorRT would allocate memory of its own"
        return None if "context" in self.library.failing else _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self.engine, self.library = engine, engine.library
        self.addresses: dict[str, int] = {}
        self.scratch, self.captured = 0, False

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self.engine.device_memory_size_v2
        self.scratch = address

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert not self.captured, "a graph of this context has the old address"
        self.addresses[name] = address
        return "address" not in self.library.failing

    def execute_async_v3(self, handle: int) -> bool:
        stream = self.library.api.streams[handle]
        capturing = stream.recording is not None
        if "execute" in self.library.failing or (capturing and "capture" in self.library.failing):
            self.library.loggers[-1].log(1, "[executionContext.cpp] CUDA initialization failure")
            return False
        self.captured |= capturing
        bound = dict(self.addresses)
        assert set(bound) == set(self.engine.nodes), "an address is missing"
        assert len(set(bound.values())) == len(bound), "two tensors share memory"
        stream.put(lambda: self._compute(bound))
        return True

    def _compute(self, bound: dict[str, int]) -> None:
        assert self.scratch in self.library.api.memory, "nowhere to work in"
        given = {name: self._at(name, bound).copy() for name in self.engine.inputs}
        names = [name for name in self.engine.nodes if name not in self.engine.inputs]
        for name, value in zip(names, self.engine.session.run(names, given), strict=True):
            self._at(name, bound)[...] = value

    def _at(self, name: str, bound: dict[str, int]) -> Any:
        assert bound[name] in self.library.api.memory, f"{name} lies in memory that was freed"
        node = self.engine.nodes[name]
        kind = np.dtype(_TYPES[node.type][1])
        memory = (ctypes.c_uint8 * (int(np.prod(node.shape)) * kind.itemsize)).from_address(
            bound[name]
        )
        return np.frombuffer(memoryview(memory), kind).reshape(node.shape)


def fake_engine(
    graph: GraphSpec,
    file: Path,
    api: FakeApi,
    library: FakeTensorRT | None = None,
    to_compare: bool = False,
) -> EngineStep:
    """The ONNX graph in `file` as an engine on the fake GPU."""
    library = library or FakeTensorRT(api)
    content = str(file).encode()
    return EngineStep(graph, content, cast(TensorRT, library), Cuda(api), HERE, to_compare)
