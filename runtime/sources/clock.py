"""The clocks of this machine, as a value, so that tests can use others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from vidtok_edge.runtime.streaming.latents import Stamp

__all__ = ["CLOCK", "Clock"]


@dataclass(frozen=True, slots=True)
class Clock:
    """Everything is ordered and timed by `monotonic_ns`; the wall clock may jump, and is noted."""

    monotonic_ns: Callable[[], int] = time.monotonic_ns
    wall_ns: Callable[[], int] = time.time_ns
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    """Wait for an event for at most so many seconds; whether it came."""

    def now(self) -> tuple[int, int]:
        """Monotonic and wall time of this moment, in ns."""
        return self.monotonic_ns(), self.wall_ns()

    def stamp(self) -> Stamp:
        """This moment, as of a frame."""
        monotonic_ns, wall_ns = self.now()
        return Stamp(capture_time_ns=monotonic_ns, wall_time_ns=wall_ns)


CLOCK = Clock()
