"""The records of MCAP that lie in bytes, which may be damaged: where each is, and what it says."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import (
    Attachment,
    Channel,
    ChunkIndex,
    McapRecord,
    Message,
    Metadata,
    Schema,
    Statistics,
)

from vidtok_edge.bounded import Budget
from vidtok_edge.errors import RecordingError

__all__ = [
    "DEFINITIONS",
    "HEAD",
    "MESSAGE_HEAD",
    "WORK_FOR_DEFINITION",
    "WORK_FOR_RECORD",
    "attachment_from",
    "definition_from",
    "metadata_from",
    "places_in",
    "records_of",
]

HEAD = struct.Struct("<BQ")
"""Of a record: its opcode, and the length of what follows."""
MESSAGE_HEAD = struct.Struct("<HIQQ")
"""Channel, sequence, log time, publish time."""
_ATTACHMENT_BYTES = 8 + 8 + 4 + 4 + 8 + 4  # but for its name, media type and data
DEFINITIONS = {Opcode.SCHEMA, Opcode.CHANNEL}
WORK_FOR_RECORD = 256
"""In bytes looked at."""
WORK_FOR_DEFINITION = 2048
"""A recording has a few."""
_READABLE = {
    Opcode.SCHEMA: Schema,
    Opcode.CHANNEL: Channel,
    Opcode.METADATA: Metadata,
    Opcode.CHUNK_INDEX: ChunkIndex,
    Opcode.STATISTICS: Statistics,
}


def records_of(data: bytes, budget: Budget | None = None) -> Iterator[McapRecord]:
    """The records in `data` that matter here. RecordingError: they are none."""
    for opcode, begin, end in places_in(data):
        if budget is not None:
            budget.spend(WORK_FOR_DEFINITION if opcode in DEFINITIONS else WORK_FOR_RECORD)
        content = data[begin:end]
        if opcode == Opcode.MESSAGE:
            if len(content) < MESSAGE_HEAD.size:
                raise RecordingError("a message is cut off")
            channel, sequence, log_time, publish_time = MESSAGE_HEAD.unpack_from(content)
            yield Message(  # by mcap's own reader a recording takes a fifth longer to read
                channel_id=channel,
                sequence=sequence,
                log_time=log_time,
                publish_time=publish_time,
                data=content[MESSAGE_HEAD.size :],
            )
        elif opcode in _READABLE:
            yield _parsed(_READABLE[Opcode(opcode)], content)


def places_in(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Opcode of each record in `data`, and where its content begins and ends.

    Raises RecordingError: one is cut off.
    """
    end = 0
    while end < len(data):
        if end + HEAD.size > len(data):
            raise RecordingError("a record is cut off")
        opcode, length = HEAD.unpack_from(data, end)
        begin, end = end + HEAD.size, end + HEAD.size + length
        if end > len(data):
            raise RecordingError("a record is cut off")
        yield opcode, begin, end


def definition_from(opcode: int, data: bytes) -> Channel | Schema:
    """The channel or schema in a record. RecordingError: it is none."""
    record = _parsed(Channel if opcode == Opcode.CHANNEL else Schema, data)
    assert isinstance(record, Channel | Schema)
    return record


def metadata_from(data: bytes) -> Metadata:
    """The metadata in a record. RecordingError: it is none."""
    record = _parsed(Metadata, data)
    assert isinstance(record, Metadata)
    return record


def attachment_from(data: bytes) -> Attachment:
    """The attachment in a record, of at least all that it counts. RecordingError: it is none."""
    record = _parsed(Attachment, data)
    assert isinstance(record, Attachment)
    named = len(record.name.encode()) + len(record.media_type.encode())
    if len(data) != _ATTACHMENT_BYTES + named + len(record.data):
        raise RecordingError("an attachment is damaged")
    return record


def _parsed(kind: type[McapRecord], data: bytes) -> McapRecord:
    try:
        return kind.read(ReadDataStream(BytesIO(data)))  # type: ignore[attr-defined, no-any-return]
    except (McapError, ValueError, struct.error) as error:
        raise RecordingError(f"a record is damaged: {error!r}") from None
