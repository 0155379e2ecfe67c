"""CUDA as the engine backend uses it: `cuda.bindings.runtime`, every call checked.

No other module of ours calls CUDA but `runtime/backends/gpu.py`, which asks the driver what there
is. Ran on H200s (docs/measured), but for copies of rows that are apart, memory that the host shares
with the device, and attributes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal

from vidtok_edge.errors import BackendUnavailable, DeviceError, MissingDependency
from vidtok_edge.runtime.backends.backend import Target
from vidtok_edge.runtime.backends.gpu import gpu_obstacle

__all__ = ["DEFAULT_STREAM", "Cuda", "Event", "Graph", "Stream", "Way", "load_cuda"]

Stream = Any
"""A `cudaStream_t`; `int()` gives its address."""
Event = Any
Graph = Any

DEFAULT_STREAM = 1
"""The address of the stream of those who name none, as PyTorch: `cudaStreamLegacy`. It waits for
all others that were not made to go on beside it."""

_BINDINGS = ("cuda", "cuda.bindings", "cuda.bindings.runtime")
Way = Literal["up", "down", "within", "inferred"]
"""From the host to the device, back, from device memory to device memory, or what CUDA infers from
the addresses: to memory that host and device share."""

_COPIES: Mapping[Way, str] = {
    "up": "cudaMemcpyHostToDevice",
    "down": "cudaMemcpyDeviceToHost",
    "within": "cudaMemcpyDeviceToDevice",
    "inferred": "cudaMemcpyDefault",
}
_ON_DEVICE = ("cudaMemoryTypeDevice", "cudaMemoryTypeManaged")


def load_cuda(target: Target) -> Cuda:
    """CUDA on the first GPU that it shows; `CUDA_VISIBLE_DEVICES` chooses among several.

    Args:
        target: whose engines are to run; messages name its extra.

    Raises:
        MissingDependency: cuda-bindings is not installed.
        BackendUnavailable: there is no driver, or one that is too old, or no GPU, or this thread
            uses another one than the first.
    """
    try:
        api = importlib.import_module("cuda.bindings.runtime")
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name in _BINDINGS:
            raise MissingDependency("cuda-bindings", target, "Running engines") from None
        raise BackendUnavailable(
            f"cuda-bindings is installed but does not load: {error}. Install the one of your CUDA: "
            'pip install "cuda-bindings<13" on CUDA 12 (JetPack 6), "cuda-bindings>=13" on CUDA 13'
        ) from error
    cuda = Cuda(api)
    try:
        count, current = cuda.devices(), cuda.device()
    except DeviceError as error:
        obstacle = gpu_obstacle()
        cure = (
            "Install a newer NVIDIA driver, or the cuda-bindings of your CUDA (12.x for CUDA 12, "
            "13.x for CUDA 13)"
        )
        said = f"The cause: {obstacle}" if obstacle else cure
        raise BackendUnavailable(f"CUDA does not start: {error} {said}.") from None
    if not count:
        raise BackendUnavailable("CUDA shows no GPU. Look at CUDA_VISIBLE_DEVICES.")
    if current:  # the host program chose it, for this thread alone
        raise BackendUnavailable(
            f"CUDA's device in this thread is GPU {current}, and engines run on the first one that "
            f"it shows, GPU 0. Let it show that one alone: CUDA_VISIBLE_DEVICES={current}."
        )
    return cuda


class Cuda:
    """The calls that a step makes. Sizes in bytes; addresses and handles as CUDA gives them.

    Every method raises DeviceError with the call, the error's name and its number.
    """

    def __init__(self, api: Any) -> None:
        self._api = api
        self._kinds = {way: getattr(api.cudaMemcpyKind, name) for way, name in _COPIES.items()}

    def devices(self) -> int:
        """How many GPUs there are."""
        return int(self._call("cudaGetDeviceCount"))

    def device(self) -> int:
        """Which of them is used, counted from 0."""
        return int(self._call("cudaGetDevice"))

    def attribute(self, name: str) -> int:
        """Of the device: the value of `cudaDevAttr` and this name, as `Integrated`."""
        which = getattr(self._api.cudaDeviceAttr, f"cudaDevAttr{name}")
        return int(self._call("cudaDeviceGetAttribute", which, self.device()))

    def device_of(self, address: int) -> int | None:
        """In whose memory `address` lies; None: in that of no GPU."""
        found = self._call("cudaPointerGetAttributes", address)
        on_device = [getattr(self._api.cudaMemoryType, name) for name in _ON_DEVICE]
        return int(found.device) if found.type in on_device else None

    def device_buffer(self, size: int) -> int:
        """Address of new device memory, uninitialised."""
        return int(self._call("cudaMalloc", size))

    def free_device_buffer(self, address: int) -> None:
        self._call("cudaFree", address)

    def host_buffer(self, size: int) -> int:
        """Address of new host memory that stays in place, so that copies need no CPU."""
        return int(self._call("cudaMallocHost", size))

    def free_host_buffer(self, address: int) -> None:
        self._call("cudaFreeHost", address)

    def mapped_buffer(self, size: int) -> int:
        """Address on the host of new memory that stays in place and that the device can use."""
        return int(self._call("cudaHostAlloc", size, self._api.cudaHostAllocMapped))

    def mapped_address(self, host: int) -> int:
        """The address by which the device uses what `mapped_buffer` gave."""
        return int(self._call("cudaHostGetDevicePointer", host, 0))

    def managed_buffer(self, size: int) -> int:
        """Address of new memory that host and device use by that address; freed as the device's."""
        return int(self._call("cudaMallocManaged", size, self._api.cudaMemAttachGlobal))

    def stream(self) -> Stream:
        return self._call("cudaStreamCreateWithFlags", self._api.cudaStreamNonBlocking)

    def free_stream(self, stream: Stream) -> None:
        self._call("cudaStreamDestroy", stream)

    def wait(self, stream: Stream) -> None:
        """Until all that was put into `stream` is done; also where errors of that work show."""
        self._call("cudaStreamSynchronize", stream)

    def event(self) -> Event:
        return self._call("cudaEventCreate")

    def free_event(self, event: Event) -> None:
        self._call("cudaEventDestroy", event)

    def mark(self, event: Event, stream: Stream) -> None:
        """Note the time at which `stream` comes here."""
        self._call("cudaEventRecord", event, stream)

    def between_ns(self, first: Event, second: Event) -> int:
        """Nanoseconds between two marks of a stream that was waited for; good to about 500."""
        return round(float(self._call("cudaEventElapsedTime", first, second)) * 1e6)

    def await_other(self, stream: Stream, other: int, mark: Event) -> None:
        """Let `stream` go on when `other`, of somebody else, has done what it has to do now."""
        self._call("cudaEventRecord", mark, other)
        self._call("cudaStreamWaitEvent", stream, mark, 0)

    def copy(self, way: Way, target: int, source: int, size: int, stream: Stream) -> None:
        """Copy `size` bytes when `stream` comes there."""
        self._call("cudaMemcpyAsync", target, source, size, self._kinds[way], stream)

    def copy_rows(
        self, way: Way, target: int, source: int, pitch: int, width: int, rows: int, stream: Stream
    ) -> None:
        """Copy `rows` of `width` bytes; in the source they are `pitch` apart."""
        kind = self._kinds[way]
        self._call("cudaMemcpy2DAsync", target, width, source, pitch, width, rows, kind, stream)

    def captured(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """What `work` puts into `stream`, recorded instead of done, and ready to be launched."""
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            with suppress(DeviceError):  # that the capture is invalid now is a consequence
                self._call("cudaGraphDestroy", self._call("cudaStreamEndCapture", stream))
            raise
        recorded = self._call("cudaStreamEndCapture", stream)
        try:
            return self._call("cudaGraphInstantiate", recorded, 0)
        finally:
            with suppress(DeviceError):
                self._call("cudaGraphDestroy", recorded)

    def launch(self, graph: Graph, stream: Stream) -> None:
        self._call("cudaGraphLaunch", graph, stream)

    def free_graph(self, graph: Graph) -> None:
        self._call("cudaGraphExecDestroy", graph)

    def _call(self, name: str, *arguments: Any) -> Any:
        """What the call gives beside its error: nothing, one value, or several."""
        try:
            error, *results = getattr(self._api, name)(*arguments)
        except RuntimeError as raised:  # bindings before 12.9, where the driver lacks the call
            raise DeviceError(f"{name} failed: {str(raised).rstrip('.')}.") from None
        if int(error):
            raise DeviceError(
                f"{name} failed: {self._text('cudaGetErrorName', error)} ({int(error)}), "
                f"{self._text('cudaGetErrorString', error)}."
            )
        return results[0] if len(results) == 1 else tuple(results)

    def _text(self, name: str, error: Any) -> str:
        _, text = getattr(self._api, name)(error)
        return text.decode() if isinstance(text, bytes) else str(text)
