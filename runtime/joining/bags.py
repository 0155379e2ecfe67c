"""Numbers and events in MCAP files of others: ROS 2 bags, and messages in JSON.

A file is read as distrustfully as a recording (`Scan`); messages are decoded by `mcap-ros2-support`
or as JSON, and any other encoding is refused by name.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from vidtok_edge.errors import MissingDependency, RecordingError, StreamError, UsageError
from vidtok_edge.runtime.recording.format.channels import ChannelTable
from vidtok_edge.runtime.recording.format.mcap_file import Foreign
from vidtok_edge.runtime.recording.format.places import ChunkPlace, Damage, Definition
from vidtok_edge.runtime.recording.format.scan import Scan

try:
    from mcap.records import Channel, Message, Schema
    from mcap_ros2.decoder import DecoderFactory
except ImportError:
    raise MissingDependency("mcap_ros2", "record", "Joining a bag") from None

__all__ = ["Bag", "BagSample", "Take"]

_DEEPEST = 16
_MOST_VALUES = 4096
_ZSTD = b"\x28\xb5\x2f\xfd"  # no CDR begins so
_MOST_SHOWN = 12  # fields of a topic
_IN_LIST = re.compile(r"(\w+)\.(\d+)")
_CHAR = re.compile(rb"^char(?=[\s\[])", re.MULTILINE)  # unsigned in ROS 2, not in mcap_ros2
Decode = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Take:
    """What is taken out of messages: a field of the topics that a pattern fits."""

    topic: str
    """`*` and `?` as in file names."""
    field: str
    """Its path in a message, as `twist.linear`; empty: all numbers of the message."""
    name: str
    """Of the data channel; empty: of the topic and the field."""

    @classmethod
    def parse(cls, text: str) -> Take:
        """`/joint_states:position=state`, of which `:FIELD` and `=NAME` may be left out."""
        place, _, name = text.partition("=")
        topic, _, path = place.partition(":")
        if not topic:
            raise UsageError(
                f"{text!r} names no topic. Write TOPIC[:FIELD][=NAME], as "
                "/joint_states:position=state."
            )
        return cls(topic, path, name)

    def fits(self, topic: str) -> bool:
        """Whether it takes something of a topic."""
        return fnmatch.fnmatchcase(topic, self.topic)

    def channel(self, topic: str) -> str:
        """The name of the data channel that a topic becomes."""
        path = "/".join(filter(None, (topic.strip("/"), self.field.replace(".", "/"))))
        return self.name or path


@dataclass(frozen=True, slots=True)
class BagSample:
    """What was taken out of a message."""

    take: Take
    topic: str
    time_ns: int
    """The log time of the message."""
    values: list[float] | None
    """None: it is an event."""
    fields: tuple[str, ...]
    text: str = ""

    @property
    def channel(self) -> str:
        """The data channel that it is for."""
        return self.take.channel(self.topic)


@dataclass(slots=True)
class _Topic:
    channel: Channel
    schema: Schema | None
    decode: Decode | None = None
    refused: str = ""
    """Why its messages cannot be decoded."""


@dataclass(slots=True)
class Bag:
    """An MCAP file of others, open for reading; a context manager."""

    scan: Scan
    topics: dict[int, _Topic] = field(default_factory=dict)
    """By the number of the channel in the table, which knows where in the file it holds."""
    chunks: list[ChunkPlace] = field(default_factory=list)
    table: ChannelTable = field(default_factory=ChannelTable)
    damaged_bytes: int = 0
    unreadable: int = 0
    """Messages that could not be decoded, or lack the field."""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bag:
        """Read through a file for its topics and chunks.

        Raises RecordingError: it cannot be read, or is no MCAP file.
        """
        bag = cls(Scan(path))
        try:
            bag._walk()
        except BaseException:
            bag.close()
            raise
        return bag

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.scan.close()

    @property
    def start_ns(self) -> int:
        """Time of the first message; 0 where there is none."""
        return min((chunk.start_ns for chunk in self.chunks if chunk.end_ns), default=0)

    @property
    def end_ns(self) -> int:
        """Time of the last message; 0 where there is none."""
        return max((chunk.end_ns for chunk in self.chunks), default=0)

    def names(self) -> set[str]:
        """Its topics."""
        return {topic.channel.topic for topic in self.topics.values()}

    def outline(self) -> list[tuple[str, str, str]]:
        """Each topic, its type, and the fields of its first message that hold numbers or a text."""
        first: dict[int, Message] = {}
        for chunk in self.chunks:
            for number, message in self._messages_in(chunk):
                first.setdefault(number, message)
            if len(first) == len(self.topics):
                break
        rows = []
        for number, topic in self.topics.items():
            kind = topic.channel.message_encoding if topic.schema is None else topic.schema.name
            rows.append((topic.channel.topic, kind, _fields(topic, first.get(number))))
        return sorted(rows)

    def samples(self, takes: Sequence[Take]) -> Iterator[BagSample]:
        """What is taken out of each message, in the order of the file.

        Raises RecordingError: a topic that fits a `take` is of another encoding.
        StreamError: two of them would be one data channel of a topic.
        """
        wanted = self._wanted(takes)
        for chunk in self.chunks:
            for number, message in self._messages_in(chunk):
                for take in wanted.get(number, ()):
                    sample = self._taken(self.topics[number], take, message)
                    if sample is None:
                        self.unreadable += 1
                    else:
                        yield sample

    def _wanted(self, takes: Sequence[Take]) -> dict[int, list[Take]]:
        wanted: dict[int, list[Take]] = {}
        for take in takes:
            fitting = [n for n, topic in self.topics.items() if take.fits(topic.channel.topic)]
            for number in fitting:
                if refused := self.topics[number].refused:
                    raise RecordingError(f"{self.scan.path}: {refused}")
                own = wanted.setdefault(number, [])
                topic = self.topics[number].channel.topic
                name = take.channel(topic)
                if any(other.channel(topic) == name for other in own):
                    raise StreamError(
                        f"The data channel {name} is asked for twice, of {topic}. Take each field "
                        "once, under a name of its own."
                    )
                own.append(take)
        return wanted

    def _walk(self) -> None:
        if not self.scan.has_magic():
            raise RecordingError(f"{self.scan.path} is no MCAP file. Name a bag in MCAP.")
        for item in self.scan.walk():
            if isinstance(item, Definition):
                self.table.add(item.record, item.offset)
            elif isinstance(item, ChunkPlace):
                self.chunks.append(item)
            elif isinstance(item, Damage):
                self.damaged_bytes += item.length
        self.table.resolve(damaged=False)
        # It knows a schema by its number, which those of several files may share.
        factories: defaultdict[int, Any] = defaultdict(DecoderFactory)
        for one in self.table.foreign:
            topic = _Topic(one.channel, one.schema)
            topic.decode, topic.refused = _decoder(factories[id(one.schema)], topic)
            self.topics[one.number] = topic

    def _messages_in(self, chunk: ChunkPlace) -> Iterator[tuple[int, Message]]:
        """Messages, each with the number of its topic."""
        try:
            for record in self.scan.records(chunk):
                if isinstance(record, Message):
                    owner = self.table.owner(record.channel_id, chunk.offset)
                    if isinstance(owner, Foreign):
                        yield owner.number, record
        except RecordingError:
            self.damaged_bytes += chunk.length

    def _taken(self, topic: _Topic, take: Take, message: Message) -> BagSample | None:
        assert topic.decode is not None
        if message.data.startswith(_ZSTD) and topic.channel.message_encoding == "cdr":
            raise RecordingError(
                f"{self.scan.path}: the messages of {topic.channel.topic} are compressed one by "
                "one, as rosbag2's compression mode `message` does. Write the bag anew without it "
                "with `ros2 bag convert`."
            )
        own = partial(BagSample, take, topic.channel.topic, message.log_time)
        try:
            decoded = topic.decode(message.data)
            found = _at(decoded, take.field)
            if isinstance(found, str):
                return own(None, (), found)
            paths: list[str] = []
            values = list(_numbers(found, "", paths))
            names = _names_of(decoded, take.field, paths)
        except Exception:  # a decoder fails in its own ways on a message that is not what it says
            return None
        if not 0 < len(values) <= _MOST_VALUES:
            return None
        return own(values, names if any(names) else ())


def _decoder(factory: Any, topic: _Topic) -> tuple[Decode | None, str]:
    """What decodes the messages of a topic, or why nothing does."""
    encoding, name = topic.channel.message_encoding, topic.channel.topic
    if encoding == "json":
        return json.loads, ""
    schema = topic.schema
    if schema is not None:
        schema = replace(schema, data=_CHAR.sub(b"uint8", schema.data))
    try:
        decode = factory.decoder_for(encoding, schema)
    except Exception as error:  # it parses a text of others
        return None, f"the schema of {name} cannot be parsed: {error}."
    if decode is None:
        told = "no schema" if schema is None else f"a schema in {schema.encoding!r}"
        return None, (
            f"the messages of {name} are in {encoding!r} with {told}; read are cdr with ros2msg "
            "(ROS 2) and json."
        )
    return decode, ""


def _fields(topic: _Topic, message: Message | None) -> str:
    """The fields of a message: `position [7], header.stamp.sec`."""
    if topic.decode is None or message is None:
        return topic.refused or "no message"
    try:
        names: list[str] = []
        _ = list(_numbers(topic.decode(message.data), "", names))
    except Exception as error:  # as in `_taken`
        return f"its first message cannot be decoded: {error}"
    counted = Counter(re.sub(r"(\.\d+)+$", "", name) for name in names)
    shown = [name if count == 1 else f"{name} [{count}]" for name, count in counted.items()]
    return ", ".join(shown[:_MOST_SHOWN]) or "texts alone"


def _at(message: Any, path: str) -> Any:
    """What lies at a path of fields, or of places in a list."""
    for part in filter(None, path.split(".")):
        if isinstance(message, dict):
            message = message[part]
        elif isinstance(message, (list, tuple)) or (part.isdigit() and not _is_message(message)):
            message = message[int(part)]
        else:
            message = getattr(message, part)
    return message


def _numbers(value: Any, path: str, names: list[str], depth: int = 0) -> Iterator[float]:
    """The numbers in a value, one after another, without texts; `names` is given what each is."""
    if depth > _DEEPEST:
        raise ValueError("too deep")
    if isinstance(value, (bool, int, float)):
        names.append(path)
        yield float(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{path}.{key}".strip("."), names, depth + 1)
    elif isinstance(value, str) or value is None:
        return
    elif _is_message(value):
        for key in value.__slots__:
            yield from _numbers(getattr(value, key), f"{path}.{key}".strip("."), names, depth + 1)
    else:
        for place, inner in enumerate(value):
            yield from _numbers(inner, f"{path}.{place}".strip("."), names, depth + 1)


def _is_message(value: Any) -> bool:
    return hasattr(value, "__slots__") and not isinstance(value, (list, tuple, bytes, memoryview))


def _names_of(message: Any, path: str, paths: Sequence[str]) -> tuple[str, ...]:
    """What numbers at `path` are called, which lie at `paths` in it.

    The places of a list are called as the message itself does, as sensor_msgs/JointState: `name`.
    """
    own = message.get("name") if isinstance(message, dict) else getattr(message, "name", None)
    names: Sequence[Any] = own if isinstance(own, (list, tuple)) else ()
    if not names or "." in path or not all(isinstance(name, str) for name in names):
        return tuple(paths)
    if path:
        return tuple(names) if len(names) == len(paths) else tuple(paths)
    lists = Counter(found[1] for found in map(_IN_LIST.fullmatch, paths) if found)
    called = []
    for one in paths:
        found = _IN_LIST.fullmatch(one)
        named = found is not None and lists[found[1]] == len(names)
        called.append(f"{found[1]}.{names[int(found[2])]}" if found and named else one)
    return tuple(called)
