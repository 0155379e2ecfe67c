"""Latents to a file that may be cut off at any moment."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import numpy as np

from vidtok_edge.errors import OutputNotWritable, StreamError, UsageError
from vidtok_edge.runtime.recording.format.growing_file import GrowingFile
from vidtok_edge.runtime.recording.format.mcap_file import MAX_SOURCES, McapFile, SourceFacts
from vidtok_edge.runtime.recording.format.messages import (
    Marker,
    MarkerKind,
    RecordedLatent,
    StartReason,
)
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer
from vidtok_edge.runtime.sources.frame import without_password
from vidtok_edge.runtime.streaming.latents import Latents

__all__ = ["RecordingWriter"]

_MOST_WAITING = 8 << 20  # bytes; flush at once beyond
_FACTS_EVERY_S = 60


@dataclass(slots=True)
class _Stream:
    """The stream that a source is in."""

    number: int = -1
    index: int = 0
    """Of its next latent."""
    latents: int = 0
    """Of the source, in all of its streams."""


class RecordingWriter:
    """Writes a recording; a context manager, which finishes the file whatever ends the block.

        with RecordingWriter("drive.mcap", Tokenizer.of(bundle), ["/dev/video0"]) as recording:
            recording.start(0, "start", now_ns, wall_ns)
            recording.write(0, latents, wall_time_ns=[...], encode_start_ns=..., encode_end_ns=...)

    What was given is on disk at the latest `flush_interval_s` later, as long as `tick` is called at
    least every quarter of it. Times are monotonic nanoseconds, wall times nanoseconds since 1970;
    a wall clock that jumps does no harm, because the file is sorted by a time of its own: the wall
    time of the first event plus the monotonic time since then.

    Not safe for use from several threads at once.

    Args:
        path: the file; it is written in place, and locked.
        tokenizer: of the encoder.
        sources: their names, as the user wrote them; passwords in URLs are left out.
        flush_interval_s: what a killed process may lose.
        force: replace a file that is there.

    Raises:
        RecordingBusy: another process records to that file; also with `force`.
        OutputExists: the file is there and `force` is not set.
        OutputNotWritable: from any call; what was flushed before is safe, and later calls raise
            it again.
        StreamError: latents that do not continue the stream, or of another tokenizer.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        tokenizer: Tokenizer,
        sources: Sequence[str],
        *,
        flush_interval_s: float = 1.0,
        force: bool = False,
    ) -> None:
        if not 0 < flush_interval_s <= 3600:
            raise UsageError(f"The flush interval is {flush_interval_s} s; allowed: up to 3600.")
        if not 1 <= len(sources) <= MAX_SOURCES:
            raise UsageError(f"Got {len(sources)} sources; allowed: 1 to {MAX_SOURCES}.")
        self.tokenizer = tokenizer
        self.latents_written = 0
        self._streams = [_Stream() for _ in sources]
        self._flush_after_ns = int(flush_interval_s * 0.75e9)  # the rest is for the ticks between
        self._epoch: tuple[int, int] | None = None
        self._failed: OutputNotWritable | None = None
        self._closed = False
        facts = [
            SourceFacts(number, len(sources), without_password(name), tokenizer, flush_interval_s)
            for number, name in enumerate(sources)
        ]
        self._file = GrowingFile(path, force)
        try:
            self._mcap = McapFile(self._file, facts)
            self._file.flush()
        except BaseException:
            self._file.close()
            raise
        self._flushed_ns = self._facts_ns = time.monotonic_ns()

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except OutputNotWritable:
            if error is None:  # else the first error says more
                raise

    @property
    def safe_bytes(self) -> int:
        """Bytes in the file that a kill of this process cannot take back."""
        return self._file.safe_bytes

    def start(
        self,
        source: int,
        reason: StartReason,
        time_ns: int,
        wall_time_ns: int,
        *,
        fps: float | None = None,
    ) -> None:
        """A new stream of the source begins: latent 0 follows. `fps`: as the source announced."""
        stream = self._streams[source]
        stream.number, stream.index = stream.number + 1, 0
        self._mark(source, reason, time_ns, wall_time_ns, fps=fps or 0.0)

    def write(
        self,
        source: int,
        latents: Latents,
        *,
        wall_time_ns: Sequence[int],
        encode_start_ns: int,
        encode_end_ns: int,
    ) -> None:
        """Add the latents of one call; `wall_time_ns` of the last real frame of each."""
        stream, framing = self._streams[source], self.tokenizer.framing
        if stream.number < 0 or latents.index != stream.index:
            raise StreamError(
                f"Latent {latents.index} of source {source} came where {stream.index} was due, in "
                f"stream {stream.number}. start() a stream before its latent 0, and leave none out."
            )
        left = latents.frames_real
        for i, values in enumerate(latents.values):
            first = framing.first_frame(stream.index)
            real = min(left, framing.first_frame(stream.index + 1) - first)
            left -= real
            latent = RecordedLatent(
                source,
                stream.number,
                stream.index,
                first,
                real,
                int(latents.capture_time_ns[i]),
                int(wall_time_ns[i]),
                encode_start_ns,
                encode_end_ns,
                np.asarray(values),
            )
            data = latent.to_bytes(self.tokenizer)
            self._add(source, "latents", data, latent.capture_time_ns, latent.wall_time_ns)
            stream.index += 1
            stream.latents += 1
            self.latents_written += 1
        self.tick(time.monotonic_ns())

    def drop(
        self,
        source: int,
        frames: int,
        then: Literal["continue", "restart"],
        time_ns: int,
        wall_time_ns: int,
        *,
        index: int | None = None,
    ) -> None:
        """`frames` frames were not encoded; the stream goes on without them, or is restarted.

        `index`: of the latent that has the next frame, which may be ahead of the next one to be
        written, because encoded chunks wait for those of other sources; that one where None.
        """
        self._mark(source, "drop", time_ns, wall_time_ns, frames=frames, detail=then, index=index)

    def lost(self, source: int, reason: str, time_ns: int, wall_time_ns: int) -> None:
        """The source disappeared; it may come back."""
        self._mark(source, "lost", time_ns, wall_time_ns, detail=reason)

    def end(self, source: int, reason: str, time_ns: int, wall_time_ns: int) -> None:
        """Nothing more comes from the source."""
        self._mark(source, "end", time_ns, wall_time_ns, detail=reason)

    def tick(self, now_ns: int, busy_ns: int = 0) -> None:
        """Flush when it is due; cheap otherwise. Call it at least every quarter interval.

        Args:
            now_ns: the monotonic time.
            busy_ns: for so long no tick may come; what would come due in that time is due now.
        """
        due = now_ns + busy_ns - self._flushed_ns >= self._flush_after_ns
        if due or self._file.waiting_bytes > _MOST_WAITING:
            self.flush()
            self._flushed_ns = now_ns
            if now_ns - self._facts_ns > _FACTS_EVERY_S * 1e9:
                self._mcap.write_facts()
                self._facts_ns = now_ns

    def flush(self) -> None:
        """Put everything into the file now; the disk has it shortly after."""
        self._require_open()
        try:
            self._mcap.flush()
        except OutputNotWritable as error:
            self._failed = error
            raise

    def close(self) -> None:
        """Finish the file and unlock it. After an OutputNotWritable: unlock it only."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._failed is None:
                self._mcap.finish()
                self._file.flush()
        finally:
            self._file.close()

    def _mark(
        self,
        source: int,
        kind: MarkerKind,
        time_ns: int,
        wall_time_ns: int,
        *,
        frames: int = 0,
        detail: str = "",
        fps: float = 0.0,
        index: int | None = None,
    ) -> None:
        stream = self._streams[source]
        at = stream.index if index is None else index
        marker = Marker(
            source,
            kind,
            max(0, stream.number),
            at,
            frames,
            detail,
            time_ns,
            wall_time_ns,
            fps,
            latents=stream.latents,
        )
        self._add(source, "markers", marker.to_bytes(), time_ns, wall_time_ns)
        self.tick(time.monotonic_ns())

    def _add(
        self,
        source: int,
        kind: Literal["latents", "markers"],
        data: bytes,
        time_ns: int,
        wall_time_ns: int,
    ) -> None:
        self._require_open()
        if self._epoch is None:
            self._epoch = (time_ns, wall_time_ns)
        started_ns, started_wall_ns = self._epoch
        self._mcap.add(
            source,
            kind,
            data,
            log_time_ns=started_wall_ns + time_ns - started_ns,
            wall_time_ns=wall_time_ns,
        )

    def _require_open(self) -> None:
        if self._failed is not None:
            raise OutputNotWritable(str(self._failed)) from self._failed
        if self._closed:
            raise UsageError("The recording is closed. Open another one.")
