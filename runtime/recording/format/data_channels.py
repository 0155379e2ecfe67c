"""Data channels: numbers and events of the robot beside the cameras, as messages of a recording.

A data channel has a topic of its own (`/action`), so that common tools plot it, and a message for
each sample: CDR, little-endian, described by `ros2msg`, as latents and markers are. To a reader
that does not know data channels they are channels of somebody else, which it copies as they are.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from vidtok_edge.errors import RecordingError, StreamError
from vidtok_edge.runtime.recording.format.mcap_file import Foreign, source_of
from vidtok_edge.runtime.streaming.records import Sample

__all__ = [
    "LONGEST_NAME",
    "MOST_VALUES",
    "SCHEMAS",
    "DataChannel",
    "DataKind",
    "bytes_from_sample",
    "check_channel_name",
    "data_channel_of",
    "sample_from_bytes",
]

DataKind = Literal["numbers", "events"]
_KINDS: tuple[str, ...] = get_args(DataKind)
FORMAT = 1
MOST_VALUES = 4096
"""In a sample."""
_MOST_TEXT = 1 << 16  # bytes of an event
LONGEST_NAME = 100
_NAME = re.compile(r"[A-Za-z][\w.-]*(/[A-Za-z][\w.-]*)*", re.ASCII)
_HEADER = b"\x00\x01\x00\x00"  # CDR, little-endian
_TIMES = struct.Struct("<qqI")  # the last one: how many values, or bytes of text with its zero
_PADDING = bytes(4)  # float64 begin at a multiple of eight behind the header

SCHEMAS: Mapping[DataKind, tuple[str, bytes]] = {
    "numbers": (
        "vidtok_edge/msg/Sample",
        b"""# Numbers of a data channel. What they are: channel metadata.
int64 time_ns           # monotonic clock, as capture_time_ns of latents
int64 wall_time_ns      # the machine's clock at the same moment, which may jump
float64[] values        # NaN: the robot gave no number
""",
    ),
    "events": (
        "vidtok_edge/msg/Event",
        b"""# An event of a data channel.
int64 time_ns           # monotonic clock, as capture_time_ns of latents
int64 wall_time_ns      # the machine's clock at the same moment, which may jump
string text
""",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChannel:
    """What is known of a data channel: its first sample says it, and no later one differs."""

    name: str
    kind: DataKind
    size: int
    """Values of a sample; 0 of events."""
    fields: tuple[str, ...] = ()
    """What the values are called, in order; empty: nobody said."""
    origin: str = "recorded"
    """`recorded` with the cameras, or what it was joined from."""
    recording: str = ""
    """The random name of the recording that it was recorded in; empty where it was joined."""

    @property
    def topic(self) -> str:
        """Where common tools find it."""
        return f"/{self.name}"

    def to_map(self) -> dict[str, str]:
        """As strings, for channel metadata."""
        return {
            "data_format": str(FORMAT),
            "data_channel": self.name,
            "kind": self.kind,
            "size": str(self.size),
            "fields": json.dumps(self.fields),
            "origin": self.origin,
            **({"recording": self.recording} if self.recording else {}),
        }

    @classmethod
    def from_map(cls, facts: Mapping[str, str]) -> DataChannel:
        """Read what `to_map` wrote. Raises RecordingError."""
        if facts.get("data_format") != str(FORMAT):
            raise RecordingError(
                f"a data channel has format {facts.get('data_format')!r}; this toolkit reads "
                f"{FORMAT}"
            )
        try:
            name, kind, size = facts["data_channel"], facts["kind"], int(facts["size"])
            fields = json.loads(facts.get("fields", "[]"))
        except (KeyError, ValueError, RecursionError) as error:
            raise RecordingError(f"the metadata of a data channel is damaged: {error!r}") from None
        named = isinstance(fields, list) and all(isinstance(field, str) for field in fields)
        sized = size == 0 if kind == "events" else 1 <= size <= MOST_VALUES
        if kind not in _KINDS or not sized or not named or len(fields) not in (0, size):
            raise RecordingError(f"the data channel {name!r} claims {size} {kind}")
        return cls(
            name=name,
            kind="numbers" if kind == "numbers" else "events",
            size=size,
            fields=tuple(fields),
            origin=facts.get("origin", ""),
            recording=facts.get("recording", ""),
        )

    @classmethod
    def of(
        cls,
        sample: Sample,
        *,
        fields: Sequence[str] = (),
        origin: str = "recorded",
        recording: str = "",
    ) -> DataChannel:
        """The channel whose first sample that is. Raises StreamError: it cannot be one."""
        check_channel_name(sample.channel)
        size = 0 if sample.values is None else len(sample.values)
        if sample.values is not None and not 1 <= size <= MOST_VALUES:
            raise StreamError(
                f"A sample of {sample.channel} has {size} values; allowed: 1 to {MOST_VALUES}."
            )
        if fields and len(fields) != size:
            raise StreamError(
                f"{sample.channel} has {size} values and {len(fields)} names of them. "
                "Name each one, or none."
            )
        return cls(
            name=sample.channel,
            kind="events" if sample.values is None else "numbers",
            size=size,
            fields=tuple(fields),
            origin=origin,
            recording=recording,
        )

    def check(self, sample: Sample) -> None:
        """Raise StreamError where a sample is not what this channel has."""
        size = 0 if sample.values is None else len(sample.values)
        kind = "events" if sample.values is None else "numbers"
        if (kind, size) != (self.kind, self.size):
            raise StreamError(
                f"The channel {self.name} has {_described(self.kind, self.size)} in each sample, "
                f"and got {_described(kind, size)}. Log them to a channel of another name."
            )


def _described(kind: str, size: int) -> str:
    return "an event" if kind == "events" else f"{size} number{'s' if size != 1 else ''}"


def check_channel_name(name: str) -> None:
    """Raise StreamError for what cannot be the name of a data channel."""
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise StreamError(
            f"{name!r:.80} is no name of a channel. Use letters, digits, _ . - and / between parts "
            f"that begin with a letter, {LONGEST_NAME} at most, as arm/joint_positions."
        )
    if source_of(f"/{name}") is not None:
        raise StreamError(f"The name {name} is taken by a camera. Choose another.")


def data_channel_of(foreign: Foreign) -> DataChannel | None:
    """The data channel that a channel not of a camera is; None: it is of somebody else.

    Raises RecordingError: it says that it is one, and is damaged or of a later format.
    """
    facts, schema = foreign.channel.metadata, foreign.schema
    if "data_channel" not in facts or schema is None:
        return None
    found = DataChannel.from_map(facts)
    if schema.name != SCHEMAS[found.kind][0]:
        raise RecordingError(f"the data channel {found.name!r} has the schema {schema.name!r}")
    return found


def bytes_from_sample(sample: Sample) -> bytes:
    """The message of a sample. StreamError: a text that is too long."""
    times = sample.time_ns, sample.wall_time_ns
    if sample.values is not None:
        values = np.ascontiguousarray(sample.values, "<f8")
        return _HEADER + _TIMES.pack(*times, len(values)) + _PADDING + values.tobytes()
    text = sample.text.replace("\0", " ").encode("utf-8", "replace") + b"\0"
    if len(text) > _MOST_TEXT:
        raise StreamError(
            f"An event of {sample.channel} has {len(text)} bytes; allowed: {_MOST_TEXT}."
        )
    return _HEADER + _TIMES.pack(*times, len(text)) + text


def sample_from_bytes(data: bytes, channel: DataChannel, log_time_ns: int) -> Sample:
    """Read the message of a sample and check everything in it. Raises RecordingError."""
    start = len(_HEADER) + _TIMES.size
    if len(data) < start or data[: len(_HEADER)] != _HEADER:
        raise RecordingError(f"a sample of {channel.name} has {len(data)} bytes")
    time_ns, wall_time_ns, length = _TIMES.unpack_from(data, len(_HEADER))
    values, text = None, ""
    if channel.kind == "numbers":
        start += len(_PADDING)
        if length != channel.size or len(data) != start + 8 * length:
            raise RecordingError(f"a sample of {channel.name} claims {length} values")
        values = np.frombuffer(data, "<f8", length, start).astype(np.float64)
    else:
        if len(data) != start + length or not 1 <= length <= _MOST_TEXT or data[-1]:
            raise RecordingError(f"an event of {channel.name} claims {length} bytes")
        try:
            text = data[start:-1].decode("utf-8")
        except UnicodeDecodeError:
            raise RecordingError(f"an event of {channel.name} is no text") from None
    return Sample(
        channel=channel.name,
        time_ns=time_ns,
        wall_time_ns=wall_time_ns,
        values=values,
        text=text,
        log_time_ns=log_time_ns,
    )
