"""The bounded queue between a capture thread and the encoder, and what it does when it is full."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Literal

from vidtok_edge.runtime.sources.events import Captured, Dropped, Event

__all__ = ["FrameQueue", "Policy"]

Policy = Literal["block", "drop-oldest", "drop-newest"]

_MOST_OTHERS = 16


class FrameQueue:
    """The events of one source; at most `capacity` frames among them. Its users hold a lock.

    Frames that are dropped leave one `Dropped` where they were, so that a gap is reported between
    the frames that it lies between.

    Args:
        policy: of a full queue: `block` takes no more, `drop-oldest` gives up the frame that has
            waited longest, `drop-newest` the one that comes. None: to be set before a frame comes.
        in_runs: where every gap costs, as when a stream is begun anew behind it: a queue that drops
            takes nothing more until it is empty, so that between two gaps lie at least `capacity`
            frames. `drop-oldest` is then `drop-newest`.
    """

    def __init__(self, capacity: int, policy: Policy | None, *, in_runs: bool = False) -> None:
        self._capacity, self.policy, self._in_runs = capacity, policy, in_runs
        self._emptying = False
        self._events: deque[tuple[int, Event]] = deque()
        self.frames = 0
        """That wait."""

    def __len__(self) -> int:
        return len(self._events)

    @property
    def crowded(self) -> bool:
        """Whether it holds as many events without frames as it may."""
        return len(self._events) - self.frames >= self._capacity + _MOST_OTHERS

    @property
    def first_order(self) -> int:
        """When the event that is next was added; of an empty queue an IndexError."""
        return self._events[0][0]

    def offer(self, captured: Captured, order: int) -> bool:
        """Add a frame, or drop one; False where it is full and blocks."""
        full = self.frames == self._capacity
        if full and self.policy == "block":
            return False
        self._emptying = self._in_runs and self.frames > 0 and (full or self._emptying)
        if self._emptying or (full and self.policy == "drop-newest"):
            self._drop(captured, order, len(self._events))
            return True
        if full:
            self._drop_oldest()
        self._events.append((order, captured))
        self.frames += 1
        return True

    def add(self, event: Event, order: int) -> None:
        """Add what is no frame; look at `crowded` first."""
        self._events.append((order, event))

    def take(self) -> Event:
        """The next event."""
        _, event = self._events.popleft()
        self.frames -= isinstance(event, Captured)
        return event

    def _drop_oldest(self) -> None:
        for place, (order, event) in enumerate(self._events):
            if isinstance(event, Captured):
                del self._events[place]
                self.frames -= 1
                self._drop(event, order, place)
                return

    def _drop(self, captured: Captured, order: int, place: int) -> None:
        """Note that `captured` is missing in front of the event at `place`."""
        before = self._events[place - 1] if place else None
        if before is not None and isinstance(before[1], Dropped):
            self._events[place - 1] = before[0], replace(before[1], frames=before[1].frames + 1)
        else:
            dropped = Dropped(captured.source, captured.time_ns, captured.wall_time_ns, 1)
            self._events.insert(place, (order, dropped))
