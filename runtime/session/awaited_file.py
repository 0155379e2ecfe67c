"""The file of a session, which is made when the first frame has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, Record

if TYPE_CHECKING:
    from vidtok_edge.runtime.recording.format.writer import RecordingWriter

__all__ = ["AwaitedFile"]

_MOST_HELD = 1000  # markers; eight hours of a camera that opens and gives nothing


class AwaitedFile:
    """A `Sink` that opens its recording when the first stream begins; a context manager.

    Markers of before are held until then, the last thousand. Where no source gives a frame there
    is no file, and one that was there is as it was.

    Args:
        open_writer: makes the recording. What it raises `take` raises, for every later record too.
    """

    def __init__(self, open_writer: Callable[[], RecordingWriter]) -> None:
        self._open_writer = open_writer
        self._held: deque[Marker] = deque(maxlen=_MOST_HELD)
        self._writer: RecordingWriter | None = None

    @property
    def safe_bytes(self) -> int:
        """Of the file; 0 while there is none."""
        return 0 if self._writer is None else self._writer.safe_bytes

    def take(self, record: Record) -> None:
        """Add a record to the file, or hold it until there is one."""
        if self._writer is None:
            if not (isinstance(record, LatentRecord) or record.starts_stream):
                self._held.append(record)
                return
            self._writer = self._open_writer()
            for marker in self._held:
                self._writer.take(marker)
            self._held.clear()
        self._writer.take(record)

    def tick(self, now_ns: int, busy_ns: int = 0) -> None:
        """As `RecordingWriter.tick`."""
        if self._writer is not None:
            self._writer.tick(now_ns, busy_ns)

    def __enter__(self) -> AwaitedFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)
