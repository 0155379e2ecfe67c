"""A GPU made of host memory: enough of CUDA for the engine backend to run on it.

Streams are queues that do nothing until they are waited for, captures record, memory is full of
ones at first, and every call can be made to fail. Device memory has addresses of its own, which
the host cannot read (`fake_memory`). A real GPU may begin at once or late, so memory of the host
that work under way uses is nobody else's: what the host writes there is found when that work is
done, and what it reads before is no result. What a real GPU would refuse, or do wrongly without a
word, raises Misuse; it is noted too, and `assert_fake_gpus_are_clean` fails a test that hid it or
left something behind. What real hardware would do differently beyond that, this cannot show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import SimpleNamespace
from typing import Any, TypeVar

from fake_gpu_work import Event, EventRecord, Graph, HostCopy, Made, Recording, Stream
from fake_memory import FakeMemory, Misuse, Space

__all__ = [
    "Error",
    "Event",
    "FakeApi",
    "Graph",
    "Misuse",
    "Recording",
    "Stream",
    "assert_fake_gpus_are_clean",
]

SomeMade = TypeVar("SomeMade", bound=Made)
_FREEING = (
    "cudaFree",
    "cudaFreeHost",
    "cudaStreamDestroy",
    "cudaEventDestroy",
    "cudaGraphDestroy",
    "cudaGraphExecDestroy",
)


class Error(IntEnum):
    SUCCESS = 0
    OUT_OF_MEMORY = 2
    LAUNCH_FAILURE = 719
    STREAM_CAPTURE_INVALIDATED = 901


_ALL: list[FakeApi] = []


def assert_fake_gpus_are_clean() -> None:
    """Of all that were made since the last time: no misuse, whoever hid it, and nothing left."""
    apis = _ALL.copy()
    _ALL.clear()
    for api in apis:
        api.assert_clean()


class FakeApi:
    """`cuda.bindings.runtime`.

    Attributes:
        failing: calls that fail from now on, and how. What they were to free counts as freed: a
            device that was lost takes it along.
        calls: how often each was called.
        copies: which way and how many bytes, of each.
        pageable: those of the copies whose host memory is not pinned. They wait, as CUDA's do.
        misuse: what was wrong, also where somebody caught the exception.
        lost: whether a call failed; then nobody need wait for what is under way.
        under_way: copies between the device and pinned memory that were begun.
        memory: both address spaces.
        default: the stream that was there before any was made; its address is 1.
        number: of this GPU among several.
        attributes: what it can, by the names behind `cudaDevAttr`; at first what a discrete GPU
            can.
    """

    cudaHostAllocMapped = 2
    cudaMemAttachGlobal = 1
    cudaDeviceAttr = SimpleNamespace(
        cudaDevAttrIntegrated=18,
        cudaDevAttrCanMapHostMemory=19,
        cudaDevAttrManagedMemory=83,
        cudaDevAttrConcurrentManagedAccess=89,
    )

    cudaStreamNonBlocking = 1
    cudaMemcpyKind = SimpleNamespace(
        cudaMemcpyHostToDevice=1,
        cudaMemcpyDeviceToHost=2,
        cudaMemcpyDeviceToDevice=3,
        cudaMemcpyDefault=4,
    )
    cudaMemoryType = SimpleNamespace(cudaMemoryTypeDevice=2, cudaMemoryTypeManaged=3)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self) -> None:
        self.failing: dict[str, Error] = {}
        self.calls: Counter[str] = Counter()
        self.copies: list[tuple[str, int]] = []
        self.pageable: list[tuple[str, int]] = []
        self.misuse: list[str] = []
        self.lost = False
        self.under_way: list[HostCopy] = []
        self.memory = FakeMemory()
        self.clock, self.number, self.default = 0.0, 0, Stream(1)
        self.attributes = {
            "Integrated": 0,
            "CanMapHostMemory": 1,
            "ManagedMemory": 1,
            "ConcurrentManagedAccess": 1,
        }
        self._made: dict[int, Made] = {}
        _ALL.append(self)

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if not name.startswith("cuda") or not callable(found):
            return found

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls[name] += 1
            if name in self.failing:
                self._fail(name, *arguments)
                return self.failing[name], None
            with self.noting():
                result = found(*arguments)
            if result is None:
                return (Error.SUCCESS,)
            return (Error.SUCCESS, *result) if isinstance(result, tuple) else (0, result)

        return found if name.startswith("cudaGetError") else call

    # --- what tests ask ---------------------------------------------------------------------

    @property
    def left(self) -> list[str]:
        """Memory, streams, events and graphs that were made and not freed."""
        return self.memory.left() + [str(it) for it in self._made.values() if not it.destroyed]

    def assert_nothing_left(self) -> None:
        assert not self.left, f"not freed: {'; '.join(self.left)}"

    def assert_clean(self) -> None:
        """No misuse, no memory damaged, nothing left."""
        assert not self.misuse, f"the fake GPU was misused: {'; '.join(self.misuse)}"
        damaged = self.memory.damaged()
        assert not damaged, f"the host wrote beyond or after: {'; '.join(damaged)}"
        self.assert_nothing_left()

    # --- what a fake of TensorRT needs ------------------------------------------------------

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note misuse before it is raised: what catches the exception cannot hide it."""
        try:
            yield
        except Misuse as error:
            self.misuse.append(str(error))
            raise

    def stream_of(self, handle: int) -> Stream:
        """The stream of `handle`, which must be in use."""
        if handle == self.default.handle:
            return self.default
        return self._used(self._made.get(handle), Stream)

    # --- memory -----------------------------------------------------------------------------

    def cudaMalloc(self, size: int) -> int:
        return self._allocated("device", size)

    def cudaMallocHost(self, size: int) -> int:
        return self._allocated("pinned", size)

    def cudaHostAlloc(self, size: int, flags: int) -> int:
        if flags != self.cudaHostAllocMapped or not self.attributes["CanMapHostMemory"]:
            raise Misuse(f"memory of the host was asked for with flags {flags}, to be mapped")
        return self._allocated("mapped", size)

    def cudaHostGetDevicePointer(self, address: int, flags: int) -> int:
        return self.memory.device_address(address)

    def cudaMallocManaged(self, size: int, flags: int) -> int:
        """Refused where the host would be ended for touching it while anything runs."""
        needed = ("ManagedMemory", "ConcurrentManagedAccess")
        if flags != self.cudaMemAttachGlobal or not all(map(self.attributes.get, needed)):
            raise Misuse(f"managed memory was asked for with flags {flags}, to be used at once")
        return self._allocated("managed", size)

    def cudaFree(self, address: int) -> None:
        self._require_no_capture(f"{address:#x} was freed")
        self.memory.free(("device", "managed"), address)

    def cudaFreeHost(self, address: int) -> None:
        self._require_no_capture(f"{address:#x} was freed")
        self.memory.free(("pinned", "mapped"), address)

    def cudaMemGetInfo(self) -> tuple[int, int]:
        return 6 << 30, 8 << 30

    def cudaPointerGetAttributes(self, address: int) -> Any:
        space = self.memory.space_of(address)
        kind = {"device": 2, "managed": 3, "pinned": 1, "mapped": 1, None: 0}[space]
        return SimpleNamespace(type=kind, device=-2 if space is None else self.number)

    def cudaMemcpy2DAsync(
        self,
        target: int,
        target_pitch: int,
        source: int,
        source_pitch: int,
        width: int,
        rows: int,
        kind: int,
        stream: Stream,
    ) -> None:
        if width > min(target_pitch, source_pitch):
            raise Misuse(f"rows of {width} B, {source_pitch} B and {target_pitch} B apart")
        for row in range(rows):
            there, here = target + row * target_pitch, source + row * source_pitch
            self.cudaMemcpyAsync(there, here, width, kind, stream)

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: int, stream: Stream
    ) -> None:
        if kind in (3, 4):
            way = "within" if kind == 3 else "inferred"
            self._copy_within(way, target, source, size, self._used(stream, Stream))
            return
        ways = {1: ("up", target, source), 2: ("down", source, target)}
        if kind not in ways:
            raise Misuse(f"a copy of kind {kind!r}; 1 is up and 2 is down")
        way, device, host = ways[kind]
        stream = self._used(stream, Stream)
        self.memory.device(device, size, f"copy {way}")
        self.copies.append((way, size))
        if self.memory.pinned(host, size, f"copy {way}") is not None:
            stream.put(HostCopy(self, way, device, host, size))
        else:
            self._copy_pageable(way, device, host, size, stream)

    def _copy_within(self, way: str, target: int, source: int, size: int, stream: Stream) -> None:
        """Between addresses of the device; shared memory is only for a copy that infers its way."""
        places = [(place, size, f"copy {way}") for place in (target, source)]
        for place in places:
            self.memory.device(*place)
            if way == "within" and self.memory.shared(place[0]):
                raise Misuse(f"a copy within the device, and {place[0]:#x} is shared with the host")
        self.copies.append((way, size))

        def copied() -> None:
            there, here = (self.memory.device(*place) for place in places)
            there[...] = here

        stream.put(copied)

    def _copy_pageable(self, way: str, device: int, host: int, size: int, stream: Stream) -> None:
        """CUDA keeps what goes up when the call returns, and has brought down what goes down;
        neither fits into a graph."""
        self.pageable.append((way, size))
        if stream.recording is not None:
            raise Misuse(f"{size} B of pageable memory were copied {way} while capturing")
        here = self.memory.host(host, size, f"copy {way}")
        if way == "down":
            stream.do()
            here[...] = self.memory.device(device, size, f"copy {way}")
            return
        kept = here.copy()

        def arrived() -> None:
            self.memory.device(device, size, f"copy {way}")[...] = kept

        stream.put(arrived)

    def _allocated(self, space: Space, size: int) -> int:
        self._require_no_capture(f"{size} B of {space} memory were asked for")
        return self.memory.allocate(space, size)

    def _require_no_capture(self, what: str) -> None:
        for made in self._made.values():
            if isinstance(made, Stream) and made.recording is not None:
                raise Misuse(f"{what} while capturing")

    # --- streams and events -----------------------------------------------------------------

    def cudaGetErrorName(self, error: Error) -> tuple[int, bytes]:
        return 0, f"cudaError{error.name.title().replace('_', '')}".encode()

    def cudaGetErrorString(self, error: Error) -> tuple[int, bytes]:
        return 0, error.name.lower().replace("_", " ").encode()

    def cudaGetDeviceCount(self) -> int:
        return 1

    def cudaGetDevice(self) -> int:
        return self.number

    def cudaDeviceGetAttribute(self, attribute: int, device: int) -> int:
        names = {number: name for name, number in vars(self.cudaDeviceAttr).items()}
        return self.attributes[names[attribute].removeprefix("cudaDevAttr")]

    def cudaStreamCreateWithFlags(self, flags: int) -> Stream:
        if flags != self.cudaStreamNonBlocking:
            raise Misuse(f"a stream with flags {flags} waits for the default stream, and it for it")
        return self._new(Stream(self._handle()))

    def cudaStreamDestroy(self, stream: Stream) -> None:
        """Its work would go on without it: nobody could say when it is done."""
        if self._used(stream, Stream).waiting and not self.lost:
            raise Misuse(f"{stream} was destroyed, and has work to do")
        stream.destroyed = True

    def cudaStreamSynchronize(self, stream: Stream) -> None:
        if self._used(stream, Stream).recording is not None:
            raise Misuse(f"{stream} was waited for while capturing")
        stream.do()

    def cudaEventCreate(self) -> Event:
        return self._new(Event(self._handle()))

    def cudaEventDestroy(self, event: Event) -> None:
        self._used(event, Event).destroyed = True

    def cudaEventRecord(self, event: Event, stream: Stream | int) -> None:
        """Into a stream or, as CUDA's bindings allow, into that of an address."""
        there = self.stream_of(stream) if isinstance(stream, int) else self._used(stream, Stream)
        record = EventRecord(self, there)
        self._used(event, Event).record = record if there.recording is None else None
        there.put(record)

    def cudaStreamWaitEvent(self, stream: Stream, event: Event, flags: int) -> None:
        record = self._used(event, Event).record
        if record is None:
            raise Misuse(f"{event} is waited for, and was never recorded")
        self._used(stream, Stream).put(record.awaited)

    def cudaEventElapsedTime(self, first: Event, second: Event) -> float:
        records = self._used(first, Event).record, self._used(second, Event).record
        begin, end = (None if record is None else record.ms for record in records)
        if begin is None or end is None:
            raise Misuse("the time between events was asked for, to which no stream has come yet")
        return end - begin

    # --- graphs -----------------------------------------------------------------------------

    def cudaStreamBeginCapture(self, stream: Stream, mode: int) -> None:
        if self._used(stream, Stream).waiting:
            raise Misuse(f"{stream} was captured, and has work to do")
        stream.recording = []

    def cudaStreamEndCapture(self, stream: Stream) -> Recording:
        work, self._used(stream, Stream).recording = stream.recording, None
        if work is None:
            raise Misuse(f"a capture of {stream} was ended, and none had begun")
        return self._new(Recording(self._handle(), work))

    def cudaGraphInstantiate(self, recording: Recording, flags: int) -> Graph:
        if not self._used(recording, Recording).work:
            raise Misuse(f"{recording} holds nothing")
        return self._new(Graph(self._handle(), list(recording.work)))

    def cudaGraphDestroy(self, recording: Recording) -> None:
        self._used(recording, Recording).destroyed = True

    def cudaGraphLaunch(self, graph: Graph, stream: Stream) -> None:
        for work in self._used(graph, Graph).work:
            self._used(stream, Stream).put(work)

    def cudaGraphExecDestroy(self, graph: Graph) -> None:
        self._used(graph, Graph).destroyed = True

    # --- what was made ----------------------------------------------------------------------

    def _handle(self) -> int:
        return 0x1000 + len(self._made)

    def _new(self, made: SomeMade) -> SomeMade:
        self._made[made.handle] = made
        return made

    def _used(self, made: Any, kind: type[SomeMade]) -> SomeMade:
        """`made`, which must be of `kind`, of this GPU, and not destroyed."""
        if not isinstance(made, kind) or self._made.get(made.handle) is not made:
            raise Misuse(f"a {kind.__name__.lower()} is needed, and this is {made}")
        if made.destroyed:
            raise Misuse(f"{made} was destroyed")
        return made

    def _fail(self, name: str, *arguments: Any) -> None:
        """What a call does even where it fails."""
        self.lost = True
        if name == "cudaStreamEndCapture":
            arguments[0].recording = None
        elif name in _FREEING:
            with self.noting():
                object.__getattribute__(self, name)(*arguments)
