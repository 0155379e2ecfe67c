"""How far apart the frames of a clip are, and which rate that is."""

from __future__ import annotations

import heapq
from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = ["Cadence"]

_REORDERED_PACKETS = 32  # packets come in decoding order; H.264 and HEVC move a frame by 16 at most
_NEAR = Fraction(1, 10)  # a container's own rate within this share of the median is believed


class Cadence:
    """The intervals between timestamps that come slightly out of order.

    Args:
        announced: frames per second, as the container has them; None where it has not.
    """

    def __init__(self, announced: Fraction | None) -> None:
        self.announced = announced
        self.smallest = Fraction(10**9)
        self.largest = Fraction(-1)
        self._intervals_us: Counter[int] = Counter()
        self._waiting: list[Fraction] = []
        self._first: Fraction | None = None
        self._last: Fraction | None = None
        self._count = 0
        self._unknown = False
        self._tick = Fraction(0)  # what timestamps are rounded to
        self._off_grid = Fraction(0)  # the most that one is away from where `announced` has it

    def add(self, packet: Packet[VideoStream]) -> None:
        if packet.is_discard:
            return
        if packet.pts is None or packet.time_base is None:
            self._unknown = True  # raw streams: no timestamps, so nothing to judge
            return
        tick = packet.time_base
        # PyAV 19 has rationals of its own, which are no Fraction.
        self._tick = Fraction(tick.numerator, tick.denominator)
        heapq.heappush(self._waiting, packet.pts * self._tick)
        if len(self._waiting) > _REORDERED_PACKETS:
            self._next()

    def finish(self) -> None:
        """No packet follows: take in those that wait."""
        while self._waiting:
            self._next()

    def _next(self) -> None:
        time = heapq.heappop(self._waiting)
        if self._first is None or self._last is None:
            self._first = time
        else:
            interval = time - self._last
            self.smallest = min(self.smallest, interval)
            self.largest = max(self.largest, interval)
            self._intervals_us[round(interval * 1_000_000)] += 1
            if self.announced:
                due = self._first + self._count / self.announced
                self._off_grid = max(self._off_grid, abs(time - due))
        self._last = time
        self._count += 1

    @property
    def mean(self) -> Fraction | None:
        """Seconds per frame; None for fewer than two."""
        if self._first is None or self._last is None or self._last <= self._first:
            return None
        return (self._last - self._first) / (self._count - 1)

    @property
    def rate(self) -> Fraction | None:
        """Frames per second; where they vary, as most frames have them: gaps do not slow it down.

        The container's own figure, which is exact (30000/1001) where timestamps are rounded, unless
        the timestamps contradict it. None for fewer than two frames of a container without one.
        """
        usual = self.mean if self.constant else self._median
        if usual is None:
            return self.announced
        near = Fraction(2, 100) if self.constant else _NEAR
        if self.announced and abs(self.announced * usual - 1) < near:
            return self.announced
        return 1 / usual

    @property
    def _median(self) -> Fraction | None:
        left = self._intervals_us.total() // 2 if self.mean else 0
        for interval_us in sorted(self._intervals_us):
            left -= self._intervals_us[interval_us]
            if left < 0:
                return Fraction(interval_us, 1_000_000) or self.mean
        return self.mean

    @property
    def constant(self) -> bool:
        """Whether the intervals differ by no more than clocks and containers round.

        mkv and flv store whole milliseconds (29.97 fps alternates 33 and 34); cameras jitter. Few
        and coarse ticks (240 fps in 600 per second alternate 2 and 3) leave each frame within a
        tick of where the container's own rate has it.
        """
        mean = self.mean
        if mean is None or self._unknown:
            return True
        if self.largest - self.smallest <= max(mean / 10, Fraction(1001, 1_000_000)):
            return True
        if not self.announced or 2 * self._tick >= 1 / self.announced:
            return False  # a frame that is missing would be within a tick
        return self._off_grid <= self._tick
