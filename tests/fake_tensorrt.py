"""TensorRT on the fake GPU: engines are ONNX files, run by ONNX Runtime on the GPU's memory."""

from __future__ import annotations

import weakref
from copy import copy
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnxruntime as ort
from fake_gpu import FakeApi, Misuse
from numpy.typing import NDArray

from vidtok_edge.runtime.backends.arrays import Place
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.api import TensorRT
from vidtok_edge.runtime.backends.engines.cuda import Cuda
from vidtok_edge.runtime.backends.engines.memory import Memory
from vidtok_edge.runtime.backends.engines.sidecar import EngineHost
from vidtok_edge.runtime.backends.engines.step import EngineStep
from vidtok_edge.runtime.manifest.graphs import GraphSpec, TensorSpec

__all__ = ["HERE", "FakeTensorRT", "fake_engine"]

HERE = EngineHost(
    target=Target.TENSORRT, version="10.3.0", gpu="sm87", gpu_name="Orin", platform="Linux aarch64"
)
_ALIGNMENT = 256
"""Of the address of a tensor, in bytes: TensorRT asks for so much."""
_TYPES = {
    "tensor(float)": ("FLOAT", np.float32),
    "tensor(float16)": ("HALF", np.float16),
    "tensor(uint8)": ("UINT8", np.uint8),
    "tensor(int8)": ("INT8", np.int8),
    "tensor(int32)": ("INT32", np.int32),
    "tensor(bool)": ("BOOL", np.bool_),
}


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

    def dtype(self, name: str) -> np.dtype[Any]:
        return np.dtype(_TYPES[self.nodes[name].type][1])

    def nbytes(self, name: str) -> int:
        return int(np.prod(self.nodes[name].shape)) * self.dtype(name).itemsize


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self.engine, self.library = engine, engine.library
        self.addresses: dict[str, int] = {}
        self.scratch, self.captured = 0, False

    def set_device_memory(self, address: int, size: int) -> None:
        needed = self.engine.device_memory_size_v2
        with self.library.api.noting():
            if size < needed:
                raise Misuse(f"scratch memory of {size} B; the engine needs {needed}")
            self._bytes("scratch memory", address, size)
        self.scratch = address

    def set_tensor_address(self, name: str, address: int) -> bool:
        with self.library.api.noting():
            if self.captured:
                raise Misuse(f"{name} was bound anew; a graph of this context has the old address")
            self._bytes(name, address, self.engine.nbytes(name))
        self.addresses[name] = address
        return "address" not in self.library.failing

    def execute_async_v3(self, handle: int) -> bool:
        with self.library.api.noting():
            stream = self.library.api.stream_of(handle)
        capturing = stream.recording is not None
        if "execute" in self.library.failing or (capturing and "capture" in self.library.failing):
            self.library.loggers[-1].log(1, "[executionContext.cpp] CUDA initialization failure")
            return False
        self.captured |= capturing
        bound, scratch = dict(self.addresses), self.scratch
        with self.library.api.noting():
            self._check_bindings(bound, scratch)
        stream.put(_Work(self, bound, scratch))
        return True

    def _check_bindings(self, bound: dict[str, int], scratch: int) -> None:
        if missing := set(self.engine.nodes) - set(bound):
            raise Misuse(f"no address was given for {', '.join(sorted(missing))}")
        ranges = [(address, self.engine.nbytes(name), name) for name, address in bound.items()]
        ranges.append((scratch, self.engine.device_memory_size_v2, "scratch memory"))
        ranges.sort()
        for (begin, size, name), (following, _, other) in pairwise(ranges):
            if begin + size > following:
                raise Misuse(f"{name} and {other} share memory")

    def compute(self, bound: dict[str, int], scratch: int) -> None:
        self._bytes("scratch memory", scratch, self.engine.device_memory_size_v2)
        given = {name: self._at(name, bound[name]).copy() for name in self.engine.inputs}
        names = [name for name in self.engine.nodes if name not in self.engine.inputs]
        for name, value in zip(names, self.engine.session.run(names, given), strict=True):
            self._at(name, bound[name])[...] = value

    def _at(self, name: str, address: int) -> NDArray[Any]:
        memory = self._bytes(name, address, self.engine.nbytes(name))
        return memory.view(self.engine.dtype(name)).reshape(self.engine.nodes[name].shape)

    def _bytes(self, name: str, address: int, size: int) -> NDArray[np.uint8]:
        memory = self.library.api.memory.device(address, size, name)
        if address % _ALIGNMENT:
            raise Misuse(f"{name} is at {address:#x}, which is no multiple of {_ALIGNMENT}")
        return memory


class _Work:
    """One call of a context, which it does not keep alive, as a CUDA graph does not."""

    def __init__(self, context: _Context, bound: dict[str, int], scratch: int) -> None:
        self._context = weakref.ref(context)
        self._bound, self._scratch = bound, scratch
        self._given: dict[str, NDArray[Any]] = {}

    def begin(self) -> _Work:
        """From here on the host may neither write what is read nor read what is written."""
        context, begun = self._there(), copy(self)
        memory, begun._given = context.library.api.memory, {}
        for name, address in self._bound.items():
            if memory.shared(address):
                there = memory.device(address, context.engine.nbytes(name), name)
                if name in context.engine.inputs:
                    begun._given[name] = there.copy()
                else:
                    there[...] = 0xFF
        return begun

    def __call__(self) -> None:
        context = self._there()
        with context.library.api.noting():
            for name, given in self._given.items():
                there = context.library.api.memory.device(self._bound[name], given.size, name)
                if not np.array_equal(there, given):
                    raise Misuse(f"{name} was written while a call that reads it was under way")
        context.compute(self._bound, self._scratch)

    def _there(self) -> _Context:
        context = self._context()
        if context is None:
            raise Misuse("the work of a context was done after the context was destroyed")
        return context


def fake_engine(
    graph: GraphSpec,
    file: Path,
    api: FakeApi,
    library: FakeTensorRT | None = None,
    to_compare: bool = False,
    outputs_on: Place = "host",
    extra_outputs: tuple[TensorSpec, ...] = (),
    memory: Memory = Memory.DEVICE,
) -> EngineStep:
    """The ONNX graph in `file` as an engine on the fake GPU."""
    library = library or FakeTensorRT(api)
    content = str(file).encode()
    module = cast(TensorRT, library)
    return EngineStep(
        graph, content, module, Cuda(api), HERE, to_compare, outputs_on, extra_outputs, memory
    )
