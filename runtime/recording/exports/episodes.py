"""A recording as episodes: runs of latents of one source, and what happened before each latent.

Of a non-causal tokenizer they are whole windows: no decoder can do anything with a part of one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, Literal

from vidtok_edge.runtime.recording.data_rows import Beside
from vidtok_edge.runtime.recording.format.mcap_file import SourceFacts
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.part import Part
from vidtok_edge.runtime.recording.playback import SourceClock, frame_rate, told_times
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, Record

if TYPE_CHECKING:
    from mcap.records import Message

__all__ = [
    "BEGINS",
    "Episode",
    "Gaps",
    "Happened",
    "Row",
    "episodes",
    "facts_of",
    "media_time_of",
    "pieces",
    "time_of",
]

Gaps = Literal["split", "keep"]
GAP = "gap"
BEGINS = ("", "start", "reconnect", "restart", "key", "unknown", GAP)
"""What began the stream whose first latent it is; empty: nothing; unknown: the marker is lost; gap:
no stream, but more time passed since the latent before than its frames take."""
_GAP_FRAMES = 1.5  # more is a gap in the times of a clip: two frames that are not there
_GAP_S = 0.5  # of a camera, whose frames may come late over a network; or as many frames
_LAST_PACES = 3  # latents that are slow: their rate fell, as a camera's at dusk, and is no gap


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One latent, and what happened between the one before it and its last frame."""

    latent: LatentRecord
    begins: str
    """One of `BEGINS`."""
    frames_dropped_before: int
    """That were captured and not encoded, also in a pause."""
    latents_missing_before: int
    """That were recorded and are lost, as far as known."""
    follows: bool
    """It is the next one in the recording; in its stream, or the first of the next stream."""
    every: int = 1
    """Of so many frames of the source one was encoded, in its stream."""
    beside: Mapping[str, Beside] = field(default_factory=dict)
    """What data channels have for it, by name."""

    @property
    def continues(self) -> bool:
        """No time was left out: a `key` is bookkeeping, and no discontinuity."""
        happened = self.frames_dropped_before or self.latents_missing_before
        return self.follows and not happened and self.begins in ("", "key")


@dataclass(slots=True)
class Happened:
    """What the markers in a part of a source say; whole when its episodes were read."""

    source: SourceFacts
    goes_on: bool = False
    """Behind the end of the part."""
    markers: Counter[str] = field(default_factory=Counter)
    """How many of each kind; `paused`, of those that say that a pause begins."""
    frames_dropped: int = 0
    frames_paused: int = 0
    """That came while the recording was paused."""
    given_up: Counter[str] = field(default_factory=Counter)
    """Streams that were encoded otherwise, because encoding was late, by what was given up."""
    latents_missing: int = 0
    places_missing: int = 0
    gaps: int = 0
    """Places where time passed in which nothing came, and no marker says why."""
    end: str | None = None
    """Why it ended; None: the recording does not say."""

    @property
    def ended(self) -> bool:
        """It has an end that was recorded, and not one that `recover` put there; or goes on."""
        recorded = self.end is not None and not self.end.endswith("found by recover")
        return self.goes_on or recorded

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "markers": dict(self.markers),
            "frames_dropped": self.frames_dropped,
            "frames_paused": self.frames_paused,
            "given_up": dict(self.given_up),
            "latents_missing": self.latents_missing,
            "gaps": self.gaps,
            "end": self.end,
        }

    def add(self, marker: Marker) -> None:
        if marker.paused:
            self.markers["paused"] += not marker.frames
            self.frames_paused += marker.frames
            return
        self.markers[marker.kind] += 1
        if marker.starts_stream and marker.detail:
            self.given_up[marker.detail] += 1
        self.frames_dropped += marker.frames if marker.kind == "drop" else 0

    def miss(self, latents: int) -> None:
        self.latents_missing += latents
        self.places_missing += latents > 0


@dataclass(frozen=True, slots=True)
class Episode:
    """One run of latents; iterate over `rows` once, before the next episode is asked for."""

    number: int
    source: SourceFacts
    fps: float
    """Frames per second of the source."""
    rows: Iterator[Row]


@dataclass(slots=True)
class _Rows:
    """Makes rows of the entries of a source, and counts what happened in a part of it."""

    happened: Happened
    part: Part
    clock: SourceClock
    period_ns: float
    """From one frame of the source to the next."""
    slack_ns: float | None
    """More than this beyond what a latent's frames take is a gap; None: times do not say it."""
    at_ns: int = 0
    """Time of the last entry, as the clock says."""
    _seen_ns: int | None = None
    """Of the last latent."""
    _paces: deque[float] = field(default_factory=lambda: deque(maxlen=_LAST_PACES))
    """Nanoseconds that each frame took of the last latents that continued their stream."""
    _due: tuple[int, int] | None = None
    """Stream and index of the latent that continues the stream."""
    _ordinal: int = 0
    """Of the next latent in the recording, were none missing."""
    _sequence: int = -1
    """Number of the last latent's message."""
    _base: tuple[int, int] | None = None
    """The last stream that a marker began, and the ordinal of its latent 0."""
    _every: int = 1
    """Of so many frames one is encoded in it."""
    _begins: str = ""
    _claimed: int = 0
    _drops: list[tuple[int, int, int]] = field(default_factory=list)
    """Stream, index and frames of drops whose latent has not come yet; a heap."""

    def __call__(self, messages: Iterable[tuple[Message, Record]]) -> Iterator[Row]:
        for message, entry in messages:
            self._tell_time(entry)
            if isinstance(entry, LatentRecord):
                self.happened.end = None  # recordings that were merged go on behind an end
                yield self._row(entry, message.sequence)
            else:
                self._mark(entry)
        self.happened.miss(max(0, self._claimed - self._ordinal))

    def _tell_time(self, entry: Record) -> None:
        self.at_ns = self.clock.of_entry(entry, self.at_ns)
        if self.part.end_ns is not None and self.at_ns >= self.part.end_ns:
            self.happened.goes_on = True

    def _mark(self, marker: Marker) -> None:
        self.happened.end = marker.detail if marker.kind == "end" else None
        if self.part.holds(self.at_ns):
            self.happened.add(marker)
            self._claimed = max(self._claimed, marker.latents)
        if marker.kind == "drop":
            heappush(self._drops, (marker.stream, marker.index, marker.frames))
        elif marker.starts_stream:
            self._base, self._every = (marker.stream, marker.latents), marker.every
            self._begins = marker.kind if self._begins in ("", "key") else self._begins

    def _row(self, latent: LatentRecord, sequence: int) -> Row:
        at = latent.stream, latent.index
        new_stream = self._due is None or self._due[0] != latent.stream
        begun = self._base is not None and self._base[0] == latent.stream
        missing = 0 if at == self._due else max(0, self._missing(latent, sequence))
        if self.part.holds(self.at_ns):
            self.happened.miss(missing)
        row = Row(
            latent=latent,
            begins=self._begins if begun or not new_stream else "unknown",
            frames_dropped_before=self._dropped_by(at),
            latents_missing_before=missing,
            follows=at == self._due or (new_stream and not latent.index),
            every=self._every if begun else 1,
        )
        if not row.continues:
            self._paces.clear()
        elif self._is_late(row):
            row = replace(row, begins=GAP)
            self.happened.gaps += self.part.holds(self.at_ns)
        self._seen_ns = self.at_ns
        self._due, self._begins = (at[0], at[1] + 1), ""
        self._ordinal, self._sequence = self._ordinal + missing + 1, sequence
        return row

    def _is_late(self, row: Row) -> bool:
        """Whether it took longer than its frames do at the source's rate, or where that is slower
        at the fastest of the last latents."""
        if self.slack_ns is None or self._seen_ns is None:
            return False
        took_ns, frames = self.at_ns - self._seen_ns, row.latent.frames_real * row.every
        pace_ns = self.period_ns
        if len(self._paces) == _LAST_PACES:
            pace_ns = max(pace_ns, min(self._paces))
        if frames:
            self._paces.append(took_ns / frames)
        return took_ns > frames * pace_ns + self.slack_ns

    def _missing(self, latent: LatentRecord, sequence: int) -> int:
        """How many are missing before a latent that does not continue its stream."""
        if self._due is not None and self._due[0] == latent.stream:
            return latent.index - self._due[1]
        if sequence > self._sequence:  # tools that number nothing write 0
            return max(latent.index, sequence - self._sequence - 1)
        if self._base is not None and self._base[0] == latent.stream:
            return self._base[1] + latent.index - self._ordinal
        return latent.index

    def _dropped_by(self, at: tuple[int, int]) -> int:
        frames = 0
        while self._drops and self._drops[0][:2] <= at:
            frames += heappop(self._drops)[2]
        return frames


def _windows(rows: Iterator[Row], window: int) -> Iterator[list[Row]]:
    """Whole windows of consecutive latents of a stream.

    What happened before a latent that is left out happened before the next one that is not.
    """
    held: list[Row] = []
    before: list[Row] = []  # left out
    for row in rows:
        if held and not _next_in_stream(held[-1], row):
            before += held
            held = []
        if held or row.latent.index % window == 0:
            held.append(row)
        else:
            before.append(row)
        if len(held) == window:
            yield [_with(held[0], before), *held[1:]] if before else held
            held, before = [], []


def _next_in_stream(row: Row, then: Row) -> bool:
    due = row.latent.stream, row.latent.index + 1
    return (then.latent.stream, then.latent.index) == due


def _with(row: Row, before: list[Row]) -> Row:
    begins = next((r.begins for r in before if r.begins not in ("", "key")), row.begins)
    every = [*before, row]
    return replace(
        row,
        begins=begins,
        frames_dropped_before=sum(r.frames_dropped_before for r in every),
        latents_missing_before=sum(r.latents_missing_before for r in every) + len(before),
        follows=False,
    )


@dataclass(slots=True)
class _Run:
    """Gives windows of an episode the same number."""

    gaps: Gaps
    number: int = -1

    def __call__(self, window: list[Row]) -> int:
        goes_on = self.gaps == "keep" or all(row.continues for row in window)
        self.number += self.number < 0 or not goes_on
        return self.number


def episodes(
    recording: Recording,
    gaps: Gaps = "split",
    happened: list[Happened] | None = None,
    part: Part | None = None,
) -> Iterator[Episode]:
    """Every episode of a recording, or of a part of it, source by source.

    Args:
        gaps: "split": an episode ends where time was left out: frames were dropped, the camera was
            away, latents are missing, or times say so. "keep": each source is one episode, and its
            rows say what happened before them.
        happened: is given what the markers of each source say.
        part: its latents by their time; of a non-causal tokenizer the windows that lie in it whole.
            None: everything.
    """
    part = part or Part.of(recording)
    number = 0
    for source in part.sources:
        clock = SourceClock.of(recording, source.number)
        end_ns = None if clock.own else part.end_ns
        told = Happened(source, end_ns is not None and recording.end_ns >= end_ns)
        if happened is not None:
            happened.append(told)
        fps = frame_rate(recording, source.number)
        # From the beginning, whenever the part begins: what is before says what is missing.
        messages = recording.messages(source.number, end_ns=end_ns)
        period_ns = 1e9 / fps
        slack_ns = None
        if told_times(recording, source.number):
            slack_ns = max(_GAP_FRAMES * period_ns, 0 if clock.own else _GAP_S * 1e9)
        rows = _Rows(told, part, clock, period_ns, slack_ns)(messages)
        windows = (
            window
            for window in _windows(rows, source.tokenizer.window)
            if all(part.holds(clock(row.latent)) for row in window)
        )
        for _, run in groupby(windows, _Run(gaps)):
            yield Episode(number, source, fps, chain.from_iterable(run))
            number += 1


def media_time_of(latent: LatentRecord) -> int:
    """On the clip's own clock; -1 where the source has none."""
    return -1 if latent.media_time_ns is None else latent.media_time_ns


def time_of(latent: LatentRecord) -> int:
    """On the clip's own clock, else when it was captured."""
    media_time_ns = latent.media_time_ns
    return latent.capture_time_ns if media_time_ns is None else media_time_ns


def pieces(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Runs of an episode that can be decoded as one stream."""
    piece: list[Row] = []
    for row in rows:
        if piece and not _next_in_stream(piece[-1], row):
            yield piece
            piece = []
        piece.append(row)
    if piece:
        yield piece


def facts_of(episode: Episode, rows: list[Row]) -> dict[str, Any]:
    """What is known of some rows of an episode, for JSON."""
    latents = [row.latent for row in rows]
    first, last = latents[0], latents[-1]
    return {
        "episode": episode.number,
        "source": first.source,
        "stream": first.stream,
        "first_latent": first.index,
        "latents": len(latents),
        "first_frame": first.first_frame,
        "frames": sum(latent.frames_real for latent in latents),
        "fps": episode.fps / rows[0].every,
        "first_media_time_ns": media_time_of(first),
        "last_media_time_ns": media_time_of(last),
        "first_wall_time_ns": first.wall_time_ns,
        "last_wall_time_ns": last.wall_time_ns,
        "frames_real": [latent.frames_real for latent in latents],
        "frames_dropped_before": [row.frames_dropped_before for row in rows],
        "latents_missing_before": [row.latents_missing_before for row in rows],
        "begins": [row.begins for row in rows],
        "every": [row.every for row in rows],
    }
