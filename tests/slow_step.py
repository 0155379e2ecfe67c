"""A clock that only work and waiting move, and a step that takes as long as it is told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fake_step import FakeStep

from vidtok_edge.runtime.backends.step import StepTimes
from vidtok_edge.runtime.bench.measuring.cameras import Clock

__all__ = ["MS", "FakeClock", "SlowStep"]

MS = 1_000_000


@dataclass
class FakeClock(Clock):
    """Time stands still but for `sleep_until` and for steps."""

    time_ns: int = 1_000 * MS
    slept: list[int] = field(default_factory=list)

    def now_ns(self) -> int:
        return self.time_ns

    def sleep_until(self, time_ns: int) -> None:
        self.slept.append(time_ns)
        self.time_ns = max(self.time_ns, time_ns)


@dataclass
class SlowStep(FakeStep):
    """Call number n takes `took_ms(n)` of the step and `overhead_ms` on top."""

    clock: FakeClock = field(default_factory=FakeClock)
    took_ms: Callable[[int], float] = lambda call: 10.0
    overhead_ms: float = 0.0

    def run(self) -> None:
        took = round(self.took_ms(len(self.runs)) * MS)
        super().run()
        self.clock.time_ns += took + round(self.overhead_ms * MS)
        part = took // 10
        self.times = StepTimes(part, took - 3 * part, 2 * part)
