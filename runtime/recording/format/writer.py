"""Latents to a file that may be cut off at any moment."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from math import prod
from types import TracebackType

from vidtok_edge.errors import OutputNotWritable, UsageError
from vidtok_edge.runtime.coding.latent_coder import MOST_TOKENS, takes
from vidtok_edge.runtime.recording.format.compressed_image import bytes_from_picture
from vidtok_edge.runtime.recording.format.data_channels import (
    SCHEMAS,
    DataChannel,
    bytes_from_sample,
)
from vidtok_edge.runtime.recording.format.growing_file import GrowingFile
from vidtok_edge.runtime.recording.format.mcap_file import (
    MAX_SOURCES,
    Code,
    Compression,
    McapFile,
    SourceFacts,
)
from vidtok_edge.runtime.recording.format.messages import bytes_from_marker
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer
from vidtok_edge.runtime.sources.frame import without_password
from vidtok_edge.runtime.streaming.records import LatentRecord, Picture, Record, Sample

__all__ = ["RecordingWriter"]

_MOST_WAITING = 8 << 20  # bytes; flush at once beyond
_FACTS_EVERY_S = 60


class RecordingWriter:
    """Writes a recording; a context manager, which finishes the file whatever ends the block.

    For example::

        camera = SourceRecords(0)
        with RecordingWriter("drive.mcap", Tokenizer.of(bundle), ["/dev/video0"]) as recording:
            recording.take(camera.start("start", now_ns, wall_ns))
            for record in camera.encoded(latents, encode_start_ns=..., encode_end_ns=...):
                recording.take(record)
            recording.tick(time.monotonic_ns())

    A `Sink`. What was given is on disk at the latest `flush_interval_s` later, as long as `tick` is
    called at least every quarter of it. A wall clock that jumps does no harm, because the file is
    sorted by a time of its own: the wall time of the first record plus the monotonic time since.

    Not safe for use from several threads at once.

    Args:
        path: the file; it is written in place, and locked.
        tokenizer: of the encoder.
        sources: their names, as the user wrote them; passwords in URLs are left out.
        flush_interval_s: what a killed process may lose.
        compression: of chunks; a chunk is what one flush writes.
        code: of tokens; "entropy" takes half to two thirds of the bytes of "packed", and a few
            milliseconds of a processor for each latent.
        force: replace a file that is there.

    Raises:
        RecordingBusy: another process records to that file; also with `force`.
        OutputExists: the file is there and `force` is not set.
        OutputNotWritable: from any call; what was flushed before is safe, and later calls raise
            it again.
        StreamError: a latent of another tokenizer.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        tokenizer: Tokenizer,
        sources: Sequence[str],
        *,
        flush_interval_s: float = 1.0,
        compression: Compression = "zstd",
        code: Code = "packed",
        force: bool = False,
    ) -> None:
        if not 0 < flush_interval_s <= 3600:
            raise UsageError(f"The flush interval is {flush_interval_s} s; allowed: up to 3600.")
        if not 1 <= len(sources) <= MAX_SOURCES:
            raise UsageError(f"Got {len(sources)} sources; allowed: 1 to {MAX_SOURCES}.")
        if code == "entropy" and not takes(tokenizer.levels, prod(tokenizer.shape)):
            raise UsageError(
                f"The tokens of {tokenizer.variant} have levels {tokenizer.levels or 'of KL: none'}"
                f" in a grid of {'x'.join(map(str, tokenizer.shape))}; the code 'entropy' is for "
                f"planes of 2 to 8 levels, and up to {MOST_TOKENS} tokens. Record with the code "
                "'packed'."
            )
        self.tokenizer = tokenizer
        self._flush_after_ns = int(flush_interval_s * 0.75e9)  # the rest is for the ticks between
        self._epoch: tuple[int, int] | None = None
        self._failed: OutputNotWritable | None = None
        self._closed = False
        self._sources = len(sources)
        self._recording = recording = uuid.uuid4().hex
        self._data: dict[str, DataChannel] = {}
        facts = [
            SourceFacts(
                number,
                len(sources),
                without_password(name),
                tokenizer,
                flush_interval_s,
                recording,
                code,
            )
            for number, name in enumerate(sources)
        ]
        self._file = GrowingFile(path, force)
        try:
            self._mcap = McapFile(self._file, facts, compression)
            self._file.flush()
        except BaseException:
            self._file.remove()
            self._file.close()
            raise
        self._file.head_bytes = self._file.safe_bytes
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

    def take(self, record: Record) -> None:
        """Add a record; `tick` writes it to the disk when that is due."""
        if isinstance(record, LatentRecord):
            self._require_open()
            self._mcap.add_latent(
                record,
                log_time_ns=self._log_time(record.capture_time_ns, record.wall_time_ns),
                wall_time_ns=record.wall_time_ns,
            )
        else:
            self._require_open()
            self._mcap.add(
                record.source,
                "markers",
                bytes_from_marker(record),
                log_time_ns=self._log_time(record.time_ns, record.wall_time_ns),
                wall_time_ns=record.wall_time_ns,
            )

    def log(self, sample: Sample, fields: Sequence[str] = ()) -> None:
        """Add a sample of a data channel, which its first sample begins.

        Args:
            fields: what the values are called, of a first sample; later it is not looked at.

        Raises:
            StreamError: no name of a channel, or a sample that is not as the first one was.
        """
        channel = self._data.get(sample.channel)
        if channel is None:
            channel = DataChannel.of(sample, fields=fields, recording=self._recording)
            self._require_open()
            self._mcap.open_data(
                channel.name, channel.topic, SCHEMAS[channel.kind], channel.to_map()
            )
            self._data[channel.name] = channel
        channel.check(sample)
        data = bytes_from_sample(sample)
        self._require_open()
        self._mcap.add_data(
            channel.name,
            data,
            log_time_ns=self._log_time(sample.time_ns, sample.wall_time_ns),
            wall_time_ns=sample.wall_time_ns,
        )

    def show(self, picture: Picture) -> None:
        """Add a picture of a source, for people."""
        if not 0 <= picture.source < self._sources:
            raise UsageError(f"There is no source {picture.source}; it has {self._sources}.")
        self._require_open()
        self._mcap.add_picture(
            picture.source,
            bytes_from_picture(picture),
            log_time_ns=self._log_time(picture.time_ns, picture.wall_time_ns),
            wall_time_ns=picture.wall_time_ns,
        )

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
        """Finish the file and unlock it. After an OutputNotWritable: unlock it only.

        One that could not be written, and in which nothing was recorded yet, is removed.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._failed is None:
                self._mcap.finish()
                self._file.flush()
        except OutputNotWritable as error:
            self._failed = error
            raise
        finally:
            if self._failed is not None and self._file.safe_bytes <= self._file.head_bytes:
                self._file.remove()
            self._file.close()

    def discard(self) -> None:
        """Remove the file and unlock it, whatever it holds."""
        if not self._closed:
            self._closed = True
            self._file.remove()
            self._file.close()

    def _log_time(self, time_ns: int, wall_time_ns: int) -> int:
        if self._epoch is None:
            self._epoch = (time_ns, wall_time_ns)
        started_ns, started_wall_ns = self._epoch
        return started_wall_ns + time_ns - started_ns

    def _require_open(self) -> None:
        if self._failed is not None:
            raise OutputNotWritable(str(self._failed)) from self._failed
        if self._closed:
            raise UsageError("The recording is closed. Open another one.")
