"""A recording back to frames, each with its time: a clip's own, or when it was captured."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

from numpy.typing import NDArray

from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.sources.frame import DEVICES
from vidtok_edge.runtime.streaming.decoder import StreamDecoder
from vidtok_edge.runtime.streaming.gap_decoder import GapDecoder, TimedPicture
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, Record

__all__ = [
    "RATES",
    "Lead",
    "Playback",
    "PlayedFrame",
    "SourceClock",
    "frame_rate",
    "rate_doubt",
    "told_times",
]

_CAMERAS = (*DEVICES, "synthetic:")  # how their names begin
_RATE_LATENTS = 2000  # that the frame rate is taken from
RATES = 0.01, 1000.0  # frames per second of a clip, and of what is measured
_ABOUT = 0.97  # of what was announced; less is another rate


@dataclass(frozen=True, slots=True, eq=False)
class PlayedFrame:
    """One decoded frame of a recording."""

    pixels: NDArray[Any]
    """uint8 [H, W, 3] RGB."""
    time_s: float
    """Since the recording began: when it was captured, or its time in the clip, from when the clip
    began to be read."""
    latent: tuple[int, int]
    """Stream and index of the latent that stands for it."""
    last: bool
    """No other frame of that latent follows."""


@dataclass(frozen=True, slots=True)
class SourceClock:
    """What time the latents of a source have, as `Recording.start_ns` counts.

    A clip has a clock of its own, and how fast it was read and encoded says nothing about it. What
    has none, as a camera, has the time at which it was captured.
    """

    media_zero_ns: int | None
    """When the clip's time was 0; None: it has none of its own."""

    @classmethod
    def of(cls, recording: Recording, source: int) -> SourceClock:
        """Read as far as the first latent."""
        begun_ns = None
        for entry in recording.entries(source, values=False):
            if not isinstance(entry, LatentRecord):
                begun_ns = entry.log_time_ns if entry.starts_stream else begun_ns
                continue
            if entry.media_time_ns is None:
                break
            return cls(entry.log_time_ns - entry.media_time_ns if begun_ns is None else begun_ns)
        return cls(None)

    @property
    def own(self) -> bool:
        """The source has a clock of its own."""
        return self.media_zero_ns is not None

    def __call__(self, latent: LatentRecord) -> int:
        """Of the last real frame of a latent."""
        if self.media_zero_ns is None or latent.media_time_ns is None:
            return latent.log_time_ns
        return self.media_zero_ns + latent.media_time_ns

    def of_entry(self, entry: Record, before_ns: int) -> int:
        """Of a latent or marker, behind an entry of `before_ns` (0: none).

        What happened while a clip was read has no time in it, and counts where it lies between its
        latents.
        """
        if isinstance(entry, LatentRecord):
            return self(entry)
        if self.media_zero_ns is None:
            return entry.log_time_ns
        return max(before_ns, self.media_zero_ns)


@dataclass(slots=True, kw_only=True)
class Playback:
    """Decodes one source of a recording between two times; iterate over it once.

    `start_s` and `end_s` count from the beginning of the recording. Decoding begins so many latents
    before `start_s` as the decoder remembers, and no earlier than at the marker that starts the
    stream: the frames of a range are those that decoding everything gives, bit for bit. Where
    latents are missing, the decoder begins anew at the next one.
    """

    recording: Recording
    decoder: StreamDecoder
    source: int
    fps: float
    """Of the source, as `frame_rate` says."""
    start_s: float | None = None
    end_s: float | None = None
    fast_start: int | None = None
    """Latents, 1 or more, that decoding begins before `start_s` in place of as many as the decoder
    remembers: frames come sooner, and the first are near to those of decoding everything, not
    equal. `Manifest.entries` says how near."""
    seen: Callable[[Record, int], None] = lambda entry, time_ns: None
    """Told every latent and marker of the range and its time, before what it stands for is decoded;
    times count as `Recording.start_ns` does."""
    cut_off: bool = False
    """What was played last is the last entry, and no `end` marker."""
    _gaps: GapDecoder = field(init=False)
    _clock: SourceClock = field(init=False)
    _entered: bool = False
    """Decoding began in the middle of a stream, with nothing missing."""

    def __post_init__(self) -> None:
        self._gaps = GapDecoder(self.decoder)
        self._clock = SourceClock.of(self.recording, self.source)

    def __iter__(self) -> Iterator[PlayedFrame]:
        begin_ns = self.recording.start_ns
        first_ns = begin_ns if self.start_s is None else begin_ns + round(self.start_s * 1e9)
        end_ns = None if self.end_s is None else begin_ns + round(self.end_s * 1e9)
        for picture in self._decoded(first_ns, end_ns):
            after = self.start_s is None or picture.time_ns >= first_ns
            if after and (end_ns is None or picture.time_ns < end_ns):
                time_s = (picture.time_ns - begin_ns) / 1e9
                yield PlayedFrame(picture.pixels, time_s, picture.latent, picture.last)

    @property
    def streams(self) -> int:
        """How often the decoder began anew."""
        return self._gaps.begun

    @property
    def broken(self) -> int:
        """How many of these times in the middle of a stream, where latents were missing."""
        return self._gaps.broken - self._entered

    def _decoded(self, first_ns: int, end_ns: int | None) -> Iterator[TimedPicture]:
        times = _FrameTimes(1e9 / self.fps, self._clock)
        lead = self._lead()
        for entry in self._entries(first_ns, lead):
            times_ns = times(entry)
            if times.at_ns >= first_ns:
                self.seen(entry, times.at_ns)
            self.cut_off = isinstance(entry, LatentRecord) or entry.kind != "end"
            if not isinstance(entry, LatentRecord):
                continue
            ready = [(entry, times_ns)]
            if lead is not None:
                lead.keep(entry, times_ns)
                if times.at_ns < first_ns:
                    continue
                ready, self._entered = lead.latents()
                lead = None
            for latent, its_times_ns in ready:
                yield from self._gaps.push(
                    0, latent.stream, latent.index, latent.values, its_times_ns
                )
            past = end_ns is not None and times_ns and times_ns[0] >= end_ns
            if past and self._gaps.whole_windows(0):
                self.cut_off = False
                break
        yield from self._gaps.finish(0)

    def _lead(self) -> Lead | None:
        """What is decoded before the first frame; None: everything from where the stream starts."""
        manifest = self.decoder.manifest
        reach = manifest.reach("decoder")
        if self.start_s is None or reach is None:
            return None
        # A call puts out frames of the latent before, and a call begins with a whole chunk.
        most = reach + 2 + manifest.chunk
        if self.fast_start is not None:
            most = min(most, self.fast_start + manifest.chunk)
        return Lead(chunk=manifest.chunk, most=most)

    def _entries(self, first_ns: int, lead: Lead | None) -> Iterator[Record]:
        """From the marker on that begins the stream of that time."""
        begin = None
        if self.start_s is not None:
            begin = self._begin(first_ns)
        start_ns = None if begin is None else begin.log_time_ns
        stream = 0 if begin is None else begin.stream
        values: bool | Callable[[LatentRecord], bool] = True
        if lead is not None:
            values = self._from(self._passed_over(lead, first_ns, start_ns, stream))
        for entry in self.recording.entries(self.source, start_ns=start_ns, values=values):
            if entry.stream >= stream:  # the last of the one before may have the same time
                yield entry

    def _passed_over(self, lead: Lead, first_ns: int, start_ns: int | None, stream: int) -> int:
        """How many latents before a time are read without their tokens, as `lead` lets them go."""
        found, kept = 0, deque[int](maxlen=lead.most + 1)
        for entry in self.recording.entries(self.source, start_ns=start_ns, values=False):
            if isinstance(entry, LatentRecord):
                if entry.stream >= stream:
                    kept.append(found)
                found += 1
                if self._clock(entry) >= first_ns:
                    break
        return kept[0] if kept else 0

    @staticmethod
    def _from(number: int) -> Callable[[LatentRecord], bool]:
        """Whether a latent is this one or one behind it, as they come."""
        counted = count(1)
        return lambda latent: next(counted) > number

    def _begin(self, at_ns: int) -> Marker | None:
        """The last marker up to a time that begins a stream."""
        if not self._clock.own:
            return self.recording.stream_start(self.source, at_ns)
        begin = waiting = None
        for entry in self.recording.entries(self.source, values=False):
            if not isinstance(entry, LatentRecord):
                waiting = entry if entry.starts_stream else waiting
            elif waiting is not None:
                if self._clock(entry) > at_ns:
                    break
                begin, waiting = waiting, None
        return begin


_Timed = tuple[LatentRecord, list[int]]
"""A latent, and the times of the frames that it stands for."""


class Lead:
    """The latents before a time, as many as the decoder remembers.

    Args:
        chunk: latents of a call.
        most: how many are kept.
    """

    def __init__(self, *, chunk: int, most: int) -> None:
        self._chunk, self.most = chunk, most
        self._kept: deque[tuple[int, _Timed]] = deque(maxlen=most)
        self._due: tuple[int, int] | None = None
        self._place = 0  # of the next latent, since a decoder of everything would have begun

    def keep(self, latent: LatentRecord, times_ns: list[int]) -> None:
        if (latent.stream, latent.index) != self._due:
            self._place = 0
        self._kept.append((self._place, (latent, times_ns)))
        self._place, self._due = self._place + 1, (latent.stream, latent.index + 1)

    def latents(self) -> tuple[list[_Timed], bool]:
        """Those from where a call of everything begins, and whether others came before."""
        while self._kept[0][0] % self._chunk:
            self._kept.popleft()
        return [timed for _, timed in self._kept], self._kept[0][0] > 0


@dataclass(slots=True)
class _FrameTimes:
    """What time each frame has. Of a latent, the time of its last frame is known.

    The others lie before it at the source's rate, or closer where they were captured faster than
    they play (a file that is read as fast as it goes): times never go back.
    """

    period_ns: float
    clock: SourceClock
    at_ns: int = 0
    """Of the last entry."""
    _every: int = 1
    """Of so many frames one was encoded, in this stream."""
    _before_ns: int | None = None
    _is_first: bool = False
    """`_before_ns` is the time of the frame that comes next, the first of a stream."""

    def __call__(self, entry: Record) -> list[int]:
        """Of the frames that an entry stands for; a marker stands for none."""
        self.at_ns = self.clock.of_entry(entry, self.at_ns)
        before_ns = self.at_ns if self._before_ns is None else self._before_ns
        last_ns = max(before_ns, self.at_ns)
        if not isinstance(entry, LatentRecord):
            if entry.starts_stream:
                self._every = entry.every
            if entry.starts_stream and not self.clock.own:
                self._before_ns, self._is_first = last_ns, True
            return []
        count, period_ns = entry.frames_real, self.period_ns * self._every
        if self._before_ns is not None:
            steps = max(1, count - self._is_first)
            period_ns = min(period_ns, (last_ns - before_ns) / steps)
        self._before_ns, self._is_first = last_ns, False
        return [last_ns - round((count - 1 - i) * period_ns) for i in range(count)]


def frame_rate(recording: Recording, source: int) -> float:
    """Frames per second of a source: the median of what its times say, a clip's own where it has a
    clock of its own.

    What the source announced counts where times say about the same (they jitter), where they say
    more (a file was read faster than it plays), and of files that were recorded before there were
    media times.
    """
    announced, measured = _rates(recording, source)
    if announced is not None and (
        measured is None or measured > _ABOUT * announced or _of_a_clip(recording, source)
    ):
        return announced
    return min(RATES[1], max(RATES[0], measured if measured is not None else 30.0))


def rate_doubt(recording: Recording, source: int) -> str | None:
    """A sentence where `frame_rate` is not sure: of sources without a clock of their own, whose
    frames came slower than announced, and of pipes."""
    if SourceClock.of(recording, source).own:
        return None
    announced, measured = _rates(recording, source)
    if measured is None or (announced is not None and measured > _ABOUT * announced):
        return None
    name = recording.source(source).name
    if announced is None and told_times(recording, source):  # few cameras announce one
        return None
    if announced is None:
        return (
            f"source {source} ({name}) came without a rate: its frames came at "
            f"{measured:.3g} frames/s, which is how fast they were made, read or encoded"
        )
    if _of_a_clip(recording, source):
        return (
            f"source {source} ({name}) was encoded at {measured:.3g} frames/s and recorded before "
            f"clips kept their own times; the {announced:g} frames/s that it announced are taken"
        )
    return (
        f"source {source} ({name}) announced {announced:g} frames/s, and its frames came at "
        f"{measured:.3g} frames/s, which are taken"
    )


def told_times(recording: Recording, source: int) -> bool:
    """Whether the times of a source's latents are when frames were seen, and not how fast they were
    read or encoded: as of pipes, and of clips and images that have no times of their own.

    Of a name that is no path it is taken to be so: a program may call its cameras as it likes.
    """
    name = recording.source(source).name
    if "://" in name or name.startswith(_CAMERAS) or SourceClock.of(recording, source).own:
        return True
    return name not in ("-", "synthetic") and "/" not in name and not Path(name).suffix


def _of_a_clip(recording: Recording, source: int) -> bool:
    """Whether it has the name of one, and no times of its own."""
    suffix = Path(recording.source(source).name).suffix
    return suffix != "" and not told_times(recording, source)


def _rates(recording: Recording, source: int) -> tuple[float | None, float | None]:
    """As announced, and as the times of the first latents say."""
    entries = list(islice(recording.entries(source, values=False), _RATE_LATENTS))
    announced = [e.fps for e in entries if not isinstance(e, LatentRecord) and e.fps > 0]
    steps, every = [], 1
    for before, after in pairwise(entries):
        if not isinstance(before, LatentRecord) and before.starts_stream:
            every = before.every
        if (step := _seconds_per_frame(before, after)) is not None:
            steps.append(step / every)
    return (announced[0] if announced else None), (1 / median(steps) if steps else None)


def _seconds_per_frame(before: Record, after: Record) -> float | None:
    if not (isinstance(before, LatentRecord) and isinstance(after, LatentRecord)):
        return None
    if before.media_time_ns is not None and after.media_time_ns is not None:
        seconds = (after.media_time_ns - before.media_time_ns) / 1e9
    else:
        seconds = (after.capture_time_ns - before.capture_time_ns) / 1e9
    follows = (after.stream, after.index) == (before.stream, before.index + 1)
    return seconds / after.frames_real if follows and after.frames_real and seconds > 0 else None
