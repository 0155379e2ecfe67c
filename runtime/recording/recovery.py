"""A recording that was cut off or damaged, made whole again as far as it can be."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from mcap.records import Message

from vidtok_edge.errors import RecordingError
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.recording.mcap_file import ChannelKind, McapFile
from vidtok_edge.runtime.recording.messages import Marker, RecordedLatent
from vidtok_edge.runtime.recording.reader import Entry, Recording

__all__ = ["Gap", "Recovered", "RecoveredSource", "recover"]

_CHUNK_NS = 1_000_000_000  # so that the new file can be searched by the second
_MOST_GAPS = 1000  # listed; all are counted


@dataclass(frozen=True, slots=True)
class Gap:
    """Latents that are missing between two that are there."""

    after_s: float
    """Since the recording began."""
    seconds: float
    latents: int


@dataclass(slots=True)
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

    def __bool__(self) -> bool:
        lost = any(s.lost_latents or s.lost_markers or not s.ended for s in self.sources)
        return not lost and not self.unreadable

    def lines(self) -> list[str]:
        """As text: one line about the whole, one for each source, one for each of its gaps."""
        kept = sum(source.latents for source in self.sources)
        lines = [f"{kept} latents, {self.seconds:.1f} s, {self.damaged_bytes} bytes damaged"]
        if self and self.repaired:
            lines.append("nothing was lost; the index was written again")
        for source in self.sources:
            state = f"{source.latents} latents, {source.lost_latents} known to be lost"
            if source.lost_markers:
                state += f", {source.lost_markers} markers lost"
            if not source.ended:
                state += (
                    f"; its end is missing: cut off, with up to {self.flush_interval_s:g} s that "
                    "were not on disk yet"
                )
            lines.append(f"source {source.number} ({source.name}): {state}")
            lines += [
                f"  at {gap.after_s:.1f} s: {gap.seconds:.1f} s, {gap.latents} latents"
                for gap in source.gaps
            ]
        return lines


@dataclass(slots=True)
class _Channel:
    """How far a channel has been read."""

    next_sequence: int = 0
    time_ns: int | None = None


class _Tally:
    """Counts what is there and what is missing, from the numbers that messages carry."""

    def __init__(self, recording: Recording) -> None:
        self.start_ns: int | None = None
        self.end_ns = 0
        self.sources = {n: RecoveredSource(n, s.name) for n, s in recording.sources.items()}
        self.last: dict[int, Entry] = {}
        self._channels: dict[tuple[int, ChannelKind], _Channel] = {}
        self._next_latent: dict[int, tuple[int, int]] = {}

    def add(self, message: Message, entry: Entry) -> None:
        now = message.log_time
        self.start_ns = now if self.start_ns is None else min(self.start_ns, now)
        self.end_ns = max(self.end_ns, now)
        source = self.sources[entry.source]
        is_latent = isinstance(entry, RecordedLatent)
        kind: ChannelKind = "latents" if is_latent else "markers"
        channel = self._channels.setdefault((entry.source, kind), _Channel())
        missing = max(0, message.sequence - channel.next_sequence)
        before = self.start_ns if channel.time_ns is None else channel.time_ns
        channel.next_sequence, channel.time_ns = message.sequence + 1, now
        self.last[entry.source] = entry
        source.ended = isinstance(entry, Marker) and entry.kind == "end"
        if isinstance(entry, Marker):
            source.lost_markers += missing
            if not source.ended:
                return
            missing = self._missing_before(entry)
            before = self._channels.get((entry.source, "latents"), channel).time_ns or now
        else:
            source.latents += 1
            self._next_latent[entry.source] = (entry.stream, entry.index + 1)
        source.lost_latents += missing
        if missing and len(source.gaps) < _MOST_GAPS:
            source.gaps.append(
                Gap((before - self.start_ns) / 1e9, max(0, now - before) / 1e9, missing)
            )

    def _missing_before(self, end: Marker) -> int:
        """Latents that the end marker counts in its stream, and that are not there."""
        stream, index = self._next_latent.get(end.source, (end.stream, 0))
        return max(0, end.index - (index if stream == end.stream else 0))

    def next_marker(self, source: int) -> int:
        """Number of the next message in the source's channel of markers."""
        return self._channels.get((source, "markers"), _Channel()).next_sequence


def recover(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Recovered:
    """Copy every sound entry of a recording to a new, finished file, and say what is missing.

    A source whose end is missing gets one, so that recovering the new file finds nothing new.
    `progress` is called with seconds done and in all.

    Raises:
        RecordingError: nothing can be read; then nothing is written.
        OutputExists, OutputNotWritable: about `output`.
    """
    with (
        Recording.open(path, use_index=False) as recording,
        Recording.open(path) as as_found,
        write_beside(output, force) as temporary,
        temporary.open("wb") as file,
    ):
        sources = [recording.sources[number] for number in sorted(recording.sources)]
        mcap = McapFile(file, sources)
        tally = _Tally(recording)
        flushed_ns = recording.start_ns
        total = (recording.end_ns - recording.start_ns) // _CHUNK_NS
        for message, entry in recording.messages():
            tally.add(message, entry)
            kind: ChannelKind = "latents" if isinstance(entry, RecordedLatent) else "markers"
            mcap.add(
                entry.source, kind, message.data, log_time_ns=message.log_time,
                wall_time_ns=message.publish_time, sequence=message.sequence,
            )  # fmt: skip
            if not 0 <= message.log_time - flushed_ns < _CHUNK_NS:
                flushed_ns = message.log_time
                mcap.flush()
                progress((flushed_ns - recording.start_ns) // _CHUNK_NS, total)
        if tally.start_ns is None:
            raise RecordingError(f"{path} holds no latent and no marker that can be read.")
        _end_open_sources(mcap, tally)
        mcap.finish()
        return Recovered(
            tuple(tally.sources.values()),
            (tally.end_ns - tally.start_ns) / 1e9,
            sum(damage.length for damage in recording.damage),
            recording.unreadable,
            max(source.flush_interval_s for source in sources),
            not as_found.indexed,
        )


def _end_open_sources(mcap: McapFile, tally: _Tally) -> None:
    for number, last in tally.last.items():
        if tally.sources[number].ended:
            continue
        index = last.index + 1 if isinstance(last, RecordedLatent) else last.index
        at_ns = last.capture_time_ns if isinstance(last, RecordedLatent) else last.time_ns
        end = Marker(number, "end", last.stream, index, 0, "cut off; found by recover", at_ns,
                     last.wall_time_ns)  # fmt: skip
        mcap.add(
            number, "markers", end.to_bytes(), log_time_ns=last.log_time_ns,
            wall_time_ns=last.wall_time_ns, sequence=tally.next_marker(number),
        )  # fmt: skip
