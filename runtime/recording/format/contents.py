"""What a recording holds, and where: as its index says, or what a scan of the whole file finds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from vidtok_edge.errors import MissingDependency, RecordingError
from vidtok_edge.runtime.recording.format.channels import ChannelTable
from vidtok_edge.runtime.recording.format.mcap_file import DATA_METADATA, SourceFacts
from vidtok_edge.runtime.recording.format.places import ChunkPlace, Damage, Definition, Other
from vidtok_edge.runtime.recording.format.scan import Scan

try:
    from mcap.records import Channel, ChunkIndex, McapRecord, Metadata, Schema, Statistics
except ImportError:
    raise MissingDependency("mcap", "record", "A recording") from None

__all__ = ["Contents", "contents_of"]

_MOST_OTHERS = 1 << 12  # that are kept track of


@dataclass(slots=True, kw_only=True)
class Contents:
    """The sources, channels and chunks of a recording; `Recording` says more of each."""

    indexed: bool
    channels: ChannelTable = field(default_factory=ChannelTable)
    sources: dict[int, SourceFacts] = field(default_factory=dict)
    """By number."""
    chunks: list[ChunkPlace] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def take_facts(self, record: Metadata) -> None:
        """Take what a metadata record says of a source or a data channel."""
        if record.name == DATA_METADATA:
            self.channels.add_data(record.metadata)
            return
        try:
            self.channels.add_facts(SourceFacts.from_map(record.metadata))
        except RecordingError as error:
            self.channels.failure = error


def contents_of(scan: Scan, *, use_index: bool = True) -> Contents:
    """What lies in a file. `use_index` False: read it through even when it has an index.

    Raises RecordingError: there is nothing of a recording in it.
    """
    summary = scan.summary() if use_index else None
    found = None if summary is None else _from_index(scan, summary)
    if found is None:
        found = _from_all(scan)
    if not found.sources:
        raise found.channels.failure or RecordingError(_nothing_in(scan))
    return found


def _from_index(scan: Scan, summary: list[McapRecord]) -> Contents | None:
    """None: the index and the head of the file do not tell all that is needed."""
    found = Contents(indexed=True)
    for item in scan.walk():
        if not isinstance(item, Metadata):
            break
        found.take_facts(item)
    counted: Statistics | None = None
    for record in summary:
        if isinstance(record, Channel | Schema):
            found.channels.add(record, 0)
        elif isinstance(record, Statistics):
            counted = record
        elif isinstance(record, ChunkIndex):
            found.chunks.append(
                ChunkPlace(
                    record.chunk_start_offset,
                    record.chunk_length,
                    record.message_start_time,
                    record.message_end_time,
                )
            )
    found.sources = found.channels.resolve(damaged=False)
    return found if counted is not None and _tells_all(found, counted) else None


def _tells_all(found: Contents, counted: Statistics) -> bool:
    """Whether an index lists every source, channel and chunk, and each chunk once."""
    ends = sorted((chunk.offset, chunk.offset + chunk.length) for chunk in found.chunks)
    apart = all(end <= then for (_, end), (then, _) in pairwise(ends))
    most = max((facts.count for facts in found.sources.values()), default=1)
    told = len(found.sources) >= most and not found.channels.failure
    return (
        not found.channels.unresolved
        and told
        and apart  # a chunk that is listed often would be read as often
        and counted.chunk_count == len(found.chunks)
        and bool(found.chunks or not counted.message_count)  # else they lie outside of chunks
        and found.channels.defines(counted.channel_message_counts)
    )


def _from_all(scan: Scan) -> Contents:
    """What is found where the whole file is read."""
    found = Contents(indexed=False)
    for item in scan.walk():
        if isinstance(item, Metadata):
            found.take_facts(item)
        elif isinstance(item, Definition):
            found.channels.add(item.record, item.offset)
        elif isinstance(item, Other) and len(found.others) < _MOST_OTHERS:
            found.others.append(item)
        elif isinstance(item, Other):
            found.left_out[item.what] += 1
        elif isinstance(item, ChunkPlace):
            found.chunks.append(item)
        else:
            found.damage.append(item)
    found.sources = found.channels.resolve(damaged=bool(found.damage))
    return found


def _nothing_in(scan: Scan) -> str:
    if scan.size == 0:
        return f"{scan.path} is empty. Nothing can be recovered from it."
    if not scan.has_magic() and scan.path.name.endswith(".index.json"):
        return (
            f"{scan.path} is the list of a recording in parts, which `export-recording` takes as a "
            "whole. Name one of the parts in it."
        )
    if not scan.has_magic():
        return f"{scan.path} is not a recording (MCAP) of vidtok-edge. Name another file."
    return (
        f"{scan.path} holds nothing of vidtok-edge that can be read: it was recorded by something "
        "else, or all of its chunks are damaged."
    )
