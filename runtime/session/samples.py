"""Samples of data channels in a session: what their values are called, and what became of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import numpy as np

from vidtok_edge.runtime.recording.format.data_channels import LONGEST_NAME
from vidtok_edge.runtime.streaming.records import Sample

__all__ = ["GAPS", "TRIGGERS", "ChannelCounts", "Logged", "SampleTally"]

GAPS = "data_gaps"
"""The channel of events that say how many samples found no room, and of which channels."""

TRIGGERS = "triggers"
"""The channel of events that say what triggered an event, in its file."""

_MOST_NAMES = 1000  # that are counted
_OTHERS = "others"  # the rest of them


@dataclass(frozen=True, slots=True, eq=False)
class Logged:
    """A sample, and what its values are called."""

    sample: Sample
    fields: Sequence[str] = ()


@dataclass(slots=True)
class ChannelCounts:
    """What became of the samples of a data channel so far.

    Those that were taken and are in no other count wait, or are let go by the ring of a session
    that keeps events.
    """

    name: str
    taken: int = 0
    """For the recording."""
    samples: int = 0
    """In the recording; of a session that keeps events, in those."""
    not_finite: int = 0
    """Of these, how many hold a NaN or an infinity."""
    refused: int = 0
    """Not of the channel's shape, out of time, or no sample at all: not taken."""
    no_room: int = 0
    """Not taken because the session did not come to write them; the recording says where."""
    no_frame: int = 0
    """Left out because they came too long before a frame, without which there is no file."""
    paused: int = 0
    """Left out because the recording was paused."""

    def since(self, before: ChannelCounts) -> ChannelCounts:
        """What was counted between then and now."""
        numbers = (field.name for field in fields(self) if field.name != "name")
        return replace(self, **{n: getattr(self, n) - getattr(before, n) for n in numbers})


class SampleTally:
    """Counts of each channel that was named; safe for use from any thread.

    What takes a sample, writes it or leaves it out says so here, where that happens. What a session
    logs itself is not counted.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, ChannelCounts] = {}
        self._before: dict[str, ChannelCounts] = {}
        """When the last session ended."""

    @property
    def counts(self) -> tuple[ChannelCounts, ...]:
        """As they are now."""
        with self._lock:
            return tuple(replace(counts) for counts in self._counts.values())

    @property
    def of_session(self) -> tuple[ChannelCounts, ...]:
        """As `counts`, without what earlier sessions counted."""
        before = self._before
        return tuple(
            counts.since(before.get(counts.name, ChannelCounts(counts.name)))
            for counts in self.counts
        )

    @contextmanager
    def session(self) -> Iterator[None]:
        """One after another: what is counted behind its end is of the next."""
        try:
            yield
        finally:
            self._before = {counts.name: counts for counts in self.counts}

    def refuse(self, channel: str) -> None:
        """Count something that was meant for a channel and was no sample."""
        with self._lock:
            self._of(channel).refused += 1

    def no_room(self, channel: str) -> None:
        """Count a sample that was not taken, as too many wait."""
        with self._lock:
            self._of(channel).no_room += 1

    def take(self, channel: str) -> None:
        """Count a sample that is to be recorded."""
        with self._lock:
            self._of(channel).taken += 1

    def write(self, sample: Sample) -> None:
        """Count a sample that was given to a recording."""
        finite = sample.values is None or bool(np.isfinite(sample.values).all())
        if not _is_ours(sample.channel):
            with self._lock:
                counts = self._of(sample.channel)
                counts.samples += 1
                counts.not_finite += not finite

    def no_frame(self, samples: Iterable[Logged]) -> None:
        """Count samples that came too long before a frame."""
        with self._lock:
            for logged in samples:
                if not _is_ours(logged.sample.channel):
                    self._of(logged.sample.channel).no_frame += 1

    def pause(self, channel: str) -> None:
        """Count a sample that came in a pause."""
        with self._lock:
            self._of(channel).paused += 1

    def _of(self, name: str) -> ChannelCounts:
        if len(name) > LONGEST_NAME or (
            name not in self._counts and len(self._counts) >= _MOST_NAMES
        ):
            name = _OTHERS
        return self._counts.setdefault(name, ChannelCounts(name))


def _is_ours(channel: str) -> bool:
    return channel in (GAPS, TRIGGERS)
