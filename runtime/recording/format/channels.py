"""Which source a channel is of.

A source is known by the facts in the metadata of its channels. The number of a channel says
nothing: tools that copy or merge recordings number channels anew, and two of them each have a
source 0.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from vidtok_edge.errors import MissingDependency, RecordingError
from vidtok_edge.runtime.recording.format.data_channels import SCHEMAS
from vidtok_edge.runtime.recording.format.mcap_file import (
    MAX_SOURCES,
    ChannelKind,
    Foreign,
    SourceFacts,
    channel_of,
    kind_of,
    source_of,
)

try:
    from mcap.records import Channel, Schema
except ImportError:
    raise MissingDependency("mcap", "record", "A recording") from None

__all__ = ["ChannelTable"]

_MAX_CHANNELS = 1 << 12
_MAX_EPOCHS = 1 << 10
_MAX_RECORDS = 1 << 16  # of all epochs
_MAX_SCHEMA_BYTES = 8 << 20  # in all
_KINDS: tuple[ChannelKind, ...] = ("latents", "markers")


class _Key(NamedTuple):
    """What a source is known by."""

    facts: SourceFacts
    rank: int
    """Of channels whose metadata are the same: recordings of one camera, merged."""


@dataclass(slots=True)
class _Epoch:
    """What the channels are from a place in the file on."""

    offset: int
    records: dict[tuple[type, int], Channel | Schema] = field(default_factory=dict)
    owners: dict[int, tuple[int, ChannelKind] | Foreign] = field(default_factory=dict)

    @property
    def channels(self) -> dict[int, Channel]:
        return {r.id: r for r in self.records.values() if isinstance(r, Channel)}

    def schema_of(self, channel: Channel) -> Schema | None:
        schema = self.records.get((Schema, channel.schema_id))
        return schema if isinstance(schema, Schema) else None


class ChannelTable:
    """Takes what a file says of its channels, and tells the source of each.

    A channel that is defined anew with other contents begins an epoch: files that were put one
    behind another number their channels alike.
    """

    def __init__(self) -> None:
        self.failure: RecordingError | None = None
        """Of the last channel whose facts could not be read."""
        self.unresolved = 0
        """Channels named like ours of which nothing says whose they are."""
        self._facts: dict[SourceFacts, None] = {}
        self._named: dict[int, list[SourceFacts]] = {}
        self._told: dict[int, SourceFacts | None] = {}  # by the identity of a channel's record
        self._epochs = [_Epoch(0)]
        self._full = False
        self._records = 0
        self._schema_bytes = 0
        self._foreign: dict[tuple[int, int], Foreign] = {}  # by the identity of its records
        self._data: dict[int, Mapping[str, str]] = {}

    @property
    def has_foreign(self) -> bool:
        """Whether any channel is not ours."""
        return bool(self._foreign)

    @property
    def foreign(self) -> tuple[Foreign, ...]:
        """The channels that are no camera's."""
        return tuple(self._foreign.values())

    def add_facts(self, facts: SourceFacts) -> None:
        """A metadata record of a source."""
        if len(self._facts) < _MAX_CHANNELS and facts not in self._facts:
            self._facts[facts] = None
            self._named.setdefault(facts.number, []).append(facts)

    def add_data(self, facts: Mapping[str, str]) -> None:
        """A metadata record of a data channel."""
        number = facts.get("channel", "")
        if number.isdecimal() and len(number) < 6 and len(self._data) < _MAX_CHANNELS:
            self._data[int(number)] = facts

    def add(self, record: Channel | Schema, offset: int) -> None:
        """A channel or schema that holds for messages from `offset` on."""
        key, epoch = (type(record), record.id), self._epochs[-1]
        if self._full or epoch.records.get(key) == record:
            return
        self._schema_bytes += len(record.data) if isinstance(record, Schema) else 0
        too_large = isinstance(record, Schema) and self._schema_bytes > _MAX_SCHEMA_BYTES
        if key in epoch.records:
            self._records += len(epoch.records)
            if too_large or len(self._epochs) >= _MAX_EPOCHS or self._records > _MAX_RECORDS:
                self._full = True
                self._epochs.append(_Epoch(offset))
                return
            epoch = _Epoch(offset, dict(epoch.records))
            self._epochs.append(epoch)
        elif too_large or len(epoch.records) >= _MAX_CHANNELS:
            return
        epoch.records[key] = record

    def defines(self, channels: Iterable[int]) -> bool:
        """Whether all of these channels were given."""
        return all((Channel, number) in self._epochs[-1].records for number in channels)

    def resolve(self, damaged: bool) -> dict[int, SourceFacts]:
        """The sources by number; `owner` then knows their channels.

        A source keeps the number that it had, unless another has it already: then it gets the next
        one behind all. Where the file is damaged, sources that its facts count and do not name are
        called unknown. Raises RecordingError: more sources than a recording can have.
        """
        keys: dict[_Key, None] = {}
        owned: list[dict[int, tuple[_Key, ChannelKind]]] = []
        self.unresolved = 0
        for epoch in self._epochs:
            owned.append(self._keys_in(epoch))
            keys.update(dict.fromkeys(key for key, _ in owned[-1].values()))
        keys.update(dict.fromkeys(_Key(facts, 0) for facts in self._facts))
        numbers = _numbers(keys)
        sources = {number: replace(key.facts, number=number) for key, number in numbers.items()}
        known = {(numbers[key], kind) for channels in owned for key, kind in channels.values()}
        claims = Counter(key.facts.number for key in keys)
        lost = {key.facts.number: n for key, n in numbers.items() if claims[key.facts.number] == 1}
        if damaged and sources:
            some = next(iter(sources.values()))
            for number in range(max(facts.count for facts in sources.values())):
                if number not in sources:
                    sources[number] = replace(some, number=number, name="unknown")
                    lost.setdefault(number, number)
        if len(sources) > MAX_SOURCES:
            raise RecordingError(
                f"The recording has {len(sources)} sources; allowed: {MAX_SOURCES}. Merge fewer."
            )
        for epoch, channels in zip(self._epochs, owned, strict=True):
            self._own(epoch, {id_: (numbers[key], kind) for id_, (key, kind) in channels.items()})
            defined = epoch.channels
            for written, number in lost.items():  # channels whose records are lost
                for kind in _KINDS:
                    id_ = channel_of(written, kind)
                    if (number, kind) not in known and id_ not in defined:
                        epoch.owners[id_] = number, kind
        return dict(sorted(sources.items()))

    def owner(self, channel: int, offset: int) -> tuple[int, ChannelKind] | Foreign | None:
        """Whose a channel is at a place of the file: a source's, or foreign; None: nobody says."""
        at = bisect_right(self._epochs, offset, key=lambda epoch: epoch.offset) - 1
        return self._epochs[max(0, at)].owners.get(channel)

    def _keys_in(self, epoch: _Epoch) -> dict[int, tuple[_Key, ChannelKind]]:
        ranks: Counter[tuple[SourceFacts, ChannelKind]] = Counter()
        found = {}
        for number, channel in sorted(epoch.channels.items()):
            kind = kind_of(channel.topic)
            facts = None if kind is None else self._facts_of(channel, epoch)
            if kind is not None and facts is not None:
                # Those of one recording are of one camera, of which cuts were merged.
                found[number] = _Key(facts, 0 if facts.recording else ranks[facts, kind]), kind
                ranks[facts, kind] += 1
        return found

    def _facts_of(self, channel: Channel, epoch: _Epoch) -> SourceFacts | None:
        """From its metadata; else those of the one source that its topic names."""
        if id(channel) not in self._told:
            self._told[id(channel)] = self._facts_in(channel)
        if (told := self._told[id(channel)]) is not None:
            return told
        place = source_of(channel.topic)
        if place is None or not _may_be_ours(epoch.schema_of(channel)):
            return None
        named = self._named.get(place[0], [])
        if len(named) == 1:
            return named[0]
        self.unresolved += 1
        return None

    def _facts_in(self, channel: Channel) -> SourceFacts | None:
        if "source_number" not in channel.metadata:
            return None
        try:
            return SourceFacts.from_map(channel.metadata)
        except RecordingError as error:
            self.failure = error
            return None

    def _own(self, epoch: _Epoch, ours: dict[int, tuple[int, ChannelKind]]) -> None:
        epoch.owners = dict(ours)
        for id_, channel in epoch.channels.items():
            schema = epoch.schema_of(channel)
            named_like_ours = source_of(channel.topic) is not None and _may_be_ours(schema)
            if id_ not in ours and not named_like_ours:
                foreign = Foreign(len(self._foreign), channel, schema)
                epoch.owners[id_] = self._foreign.setdefault((id(channel), id(schema)), foreign)
        for id_, facts in self._data.items():  # channels whose records are lost
            if id_ not in epoch.channels and id_ not in epoch.owners:
                channel, schema = _data_records(id_, facts)
                foreign = Foreign(len(self._foreign), channel, schema)
                epoch.owners[id_] = self._foreign.setdefault((-id_, 0), foreign)


def _may_be_ours(schema: Schema | None) -> bool:
    """ROS has markers of its own, and a topic may be called like ours."""
    return schema is None or schema.name.startswith("vidtok_edge/")


def _data_records(number: int, facts: Mapping[str, str]) -> tuple[Channel, Schema | None]:
    """What a file would say of a data channel, from a metadata record about it."""
    name, text = next(
        (schema for kind, schema in SCHEMAS.items() if kind == facts.get("kind")), ("", b"")
    )
    topic = f"/{facts.get('data_channel', '')}"
    channel = Channel(number, topic, "cdr", dict(facts), 0)
    return channel, Schema(0, text, "ros2msg", name) if name else None


def _numbers(keys: Iterable[_Key]) -> dict[_Key, int]:
    """A number for each source: its own, or where that is taken the next one behind all."""
    numbers: dict[_Key, int] = {}
    taken: set[int] = set()
    later = []
    following = 0
    for key in keys:
        following = max(following, key.facts.count, key.facts.number + 1)
        if key.facts.number in taken:
            later.append(key)
        else:
            numbers[key] = key.facts.number
            taken.add(key.facts.number)
    return numbers | {key: number for number, key in enumerate(later, following)}
