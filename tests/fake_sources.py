"""Sources and clocks that do what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fake_step import frame_of
from numpy.typing import NDArray

from vidtok_edge.runtime.sources.clock import Clock
from vidtok_edge.runtime.sources.events import Captured, Dropped, Ended, Event, Lost, Opened
from vidtok_edge.runtime.sources.frame import Frame
from vidtok_edge.runtime.streaming.latents import Stamp

__all__ = ["FakeClock", "FakeSource", "Script", "frame", "opener_of", "told"]


@dataclass
class FakeClock:
    """Time passes where somebody waits, and where the test says so.

    Attributes:
        wall_jump_ns: added to the wall clock.
        waits: every wait, in seconds.
    """

    ns: int = 1_000_000_000
    wall_jump_ns: int = 0
    waits: list[float] = field(default_factory=list)

    def pass_s(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)

    def wall_ns(self) -> int:
        return 1_700_000_000_000_000_000 + self.ns + self.wall_jump_ns

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.pass_s(seconds)
        return event.is_set()

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.ns, self.wall_ns, self.wait)


def frame(value: int, number: int = 0, time_ns: int | None = None) -> Frame:
    """The frame of `value` (`fake_step.frame_of`), captured at `time_ns`, or at value ms."""
    time_ns = value * 1_000_000 if time_ns is None else time_ns
    pixels: NDArray[np.uint8] = frame_of(value)
    return Frame(pixels, Stamp(capture_time_ns=time_ns, wall_time_ns=time_ns + 10**18), number)


Script = Sequence["int | BaseException | threading.Event | Callable[[], object]"]


class FakeSource:
    """Plays a script: a number is the frame of that value, an error is raised, an event waited for,
    anything else is called."""

    def __init__(
        self, script: Script, *, live: bool = False, fps: float | None = 30, name: str = "fake"
    ) -> None:
        self.name, self.live, self.fps = name, live, fps
        self.doubts: tuple[str, ...] = ()
        self._script = script
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        number = 0
        for item in self._script:
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, threading.Event):
                while not item.wait(0.01):
                    if self.closed.is_set():
                        return
            elif isinstance(item, int):
                yield frame(item, number)
                number += 1
            else:
                item()
            if self.closed.is_set():
                return

    def close(self) -> None:
        self.closed.set()


def opener_of(*lives: Script | BaseException, live: bool = True) -> Callable[[], FakeSource]:
    """Opens a source with each script in turn, or raises; then waits for its end for ever."""
    left = list(lives)

    def opener() -> FakeSource:
        script = left.pop(0) if left else [threading.Event()]
        if isinstance(script, BaseException):
            raise script
        return FakeSource(script, live=live)

    return opener


def told(events: Iterable[Event | None]) -> list[Any]:
    """Events in short: a frame's number of ms, or what else."""
    short: list[Any] = []
    for event in events:
        match event:
            case Captured():
                short.append(event.frame.capture_time_ns // 1_000_000)
            case Dropped():
                short.append(("dropped", event.frames))
            case Lost():
                short.append("lost")
            case Opened():
                short.append("opened")
            case Ended():
                short.append("ended" if event.error is None else type(event.error).__name__)
    return short
