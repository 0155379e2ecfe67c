"""What the robot did and was, from a bag that was recorded beside, into a recording of cameras."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vidtok_edge.errors import RecordingError, StreamError, UsageError
from vidtok_edge.runtime.files import require_recording_name, write_beside
from vidtok_edge.runtime.joining.bag_files import BagFiles, bag_files
from vidtok_edge.runtime.joining.bags import BagSample, Take
from vidtok_edge.runtime.progress import Progress, no_progress
from vidtok_edge.runtime.recording.format.data_channels import (
    SCHEMAS,
    DataChannel,
    bytes_from_sample,
)
from vidtok_edge.runtime.recording.format.mcap_file import Foreign, McapFile
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.recovery import copy_entry, copy_others, require_other_file
from vidtok_edge.runtime.streaming.records import LatentRecord, Sample

__all__ = ["Joined", "JoinedChannel", "Offset", "join"]

Offset = float | Literal["start"]
"""Seconds that are added to the bag's times; `start`: so many that both begin together."""
_CHUNK_NS = 1_000_000_000
_CLOCK_SET_NS = 50_000_000  # less is of two clocks that are read one after the other


@dataclass(slots=True)
class JoinedChannel:
    """A data channel that a bag gave."""

    facts: DataChannel
    topic: str
    samples: int = 0
    not_finite: int = 0
    first_ns: int = 0
    last_ns: int = 0
    """Of the bag's clock."""
    late: int = 0
    """Samples whose time lies before that of the one before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What `join` did."""

    channels: tuple[JoinedChannel, ...]
    offset_s: float
    """Added to the bag's times."""
    common_s: float
    """That cameras and bag have in common."""
    cameras_s: float
    unreadable: int
    """Messages of the bag that could not be decoded, or lack the field."""
    damaged_bytes: int
    """Of the bag."""
    clock_set_s: float = 0.0
    """How far the cameras' wall clock was set while they were recorded; 0: it was not."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Attachments and metadata records of the recording that are damaged or too large to copy."""
    recording_damaged_bytes: int = 0
    """Of the recording, which are in the new one no more."""


def join(
    path: str | os.PathLike[str],
    bag_path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None,
    takes: Sequence[Take],
    *,
    offset: Offset = 0.0,
    force: bool = False,
    progress: Progress = no_progress,
) -> Joined:
    """Write a recording anew, whole, with data channels from a bag.

    The bag's log times count as wall clock time, as those of the recording do; `offset` is added.

    Args:
        bag_path: a file, a folder that rosbag2 wrote, or the files of one bag.
        output: the new recording; None: nothing is written, and what would be is returned.
        takes: at least one.
        progress: called with seconds done and in all.

    Raises:
        RecordingError: a file cannot be read or is missing; a topic or a field is not there, or
            of an encoding that is not read; the number of values changes; nothing in common in
            time.
        StreamError: a name that is none, is taken, or is asked for twice.
        UsageError: no takes; a file of the bag twice; `output` is one of the files, or
            named for another format.
        OutputExists, OutputNotWritable, RecordingBusy: about `output`.
    """
    if not takes:
        raise UsageError("Nothing is taken out of the bag. Name a topic: TOPIC[:FIELD][=NAME].")
    files = bag_files(bag_path)
    if output is not None:
        require_recording_name(output)
        require_other_file(output, path, *files)
    with Recording.open(path, use_index=False) as recording, BagFiles.open(files) as bag:
        names = {source.recording for source in recording.sources.values()}
        own = names.pop() if len(names) == 1 else ""  # else it is of none of those merged
        channels = _channels(bag, takes, Path(bag.name).name, own)
        for name in channels:
            if name in recording.data_channels:
                raise StreamError(
                    f"{path} has a data channel {name} already. Give it another name: "
                    f"{channels[name].topic}...=NAME."
                )
        offset_ns, common_ns = _times(recording, channels, offset)
        damaged, unreadable = bag.damaged_bytes, bag.unreadable
        if output is not None:
            _write(recording, bag, takes, channels, offset_ns, output, force, progress)
        return Joined(
            channels=tuple(channels.values()),
            offset_s=offset_ns / 1e9,
            common_s=common_ns / 1e9,
            cameras_s=(recording.end_ns - recording.start_ns) / 1e9,
            unreadable=unreadable,
            damaged_bytes=damaged,
            clock_set_s=_clock_set_ns(recording) / 1e9,
            left_out=recording.left_out,
            recording_damaged_bytes=sum(one.length for one in recording.damage),
        )


def _channels(
    bag: BagFiles, takes: Sequence[Take], origin: str, recording: str
) -> dict[str, JoinedChannel]:
    """The data channels that a bag gives to a recording, from one reading of it."""
    found: dict[str, JoinedChannel] = {}
    for sample in bag.samples(takes):
        name = sample.channel
        channel = found.get(name)
        if channel is None:
            facts = DataChannel.of(
                _sample(sample, 0, 0),
                fields=sample.fields,
                origin=f"{origin}:{sample.topic}",
                recording=recording,
            )
            channel = found[name] = JoinedChannel(facts, sample.topic, first_ns=sample.time_ns)
            channel.last_ns = sample.time_ns
        elif channel.topic != sample.topic:
            raise StreamError(
                f"{channel.topic} and {sample.topic} would both be the data channel {name}. "
                "Take them under two names."
            )
        try:
            channel.facts.check(_sample(sample, 0, 0))
            _in_order(sample, channel.facts)
        except StreamError as error:
            at_s = (sample.time_ns - channel.first_ns) / 1e9
            raise RecordingError(f"{bag.name}, {at_s:.3f} s after the first: {error}") from None
        channel.samples += 1
        channel.late += sample.time_ns < channel.last_ns
        channel.first_ns = min(channel.first_ns, sample.time_ns)
        channel.last_ns = max(channel.last_ns, sample.time_ns)
        if sample.values is not None:
            channel.not_finite += not np.isfinite(sample.values).all()
    for take in takes:
        if not any(take.fits(one.topic) for one in found.values()):
            raise RecordingError(
                f"{bag.name} has no message of {take.topic} with {_wanted(take)}: "
                f"{bag.unreadable} could not be taken. Look at the fields of the topic."
            )
    return found


def _in_order(sample: BagSample, facts: DataChannel) -> BagSample:
    """A sample whose values come in the order of the first one's, by what they are called.

    Raises StreamError: they are called otherwise.
    """
    if sample.values is None or sample.fields == facts.fields:
        return sample
    places = {name: place for place, name in enumerate(sample.fields)}
    if places.keys() != {*facts.fields} or len(places) != facts.size:
        raise StreamError(
            f"The values of {facts.name} are called {_names(facts.fields)}, and then "
            f"{_names(sample.fields)}: they are of different things. Take a field that every "
            "message has, or record the topics apart."
        )
    values = [sample.values[places[name]] for name in facts.fields]
    return replace(sample, values=values, fields=facts.fields)


def _names(fields: Sequence[str]) -> str:
    return f"{', '.join(fields) or 'nothing':.200}"


def _wanted(take: Take) -> str:
    if take.field:
        return f"a number or a text at {take.field!r}"
    return f"a number, and a text is taken where its field is named, as {take.topic}:data"


def _times(
    recording: Recording, channels: Mapping[str, JoinedChannel], offset: Offset
) -> tuple[int, int]:
    """The offset, and how long cameras and bag have in common. Raises RecordingError: nothing."""
    first = min(channel.first_ns for channel in channels.values())
    last = max(channel.last_ns for channel in channels.values())
    begin, end = recording.start_ns, recording.end_ns
    offset_ns = begin - first if offset == "start" else round(float(offset) * 1e9)
    common_ns = min(last + offset_ns, end) - max(first + offset_ns, begin)
    if common_ns < 0:
        raise RecordingError(
            f"The cameras and the bag have no time in common: {_shown(begin)} to {_shown(end)}, "
            f"and {_shown(first + offset_ns)} to {_shown(last + offset_ns)}. State the seconds to "
            "add to the bag's times with --offset, or put both beginnings together with "
            "--offset start."
        )
    return offset_ns, common_ns


def _clock_set_ns(recording: Recording) -> int:
    """The farthest that the wall clock went from the recording's, which never jumps."""
    first_ns: int | None = None
    farthest_ns = 0
    for entry in recording.entries(values=False):
        away_ns = entry.wall_time_ns - entry.log_time_ns
        first_ns = away_ns if first_ns is None else first_ns
        farthest_ns = max(farthest_ns, away_ns - first_ns, key=abs)
    return farthest_ns if abs(farthest_ns) > _CLOCK_SET_NS else 0


def _shown(time_ns: int) -> str:
    return f"{time_ns / 1e9:.3f} s"


def _write(
    recording: Recording,
    bag: BagFiles,
    takes: Sequence[Take],
    channels: Mapping[str, JoinedChannel],
    offset_ns: int,
    output: str | os.PathLike[str],
    force: bool,
    progress: Progress,
) -> None:
    count = max(len(recording.sources), max(recording.sources) + 1)
    sources = [replace(facts, count=count) for facts in recording.sources.values()]
    to_monotonic_ns = _monotonic_zero(recording)
    total = (recording.end_ns - recording.start_ns) // _CHUNK_NS
    with write_beside(output, force) as temporary, temporary.open("wb") as file:
        mcap, flushed_ns = McapFile(file, sources), recording.start_ns
        copy_others(mcap, recording)
        for channel in channels.values():
            facts = channel.facts
            mcap.open_data(facts.name, facts.topic, SCHEMAS[facts.kind], facts.to_map())
        for at_ns, item in heapq.merge(
            _entries(recording), _samples(bag, takes, offset_ns), key=lambda pair: pair[0]
        ):
            if isinstance(item, BagSample):
                item = _in_order(item, channels[item.channel].facts)
                sample = _sample(item, at_ns - to_monotonic_ns, at_ns)
                data = bytes_from_sample(sample)
                mcap.add_data(sample.channel, data, log_time_ns=at_ns, wall_time_ns=at_ns)
            else:
                message, entry = item
                if isinstance(entry, Foreign):
                    mcap.add_foreign(entry, message)
                else:
                    copy_entry(mcap, message, entry)
            if not 0 <= at_ns - flushed_ns < _CHUNK_NS:
                flushed_ns = at_ns
                mcap.flush()
                progress(max(0, flushed_ns - recording.start_ns) // _CHUNK_NS, total)
        mcap.finish()


def _entries(recording: Recording) -> Iterator[tuple[int, Any]]:
    for message, entry in recording.everything():
        yield message.log_time, (message, entry)


def _samples(bag: BagFiles, takes: Sequence[Take], offset_ns: int) -> Iterator[tuple[int, Any]]:
    for sample in bag.samples(takes):
        yield max(0, sample.time_ns + offset_ns), sample


def _sample(found: BagSample, time_ns: int, wall_time_ns: int) -> Sample:
    values = None if found.values is None else np.array(found.values, np.float64)
    return Sample(
        channel=found.channel,
        time_ns=time_ns,
        wall_time_ns=wall_time_ns,
        values=values,
        text=found.text,
    )


def _monotonic_zero(recording: Recording) -> int:
    """The recording's time when its monotonic clock was 0."""
    for entry in recording.entries(values=False):
        at_ns = entry.capture_time_ns if isinstance(entry, LatentRecord) else entry.time_ns
        return entry.log_time_ns - at_ns
    raise RecordingError(f"{recording.path} holds no latent and no marker that can be read.")
