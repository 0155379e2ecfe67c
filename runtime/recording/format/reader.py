"""A recording, read lazily and with distrust; one that was cut off as well as a whole one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from vidtok_edge.errors import MissingDependency, RecordingError
from vidtok_edge.runtime.recording.format.mcap_file import (
    ChannelKind,
    SourceFacts,
    channel_of,
    source_of,
)
from vidtok_edge.runtime.recording.format.messages import latent_from_bytes, marker_from_bytes
from vidtok_edge.runtime.recording.format.scan import ChunkPlace, Damage, Scan, records_of
from vidtok_edge.runtime.streaming.records import Marker, Record

try:
    from mcap.records import Channel, ChunkIndex, McapRecord, Message, Metadata
except ImportError:
    raise MissingDependency("mcap", "record", "A recording") from None

__all__ = ["Recording"]

_MAX_CHANNELS = 1 << 12


class Recording:
    """A recording that is open for reading; a context manager.

        with Recording.open("drive.mcap") as recording:
            for entry in recording.entries(source=0): ...

    Times of the recording (`start_ns`, `log_time_ns`) never jump: they are wall clock time at the
    first event, and run with the monotonic clock from there.

    Attributes:
        sources: by number; one whose facts are lost is called unknown.
        indexed: the file was finished and has its index; else it was read through to find the
            chunks.
        damage: bytes that could not be read. It grows while entries are read.
        chunks: where the chunks lie, in the order of reading.
    """

    def __init__(self, scan: Scan, *, use_index: bool = True) -> None:
        self.path = scan.path
        self.sources: dict[int, SourceFacts] = {}
        self.damage: list[Damage] = []
        self._unreadable: set[tuple[int, int]] = set()  # chunk, and which of its messages
        self._scan = scan
        self.chunks: list[ChunkPlace] = []
        self._channels: dict[int, tuple[int, ChannelKind] | None] = {}
        summary = scan.summary() if use_index else None
        self.indexed = summary is not None and self._take_index(summary)
        if not self.indexed:
            self._walk()
        if not self.sources:
            raise RecordingError(_nothing_in(scan))
        known = next(iter(self.sources.values()))
        for number in range(known.count):  # all share the tokenizer: only a name can be lost
            self.sources.setdefault(number, replace(known, number=number, name="unknown"))
        self.sources = dict(sorted(self.sources.items()))
        kinds: tuple[ChannelKind, ...] = ("latents", "markers")
        for number in self.sources:
            for kind in kinds:
                self._channels.setdefault(channel_of(number, kind), (number, kind))

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, use_index: bool = True) -> Recording:
        """Open a recording. `use_index` False: read it through even when it has an index.

        Raises:
            RecordingError: there is no such file, or nothing of a recording in it.
        """
        scan = Scan(path)
        try:
            return cls(scan, use_index=use_index)
        except BaseException:
            scan.close()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._scan.close()

    @property
    def start_ns(self) -> int:
        """Time of the first entry; 0 where there is none."""
        return min((chunk.start_ns for chunk in self.chunks), default=0)

    @property
    def end_ns(self) -> int:
        """Time of the last entry; 0 where there is none."""
        return max((chunk.end_ns for chunk in self.chunks), default=0)

    def source(self, number: int) -> SourceFacts:
        """The facts of a source. RecordingError: there is none of that number."""
        if number not in self.sources:
            have = ", ".join(f"{s.number} ({s.name})" for s in self.sources.values())
            raise RecordingError(f"{self.path} has no source {number}; it has {have}.")
        return self.sources[number]

    def entries(
        self, source: int | None = None, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[Record]:
        """What was recorded, in the order of writing: latents, and markers between them.

        Args:
            source: of this source alone.
            start_ns, end_ns: entries from `start_ns` to before `end_ns`, as `log_time_ns` counts.
        """
        for _, entry in self.messages(source, start_ns=start_ns, end_ns=end_ns):
            yield entry

    def messages(
        self, source: int | None = None, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[tuple[Message, Record]]:
        """As `entries`, each with the MCAP message it lies in; at most one chunk is in memory."""
        start, end = start_ns or 0, 1 << 64 if end_ns is None else end_ns
        for chunk in self.chunks:
            if chunk.end_ns >= start and chunk.start_ns < end:
                yield from self._messages_in(chunk, source, start, end)

    def stream_start(self, source: int, at_ns: int) -> Marker | None:
        """The last marker up to `at_ns` that begins a stream of `source`."""
        early = [chunk for chunk in self.chunks if chunk.start_ns <= at_ns]
        for chunk in sorted(early, key=lambda chunk: chunk.start_ns, reverse=True):
            begins = [
                entry
                for _, entry in self._messages_in(chunk, source, 0, at_ns + 1)
                if isinstance(entry, Marker) and entry.starts_stream
            ]
            if begins:
                return begins[-1]
        return None

    @property
    def unreadable(self) -> int:
        """Messages in sound chunks, as far as they were read, that made no sense."""
        return len(self._unreadable)

    def _messages_in(
        self, chunk: ChunkPlace, source: int | None, start: int, end: int
    ) -> Iterator[tuple[Message, Record]]:
        for number, message in enumerate(self._all_messages_in(chunk)):
            if not start <= message.log_time < end:
                continue
            try:
                entry = self._entry(message, source)
            except RecordingError:
                self._unreadable.add((chunk.offset, number))
                continue
            if entry is not None:
                yield message, entry

    def _all_messages_in(self, chunk: ChunkPlace) -> Iterator[Message]:
        """Up to the first record that makes no sense; the chunk then counts as damaged."""
        content = self._scan.chunk(chunk)
        try:
            if content is None:
                raise RecordingError("a chunk is damaged")
            for record in records_of(content):
                if isinstance(record, Channel):
                    self._name_channel(record)
                elif isinstance(record, Message):
                    yield record
        except RecordingError:
            damage = Damage(chunk.offset, chunk.length)
            if damage not in self.damage:
                self.damage.append(damage)

    def _entry(self, message: Message, source: int | None) -> Record | None:
        """The entry in a message; None: it is not ours, or of another source than `source`."""
        found = self._channels.get(message.channel_id)
        if found is None or found[0] not in self.sources or source not in (None, found[0]):
            return None
        number, kind = found
        if kind == "markers":
            return marker_from_bytes(message.data, number, message.log_time)
        tokenizer = self.sources[number].tokenizer
        return latent_from_bytes(message.data, number, tokenizer, message.log_time)

    def _take_index(self, summary: list[McapRecord]) -> bool:
        """Whether the index and the head of the file tell all that is needed."""
        for item in self._scan.walk():
            if not isinstance(item, Metadata):
                break
            self._take_facts(item)
        if not self._has_all_facts():
            return False
        for record in summary:
            if isinstance(record, Channel):
                self._name_channel(record)
            elif isinstance(record, ChunkIndex):
                self.chunks.append(
                    ChunkPlace(
                        record.chunk_start_offset,
                        record.chunk_length,
                        record.message_start_time,
                        record.message_end_time,
                    )
                )
        return True

    def _walk(self) -> None:
        seen = set()
        for item in self._scan.walk():
            if isinstance(item, Metadata):
                self._take_facts(item)
            elif isinstance(item, ChunkPlace):
                content = item.crc, item.start_ns, item.end_ns
                if content not in seen:  # else it lies in the file twice
                    self.chunks.append(item)
                seen.add(content)
            else:
                self.damage.append(item)

    def _take_facts(self, record: Metadata) -> None:
        source = SourceFacts.from_map(record.metadata)
        self.sources.setdefault(source.number, source)

    def _has_all_facts(self) -> bool:
        return bool(self.sources) and all(
            number in self.sources for number in range(next(iter(self.sources.values())).count)
        )

    def _name_channel(self, record: Channel) -> None:
        if len(self._channels) < _MAX_CHANNELS:
            self._channels[record.id] = source_of(record.topic)


def _nothing_in(scan: Scan) -> str:
    if scan.size == 0:
        return f"{scan.path} is empty. Nothing can be recovered from it."
    if not scan.has_magic():
        return f"{scan.path} is not a recording (MCAP) of vidtok-edge. Name another file."
    return (
        f"{scan.path} holds nothing of vidtok-edge that can be read: it was recorded by something "
        "else, or all of its chunks are damaged."
    )
