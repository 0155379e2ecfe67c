"""Packets with times of one clock that runs on, from containers whose clock does not."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = ["MediaClock"]

_JOINABLE = ("mpegts", "mpeg")  # FFmpeg's names of containers that have no beginning
_WRAP = 1 << 33
"""Ticks after which a clock of theirs starts again. FFmpeg adds them there, and at joins too."""
_JOIN_PACKETS = 2  # before a join a broken count of packets is no damage; the parser is late by one


class MediaClock:
    """Gives the packets of a stream times that never start again.

    Where recordings were joined byte by byte (MPEG-TS, MPEG-PS), the clock of the second starts
    again: it is carried on, one frame after the latest one before, also where FFmpeg took it for
    one that wrapped around, which is a step of a day. A single time that is wrong, as
    damage leaves it, is no such step: the packets around it are in order.

    AVI stores the order of decoding only: a packet's place is its time. So that is what packets of
    AVI have as their time of presentation; it is not that of their own picture where frames are
    reordered.

    Attributes:
        steps: seconds from the first packet to each step.
        ordered_only: times are of places, as in AVI.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.steps: list[float] = []
        self.ordered_only = container.format.name == "avi"
        self._joinable = container.format.name in _JOINABLE
        self._container, self._stream = container, stream
        rate, tick = stream.guessed_rate, stream.time_base
        self._tick = Fraction(tick.numerator, tick.denominator) if tick else Fraction(0)
        self._period = 1  # in ticks
        if rate and self._tick:
            self._period = max(1, round(Fraction(rate.denominator, rate.numerator) / self._tick))
        self._carried = 0  # ticks that are added
        # The container's own times, in ticks: of the last packet, and of the one before it.
        self._decoded: int | None = None
        self._earlier: int | None = None
        self._before: tuple[int, int] | None = None  # and what was added, right before a step
        self._first: int | None = None
        self._latest = self._latest_earlier = 0  # carried times, in ticks; without the last packet
        self._count = 0
        self._joins: list[int] = []  # numbers of packets

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """The packets of the stream, in decoding order; an empty one at the end.

        Raises av.FFmpegError where reading fails.
        """
        for packet in self._container.demux(self._stream):
            if packet.size and packet.dts is not None:
                self._carry(packet, packet.dts)
            self._count += 1
            yield packet

    def at_join(self, number: int) -> bool:
        """Whether packet `number` is one of the last before a step."""
        return any(0 < join - number <= _JOIN_PACKETS for join in self._joins)

    def _carry(self, packet: Packet[VideoStream], dts: int) -> None:
        if self.ordered_only:
            packet.pts = dts
        if not self._joinable:
            return
        pts = dts if packet.pts is None else packet.pts
        if self._decoded is not None and dts - self._decoded > _WRAP // 2:
            dts, pts = dts - _WRAP, pts - _WRAP
        self._judge(dts, pts)
        packet.dts = dts + self._carried
        if packet.pts is not None:
            packet.pts = pts + self._carried
        self._latest_earlier = self._latest
        self._latest = max(self._latest, pts + self._carried)

    def _judge(self, dts: int, pts: int) -> None:
        """Whether the clock stepped back before this packet."""
        if self._first is None:
            self._first = self._latest = pts
        if self._before is not None and dts > self._before[0]:
            _, self._carried = self._before  # the last packet had a time too early
            self.steps.pop()
            self._joins.pop()
            self._before = None
        elif self._decoded is None or dts >= self._decoded:
            self._before = None
        elif self._earlier is not None and dts > self._earlier:
            self._latest = self._latest_earlier  # the last packet had a time too late
            self._before = None
        else:
            self._before = self._decoded, self._carried
            self._carried = self._latest + self._period - pts
            self.steps.append(float((self._latest + self._period - self._first) * self._tick))
            self._joins.append(self._count)
        self._earlier, self._decoded = self._decoded, dts
