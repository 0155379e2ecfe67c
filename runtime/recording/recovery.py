"""A recording that was cut off or damaged, made whole again as far as it can be."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from mcap.records import Message

from vidtok_edge.errors import RecordingError
from vidtok_edge.runtime.files import require_not_read, require_recording_name, write_beside
from vidtok_edge.runtime.progress import Progress, no_progress
from vidtok_edge.runtime.recording.format.data_channels import DataChannel
from vidtok_edge.runtime.recording.format.growing_file import require_unlocked
from vidtok_edge.runtime.recording.format.mcap_file import Foreign, McapFile
from vidtok_edge.runtime.recording.format.messages import bytes_from_marker
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, Record

__all__ = [
    "Gap",
    "Recovered",
    "RecoveredChannel",
    "RecoveredSource",
    "copy_entry",
    "copy_others",
    "recover",
    "require_other_file",
]

_CHUNK_NS = 1_000_000_000  # so that the new file can be searched by the second
_MOST_GAPS = 1000  # listed; all are counted


@dataclass(frozen=True, slots=True)
class Gap:
    """Latents that are missing between two that are there."""

    after_s: float
    """Since the recording began."""
    seconds: float
    latents: int


@dataclass(slots=True, kw_only=True)
class RecoveredSource:
    """What is left of a source."""

    number: int
    name: str
    latents: int = 0
    lost_latents: int = 0
    """As far as known: what came after the last one that is left is not counted."""
    lost_markers: int = 0
    gaps: list[Gap] = field(default_factory=list)
    ended: bool = False
    """Its end was found; else what came last may be missing."""


@dataclass(frozen=True, slots=True)
class RecoveredChannel:
    """What is left of a data channel."""

    name: str
    samples: int
    lost: int
    """As far as known: what came after the last one that is left is not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What `recover` found. True when nothing was lost."""

    sources: tuple[RecoveredSource, ...]
    seconds: float
    """From the first entry that is left to the last."""
    damaged_bytes: int
    unreadable: int
    """Messages that made no sense."""
    flush_interval_s: float
    repaired: bool
    """The file had to be read through: its index was missing or damaged."""
    growing: bool = False
    """It is still being recorded to: what comes after is not lost."""
    channels: tuple[RecoveredChannel, ...] = ()
    """Data channels, which were copied too."""
    foreign: Mapping[str, int] = field(default_factory=dict)
    """Messages of channels that are not ours, by topic; they were copied as they are."""
    copied: int = 0
    """Attachments and metadata records of others, which were copied as they are."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """What of these was not copied, as it is damaged or too large: how many."""

    def __bool__(self) -> bool:
        lost = any(s.lost_latents or s.lost_markers or not s.ended for s in self.sources)
        lost |= any(channel.lost for channel in self.channels)
        return not lost and not self.unreadable

    def lines(self) -> list[str]:
        """As text: one line about the whole, one for each source, one for each of its gaps."""
        kept = sum(source.latents for source in self.sources)
        lines = [f"{kept} latents, {self.seconds:.1f} s, {self.damaged_bytes} bytes damaged"]
        if self.unreadable:
            lines.append(f"{self.unreadable} messages made no sense and were left out")
        if self.foreign:
            count, topics = sum(self.foreign.values()), ", ".join(sorted(self.foreign))
            lines.append(f"{count} messages of other channels were copied as they are: {topics}")
        if self.copied:
            lines.append(f"{self.copied} attachments and metadata records of others were copied")
        for what, count in self.left_out.items():
            lines.append(f"{count} {what} were not copied: damaged, or too large")
        if self.growing:
            lines.append("it is still being recorded to: this is what was in it by now")
        if self and self.repaired:
            lines.append("nothing was lost; the index was written again")
        for source in self.sources:
            state = f"{source.latents} latents, {source.lost_latents} known to be lost"
            if source.lost_markers:
                state += f", {source.lost_markers} markers lost"
            if not source.ended and self.growing:
                state += "; it goes on"
            elif not source.ended:
                state += (
                    f"; its end is missing: cut off, with up to {self.flush_interval_s:g} s that "
                    "were not on disk yet"
                )
            lines.append(f"source {source.number} ({source.name}): {state}")
            lines += [
                f"  at {gap.after_s:.1f} s: {gap.seconds:.1f} s, {gap.latents} latents"
                for gap in source.gaps
            ]
        lines += [
            f"channel {one.name}: {one.samples} samples, {one.lost} known to be lost"
            for one in self.channels
        ]
        return lines


@dataclass(slots=True)
class _Run:
    """Consecutive messages of a channel that are there."""

    first: int
    end: int
    """Number of the next one."""
    start_ns: int
    end_ns: int


@dataclass(slots=True)
class _Channel:
    """Which messages of a channel are there, from the numbers that they carry."""

    _found: list[_Run] = field(default_factory=list)
    """As they came."""
    claimed: int = 0
    """How many there are at least, as markers say."""
    claimed_ns: int = 0

    @property
    def end(self) -> int:
        """Number of the next message."""
        return max((run.end for run in self._found), default=0)

    def add(self, number: int, now_ns: int) -> None:
        last = self._found[-1] if self._found else None
        if last is not None and number == last.end:
            last.end, last.end_ns = number + 1, now_ns
        else:
            self._found.append(_Run(number, number + 1, now_ns, now_ns))

    def claim(self, count: int, now_ns: int) -> None:
        """A marker says that so many lie before it."""
        if count > self.claimed:
            self.claimed, self.claimed_ns = count, now_ns

    def gaps(self, start_ns: int) -> Iterator[Gap]:
        """Where messages are missing, of a recording that begins at `start_ns`.

        None where numbers repeat: tools that number nothing write 0.
        """
        runs = sorted(self._found, key=lambda run: run.first)
        if any(then.first < run.end for run, then in pairwise(runs)):
            return
        here, here_ns = 0, start_ns
        behind = [(run.first, run.start_ns, run.end, run.end_ns) for run in runs]
        for first, first_ns, end, end_ns in [*behind, (self.claimed, self.claimed_ns, 0, 0)]:
            if first > here:
                seconds = max(0, first_ns - here_ns) / 1e9
                yield Gap((here_ns - start_ns) / 1e9, seconds, first - here)
            here, here_ns = max(here, end), end_ns


class _Tally:
    """Counts what is there and what is missing."""

    def __init__(self, recording: Recording) -> None:
        self.start_ns: int | None = None
        self.end_ns = 0
        self.sources = {
            n: RecoveredSource(number=n, name=s.name) for n, s in recording.sources.items()
        }
        self.last: dict[int, Record] = {}
        self.latents = {number: _Channel() for number in self.sources}
        self.markers = {number: _Channel() for number in self.sources}
        self.samples: dict[str, _Channel] = {}
        self.counts: Counter[str] = Counter()

    def add(self, message: Message, entry: Record) -> None:
        now = message.log_time
        kind = self.latents if isinstance(entry, LatentRecord) else self.markers
        kind[entry.source].add(message.sequence, now)
        self.start_ns = now if self.start_ns is None else min(self.start_ns, now)
        self.end_ns = max(self.end_ns, now)
        self.last[entry.source] = entry
        source = self.sources[entry.source]
        if isinstance(entry, Marker):
            self.latents[entry.source].claim(entry.latents, now)
            source.ended |= entry.kind == "end"
        else:
            source.latents += 1

    def add_sample(self, channel: DataChannel, message: Message) -> None:
        self.samples.setdefault(channel.name, _Channel()).add(message.sequence, message.log_time)
        self.counts[channel.name] += 1

    def channels(self) -> tuple[RecoveredChannel, ...]:
        """What is left of the data channels."""
        return tuple(
            RecoveredChannel(name, self.counts[name], sum(gap.latents for gap in one.gaps(0)))
            for name, one in self.samples.items()
        )

    def count_missing(self) -> None:
        """Fill in what each source lacks, when everything was added."""
        for number, source in self.sources.items():
            gaps = list(self.latents[number].gaps(self.start_ns or 0))
            source.lost_latents = sum(gap.latents for gap in gaps)
            source.gaps = gaps[:_MOST_GAPS]
            source.lost_markers = sum(gap.latents for gap in self.markers[number].gaps(0))


def recover(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Progress = no_progress,
) -> Recovered:
    """Copy every sound entry of a recording to a new, finished file, and say what is missing.

    Messages of channels that are not ours are copied as they are, and so are attachments and
    metadata of others. Sources of recordings that were
    merged are numbered anew where their numbers are the same.
    A source whose end is missing gets one, so that recovering the new file finds nothing new.
    A chunk that lies in the file twice is copied once. `progress` is called with seconds done and
    in all.

    Raises:
        RecordingError: nothing can be read; then nothing is written.
        UsageError: `output` is the recording itself, or named for another format.
        RecordingBusy: `output` is being recorded to.
        OutputExists, OutputNotWritable: about `output`.
    """
    require_recording_name(output)
    require_other_file(output, path)
    with (
        Recording.open(path, use_index=False) as recording,
        Recording.open(path) as as_found,
        write_beside(output, force) as temporary,
        temporary.open("wb") as file,
    ):
        count = max(len(recording.sources), max(recording.sources) + 1)
        sources = [replace(facts, count=count) for facts in recording.sources.values()]
        mcap = McapFile(file, sources)
        copied = copy_others(mcap, recording)
        tally = _Tally(recording)
        foreign: Counter[str] = Counter()
        flushed_ns = recording.start_ns
        total = (recording.end_ns - recording.start_ns) // _CHUNK_NS
        for message, entry in recording.everything():
            if isinstance(entry, Foreign):
                if (channel := recording.data_of(entry)) is not None:
                    tally.add_sample(channel, message)
                else:
                    foreign[entry.channel.topic] += 1
                mcap.add_foreign(entry, message)
            else:
                tally.add(message, entry)
                copy_entry(mcap, message, entry)
            if not 0 <= message.log_time - flushed_ns < _CHUNK_NS:
                flushed_ns = message.log_time
                mcap.flush()
                progress((flushed_ns - recording.start_ns) // _CHUNK_NS, total)
        if tally.start_ns is None:
            raise RecordingError(f"{path} holds no latent and no marker that can be read.")
        tally.count_missing()
        _end_open_sources(mcap, tally, recording.growing)
        mcap.finish()
        return Recovered(
            sources=tuple(tally.sources.values()),
            seconds=(tally.end_ns - tally.start_ns) / 1e9,
            damaged_bytes=sum(damage.length for damage in recording.damage),
            unreadable=recording.unreadable,
            flush_interval_s=max(source.flush_interval_s for source in sources),
            repaired=not as_found.indexed,
            growing=recording.growing,
            channels=tally.channels(),
            foreign=foreign,
            copied=copied,
            left_out=recording.left_out,
        )


def copy_entry(mcap: McapFile, message: Message, entry: Record) -> None:
    """Add a message of a camera to another file, with its number and times."""
    log_time_ns, wall_time_ns = message.log_time, message.publish_time
    number = message.sequence
    if isinstance(entry, LatentRecord):  # written anew: in a layout of before, or of another chunk
        mcap.add_latent(entry, log_time_ns=log_time_ns, wall_time_ns=wall_time_ns, sequence=number)
        return
    mcap.add(
        entry.source,
        "markers",
        message.data,
        log_time_ns=log_time_ns,
        wall_time_ns=wall_time_ns,
        sequence=number,
    )


def copy_others(mcap: McapFile, recording: Recording) -> int:
    """Add what is no message to another file: how many. What is not is in `left_out`."""
    count = 0
    for record in recording.others():
        mcap.add_other(record)
        count += 1
    return count


def require_other_file(output: str | os.PathLike[str], *inputs: str | os.PathLike[str]) -> None:
    """Raise UsageError where `output` is one of `inputs`, RecordingBusy where it is recorded to."""
    require_not_read(output, *inputs)
    require_unlocked(output)


def _end_open_sources(mcap: McapFile, tally: _Tally, growing: bool) -> None:
    newest = max(tally.last.values(), key=lambda entry: entry.log_time_ns)
    for number, source in tally.sources.items():
        if source.ended:
            continue
        last = tally.last.get(number)
        stream, index = (0, 0) if last is None else (last.stream, last.index)
        index += isinstance(last, LatentRecord)
        at = newest if last is None else last
        at_ns = at.capture_time_ns if isinstance(at, LatentRecord) else at.time_ns
        latents = max(tally.latents[number].end, tally.latents[number].claimed)
        end = Marker(
            source=number,
            kind="end",
            stream=stream,
            index=index,
            detail=f"{'still being recorded' if growing else 'cut off'}; found by recover",
            time_ns=at_ns,
            wall_time_ns=at.wall_time_ns,
            latents=latents,
        )
        mcap.add(
            number,
            "markers",
            bytes_from_marker(end),
            log_time_ns=at.log_time_ns,
            wall_time_ns=at.wall_time_ns,
            sequence=tally.markers[number].end,
        )
