"""What is found in an MCAP file that is walked through, and where."""

from __future__ import annotations

from dataclasses import dataclass

from mcap.records import Channel, Metadata, Schema

__all__ = ["ChunkPlace", "Damage", "Definition", "Found", "Other"]


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Where a chunk lies, and the times of its first and last message, in nanoseconds.

    Or messages that some tools write outside of chunks, one behind another.
    """

    offset: int
    length: int
    """Of the whole record."""
    start_ns: int
    end_ns: int
    crc: int | None = None
    """Of its records, where it was read."""
    loose: bool = False
    """Messages without a chunk around them, and so without a checksum."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A channel or a schema, and the place from which on it holds."""

    record: Channel | Schema
    offset: int


@dataclass(frozen=True, slots=True)
class Other:
    """A sound record that is nothing of a recording: an attachment, metadata of others."""

    what: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that belong to no sound record."""

    offset: int
    length: int


Found = ChunkPlace | Metadata | Damage | Definition | Other
