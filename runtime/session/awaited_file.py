"""The file of a session, which is made when the first frame has come."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vidtok_edge.runtime.session.samples import GAPS, Logged, SampleTally
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, Picture, Record, Sample

if TYPE_CHECKING:
    from vidtok_edge.runtime.recording.format.writer import RecordingWriter

__all__ = ["EVERYTHING", "AwaitedFile"]

EVERYTHING = "Everything is recorded already. Only a session with --trigger keeps events."

_MOST_HELD = 1000  # markers; eight hours of a camera that opens and gives nothing
_MOST_SAMPLES = 10_000  # of data channels


class AwaitedFile:
    """A `Sink` that opens its recording when the first stream begins; a context manager.

    What comes before is held until then: the last thousand markers, and the last ten thousand
    samples of data channels. Where no source gives a frame there is no file, and one that was there
    is as it was.

    Args:
        open_writer: makes the recording. What it raises `take` raises, for every later record too.
        tally: told of each sample that is written, or let go.
    """

    def __init__(
        self, open_writer: Callable[[], RecordingWriter], tally: SampleTally | None = None
    ) -> None:
        self._open_writer, self._tally = open_writer, tally or SampleTally()
        self._held: deque[Marker] = deque(maxlen=_MOST_HELD)
        self._samples: deque[Logged] = deque()
        self._let_go = 0  # samples that were held too long
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
            self._write_held(self._writer)
        self._writer.take(record)

    def log(self, sample: Sample, fields: Sequence[str] = ()) -> None:
        """As `RecordingWriter.log`; held until there is a file."""
        if self._writer is not None:
            self._write(self._writer, sample, fields)
            return
        self._samples.append(Logged(sample, fields))
        if len(self._samples) > _MOST_SAMPLES:
            self._tally.no_frame([self._samples.popleft()])
            self._let_go += 1

    def show(self, picture: Picture) -> None:
        """As `RecordingWriter.show`; where there is no file yet, it is for nobody."""
        if self._writer is not None:
            self._writer.show(picture)

    def tick(self, now_ns: int, busy_ns: int = 0) -> None:
        """As `RecordingWriter.tick`."""
        if self._writer is not None:
            self._writer.tick(now_ns, busy_ns)

    def _write(self, writer: RecordingWriter, sample: Sample, fields: Sequence[str]) -> None:
        writer.log(sample, fields)
        self._tally.write(sample)

    def _write_held(self, writer: RecordingWriter) -> None:
        if self._let_go:
            text = json.dumps({"before_the_first_frame": self._let_go})
            first = self._samples[0].sample  # as many are held as may be
            self._write(writer, replace(first, channel=GAPS, values=None, text=text), ())
            self._let_go = 0
        for logged in self._samples:
            self._write(writer, logged.sample, logged.fields)
        self._samples.clear()

    def __enter__(self) -> AwaitedFile:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._tally.no_frame(self._samples)
        self._samples.clear()
        if self._writer is not None:
            self._writer.__exit__(*exc)
