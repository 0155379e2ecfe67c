"""What all sources share: read once, by one thread, closed by any."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.sources.clock import Clock
from vidtok_edge.runtime.sources.frame import Frame, without_password
from vidtok_edge.runtime.streaming.latents import Stamp

__all__ = ["Reading", "timed_frames"]


class Reading(ABC):
    """A `Source`.

    What is open (`_release`) is closed once, by the thread that reads, because a container must
    not be closed under a thread that decodes from it, nor by two at once; by `close` only where
    nobody ever read.
    """

    live = False

    def __init__(self, name: str, fps: float | None, clock: Clock) -> None:
        self.name, self.fps, self._clock = name, fps, clock
        self._closed = threading.Event()
        self._lock = threading.Lock()  # for the two below
        self._started = self._released = False

    @property
    def doubts(self) -> tuple[str, ...]:
        """See `Source`."""
        return ()

    @property
    def shown(self) -> str:
        """The name, for a message."""
        return without_password(self.name)

    def __iter__(self) -> Iterator[Frame]:
        with self._lock:
            if self._started:
                raise UsageError(f"{self.shown} was read already: open it again to read it again.")
            self._started = True
        return self._guarded()

    def _guarded(self) -> Iterator[Frame]:
        try:
            if not self._closed.is_set():
                yield from self._read()
        finally:
            with self._lock:
                self._release_once()

    @abstractmethod
    def _read(self) -> Iterator[Frame]:
        """The frames; to end soon once `_closed` is set."""

    def _release(self) -> None:  # noqa: B027  # most have nothing to close
        """Close what is open; called once."""

    def _release_once(self) -> None:
        """Hold `_lock`."""
        if not self._released:
            self._released = True
            self._release()

    def close(self) -> None:
        """Stop the iteration soon; idempotent, and may be called from several threads at once."""
        self._closed.set()
        with self._lock:
            if not self._started:
                self._release_once()

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def timed_frames(
    pictures: Iterable[tuple[NDArray[np.uint8], int | None]],
    realtime: bool,
    clock: Clock,
    closed: threading.Event,
) -> Iterator[Frame]:
    """Frames of pictures with their times in ns since the first, None where they have none.

    With `realtime` each is held back until it is due, counted from when the first was released:
    who takes them late gets the next ones at once, and no delay adds up. `capture_time_ns` is then
    the time at which it was due, when a camera would have captured it, not when it was taken.
    """
    start_ns: int | None = None
    for number, (pixels, time_ns) in enumerate(pictures):
        now_ns = due_ns = clock.monotonic_ns()
        if realtime and time_ns is not None:
            start_ns = now_ns - time_ns if start_ns is None else start_ns
            due_ns = start_ns + time_ns
            while now_ns < due_ns and not clock.wait(closed, (due_ns - now_ns) / 1e9):
                now_ns = clock.monotonic_ns()
        if closed.is_set():
            return
        wall_ns = clock.wall_ns() - (now_ns - due_ns)
        stamp = Stamp(capture_time_ns=due_ns, wall_time_ns=wall_ns, media_time_ns=time_ns)
        yield Frame(pixels, stamp, number)
