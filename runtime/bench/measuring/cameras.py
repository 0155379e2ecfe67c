"""Cameras of the benchmark: one that is never waited for, and ones that keep their rate.

A paced camera is a schedule, not a thread: frame k of every slot is released at start + k / fps,
whatever the encoder does, and what waits, or falls out of a full queue, follows from the schedule
and from when frames are taken. So the measuring costs no thread, and no clock drifts.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vidtok_edge.runtime.bench.settings import Policy

__all__ = ["Camera", "Clock", "PacedCameras", "Released", "SaturatedCameras"]


class Clock:
    """The machine's; tests bring their own."""

    def now_ns(self) -> int:
        """Monotonic."""
        return time.monotonic_ns()

    def sleep_until(self, time_ns: int) -> None:
        """Return at `time_ns`, or a little later."""
        while (left := time_ns - self.now_ns()) > 0:
            time.sleep(left / 1e9)


@dataclass(frozen=True, slots=True)
class Released:
    """A frame of a slot, and when the camera released it."""

    slot: int
    number: int
    time_ns: int


class Camera(Protocol):
    """Where the frames of all slots come from."""

    dropped: int
    """Frames of the measured part that were never given."""
    most_waiting: int
    """Frames of all slots that waited behind the one that was taken, at most."""
    waiting_at_end: int
    """The same, when the camera had released its last frame."""
    unfinished: Sequence[Released]
    """Frames that were given up: the encoder was still behind long after the end."""

    def next(self) -> Released | None:
        """The next frame, as soon as there is one; None at the end."""


class SaturatedCameras:
    """A frame of each slot in turn, as fast as they are taken."""

    def __init__(self, *, slots: int, end_ns: int, clock: Clock) -> None:
        self.dropped = self.most_waiting = self.waiting_at_end = 0
        self.unfinished: Sequence[Released] = ()
        self._slots, self._end_ns, self._clock = slots, end_ns, clock
        self._given = 0

    def next(self) -> Released | None:
        now = self._clock.now_ns()
        number, slot = divmod(self._given, self._slots)
        if now >= self._end_ns and slot == 0:  # no slot is left behind
            return None
        self._given += 1
        return Released(slot, number, now)


class PacedCameras:
    """One camera for each slot, all at one rate and in phase.

    Args:
        slots, fps: how many cameras, and their rate.
        start_ns: when frame 0 is released.
        measure_ns: frames released from here on count as dropped or waiting.
        end_ns: no frame is released from here on; those that wait are still given.
        capacity: how many frames of a slot wait at most, but with `block`, which keeps all.
        give_up_ns: frames that still wait then are not given.
    """

    def __init__(
        self,
        *,
        slots: int,
        fps: float,
        start_ns: int,
        measure_ns: int,
        end_ns: int,
        give_up_ns: int,
        clock: Clock,
        policy: Policy = "block",
        capacity: int = 8,
    ) -> None:
        self.dropped = self.most_waiting = self.waiting_at_end = 0
        self.unfinished: Sequence[Released] = ()
        self._slots, self._fps, self._start_ns = slots, fps, start_ns
        self._measure_ns, self._end_ns, self._give_up_ns = measure_ns, end_ns, give_up_ns
        self._clock, self._policy, self._capacity = clock, policy, capacity
        self._queue: deque[Released] = deque()
        self._waiting = [0] * slots
        self._number = 0
        """Of the frame that is released next."""
        self._ended = False

    def next(self) -> Released | None:
        if not self._queue:
            due = self._due_ns(self._number)
            if due >= self._end_ns:
                return None
            self._clock.sleep_until(due)
        now = self._clock.now_ns()
        self._release(now)
        if now >= self._give_up_ns:
            self.unfinished = tuple(self._queue)
            if not self._ended:  # one call lasted from before the end until now
                self.waiting_at_end = len(self._queue)
            return None
        frame = self._queue.popleft()
        self._waiting[frame.slot] -= 1
        if now >= self._measure_ns:
            self.most_waiting = max(self.most_waiting, len(self._queue))
        if not self._ended and self._due_ns(self._number) >= self._end_ns:
            self._ended, self.waiting_at_end = True, len(self._queue)
        return frame

    def _due_ns(self, number: int) -> int:
        """From the start each time: adding up periods would drift."""
        return self._start_ns + round(number * 1e9 / self._fps)

    def _release(self, now: int) -> None:
        """Everything due by now, in order; nothing was taken since the last call."""
        while (due := self._due_ns(self._number)) <= now and due < self._end_ns:
            for slot in range(self._slots):
                self._enqueue(Released(slot, self._number, due))
            self._number += 1

    def _enqueue(self, frame: Released) -> None:
        if self._policy != "block" and self._waiting[frame.slot] == self._capacity:
            self.dropped += frame.time_ns >= self._measure_ns
            if self._policy == "drop-newest":
                return
            self._queue.remove(next(f for f in self._queue if f.slot == frame.slot))
        else:
            self._waiting[frame.slot] += 1
        self._queue.append(frame)
