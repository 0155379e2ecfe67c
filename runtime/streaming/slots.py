"""Slots of a batch, filled item by item and stepped together; what encoder and decoder share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime.backends.arrays import Borrowed, borrowed
from vidtok_edge.runtime.backends.step import BackendInfo, Step, StepTimes
from vidtok_edge.runtime.manifest.graphs import GraphSpec
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.streaming.framing import Framing

if TYPE_CHECKING:
    from vidtok_edge.runtime.proofs import Proven

__all__ = ["Slots"]


class _OfSlot(Protocol):
    @property
    def slot(self) -> int: ...


Result = TypeVar("Result", bound=_OfSlot)


@dataclass(slots=True)
class _Slot:
    """Where one stream stands."""

    open: bool = False
    fresh: bool = True
    """The next call is the stream's first."""
    filled: int = 0
    """Items of the next call that are in the input buffer."""


class Slots(ABC, Generic[Result]):
    """Fills the input buffer of a step, slot by slot, and runs it when the chunks are there.

    docs/streaming.md, section 3.3.

    A step waits for every open slot, but holds no slot back longer than until that slot's own next
    item: a stream that pauses delays the others by one item at most. Who wants it to run sooner
    calls `run_pending` (`runtime/streaming/batching.py` does, after a time).

    With a depth of 2 a call runs in a thread of its own while the next chunk is filled; what it
    gave comes with a later item, with `run_pending`, or with `finish`.
    """

    def __init__(
        self, manifest: Manifest, step: Step, capacity: int, input_name: str, depth: int = 1
    ) -> None:
        self.manifest, self.framing = manifest, Framing.of(manifest.model)
        self._step, self._closed = step, False
        self._calls, self._step_times = 0, StepTimes(0, 0, 0)
        self._capacity = capacity
        self._input_name, self._device = input_name, step.device
        self._buffer: NDArray[Any] = step.inputs[input_name]
        self._worker: ThreadPoolExecutor | None = None
        self._under_way: tuple[Future[None], list[int]] | None = None
        self._kept: list[Result] = []
        """Of slots that run on, from a call that was waited for when another one was reset."""
        if depth > 1:
            # The step reads its own input meanwhile, which a frame of the device would go into.
            self._buffer, self._device = self._buffer.copy(), None
            self._worker = ThreadPoolExecutor(1, "step")
        self._slots = [_Slot() for _ in range(manifest.streams)]
        self.find_proof: Callable[[], Proven] | None = None
        """Looks for `proof`; set by `Bundle`."""

    @property
    def backend(self) -> BackendInfo:
        """What really runs the graph."""
        return self._step.info

    @property
    def proof(self) -> Proven:
        """Whether what runs has proven itself on this device, as the bundle says now.

        For example `proof tensorrt.fp16.sm87: passed, 2026-11-27`; falsy where there is none, it
        failed, or it is of something else (docs/prove.md).
        """
        # Here: a stream that starts need not wait for it.
        from vidtok_edge.runtime.proofs import NOT_LOOKED_FOR

        return NOT_LOOKED_FOR if self.find_proof is None else self.find_proof()

    @property
    def pending(self) -> tuple[int, ...]:
        """Slots whose chunk is complete and waits for others."""
        return tuple(self._full())

    def run_pending(self) -> list[Result]:
        """Run the step now, for the slots whose chunk is complete; nothing where there are none.

        With a depth of 2 also what was under way, which it waits for.
        """
        self._require_open()
        full = self._full()
        results = self._run(full) if full else []
        return results + self._taken()

    @property
    def graph(self) -> GraphSpec:
        """The graph that runs; an engine may be of another form than the bundle's own."""
        return self._step.graph

    @property
    def calls(self) -> int:
        """How often the step was run."""
        return self._calls

    @property
    def step_times(self) -> StepTimes:
        """What all these calls took together."""
        return self._step_times

    def _require_open(self) -> None:
        if self._closed:
            raise StreamError("This stream is closed. Get a new one from the bundle.")

    def _slot(self, number: int) -> _Slot:
        self._require_open()
        if not 0 <= number < len(self._slots):
            raise StreamError(
                f"There is no slot {number}: the bundle was exported with --streams "
                f"{len(self._slots)}, slots 0 to {len(self._slots) - 1}."
            )
        return self._slots[number]

    def _make_room(self, number: int) -> list[Result]:
        """Run the step if a slot's chunk is complete and waits for others; it waits no longer.

        Also what a call gave that was under way and is done.
        """
        done = self._under_way is None or self._under_way[0].done()
        results = self._taken() if done else []
        if self._slots[number].filled == self._capacity:
            results += self._run(self._full())
        return results

    def _borrowed(self, value: Any, what: str, after: int | None) -> NDArray[Any] | Borrowed:
        """What a caller handed in, where it is; see `runtime.backends.arrays.borrowed`."""
        stream = None if self._device is None else self._device.stream
        return borrowed(value, what, stream=stream, after=after)

    def _put(self, number: int, item: NDArray[Any] | Borrowed) -> list[Result]:
        """Add one item to a slot that has room; run the step if that was the last one missing."""
        slot = self._slots[number]
        if isinstance(item, Borrowed):
            assert self._device is not None  # else it would not have been borrowed
            self._device.put(self._input_name, number, slot.filled, item)
        else:
            self._buffer[number, slot.filled] = item
            if self._device is not None:
                self._device.put_by_host(self._input_name, number, slot.filled)
        slot.open = True
        slot.filled += 1
        return self._run_complete()

    def _repeat_last(self, number: int) -> None:
        """Fill what is left of a chunk with its last item."""
        slot = self._slots[number]
        self._buffer[number, slot.filled :] = self._buffer[number, slot.filled - 1]
        if self._device is not None:
            self._device.repeat(self._input_name, number, slot.filled - 1)
        slot.filled = self._capacity

    def _run_complete(self) -> list[Result]:
        """Run the step if the chunk of every open slot is complete: there is none to wait for."""
        full = self._full()
        return self._run(full) if full and len(full) == sum(s.open for s in self._slots) else []

    def _full(self) -> list[int]:
        return [i for i, slot in enumerate(self._slots) if slot.filled == self._capacity]

    def _run(self, ready: list[int]) -> list[Result]:
        """One call for the slots in `ready`; the others keep their caches.

        With a depth of 2 it is begun, and what the call before gave is returned.
        """
        results = self._taken()
        step = self._step
        for name, numbers in (
            ("start", [i for i in ready if self._slots[i].fresh]),
            ("ready", ready),
        ):
            if name in step.inputs:
                step.inputs[name][:] = False
                step.inputs[name][numbers] = True
        if self._worker is None:
            results += self._collected(step.run, ready)
        else:
            step.inputs[self._input_name][...] = self._buffer
            self._under_way = (self._worker.submit(step.run), ready)
        for i in ready:
            self._slots[i].fresh, self._slots[i].filled = False, 0
        return results

    def _taken(self) -> list[Result]:
        """What the call gave that is under way, when it is done; nothing where there is none."""
        results, self._kept = self._kept, []
        if self._under_way is not None:
            (call, ready), self._under_way = self._under_way, None
            results += self._collected(call.result, ready)
        return results

    def _collected(self, call: Callable[[], None], ready: list[int]) -> list[Result]:
        step = self._step
        try:
            call()
            self._calls, self._step_times = self._calls + 1, self._step_times + step.times
            return [result for i in ready for result in self._collect(i)]
        except BaseException:
            self.close()  # the caches may be half-written, the results half-read
            raise

    @abstractmethod
    def _collect(self, number: int) -> list[Result]:
        """The results of a slot that took part in the last call."""

    def _end(self, number: int) -> None:
        """Free a slot; its next item begins a new stream. What is under way for it is dropped."""
        self._kept = [result for result in self._taken() if result.slot != number]
        self._slots[number] = _Slot()

    def close(self) -> None:
        """Release the graph and its caches, when a call that is under way is done; idempotent."""
        if not self._closed:
            self._closed = True
            if self._worker is not None:
                self._worker.shutdown()
            self._step.close()

    def __exit__(self, *exc: object) -> None:
        self.close()
