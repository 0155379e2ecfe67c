"""The MCAP side of a recording: header, schemas, channels, and who they belong to.

Source number n has the channels 2n + 1 (latents) and 2n + 2 (markers). Its facts are written twice:
as metadata of its channels, where common tools show them, and as `METADATA` records, which are
repeated, so that a file whose head is lost can still be read.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import IO, Any, Literal

from vidtok_edge import __version__
from vidtok_edge.errors import MissingDependency, RecordingError
from vidtok_edge.runtime.coding.latent_coder import LatentCoder, takes
from vidtok_edge.runtime.recording.format.compressed_image import SCHEMA as PICTURE_SCHEMA
from vidtok_edge.runtime.recording.format.compressed_image import picture_topic
from vidtok_edge.runtime.recording.format.messages import (
    LATENT_SCHEMA,
    MARKER_SCHEMA,
    bytes_from_latent,
)
from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer
from vidtok_edge.runtime.streaming.records import LatentRecord

try:
    from mcap.records import Attachment, Channel, Message, Metadata, Schema
    from mcap.writer import CompressionType, IndexType, Writer
except ImportError:
    raise MissingDependency("mcap", "record", "A recording") from None

__all__ = [
    "CHUNK_BYTES",
    "DATA_METADATA",
    "MAX_SOURCES",
    "METADATA",
    "PROFILE",
    "ChannelKind",
    "Code",
    "Compression",
    "Foreign",
    "McapFile",
    "SourceFacts",
    "channel_of",
    "checksum",
    "kind_of",
    "source_of",
    "topic_of",
]

PROFILE = "ros2"  # what our messages are; readers of ROS bags refuse names that they do not know
METADATA = "vidtok_edge.source"
DATA_METADATA = "vidtok_edge.data"
"""Of records that say what a data channel is, in a file whose definition of it is lost."""
FORMAT, FORMAT_CODED = 1, 2
CODE_VERSION = 1
CHUNK_BYTES = 1 << 20
MAX_SOURCES = 256
Compression = Literal["zstd", "lz4", "none"]
"""Of chunks, as MCAP knows it."""
_COMPRESSIONS: Mapping[Compression, CompressionType] = {
    "zstd": CompressionType.ZSTD,
    "lz4": CompressionType.LZ4,
    "none": CompressionType.NONE,
}
ChannelKind = Literal["latents", "markers"]
Code = Literal["packed", "entropy"]
"""Of tokens: at their width, or in fewer bytes, each latent from those before it in its chunk."""


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """One source of a recording. `name` is as the user wrote it, without passwords."""

    number: int
    count: int
    """How many sources the recording has."""
    name: str
    tokenizer: Tokenizer
    flush_interval_s: float
    recording: str = ""
    """A random name of the recording, by which sources of merged ones are told apart; empty in
    what was written before there was one."""
    code: Code = "packed"

    @property
    def topic(self) -> str:
        """Of its latents."""
        return topic_of(self.number, "latents")

    def coder(self) -> LatentCoder | None:
        """Of its latents, at the beginning of a run; None: they are packed."""
        if self.code == "packed":
            return None
        return LatentCoder(self.tokenizer.levels, *self.tokenizer.shape)

    def to_map(self) -> dict[str, str]:
        """As strings, for channel metadata."""
        coded = {"code": self.code, "code_version": str(CODE_VERSION)}
        return {
            "format": str(FORMAT if self.code == "packed" else FORMAT_CODED),
            **({} if self.code == "packed" else coded),
            "source_number": str(self.number),
            "source_count": str(self.count),
            "source": self.name,
            "flush_interval_s": repr(self.flush_interval_s),
            **({"recording": self.recording} if self.recording else {}),
            **self.tokenizer.to_map(),
        }

    @classmethod
    def from_map(cls, facts: Mapping[str, str]) -> SourceFacts:
        """Read what `to_map` wrote. Raises RecordingError."""
        told = facts.get("format")
        if told not in (str(FORMAT), str(FORMAT_CODED)):
            raise RecordingError(
                f"the recording has format {told!r}; this toolkit reads {FORMAT} and "
                f"{FORMAT_CODED}. Read it with the version of vidtok-edge that wrote it."
            )
        code: Code = "packed" if told == str(FORMAT) else "entropy"
        named = facts.get("code", "packed"), facts.get("code_version", str(CODE_VERSION))
        if named != (code, str(CODE_VERSION)):
            raise RecordingError(
                f"the tokens of {facts.get('source')!r} have the code {named[0]!r}, version "
                f"{named[1]!r}; this toolkit reads 'packed', and 'entropy' of version "
                f"{CODE_VERSION} in format {FORMAT_CODED}. Read it with the version of vidtok-edge "
                "that wrote it."
            )
        try:
            number, count = int(facts["source_number"]), int(facts["source_count"])
            interval = float(facts["flush_interval_s"])
            name = facts["source"]
        except (KeyError, ValueError) as error:
            raise RecordingError(f"the metadata of a source is damaged: {error!r}") from None
        if not 0 <= number < count <= MAX_SOURCES:
            raise RecordingError(f"source {number} of {count}; allowed: up to {MAX_SOURCES}")
        tokenizer, recording = Tokenizer.from_map(facts), facts.get("recording", "")
        if code == "entropy" and not takes(tokenizer.levels, prod(tokenizer.shape)):
            grid = "x".join(map(str, tokenizer.shape))
            raise RecordingError(f"{grid} tokens of levels {tokenizer.levels} cannot be coded")
        return cls(number, count, name, tokenizer, interval, recording, code)


@dataclass(frozen=True, slots=True, eq=False)
class Foreign:
    """A channel of somebody else in a recording: joint states that were merged in, say."""

    number: int
    """Counts them, from 0."""
    channel: Channel
    schema: Schema | None
    """None: the channel has none, or it was lost."""


def topic_of(source: int, kind: ChannelKind) -> str:
    """The topic of a channel.

    >>> topic_of(0, "latents")
    '/camera0/latents'
    """
    return f"/camera{source}/{kind}"


def source_of(topic: str) -> tuple[int, ChannelKind] | None:
    """The opposite of `topic_of`; None for a topic of something else."""
    match = re.fullmatch(r"/camera(\d{1,3})/(latents|markers)", topic, re.ASCII)
    return None if match is None else (int(match[1]), match[2])  # type: ignore[return-value]


def kind_of(topic: str) -> ChannelKind | None:
    """What a topic of ours holds, also where a tool put a prefix before it; None: neither.

    >>> kind_of("/left_arm/camera0/markers")
    'markers'
    """
    last = topic.rpartition("/")[2]
    return last if last in ("latents", "markers") else None  # type: ignore[return-value]


def channel_of(source: int, kind: ChannelKind) -> int:
    """The number of a channel, as we write it."""
    return 2 * source + (1 if kind == "latents" else 2)


def checksum(facts: Mapping[str, str]) -> str:
    """MCAP has no checksum for metadata records, so they bring their own: CRC-32 of sorted JSON."""
    plain = {name: value for name, value in facts.items() if name != "crc32"}
    return f"{zlib.crc32(json.dumps(plain, sort_keys=True).encode()):08x}"


class McapFile:
    """Writes the records of a recording to a stream that has `write`, `tell` and `flush`.

    Chunks are compressed: tokens that a scene keeps come again in each latent.
    """

    def __init__(
        self,
        stream: IO[bytes] | Any,
        sources: Sequence[SourceFacts],
        compression: Compression = "zstd",
    ) -> None:
        self._sources = sources
        self._tokenizers = {source.number: source.tokenizer for source in sources}
        self._coders = {source.number: source.coder() for source in sources}
        self._stream, self._chunk_at = stream, -1
        self._sequence: dict[int, int] = {}
        self._foreign: dict[int, int] = {}
        self._data: dict[str, int] = {}
        self._data_facts: list[dict[str, str]] = []
        self._pictures: dict[int, int] = {}
        self._told = 0  # of these, how many a metadata record says
        # The index of the metadata is what others copy it by; a set a minute is little.
        self._writer = Writer(
            stream,
            chunk_size=CHUNK_BYTES,
            compression=_COMPRESSIONS[compression],
            index_types=IndexType.ALL,
        )
        self._writer.start(PROFILE, f"vidtok-edge {__version__}")
        self.write_facts()
        schemas = {
            "latents": self._schema("vidtok_edge/msg/Latent", LATENT_SCHEMA),
            "markers": self._schema("vidtok_edge/msg/Marker", MARKER_SCHEMA),
        }
        kinds: tuple[ChannelKind, ...] = ("latents", "markers")
        self._ids = {
            (source.number, kind): self._writer.register_channel(
                topic_of(source.number, kind), "cdr", schemas[kind], source.to_map()
            )
            for source in sources
            for kind in kinds
        }

    def write_facts(self) -> None:
        """Write who the channels belong to, once more."""
        for source in self._sources:
            facts = source.to_map()
            self._writer.add_metadata(METADATA, {**facts, "crc32": checksum(facts)})
        self._told = 0
        self._tell_data()

    def _tell_data(self) -> None:
        """Write what the data channels are that no record since the last facts says."""
        for facts in self._data_facts[self._told :]:
            self._writer.add_metadata(DATA_METADATA, {**facts, "crc32": checksum(facts)})
        self._told = len(self._data_facts)

    def add(
        self,
        source: int,
        kind: ChannelKind,
        data: bytes,
        *,
        log_time_ns: int,
        wall_time_ns: int,
        sequence: int | None = None,
    ) -> None:
        """Add a message; its number in its channel is the next one where `sequence` is None."""
        channel = self._ids[source, kind]
        number = self._sequence.get(channel, 0) if sequence is None else sequence
        self._sequence[channel] = (number + 1) % (1 << 32)
        self._writer.add_message(
            channel, max(0, log_time_ns), data, max(0, wall_time_ns), sequence=number
        )

    def add_latent(
        self,
        latent: LatentRecord,
        *,
        log_time_ns: int,
        wall_time_ns: int,
        sequence: int | None = None,
    ) -> None:
        """Add a latent, as `add`. StreamError: values that its tokenizer cannot have made."""
        # What is written to the stream between two messages of a chunk is the end of the chunk.
        if self._stream.tell() != self._chunk_at:
            self._chunk_at = self._stream.tell()
            for one in self._coders.values():
                if one is not None:
                    one.reset()
        coder = self._coders[latent.source]
        self.add(
            latent.source,
            "latents",
            bytes_from_latent(latent, self._tokenizers[latent.source], coder),
            log_time_ns=log_time_ns,
            wall_time_ns=wall_time_ns,
            sequence=sequence,
        )

    def add_foreign(self, foreign: Foreign, message: Message) -> None:
        """Add a message of somebody else's channel as it is; the channel with its first one."""
        if foreign.number not in self._foreign:
            channel, schema = foreign.channel, foreign.schema
            schema_id = 0
            if schema is not None:
                schema_id = self._writer.register_schema(schema.name, schema.encoding, schema.data)
            self._foreign[foreign.number] = self._writer.register_channel(
                channel.topic, channel.message_encoding, schema_id, channel.metadata
            )
        self._writer.add_message(
            self._foreign[foreign.number],
            message.log_time,
            message.data,
            message.publish_time,
            sequence=message.sequence,
        )

    def add_other(self, record: Attachment | Metadata) -> None:
        """Add an attachment, or metadata of others, as it is."""
        if isinstance(record, Metadata):
            self._writer.add_metadata(record.name, record.metadata)
            return
        times = record.create_time, record.log_time
        self._writer.add_attachment(*times, record.name, record.media_type, record.data)

    def open_data(
        self, name: str, topic: str, schema: tuple[str, bytes], facts: Mapping[str, str]
    ) -> None:
        """Begin a data channel; its messages follow with `add_data`."""
        id_ = self._writer.register_channel(topic, "cdr", self._schema(*schema), dict(facts))
        self._data[name] = id_
        self._data_facts.append({**facts, "channel": str(id_)})

    def add_data(self, name: str, data: bytes, *, log_time_ns: int, wall_time_ns: int) -> None:
        """Add a message of a data channel."""
        channel = self._data[name]
        number = self._sequence.get(channel, 0)
        self._sequence[channel] = (number + 1) % (1 << 32)
        self._writer.add_message(
            channel, max(0, log_time_ns), data, max(0, wall_time_ns), sequence=number
        )

    def add_picture(self, source: int, data: bytes, *, log_time_ns: int, wall_time_ns: int) -> None:
        """Add a picture of a source; its channel with the first one."""
        if source not in self._pictures:
            self._pictures[source] = self._writer.register_channel(
                picture_topic(source), "cdr", self._schema(*PICTURE_SCHEMA), {}
            )
        channel = self._pictures[source]
        number = self._sequence.get(channel, 0)
        self._sequence[channel] = (number + 1) % (1 << 32)
        self._writer.add_message(
            channel, max(0, log_time_ns), data, max(0, wall_time_ns), sequence=number
        )

    def flush(self) -> None:
        """Finish the chunk and flush the stream."""
        self._writer.flush()  # type: ignore[no-untyped-call]
        self._tell_data()

    def finish(self) -> None:
        """Write the facts once more, then the index, and flush the stream."""
        self._writer.flush()  # type: ignore[no-untyped-call]
        self.write_facts()
        self._writer.finish()  # type: ignore[no-untyped-call]

    def _schema(self, name: str, text: bytes) -> int:
        return int(self._writer.register_schema(name, "ros2msg", text))
