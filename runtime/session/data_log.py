"""Samples of data channels on their way from any thread into the recording of a session."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime.recording.format.data_channels import DataChannel, bytes_from_sample
from vidtok_edge.runtime.session.samples import GAPS, TRIGGERS, ChannelCounts, Logged, SampleTally
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.streaming.records import Sample

__all__ = ["DataLog"]

_MOST_WAITING = 64 << 20  # bytes, about
_FARTHEST_NS = 3_600_000_000_000
_STANDS_STILL = 100  # samples of one time
_TAKEN = {GAPS: "says what is missing", TRIGGERS: "says why an event was kept"}


@dataclass(slots=True)
class _Channel:
    facts: DataChannel
    fields: tuple[str, ...]
    last_ns: int
    still: int = 0
    left_out: int = 0


class DataLog:
    """Takes what the robot did and was while cameras are recorded; safe for use from any thread.

        data = DataLog()
        data.log("action", joint_targets, fields=["shoulder", "elbow"])
        data.event("task", "pick up the cup")
        record(request, data=data)    # in another thread

    The first sample of a channel says what it is: how many numbers, or events. Its times never go
    back. A sample that is refused raises here, is counted, and leaves the others as they are.
    """

    def __init__(self, *, clock: Clock = CLOCK, most_waiting: int = _MOST_WAITING) -> None:
        self._clock, self._most_waiting = clock, most_waiting
        self._lock = threading.Lock()
        self._channels: dict[str, _Channel] = {}
        self.tally = SampleTally()
        """Told what becomes of the samples, here and in a session."""
        self._waiting: deque[Logged] = deque()
        self._bytes = 0

    def log(
        self,
        channel: str,
        values: Any,
        time_ns: int | None = None,
        *,
        wall_time_ns: int | None = None,
        fields: Sequence[str] = (),
    ) -> None:
        """Add numbers.

        Args:
            channel: its name, as `action` or `arm/joint_positions`.
            values: [d] or one number; NaN where the robot has none.
            time_ns: when that was, on the monotonic clock, as `time.monotonic_ns` counts; now
                where None.
            wall_time_ns: in its place, since 1970.
            fields: what the values are called; of a channel's first sample, and the same or none
                in later ones.

        Raises:
            StreamError: no numbers, another count or other fields than before, no name of a
                channel, a time that lies before the last one, stands still or is more than an hour
                away.
        """
        try:
            array = np.atleast_1d(np.asarray(values, np.float64)).copy()
        except (TypeError, ValueError, OverflowError):
            raise self._refused(channel, f"{channel}: {values!r:.80} are no numbers.") from None
        if array.ndim != 1:
            raise self._refused(
                channel,
                f"A sample of {channel} has the shape {list(array.shape)}; allowed: [d]. Flatten "
                "it.",
            )
        self._add(channel, array, "", time_ns, wall_time_ns, tuple(fields))

    def event(
        self,
        channel: str,
        text: Any,
        time_ns: int | None = None,
        *,
        wall_time_ns: int | None = None,
    ) -> None:
        """Add an event: a text, or anything that JSON holds. Otherwise as `log`."""
        if not isinstance(text, str):
            try:
                text = json.dumps(text)
            except (TypeError, ValueError, RecursionError):
                raise self._refused(channel, f"{channel}: {text!r:.80} is no event.") from None
        self._add(channel, None, text, time_ns, wall_time_ns, ())

    def refuse(self, channel: str) -> None:
        """Count something that was meant for a channel and was no sample."""
        self.tally.refuse(channel)

    def taken(self) -> list[Logged]:
        """What came since the last call, in that order; for the session alone."""
        with self._lock:
            found, self._bytes = list(self._waiting), 0
            self._waiting.clear()
            missed = {c.facts.name: c.left_out for c in self._channels.values() if c.left_out}
            for name in missed:
                self._channels[name].left_out = 0
        if missed:
            now_ns, wall_ns = self._clock.now()
            text = json.dumps({"no_room": missed})
            found.append(
                Logged(Sample(channel=GAPS, time_ns=now_ns, wall_time_ns=wall_ns, text=text))
            )
        return found

    @property
    def counts(self) -> tuple[ChannelCounts, ...]:
        """Of each channel that was named so far."""
        return self.tally.counts

    def waiting(self, channels: Collection[str]) -> int:
        """Samples of these channels that came since the last call of `taken`."""
        with self._lock:
            return sum(logged.sample.channel in channels for logged in self._waiting)

    def _add(
        self,
        name: str,
        values: Any,
        text: str,
        time_ns: int | None,
        wall_time_ns: int | None,
        fields: tuple[str, ...],
    ) -> None:
        try:
            if name in _TAKEN:
                raise StreamError(f"The channel {name} {_TAKEN[name]}. Choose another name.")
            if time_ns is not None and wall_time_ns is not None:
                raise StreamError(f"{name}: got a time and a wall time. Give one of them.")
            at_ns, wall_ns = self._time(name, time_ns, wall_time_ns)
            sample = Sample(
                channel=name, time_ns=at_ns, wall_time_ns=wall_ns, values=values, text=text
            )
            facts = DataChannel.of(sample, fields=fields)
            size = len(bytes_from_sample(sample))
            with self._lock:
                self._take(sample, facts, fields, size)
        except StreamError:
            self.refuse(name)
            raise

    def _take(self, sample: Sample, facts: DataChannel, fields: tuple[str, ...], size: int) -> None:
        channel = self._channels.get(sample.channel)
        if channel is None:
            channel = _Channel(facts, fields, sample.time_ns)
            self._channels[sample.channel] = channel
        channel.facts.check(sample)
        if fields and channel.fields and fields != channel.fields:
            raise StreamError(
                f"The values of {sample.channel} are {', '.join(channel.fields):.200}, and now "
                f"{', '.join(fields):.200}. Keep to one order, or log to a channel of another name."
            )
        _check_order(channel, sample.time_ns)
        if self._bytes + size > self._most_waiting:
            self.tally.no_room(sample.channel)
            channel.left_out += 1
            return
        self._bytes += size
        self._waiting.append(Logged(sample, channel.fields))
        self.tally.take(sample.channel)

    def _time(self, name: str, time_ns: int | None, wall_time_ns: int | None) -> tuple[int, int]:
        now_ns, wall_ns = self._clock.now()
        if time_ns is None and wall_time_ns is None:
            return now_ns, wall_ns
        away_ns = time_ns - now_ns if time_ns is not None else (wall_time_ns or 0) - wall_ns
        if abs(away_ns) > _FARTHEST_NS:
            clock = "the monotonic clock" if time_ns is not None else "the wall clock"
            raise StreamError(
                f"A sample of {name} lies {_seconds(away_ns)} from now on {clock}. Give time_ns "
                "as time.monotonic_ns() counts, or wall_time_ns as nanoseconds since 1970."
            )
        return now_ns + away_ns, wall_ns + away_ns

    def _refused(self, channel: str, said: str) -> StreamError:
        self.refuse(channel)
        return StreamError(said)


def _seconds(away_ns: int) -> str:
    """For a message, of a time that may have any number of digits."""
    if abs(away_ns) > 1 << 63:
        return "more than 292 years"
    return f"{away_ns / 1e9:+.0f} s"


def _check_order(channel: _Channel, time_ns: int) -> None:
    """Raise StreamError where a clock goes back or stands still."""
    name, back_ns = channel.facts.name, channel.last_ns - time_ns
    if back_ns > 0:
        raise StreamError(
            f"The clock of {name} went back by {back_ns / 1e9:.6f} s. Log samples in the order of "
            "their times, each channel from one thread."
        )
    channel.still = 0 if back_ns < 0 else channel.still + 1
    if channel.still > _STANDS_STILL:
        raise StreamError(
            f"The clock of {name} stands still: {channel.still} samples have the same time. Give "
            "each sample its own, or leave time_ns out."
        )
    channel.last_ns = time_ns
