"""A step graph as an engine, on the GPU.

It ran on H200s with TensorRT 10.6, with frames of the host and of the device (docs/measured); other
GPUs, and memory that the host shares with the device, are unverified on hardware.

Frames go up as bytes and tokens come down as integers, or neither is copied (`memory`); caches
never leave the device, and nothing is allocated per call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import BackendUnavailable, BundleMismatch, DeviceError
from vidtok_edge.runtime.backends.arrays import Place
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.engines.api import (
    ICudaEngine,
    IExecutionContext,
    Runtime,
    TensorRT,
)
from vidtok_edge.runtime.backends.engines.buffers import SCRATCH, BufferPlan
from vidtok_edge.runtime.backends.engines.cuda import DEFAULT_STREAM, Cuda, Graph, load_cuda
from vidtok_edge.runtime.backends.engines.device_side import DeviceSide
from vidtok_edge.runtime.backends.engines.dtypes import DTYPES
from vidtok_edge.runtime.backends.engines.library import collected_log, host_of, load_tensorrt
from vidtok_edge.runtime.backends.engines.memory import (
    HostBuffer,
    Memory,
    allocated,
    require_memory,
)
from vidtok_edge.runtime.backends.engines.sidecar import EngineHost, check_engine
from vidtok_edge.runtime.backends.engines.trust import require_trusted
from vidtok_edge.runtime.backends.gpu import Gpu, present_gpu
from vidtok_edge.runtime.backends.step import BackendInfo, StepTimes, check_caches, step_closed
from vidtok_edge.runtime.manifest.graphs import GraphSpec, TensorSpec

__all__ = ["EngineStep", "open_engine"]


def open_engine(
    folder: Path,
    graph: GraphSpec,
    target: Target,
    to_compare: bool = False,
    outputs_on: Place = "host",
    memory: Memory | None = None,
) -> EngineStep:
    """The engine of `graph` for this machine, ready to run.

    Args:
        folder: the bundle's.
        graph: one of its graphs for TensorRT.
        target: the TensorRT that shall run it.
        to_compare, outputs_on: see `open_step`.
        memory: where frames and tokens lie; what the sidecar says where None.

    Raises:
        MissingDependency, BackendUnavailable: TensorRT, CUDA or the GPU is missing; or the GPU
            cannot serve that memory.
        EngineMissing, EngineStale: see `check_engine`.
        EngineUntrusted: see `require_trusted`.
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
    engine = check_engine(folder, graph, target, here)
    content = engine.path.read_bytes()
    require_trusted(engine.path, content, f"vidtok-edge build {folder} --target {target} --rebuild")
    return EngineStep(
        graph,
        content,
        library,
        load_cuda(target),
        here,
        to_compare,
        outputs_on,
        engine.sidecar.extra_outputs,
        memory or engine.sidecar.memory or Memory.DEVICE,
    )


def _here(target: Target, library: TensorRT, gpu: Gpu) -> EngineHost:
    # A TensorRT-RTX engine is for an architecture, so its sidecar names no GPU model.
    return host_of(target, library, gpu.architecture, "" if target.any_gpu_model else gpu.name)


class EngineStep:
    """A running engine, its caches in two sets of device memory used in turn.

    Even and odd calls have an execution context each, which is bound once, and are captured as a
    CUDA graph each, so that a call is two copies and one launch. Where TensorRT cannot be captured
    (TensorRT-RTX may compile while it runs) its work is put into the stream anew each time, and
    `info` says so.
    """

    def __init__(
        self,
        graph: GraphSpec,
        content: bytes,
        library: TensorRT,
        cuda: Cuda,
        here: EngineHost,
        to_compare: bool = False,
        outputs_on: Place = "host",
        extra_outputs: tuple[TensorSpec, ...] = (),
        memory: Memory = Memory.DEVICE,
    ) -> None:
        """`content`: the engine, whose sidecar was checked; `here`: what it runs on.

        `extra_outputs`: what it writes beside the outputs of its graph; they stay on the device.
        `memory`: where the tensors lie that the host writes and reads.
        """
        require_memory(memory, cuda)
        self.graph = graph
        self.info = BackendInfo(here.target, here.target, here.product.lower(), "", memory)
        self.times = StepTimes(0, 0, 0)
        self._cuda, self._turn, self._lent = cuda, 0, outputs_on == "device"
        self._graphs: list[Graph | None] = []
        with ExitStack() as stack:  # undone here if anything below fails, else by close()

            def made(value: Any, free: Callable[[Any], None]) -> Any:
                stack.callback(_freed, free, value)
                return value

            with collected_log(library) as (logger, self._messages):
                self._runtime = library.Runtime(logger)  # must live as long as its engine
                self._engine = _deserialized(self._runtime, content, here, self._messages)
            _check_interface(graph, self._engine, extra_outputs)
            scratch_bytes = self._engine.device_memory_size_v2
            self._plan = BufferPlan.of(graph, scratch_bytes, to_compare, outputs_on, extra_outputs)
            self._stream = made(cuda.stream(), cuda.free_stream)
            *self._marks, self._other = [made(cuda.event(), cuda.free_event) for _ in range(5)]
            host_side = {
                spec.name: allocated(memory, cuda, spec.nbytes, made)
                for spec in self._plan.uploads + self._plan.downloads
            }
            self._device: Mapping[str, int] = {
                buffer.name: host_side[buffer.name].device
                if buffer.name in host_side
                else made(cuda.device_buffer(buffer.size), cuda.free_device_buffer)
                for buffer in self._plan.device
            }
            # Addresses: `array.ctypes.data` takes a microsecond each time.
            self._uploads, self._downloads = (
                [] if memory.shared else [(spec, host_side[spec.name]) for spec in specs]
                for specs in (self._plan.uploads, self._plan.downloads)
            )
            self.inputs = _arrays_at(host_side, self._plan.uploads)
            self.outputs = _arrays_at(host_side, self._plan.downloads)
            self.device = DeviceSide(
                cuda,
                self._stream,
                self._other,
                self._device,
                inputs=self._plan.uploads,
                outputs=graph.stream_outputs,
                guard=self._closing_on_error,
                shared=memory.shared,
            )
            self._contexts: list[IExecutionContext] = []
            stack.callback(self._contexts.clear)  # after the graphs, before the memory
            stack.callback(_freed, cuda.wait, self._stream)  # of calls that use both
            for turn in (0, 1):
                self._contexts.append(self._bound_context(library, turn))
                if (captured := self._captured(turn)) is not None:
                    made(captured, cuda.free_graph)
                self._graphs.append(captured)
            self._resources: ExitStack | None = stack.pop_all()

    @property
    def captured(self) -> bool:
        """Whether calls are launched as CUDA graphs."""
        return None not in self._graphs

    @property
    def device_bytes(self) -> int:
        """Device memory of the buffers; the engine's weights come on top."""
        return self._plan.device_bytes

    def run(self) -> None:
        cuda, stream = self._cuda, self._stream
        before, uploaded, computed, downloaded = self._marks
        with self._closing_on_error():
            if self._lent:  # whoever was given the outputs may have put off to read them
                cuda.await_other(stream, DEFAULT_STREAM, self._other)
            cuda.mark(before, stream)
            for spec, at in self._uploads:
                for first, size in self.device.uploads(spec):
                    cuda.copy("up", at.device + first, at.host + first, size, stream)
            cuda.mark(uploaded, stream)
            if (captured := self._graphs[self._turn]) is not None:
                cuda.launch(captured, stream)
            else:
                self._enqueue(self._turn)
            cuda.mark(computed, stream)
            for spec, at in self._downloads:
                cuda.copy("down", at.host, at.device, spec.nbytes, stream)
            cuda.mark(downloaded, stream)
            cuda.wait(stream)
            self.times = StepTimes(
                cuda.between_ns(before, uploaded),
                cuda.between_ns(uploaded, computed),
                cuda.between_ns(computed, downloaded),
            )
        self._turn = 1 - self._turn

    def caches(self) -> dict[str, NDArray[Any]]:
        values = {}
        with self._closing_on_error():
            for spec, address in self._current_caches():
                value = values[spec.name] = np.empty(spec.shape, spec.dtype)
                self._cuda.copy("down", value.ctypes.data, address, spec.nbytes, self._stream)
            self._cuda.wait(self._stream)
        return values

    def set_caches(self, values: Mapping[str, NDArray[Any]]) -> None:
        check_caches(self.graph, values)
        kept = {name: np.ascontiguousarray(value) for name, value in values.items()}
        with self._closing_on_error():
            for spec, address in self._current_caches():
                source = kept[spec.name].ctypes.data
                self._cuda.copy("up", address, source, spec.nbytes, self._stream)
            self._cuda.wait(self._stream)

    def close(self) -> None:
        if self._resources is None:
            return
        resources, self._resources = self._resources, None
        # `inputs` and `outputs` lie in memory that goes with the step.
        self.inputs, self.outputs = {}, {}
        self.device.outputs = {}
        resources.close()
        del self._engine, self._runtime

    def __enter__(self) -> EngineStep:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _current_caches(self) -> Iterator[tuple[TensorSpec, int]]:
        current = self._plan.current(self._turn)
        for spec, _ in self._plan.caches:
            yield spec, self._device[current[spec.name]]

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        """Refuse a closed step; after an error the caches may be half-written, so close it."""
        if self._resources is None:
            raise step_closed()
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _bound_context(self, library: TensorRT, turn: int) -> IExecutionContext:
        """A context that works in our scratch memory, on the buffers of `turn`."""
        with self._reporting("create_execution_context"):
            strategy = library.ExecutionContextAllocationStrategy.USER_MANAGED
            context = self._engine.create_execution_context(strategy)
            if context is None:
                raise DeviceError("There may be too little free memory on the device.")
            if self._plan.scratch_bytes:
                context.set_device_memory(self._device[SCRATCH], self._plan.scratch_bytes)
        with self._reporting("set_tensor_address"):
            for name, buffer in self._plan.bindings(turn).items():
                if not context.set_tensor_address(name, self._device[buffer]):
                    raise DeviceError(f"For {name}.")
        return context

    def _enqueue(self, turn: int) -> None:
        with self._reporting("execute_async_v3"):
            if not self._contexts[turn].execute_async_v3(int(self._stream)):
                raise DeviceError("It returned false.")

    def _captured(self, turn: int) -> Graph | None:
        """Run once, which settles what TensorRT puts off until then; then record the same work."""
        self._enqueue(turn)
        self._cuda.wait(self._stream)
        if not _capturable(self._contexts[turn], int(self._stream)):
            why = "TensorRT says that it cannot be captured"
        else:
            try:
                return self._cuda.captured(self._stream, lambda: self._enqueue(turn))
            except DeviceError as error:
                why = str(error)
            self._enqueue(turn)  # does it run without?
            self._cuda.wait(self._stream)
        self.info = replace(self.info, fell_back=f"calls are not CUDA graphs: {why}")
        return None

    @contextmanager
    def _reporting(self, call: str) -> Iterator[None]:
        """Name the call and what TensorRT's log says of it."""
        self._messages.clear()
        try:
            yield
        except DeviceError as error:
            said = "; ".join(self._messages[-3:])
            raise DeviceError(f"TensorRT's {call} failed. {error} {said}".rstrip()) from None


def _freed(free: Callable[[Any], None], value: Any) -> None:
    """Free what was made, if CUDA still does: after a failed launch every call fails, and its error
    would hide the one that led here."""
    with suppress(DeviceError):
        free(value)


def _deserialized(
    runtime: Runtime, content: bytes, here: EngineHost, messages: Sequence[str]
) -> ICudaEngine:
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        said = "; ".join(messages[-3:]) or "It gives no reason."
        cure = "Free memory" if "memory" in said.lower() else "Build it again with --rebuild"
        raise DeviceError(f"TensorRT's deserialize_cuda_engine failed on {here}. {said} {cure}.")
    return engine


def _capturable(context: IExecutionContext, stream: int) -> bool:
    """TensorRT-RTX says whether; classic TensorRT can be captured when shapes are static."""
    if hasattr(context, "is_stream_capturable"):
        return bool(context.is_stream_capturable(stream))
    return True


def _check_interface(
    graph: GraphSpec, engine: ICudaEngine, extra_outputs: tuple[TensorSpec, ...]
) -> None:
    found = set()
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        dtype = engine.get_tensor_dtype(name).name
        shape = list(engine.get_tensor_shape(name))
        way = engine.get_tensor_mode(name).name.lower()
        found.add(f"{way} {name} {DTYPES.get(dtype, dtype)} {shape}")
    said = {f"input {spec}" for spec in graph.inputs}
    said |= {f"output {spec}" for spec in (*graph.outputs, *extra_outputs)}
    if odd := sorted(found ^ said):
        raise BundleMismatch(
            f"The engine of {graph.name} and manifest.json disagree on {len(odd)} tensor(s): "
            f"{'; '.join(odd[:4])}. Build it again with --rebuild."
        )


def _arrays_at(
    buffers: Mapping[str, HostBuffer], specs: Sequence[TensorSpec]
) -> Mapping[str, NDArray[Any]]:
    """Tensors of the host, all zeros, in memory that is there already."""
    arrays = {}
    for spec in specs:
        memory = (ctypes.c_uint8 * spec.nbytes).from_address(buffers[spec.name].host)
        array: NDArray[Any] = np.frombuffer(memoryview(memory), spec.dtype).reshape(spec.shape)
        array[...] = 0
        arrays[spec.name] = array
    return arrays
