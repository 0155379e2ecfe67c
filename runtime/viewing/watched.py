"""A session, watched: what its sources give and what it records is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vidtok_edge.runtime.sources.clock import CLOCK
from vidtok_edge.runtime.sources.frame import Frame, Source
from vidtok_edge.runtime.streaming.records import LatentRecord, Record
from vidtok_edge.runtime.viewing.shown import Shown, ShownFrame, shown_from_record

__all__ = ["ViewSink", "WatchedSource", "Watching"]


class Watching:
    """Where things are shown, and when: on a clock since 1970 that never jumps."""

    def __init__(self, show: Callable[[Shown], None]) -> None:
        self.show = show
        monotonic_ns, wall_ns = CLOCK.now()
        self._offset_ns = wall_ns - monotonic_ns

    def time_ns(self, monotonic_ns: int) -> int:
        """Nanoseconds since 1970."""
        return monotonic_ns + self._offset_ns


class WatchedSource:
    """A source whose frames are shown; a `Source`."""

    def __init__(self, source: Source, number: int, watching: Watching) -> None:
        self._source, self._number, self._watching = source, number, watching
        self.name, self.live, self.fps = source.name, source.live, source.fps

    @property
    def doubts(self) -> tuple[str, ...]:
        """Of the source."""
        return self._source.doubts

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            at_ns = self._watching.time_ns(frame.capture_time_ns)
            self._watching.show(ShownFrame(self._number, at_ns, frame.pixels))
            yield frame

    def close(self) -> None:
        """Close the source."""
        self._source.close()


class ViewSink:
    """Shows what a session records; a `Sink`, which keeps nothing."""

    safe_bytes = 0

    def __init__(self, watching: Watching) -> None:
        self._watching = watching

    def take(self, record: Record) -> None:
        """Show a record, at its time."""
        time_ns = self._watching.time_ns
        if isinstance(record, LatentRecord):
            frame_times_ns = tuple(time_ns(stamp.capture_time_ns) for stamp in record.stamps)
            shown = shown_from_record(record, time_ns(record.capture_time_ns), frame_times_ns)
        else:
            shown = shown_from_record(record, time_ns(record.time_ns))
        self._watching.show(shown)

    def tick(self, now_ns: int, busy_ns: int) -> None:
        """Nothing comes due."""
