"""Streams of a GPU made of host memory, and what is put into them: records, copies, graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fake_memory import Misuse

if TYPE_CHECKING:
    from fake_gpu import FakeApi

__all__ = ["Event", "EventRecord", "Graph", "HostCopy", "Made", "Recording", "Stream", "Work"]

Work = Callable[[], None]
"""May have a method `begin`: called when it is put into a stream, and for each launch of a graph
that holds it, it gives what is done later."""


@dataclass(eq=False)
class Made:
    """What is made once and destroyed once."""

    handle: int
    destroyed: bool = field(default=False, init=False)

    def __int__(self) -> int:
        return self.handle

    def __str__(self) -> str:
        return f"{type(self).__name__.lower()} {self.handle:#x}"


@dataclass(eq=False)
class Stream(Made):
    waiting: list[Work] = field(default_factory=list, init=False)
    recording: list[Work] | None = field(default=None, init=False)

    def put(self, work: Work) -> None:
        if self.recording is not None:
            self.recording.append(work)
            return
        self.waiting.append(work.begin() if hasattr(work, "begin") else work)

    def do(self, last: Work | None = None) -> None:
        """What waits, in its order; no further than `last` where it waits too."""
        count = self.waiting.index(last) + 1 if last in self.waiting else len(self.waiting)
        doing, self.waiting = self.waiting[:count], self.waiting[count:]
        for work in doing:
            work()


@dataclass(eq=False)
class Event(Made):
    record: EventRecord | None = field(default=None, init=False)
    """The last one; None before the first, and where it became a part of a graph."""


@dataclass(eq=False)
class EventRecord:
    """One record of an event in a stream, which later ones of the same event do not change."""

    api: FakeApi
    stream: Stream
    ms: float | None = None
    """When the stream came here; None before it did."""

    def __call__(self) -> None:
        self.api.clock += 0.25
        self.ms = self.api.clock

    def awaited(self) -> None:
        """As another stream waits: what was put in behind the record is not waited for."""
        if self.ms is None:
            self.stream.do(self)


@dataclass(eq=False)
class Recording(Made):
    """A `cudaGraph_t`."""

    work: list[Work] = field(default_factory=list)


@dataclass(eq=False)
class Graph(Made):
    """A `cudaGraphExec_t`."""

    work: list[Work] = field(default_factory=list)


@dataclass(eq=False)
class HostCopy:
    """A copy between the device and pinned memory of the host."""

    api: FakeApi
    way: str
    device: int
    host: int
    size: int
    given: Any = None
    """Of a copy up under way: what the host had there when it was begun."""
    hidden: bool = False
    """Of a copy down under way: ones are in place of what the host had there."""

    def begin(self) -> HostCopy:
        """From here on the host may neither write what is read nor read what is written."""
        begun = replace(self)
        there = self.api.memory.host(self.host, self.size, f"copy {self.way}")
        if self.way == "up":
            begun.given = there.copy()
        else:  # unless copies before it are still to read there
            begun.hidden = not any(self._overlaps(other) for other in self.api.under_way)
        if begun.hidden:
            there[...] = 0xFF
        self.api.under_way.append(begun)
        return begun

    def __call__(self) -> None:  # looked up again: it may have been freed meanwhile
        self.api.under_way.remove(self)
        there = self.api.memory.device(self.device, self.size, f"copy {self.way}")
        here = self.api.memory.host(self.host, self.size, f"copy {self.way}")
        before = self.given if self.way == "up" else 0xFF
        if (self.way == "up" or self.hidden) and (here != before).any():
            raise Misuse(
                f"the host wrote to {self.size} B at {self.host:#x} while a copy {self.way} was "
                "under way"
            )
        if self.way == "up":
            there[...] = here
        else:
            here[...] = there

    def _overlaps(self, other: HostCopy) -> bool:
        return self.host < other.host + other.size and other.host < self.host + self.size
