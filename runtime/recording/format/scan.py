"""The records of an MCAP file that may be cut off, damaged, or made to do harm.

The readers of the `mcap` library stop at the first damage and believe lengths up to 4 GiB. Here a
record is believed only as far as the file reaches, a chunk only when its checksum fits, and after
damage the scan goes on at the next chunk or metadata record that proves itself. Any other record
(MCAP has no checksum for them) is skipped only if nothing that proves itself begins inside it.

What begins like a chunk costs as much as its length to disprove, and there may be one at every
byte; what is compressed may be a thousand times as long. A file that costs more than
`_WORK_PER_BYTE` for each of its bytes is refused.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from mcap.opcode import Opcode
from mcap.records import Attachment, McapRecord, Metadata
from mcap.writer import MCAP0_MAGIC

from vidtok_edge.bounded import Budget, TooMuchWork
from vidtok_edge.errors import RecordingError
from vidtok_edge.runtime.recording.format.mcap_file import DATA_METADATA, METADATA, checksum
from vidtok_edge.runtime.recording.format.mcap_records import (
    DEFINITIONS,
    HEAD,
    MESSAGE_HEAD,
    WORK_FOR_DEFINITION,
    WORK_FOR_RECORD,
    attachment_from,
    definition_from,
    metadata_from,
    places_in,
    records_of,
)
from vidtok_edge.runtime.recording.format.places import (
    ChunkPlace,
    Damage,
    Definition,
    Found,
    Other,
)
from vidtok_edge.runtime.recording.format.unpacking import COMPRESSIONS, unpacked

__all__ = [
    "MAX_RECORD_BYTES",
    "Scan",
]

MAX_RECORD_BYTES = 64 << 20  # a chunk of ours has about 1 MiB
_CHUNK = struct.Struct("<QQQII")  # first time, last time, size, CRC-32, length of compression name
_FOOTER = struct.Struct("<QQI")
_WINDOW = 1 << 20
_MAX_METADATA = 1 << 16
_MAX_OTHER_METADATA = 1 << 20
_ATTACHMENTS = "attachments"
_MAX_NAME = 16  # of a compression
# A chunk or metadata record shorter than 4 GiB; what it holds is checked where it is found.
_ANCHOR = re.compile(rb"[\x06\x0c](?=[\s\S]{4}\x00{4})")
_OURS = (METADATA, DATA_METADATA)
_LOOSE = {*DEFINITIONS, Opcode.MESSAGE}  # also allowed outside of chunks
_LOOSE_BYTES = 1 << 20  # of those that are read together
# In bytes looked at. A sound file costs one to three for each of its bytes, and one that another
# tool compressed as many for each that it unpacks to.
_WORK_PER_BYTE = 256
_WORK_AT_LEAST = 1 << 28
_WORK_FOR_ANCHOR = 64
_WORK_FOR_METADATA = 64  # for each byte: many small strings


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk that was read, and what it defines."""

    place: ChunkPlace
    definitions: tuple[Definition, ...]


class Scan:
    """Reads a file by position. RecordingError: it cannot be opened, or is no regular file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            if self.path.exists() and not self.path.is_file():
                raise RecordingError(f"{path} is not a regular file. Name a recording.")
            self._file: BinaryIO = self.path.open("rb")
        except OSError as error:
            raise RecordingError(f"{path} cannot be read: {error.strerror}.") from None
        self.size = os.fstat(self._file.fileno()).st_size
        self._budget = self._new_budget()
        self._paid: set[int] = set()  # places of chunks (their records) whose content was paid for

    def _new_budget(self) -> Budget:
        return Budget(self.size, per_byte=_WORK_PER_BYTE, at_least=_WORK_AT_LEAST)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def has_magic(self) -> bool:
        """Whether the file begins as MCAP does."""
        return self._read(0, len(MCAP0_MAGIC)) == MCAP0_MAGIC

    def walk(self) -> Iterator[Found]:
        """Every sound chunk, what channels are and whose they are, and the damage between them.

        A chunk that lies in the file twice is given once.
        Ends at the end of the data, or of the file where that is not marked. RecordingError: it
        asks for more work than a sound file of its size.
        """
        self._budget = self._new_budget()
        try:
            yield from _once(self._joined(self._walk()))
        except TooMuchWork as error:
            raise self.too_costly(error) from None

    def too_costly(self, error: TooMuchWork) -> RecordingError:
        """What is said of a file that is not read on."""
        return RecordingError(
            f"{self.path} ({self.size} bytes) is not read to its end: {error} does. It was made "
            "so, or is damaged nearly everywhere. Copy it again from its source."
        )

    def _joined(self, items: Iterator[Found]) -> Iterator[Found]:
        """With messages outside of chunks together."""
        loose: ChunkPlace | None = None
        for found in items:
            if isinstance(found, ChunkPlace) and found.loose:
                joined = None if loose is None else _joined(loose, found)
                if loose is not None and joined is None:
                    yield loose
                loose = joined or found
                continue
            if loose is not None and not isinstance(found, Definition):
                yield loose
                loose = None
            yield found
        if loose is not None:
            yield loose

    def _walk(self) -> Iterator[Found]:
        offset = len(MCAP0_MAGIC) if self.has_magic() else 0
        while offset < self.size:
            opcode, length = self._record(offset) or (None, 0)
            end = offset + HEAD.size + length
            item = None if opcode is None else self._item(offset, opcode, length)
            if isinstance(item, _Chunk):
                yield from item.definitions
                yield item.place
            elif item is not None:
                yield item
            if item is not None:
                offset = end
                continue
            believed = opcode not in (None, Opcode.CHUNK, Opcode.DATA_END)
            limit = end if believed else self.size
            begin, offset = offset, self._next_anchor(offset + 1, limit)
            if opcode == Opcode.DATA_END and length == 4 and offset == self.size:
                return  # behind it there is only the index
            if offset < limit or not believed:
                yield Damage(begin, offset - begin)
            elif opcode is not None:
                yield from self._between(begin, opcode, length)

    def summary(self) -> list[McapRecord] | None:
        """Channels and chunk indexes from the end of the file; None: there is no sound index."""
        tail = HEAD.size + _FOOTER.size + len(MCAP0_MAGIC)
        start = self.size - tail
        data = self._read(start, tail) if start >= 0 else b""
        if len(data) != tail or HEAD.unpack_from(data) != (Opcode.FOOTER, _FOOTER.size):
            return None
        summary_start, _, crc = _FOOTER.unpack_from(data, HEAD.size)
        if not data.endswith(MCAP0_MAGIC) or not start - MAX_RECORD_BYTES <= summary_start <= start:
            return None
        summary = self._read(summary_start, start - summary_start)
        if zlib.crc32(data[: HEAD.size + _FOOTER.size - 4], zlib.crc32(summary)) != crc:
            return None
        try:
            return list(records_of(summary))
        except RecordingError:
            return None

    def records(self, place: ChunkPlace) -> Iterator[McapRecord]:
        """The records inside a chunk that matter here.

        Raises RecordingError where it is not sound; TooMuchWork: as `walk` counts it.
        """
        content = self._content(place)
        if content is None:
            raise RecordingError("a chunk is damaged")
        paid = place.loose or place.offset in self._paid
        yield from records_of(content, None if paid else self._budget)
        self._paid.add(place.offset)

    def _content(self, place: ChunkPlace) -> bytes | None:
        if place.loose:
            return self._read(place.offset, place.length)
        found = self._record(place.offset) if 0 <= place.offset < self.size else None
        if found != (Opcode.CHUNK, place.length - HEAD.size):
            return None
        return self._chunk_content(place.offset + HEAD.size, place.length - HEAD.size)

    def _between(self, offset: int, opcode: int, length: int) -> Iterator[Found]:
        """What a record outside of chunks is, which no checksum proves."""
        content = offset + HEAD.size
        if opcode in _LOOSE:
            data = self._read(content, length)
            place = ChunkPlace(offset, HEAD.size + length, 0, 0, loose=True)
            if opcode != Opcode.MESSAGE:
                self._budget.spend(WORK_FOR_DEFINITION)
                with suppress(RecordingError):
                    yield Definition(definition_from(opcode, data), offset)
            elif length >= MESSAGE_HEAD.size:
                at_ns = MESSAGE_HEAD.unpack_from(data)[2]
                yield replace(place, start_ns=at_ns, end_ns=at_ns)
        elif opcode == Opcode.ATTACHMENT:
            yield Other(_ATTACHMENTS, offset, length)
        elif opcode == Opcode.METADATA:
            with suppress(RecordingError):
                if (
                    length > _MAX_METADATA
                    or metadata_from(self._read(content, length)).name not in _OURS
                ):
                    yield Other("metadata records of others", offset, length)

    def other(self, place: Other) -> Attachment | Metadata | None:
        """What `walk` told of; None: it is damaged, or too large."""
        if place.what != _ATTACHMENTS:
            if place.length > _MAX_OTHER_METADATA:
                return None
            self._budget.spend(_WORK_FOR_METADATA * place.length)
        data = self._read(place.offset + HEAD.size, place.length)
        with suppress(RecordingError):
            if place.what != _ATTACHMENTS:
                return metadata_from(data)
            if data.endswith(bytes(4)) or _sum_fits(data):
                return attachment_from(data)
        return None

    def _item(self, offset: int, opcode: int, length: int) -> _Chunk | Metadata | Other | None:
        """The chunk, the facts of a source, or the attachment at `offset`, if their sum fits."""
        content = offset + HEAD.size
        if opcode == Opcode.ATTACHMENT:
            self._budget.spend(length)
            fits = _sum_fits(self._read(content, length))
            return Other(_ATTACHMENTS, offset, length) if fits else None
        if opcode == Opcode.CHUNK:
            data = self._chunk_content(content, length)
            if data is None:
                return None
            times, definitions = self._outline(data, offset)
            place = ChunkPlace(offset, HEAD.size + length, *times, zlib.crc32(data))
            return _Chunk(place, definitions)
        if opcode != Opcode.METADATA or length > _MAX_METADATA:
            return None
        self._budget.spend(_WORK_FOR_METADATA * length)
        try:
            record = metadata_from(self._read(content, length))
        except RecordingError:
            return None
        proven = record.metadata.get("crc32") == checksum(record.metadata)
        return record if record.name in _OURS and proven else None

    def _chunk_content(self, offset: int, length: int) -> bytes | None:
        """What a chunk holds; None where it is not as long or not what the chunk says."""
        head = self._read(offset, min(length, _CHUNK.size + _MAX_NAME + 8))
        if len(head) < _CHUNK.size:
            return None
        _, _, size, crc, name_length = _CHUNK.unpack_from(head)
        start = _CHUNK.size + name_length + 8
        if start > len(head) or size > MAX_RECORD_BYTES:
            return None
        (stored,) = struct.unpack_from("<Q", head, start - 8)
        if stored != length - start:
            return None
        name = head[_CHUNK.size : start - 8]
        if name not in COMPRESSIONS or (not name and stored != size):
            return None
        paid = offset - HEAD.size in self._paid  # who reads at random comes here often
        if not paid:
            self._budget.spend(stored)
        data = self._read(offset + start, stored)
        content = unpacked(name, data, size, None if paid else self._budget)
        # 0: whoever wrote it left the checksum out, as rosbag2 does in its profile `zstd_fast`.
        sound = content is not None and len(content) == size
        sound = sound and crc in (0, zlib.crc32(content or b""))
        return content if sound else None

    def _outline(self, data: bytes, offset: int) -> tuple[tuple[int, int], tuple[Definition, ...]]:
        """The times of the messages in a chunk, which its checksum covers, and what it defines."""
        times, definitions = [], []
        with suppress(RecordingError):
            for opcode, begin, end in places_in(data):
                self._budget.spend(WORK_FOR_RECORD)
                if opcode == Opcode.MESSAGE and end - begin >= MESSAGE_HEAD.size:
                    times.append(MESSAGE_HEAD.unpack_from(data, begin)[2])
                elif opcode in DEFINITIONS:
                    self._budget.spend(WORK_FOR_DEFINITION)
                    with suppress(RecordingError):
                        definitions.append(
                            Definition(definition_from(opcode, data[begin:end]), offset)
                        )
        self._paid.add(offset)
        return (min(times, default=0), max(times, default=0)), tuple(definitions)

    def _record(self, offset: int) -> tuple[int, int] | None:
        """Opcode and length of the record at `offset`; None: there cannot be one."""
        head = self._read(offset, HEAD.size)
        if len(head) < HEAD.size:
            return None
        opcode, length = HEAD.unpack(head)
        fits = length <= MAX_RECORD_BYTES and offset + HEAD.size + length <= self.size
        return (opcode, length) if fits and 1 <= opcode <= Opcode.DATA_END else None

    def _next_anchor(self, offset: int, end: int) -> int:
        """Where the next chunk or metadata record that proves itself begins; `end`: not before."""
        while offset < end:
            size = min(_WINDOW, end - offset)
            for match in _ANCHOR.finditer(self._read(offset, size + HEAD.size - 1)):
                place = offset + match.start()
                self._budget.spend(_WORK_FOR_ANCHOR)
                found = self._record(place)
                if found is not None and self._item(place, *found) is not None:
                    return place
            offset += size
        return end

    def _read(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._file.fileno(), max(0, min(length, self.size - offset)), offset)
        except OSError as error:
            raise RecordingError(
                f"{self.path} cannot be read: {error.strerror}. Copy it to another disk."
            ) from None


def _once(items: Iterator[Found]) -> Iterator[Found]:
    """Without chunks that were there before."""
    seen = set()
    for item in items:
        if isinstance(item, ChunkPlace) and not item.loose:
            content = item.crc, item.start_ns, item.end_ns
            if content in seen:
                continue
            seen.add(content)
        yield item


def _sum_fits(attachment: bytes) -> bool:
    """Whether its content ends with the CRC-32 of what is before it."""
    return attachment[-4:] == struct.pack("<I", zlib.crc32(attachment[:-4]))


def _joined(first: ChunkPlace, then: ChunkPlace) -> ChunkPlace | None:
    """Both as one; None: they do not lie one behind the other, or are large together."""
    length = first.length + then.length
    if first.offset + first.length != then.offset or length > _LOOSE_BYTES:
        return None
    times = (first.start_ns, first.end_ns, then.start_ns, then.end_ns)
    return ChunkPlace(first.offset, length, min(times), max(times), loose=True)
