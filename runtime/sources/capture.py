"""Sources captured at the same time, one thread each, for one consumer."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from vidtok_edge.errors import SourceError, UsageError
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.sources.events import Captured, Closed, Ended, Event, Lost, Opened
from vidtok_edge.runtime.sources.frame import Frame, Source
from vidtok_edge.runtime.sources.frame_queue import FrameQueue, Policy

__all__ = ["Captures", "Policy", "Retry"]


@dataclass(frozen=True, slots=True)
class Retry:
    """How long to wait before a lost camera is opened again."""

    first_s: float = 0.5
    factor: float = 2.0
    longest_s: float = 30.0

    def delay_s(self, attempt: int) -> float:
        """Before attempt number `attempt`, from 0, since the camera last gave a frame.

        >>> [Retry().delay_s(n) for n in (0, 1, 2, 10, 100_000)]
        [0.5, 1.0, 2.0, 30.0, 30.0]
        """
        # Beyond 64 doublings the power would overflow before it is cut off.
        return min(self.longest_s, self.first_s * self.factor ** min(attempt, 64))


class Captures:
    """Opens sources, captures their frames and tells what happens, until `close`; one consumer.

        with Captures([lambda: open_source("/dev/video0", (256, 256))]) as captures:
            while (event := captures.next()) is not None: ...

    Sources are opened at once; frames are captured from the first `next` on. A camera that is lost
    is opened again with back-off, for ever; one that cannot be opened the first time has Ended.
    Whatever goes wrong in a thread is an event.

    Args:
        openers: open a source, each one in its own thread, and again after a loss.
        policy: of full queues; where None, `drop-oldest` for live sources, else `block`.
        capacity: frames that a queue holds.
        realtime: files and pipes are held back to their own rate, so their frames can be late.
        in_runs: drop many frames seldom, not few often; see `FrameQueue`.
        retry: how cameras are opened again.
    """

    def __init__(
        self,
        openers: Sequence[Callable[[], Source]],
        *,
        policy: Policy | None = None,
        capacity: int = 8,
        realtime: bool = False,
        in_runs: bool = False,
        retry: Retry | None = None,
        clock: Clock = CLOCK,
    ) -> None:
        if capacity < 1:
            raise UsageError(f"The queue's capacity is {capacity}; allowed: 1 frame or more.")
        shared = _Shared(clock, realtime)
        self._shared = shared
        self._lives = [
            _Capture(
                i, opener, shared, FrameQueue(capacity, policy, in_runs=in_runs), retry or Retry()
            )
            for i, opener in enumerate(openers)
        ]
        self._threads = [
            threading.Thread(target=life.run, name=f"capture {life.source}", daemon=True)
            for life in self._lives
        ]
        for thread in self._threads:
            thread.start()

    @property
    def backlog(self) -> int:
        """Frames that wait in all queues."""
        with self._shared.changed:
            return sum(life.queue.frames for life in self._lives)

    def wait_open(self, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait until all were opened; False: gave up first. Raises what kept one from it."""
        with self._shared.changed:
            while not give_up():
                for life in self._lives:
                    if life.failure is not None:
                        raise life.failure
                if all(life.opened for life in self._lives):
                    return True
                self._shared.changed.wait(0.1)
        return False

    def waiting(self) -> Iterator[Event]:
        """What waits in all queues now, in order, without what comes while it is taken."""
        with self._shared.changed:
            newest = self._shared.order
        while (event := self._take(newest)) is not None:
            yield event

    def next(self, timeout_s: float | None = None, *, last: Collection[int] = ()) -> Event | None:
        """The next event of any source, in the order in which they happened.

        None after `timeout_s`, or at once when nothing can come any more: all have ended, or
        `close` was called and everything captured before was taken. Sources in `last` are looked at
        when the others have nothing.
        """
        shared = self._shared
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with shared.changed:
            shared.begun.set()
            while True:
                if (event := self._take(last=last)) is not None:
                    return event
                if shared.closing.is_set() or all(life.done for life in self._lives):
                    return None
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    return None
                shared.changed.wait(left)

    def _take(self, newest: float = math.inf, last: Collection[int] = ()) -> Event | None:
        """As `next`, without waiting, of events up to the number `newest`."""
        with self._shared.changed:
            found = [c for c in self._lives if c.queue and c.queue.first_order <= newest]
            if not found:
                return None
            chosen = min(found, key=lambda c: (c.source in last, c.queue.first_order))
            self._shared.changed.notify_all()  # a thread may wait for room
            return chosen.queue.take()

    def close(self, wait_s: float = 2.0) -> None:
        """Stop capturing; idempotent. What was captured can still be taken with `next`.

        A thread that hangs in opening a camera is left after `wait_s`; it ends when that fails.
        """
        shared = self._shared
        shared.closing.set()
        shared.begun.set()
        with shared.changed:
            shared.changed.notify_all()
        for life in self._lives:
            life.stop()
        until = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def __enter__(self) -> Captures:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Shared:
    """What the threads and the consumer share."""

    def __init__(self, clock: Clock, realtime: bool) -> None:
        self.clock, self.realtime = clock, realtime
        self.changed = threading.Condition()
        self.begun = threading.Event()
        """The consumer takes events."""
        self.closing = threading.Event()
        self.order = 0
        """The number of the newest event; hold `changed`."""

    def next_order(self) -> int:
        """Numbers events; hold `changed`."""
        self.order += 1
        return self.order


class _Capture:
    """One source through all its lives, in a thread of its own."""

    def __init__(
        self,
        source: int,
        opener: Callable[[], Source],
        shared: _Shared,
        queue: FrameQueue,
        retry: Retry,
    ) -> None:
        self.source, self._opener, self._shared, self._retry = source, opener, shared, retry
        self.queue = queue
        self.opened = self.done = False
        self.failure: BaseException | None = None
        """Why it could not be opened the first time."""
        self._current: Source | None = None
        self._doubts_at_end: tuple[str, ...] = ()
        self._attempt = 0

    def run(self) -> None:
        """Capture until the source ends or `stop`."""
        error: BaseException | None = None
        try:
            while not self._shared.closing.is_set():
                if self._one_life():
                    break
        except BaseException as caught:  # whatever it is, the consumer must not wait for ever
            error = caught
        with self._shared.changed:
            self.failure = None if self.opened else error
        now, doubts = self._shared.clock.now(), self._doubts_at_end
        if error is not None or not self._shared.closing.is_set():
            self._add(Ended(self.source, *now, error, doubts=doubts))
        elif doubts:
            self._add(Closed(self.source, *now, doubts=doubts))
        with self._shared.changed:
            self.done = True
            self._shared.changed.notify_all()

    def stop(self) -> None:
        """Let the source give no more; from another thread, once `closing` is set."""
        if self._current is not None:
            self._current.close()

    def _one_life(self) -> bool:
        """From opening to loss, and the wait after it; True where the source ended instead."""
        try:
            source = self._opener()
        except SourceError as error:
            if not self.opened:  # a wrong name, more likely than a camera that is late
                raise
            return self._wait_after(error)
        self._current = source
        known = source.doubts
        try:
            self._tell_opened(source, known)
            self._frames_of(source)
            return True
        except SourceError as error:
            if not source.live:
                raise
            late = tuple(doubt for doubt in source.doubts if doubt not in known)
            known += late
            return self._wait_after(error, late)
        finally:
            source.close()
            self._doubts_at_end = tuple(doubt for doubt in source.doubts if doubt not in known)

    def _tell_opened(self, source: Source, doubts: tuple[str, ...]) -> None:
        with self._shared.changed:
            self.opened = True
            if self.queue.policy is None:
                self.queue.policy = "drop-oldest" if source.live else "block"
        now = self._shared.clock.now()
        can_be_late = source.live or self._shared.realtime or self.queue.policy != "block"
        self._add(Opened(self.source, *now, source.fps, can_be_late, doubts=doubts))

    def _frames_of(self, source: Source) -> None:
        begun, closing = self._shared.begun, self._shared.closing
        if not source.live:
            begun.wait()
        if closing.is_set():
            return
        for frame in source:
            if not begun.is_set():
                continue  # a camera cannot wait; what it sees before the consumer is there is old
            self._attempt = 0
            if not self._offer(frame):
                return

    def _offer(self, frame: Frame) -> bool:
        captured = Captured(self.source, frame.capture_time_ns, frame.wall_time_ns, frame)
        changed, closing = self._shared.changed, self._shared.closing
        with changed:
            while not closing.is_set():
                if self.queue.offer(captured, self._shared.next_order()):
                    changed.notify_all()
                    return True
                changed.wait()
        return False

    def _add(self, event: Event) -> None:
        changed, closing = self._shared.changed, self._shared.closing
        with changed:
            while self.queue.crowded and not closing.is_set():
                changed.wait()
            self.queue.add(event, self._shared.next_order())
            changed.notify_all()

    def _wait_after(self, error: SourceError, doubts: tuple[str, ...] = ()) -> bool:
        delay_s = self._retry.delay_s(self._attempt)
        self._attempt += 1
        now = self._shared.clock.now()
        self._add(Lost(self.source, *now, str(error), delay_s, doubts=doubts))
        self._shared.clock.wait(self._shared.closing, delay_s)
        return False
