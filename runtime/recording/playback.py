"""A recording back to frames, each with the time at which it was captured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from statistics import median
from typing import Any

from numpy.typing import NDArray

from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.streaming.decoder import StreamDecoder
from vidtok_edge.runtime.streaming.gap_decoder import GapDecoder, TimedPicture
from vidtok_edge.runtime.streaming.records import LatentRecord, Record

__all__ = ["RATES", "Playback", "PlayedFrame", "frame_rate"]

_RATE_LATENTS = 2000  # that the frame rate is taken from
RATES = 0.01, 1000.0  # frames per second of a clip, and of what is measured


@dataclass(frozen=True, slots=True, eq=False)
class PlayedFrame:
    """One decoded frame of a recording."""

    pixels: NDArray[Any]
    """uint8 [H, W, 3] RGB."""
    time_s: float
    """When it was captured, since the recording began."""


@dataclass(slots=True, kw_only=True)
class Playback:
    """Decodes one source of a recording between two times; iterate over it once.

    `start_s` and `end_s` count from the beginning of the recording. Decoding begins at the last
    marker before `start_s` that starts a stream, so the frames of a range are those that decoding
    everything gives. Where latents are missing, the decoder begins anew at the next one.
    """

    recording: Recording
    decoder: StreamDecoder
    source: int
    fps: float
    """Of the source, as `frame_rate` says."""
    start_s: float | None = None
    end_s: float | None = None
    seen: Callable[[Record], None] = lambda entry: None
    """Told every latent and marker of the range, before what it stands for is decoded."""
    cut_off: bool = False
    """What was played last is the last entry, and no `end` marker."""
    _gaps: GapDecoder = field(init=False)

    def __post_init__(self) -> None:
        self._gaps = GapDecoder(self.decoder)

    def __iter__(self) -> Iterator[PlayedFrame]:
        begin_ns = self.recording.start_ns
        first_ns = begin_ns if self.start_s is None else begin_ns + round(self.start_s * 1e9)
        end_ns = None if self.end_s is None else begin_ns + round(self.end_s * 1e9)
        for picture in self._decoded(first_ns, end_ns):
            after = self.start_s is None or picture.time_ns >= first_ns
            if after and (end_ns is None or picture.time_ns < end_ns):
                yield PlayedFrame(picture.pixels, (picture.time_ns - begin_ns) / 1e9)

    @property
    def streams(self) -> int:
        """How often the decoder began anew."""
        return self._gaps.begun

    @property
    def broken(self) -> int:
        """How many of these times in the middle of a stream."""
        return self._gaps.broken

    def _decoded(self, first_ns: int, end_ns: int | None) -> Iterator[TimedPicture]:
        times = _FrameTimes(1e9 / self.fps)
        for entry in self._entries(first_ns):
            if entry.log_time_ns >= first_ns:
                self.seen(entry)
            times_ns = times(entry)
            self.cut_off = isinstance(entry, LatentRecord) or entry.kind != "end"
            if not isinstance(entry, LatentRecord):
                continue
            yield from self._gaps.push(0, entry.stream, entry.index, entry.values, times_ns)
            past = end_ns is not None and times_ns and times_ns[0] >= end_ns
            if past and self._gaps.whole_windows(0):
                self.cut_off = False
                break
        yield from self._gaps.finish(0)

    def _entries(self, first_ns: int) -> Iterator[Record]:
        """From the marker on that begins the stream of that time."""
        begin = None
        if self.start_s is not None:
            begin = self.recording.stream_start(self.source, first_ns)
        if begin is None:
            yield from self.recording.entries(self.source)
            return
        for entry in self.recording.entries(self.source, start_ns=begin.log_time_ns):
            if entry.stream >= begin.stream:  # the last of the one before may have the same time
                yield entry


@dataclass(slots=True)
class _FrameTimes:
    """When each frame was captured. Of a latent, the time of its last frame is known.

    The others lie before it at the source's rate, or closer where they were captured faster than
    they play (a file that is read as fast as it goes): times never go back.
    """

    period_ns: float
    _before_ns: int | None = None
    _is_first: bool = False
    """`_before_ns` is the time of the frame that comes next, the first of a stream."""

    def __call__(self, entry: Record) -> list[int]:
        """Of the frames that an entry stands for; a marker stands for none."""
        before_ns = entry.log_time_ns if self._before_ns is None else self._before_ns
        last_ns = max(before_ns, entry.log_time_ns)
        if not isinstance(entry, LatentRecord):
            if entry.starts_stream:
                self._before_ns, self._is_first = last_ns, True
            return []
        count, period_ns = entry.frames_real, self.period_ns
        if self._before_ns is not None:
            steps = max(1, count - self._is_first)
            period_ns = min(period_ns, (last_ns - before_ns) / steps)
        self._before_ns, self._is_first = last_ns, False
        return [last_ns - round((count - 1 - i) * period_ns) for i in range(count)]


def frame_rate(recording: Recording, source: int) -> float:
    """Frames per second of a source: the median of what its timestamps say.

    What the source announced counts where timestamps say about the same (they jitter), and where
    they say more: then a file was read faster than it plays.
    """
    entries = list(islice(recording.entries(source), _RATE_LATENTS))
    announced = [e.fps for e in entries if not isinstance(e, LatentRecord) and e.fps > 0]
    steps = [step for a, b in pairwise(entries) if (step := _seconds_per_frame(a, b)) is not None]
    measured = 1 / median(steps) if steps else None
    if announced and (measured is None or measured > 0.97 * announced[0]):
        return announced[0]
    return min(RATES[1], max(RATES[0], measured if measured is not None else 30.0))


def _seconds_per_frame(before: Record, after: Record) -> float | None:
    if not (isinstance(before, LatentRecord) and isinstance(after, LatentRecord)):
        return None
    seconds = (after.capture_time_ns - before.capture_time_ns) / 1e9
    follows = (after.stream, after.index) == (before.stream, before.index + 1)
    return seconds / after.frames_real if follows and after.frames_real and seconds > 0 else None
