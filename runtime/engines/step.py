"""A step graph as an engine, on the GPU. Unverified on hardware.

Frames go up as bytes and tokens come down as integers; caches never leave the device, and nothing
is allocated per call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import BackendUnavailable, BundleMismatch, DeviceError, StreamError
from vidtok_edge.runtime.backend import BackendInfo, StepTimes, check_caches
from vidtok_edge.runtime.engines.api import ICudaEngine, IExecutionContext, Runtime, TensorRT
from vidtok_edge.runtime.engines.buffers import BufferPlan
from vidtok_edge.runtime.engines.cuda import Cuda, Graph, load_cuda
from vidtok_edge.runtime.engines.library import collected_log, host_of, load_tensorrt
from vidtok_edge.runtime.engines.sidecar import EngineHost, Target, check_engine
from vidtok_edge.runtime.gpu import Gpu, present_gpu
from vidtok_edge.runtime.manifest import GraphSpec

__all__ = ["EngineStep", "open_engine"]

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "UINT8": "uint8",
    "INT8": "int8",
    "INT32": "int32",
    "BOOL": "bool",
}


def open_engine(
    folder: Path, graph: GraphSpec, target: Target, to_compare: bool = False
) -> EngineStep:
    """The engine of `graph` for this machine, ready to run.

    Args:
        folder: the bundle's.
        graph: one of its graphs for TensorRT.
        target: the TensorRT that shall run it.
        to_compare: see `open_step`.

    Raises:
        MissingDependency, BackendUnavailable: TensorRT, CUDA or the GPU is missing.
        EngineMissing, EngineStale: see `check_engine`.
        BundleMismatch: the engine has other tensors than the manifest says.
        DeviceError: a call of CUDA or TensorRT failed.
    """
    gpu = present_gpu()
    if gpu is None:
        raise BackendUnavailable(
            f"The backend {target!r} runs engines on an NVIDIA GPU, and none was found here "
            "(libcuda.so.1 is missing, or shows none). Use --backend cpu."
        )
    library = load_tensorrt(target)
    here = _here(target, library, gpu)
    content = check_engine(folder, graph, target, here).path.read_bytes()
    return EngineStep(graph, content, library, load_cuda(), here, to_compare)


def _here(target: Target, library: TensorRT, gpu: Gpu) -> EngineHost:
    # A TensorRT-RTX engine is for an architecture, so its sidecar names no GPU model.
    return host_of(target, library, gpu.architecture, gpu.name if target == "tensorrt" else "")


class EngineStep:
    """A running engine, its caches in two sets of device memory used in turn.

    Both directions of a call are captured as CUDA graphs, so that a call is two copies and one
    launch. Where TensorRT cannot be captured (TensorRT-RTX may compile while it runs) its work is
    put into the stream anew each time.
    """

    def __init__(
        self,
        graph: GraphSpec,
        content: bytes,
        library: TensorRT,
        cuda: Cuda,
        here: EngineHost,
        to_compare: bool = False,
    ) -> None:
        """`content`: the engine, whose sidecar was checked; `here`: what it runs on."""
        self.graph = graph
        self.info = BackendInfo(here.target, here.target, here.product.lower(), "")
        self.times = StepTimes(0, 0, 0)
        self._cuda, self._plan, self._turn = cuda, BufferPlan.of(graph, to_compare), 0
        self._graphs: list[Graph | None] = [None, None]
        with ExitStack() as stack:  # undone here if anything below fails, else by close()
            with collected_log(library) as (logger, self._messages):
                self._runtime = library.Runtime(logger)  # must live as long as its engine
                self._engine = _deserialized(self._runtime, content, here)
            _check_interface(graph, self._engine)
            self._context = self._created_context()
            self._stream = cuda.stream()
            stack.callback(cuda.free_stream, self._stream)
            self._marks = []
            for _ in range(4):
                self._marks.append(cuda.event())
                stack.callback(cuda.free_event, self._marks[-1])
            self._device: dict[str, int] = {}
            for buffer in self._plan.device:
                self._device[buffer.name] = cuda.device_buffer(buffer.size)
                stack.callback(cuda.free_device_buffer, self._device[buffer.name])
            arrays: dict[str, NDArray[Any]] = {}
            for spec in self._plan.uploads + self._plan.downloads:
                address = cuda.host_buffer(spec.nbytes)
                stack.callback(cuda.free_host_buffer, address)
                arrays[spec.name] = _array_at(address, spec.shape, spec.dtype)
            self.inputs: Mapping[str, NDArray[Any]] = {
                spec.name: arrays[spec.name] for spec in self._plan.uploads
            }
            self.outputs: Mapping[str, NDArray[Any]] = {
                spec.name: arrays[spec.name] for spec in self._plan.downloads
            }
            for turn in (0, 1):
                self._capture(turn)
                if (captured := self._graphs[turn]) is not None:
                    stack.callback(cuda.free_graph, captured)
            self._resources: ExitStack | None = stack.pop_all()

    @property
    def captured(self) -> bool:
        """Whether calls are launched as CUDA graphs."""
        return None not in self._graphs

    @property
    def device_bytes(self) -> int:
        """Device memory of the buffers; TensorRT's weights and scratch memory come on top."""
        return self._plan.device_bytes

    def run(self) -> None:
        if self._resources is None:
            raise StreamError("This step is closed. Get a new one from the bundle.")
        cuda, stream = self._cuda, self._stream
        before, uploaded, computed, downloaded = self._marks
        try:
            cuda.mark(before, stream)
            for spec in self._plan.uploads:
                source = self.inputs[spec.name].ctypes.data
                cuda.copy("up", self._device[spec.name], source, spec.nbytes, stream)
            cuda.mark(uploaded, stream)
            if (captured := self._graphs[self._turn]) is not None:
                cuda.launch(captured, stream)
            else:
                self._bind(self._turn)
                self._enqueue()
            cuda.mark(computed, stream)
            for spec in self._plan.downloads:
                target = self.outputs[spec.name].ctypes.data
                cuda.copy("down", target, self._device[spec.name], spec.nbytes, stream)
            cuda.mark(downloaded, stream)
            cuda.wait(stream)
            self.times = StepTimes(
                cuda.between_ns(before, uploaded),
                cuda.between_ns(uploaded, computed),
                cuda.between_ns(computed, downloaded),
            )
        except BaseException:
            self.close()  # the caches may be half-written: the stream cannot go on
            raise
        self._turn = 1 - self._turn

    def caches(self) -> dict[str, NDArray[Any]]:
        values = {}
        for (spec, _), address in self._current_caches():
            value = np.empty(spec.shape, spec.dtype)
            self._cuda.copy("down", value.ctypes.data, address, spec.nbytes, self._stream)
            values[spec.name] = value
        self._cuda.wait(self._stream)
        return values

    def set_caches(self, values: Mapping[str, NDArray[Any]]) -> None:
        check_caches(self.graph, values)
        kept = [np.ascontiguousarray(values[spec.name]) for spec, _ in self._plan.caches]
        for ((spec, _), address), value in zip(self._current_caches(), kept, strict=True):
            self._cuda.copy("up", address, value.ctypes.data, spec.nbytes, self._stream)
        self._cuda.wait(self._stream)

    def close(self) -> None:
        if self._resources is None:
            return
        resources, self._resources = self._resources, None
        # `inputs` and `outputs` lie in memory that goes with the step.
        self.inputs, self.outputs = {}, {}
        with suppress(DeviceError):  # after a failed launch every call fails, also these
            self._cuda.wait(self._stream)
        with suppress(DeviceError):
            resources.close()
        del self._context, self._engine, self._runtime

    def __enter__(self) -> EngineStep:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _current_caches(self) -> Iterator[tuple[Any, int]]:
        current = self._plan.current(self._turn)
        for pair in self._plan.caches:
            yield pair, self._device[current[pair[0].name]]

    def _created_context(self) -> IExecutionContext:
        with self._reporting("create_execution_context"):
            context = self._engine.create_execution_context()
            if context is None:
                raise DeviceError("There may be too little free memory on the device.")
            return context

    def _bind(self, turn: int) -> None:
        context = self._context
        with self._reporting("set_tensor_address"):
            for name, buffer in self._plan.bindings(turn).items():
                if not context.set_tensor_address(name, self._device[buffer]):
                    raise DeviceError(f"For {name}.")

    def _enqueue(self) -> None:
        with self._reporting("execute_async_v3"):
            if not self._context.execute_async_v3(int(self._stream)):
                raise DeviceError("It returned false.")

    def _capture(self, turn: int) -> None:
        """Run once, which settles what TensorRT puts off until then; then record the same work."""
        self._bind(turn)
        self._enqueue()
        self._cuda.wait(self._stream)
        if not _capturable(self._context, int(self._stream)):
            return
        self._cuda.begin_capture(self._stream)
        try:
            self._enqueue()
        finally:
            captured = self._cuda.end_capture(self._stream)
        self._graphs[turn] = captured

    @contextmanager
    def _reporting(self, call: str) -> Iterator[None]:
        """Name the call and what TensorRT's log says of it."""
        self._messages.clear()
        try:
            yield
        except DeviceError as error:
            said = "; ".join(self._messages[-3:])
            raise DeviceError(f"TensorRT's {call} failed. {error} {said}".rstrip()) from None


def _deserialized(runtime: Runtime, content: bytes, here: EngineHost) -> ICudaEngine:
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        raise DeviceError(f"TensorRT's deserialize_cuda_engine failed on {here}. Build it again.")
    return engine


def _capturable(context: IExecutionContext, stream: int) -> bool:
    """TensorRT-RTX says whether; classic TensorRT can be captured when shapes are static."""
    if hasattr(context, "is_stream_capturable"):
        return bool(context.is_stream_capturable(stream))
    return True


def _check_interface(graph: GraphSpec, engine: ICudaEngine) -> None:
    found = set()
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        dtype = engine.get_tensor_dtype(name).name
        shape = list(engine.get_tensor_shape(name))
        way = engine.get_tensor_mode(name).name.lower()
        found.add(f"{way} {name} {_DTYPES.get(dtype, dtype)} {shape}")
    said = {f"input {spec}" for spec in graph.inputs} | {f"output {s}" for s in graph.outputs}
    if odd := sorted(found ^ said):
        raise BundleMismatch(
            f"The engine of {graph.name} and manifest.json disagree on {len(odd)} tensor(s): "
            f"{'; '.join(odd[:4])}. Build it again with --rebuild."
        )


def _array_at(address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Zeros, in host memory that is there already."""
    size = prod(shape) * np.dtype(dtype).itemsize
    memory = (ctypes.c_uint8 * size).from_address(address)
    array: NDArray[Any] = np.frombuffer(memoryview(memory), dtype).reshape(shape)
    array[...] = 0
    return array
