"""A recording back to frames, each with the time at which it was captured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, pairwise
from pathlib import Path
from statistics import median
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import RecordingError, UsageError
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.decoder import StreamDecoder
from vidtok_edge.runtime.gap_decoder import GapDecoder, TimedPicture
from vidtok_edge.runtime.recording.messages import RecordedLatent
from vidtok_edge.runtime.recording.reader import Entry, Recording
from vidtok_edge.runtime.viewing.shown import Shown, ShownFrame, ShownLatent, ShownNote
from vidtok_edge.runtime.viewing.target import ViewTarget

__all__ = ["Playback", "PlayedFrame", "Replayed", "frame_rate", "replay"]

_RATE_LATENTS = 2000  # that the frame rate is taken from
_RATES = 0.01, 1000.0  # frames per second of a clip, and of what is measured
_LONGEST_S = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class PlayedFrame:
    """One decoded frame of a recording."""

    pixels: NDArray[Any]
    """uint8 [H, W, 3] RGB."""
    time_s: float
    """When it was captured, since the recording began."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What `replay` did."""

    frames: int
    fps: float
    streams: int
    """How often the decoder began anew."""
    broken: int
    """How many of these times in the middle of a stream, where latents were missing: the frames
    that follow are near to what was encoded, not equal."""
    damaged_bytes: int
    unreadable: int
    """Messages that made no sense."""
    cut_off: bool
    """It was played to its end, and that is no `end` marker."""


@dataclass(slots=True)
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
    seen: Callable[[Entry], None] = lambda entry: None
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
            self.cut_off = isinstance(entry, RecordedLatent) or entry.kind != "end"
            if not isinstance(entry, RecordedLatent):
                continue
            yield from self._gaps.push(0, entry.stream, entry.index, entry.values, times_ns)
            past = end_ns is not None and times_ns and times_ns[0] >= end_ns
            if past and self._gaps.whole_windows(0):
                self.cut_off = False
                break
        yield from self._gaps.finish(0)

    def _entries(self, first_ns: int) -> Iterator[Entry]:
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

    def __call__(self, entry: Entry) -> list[int]:
        """Of the frames that an entry stands for; a marker stands for none."""
        before_ns = entry.log_time_ns if self._before_ns is None else self._before_ns
        last_ns = max(before_ns, entry.log_time_ns)
        if not isinstance(entry, RecordedLatent):
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
    announced = [e.fps for e in entries if not isinstance(e, RecordedLatent) and e.fps > 0]
    steps = [step for a, b in pairwise(entries) if (step := _seconds_per_frame(a, b)) is not None]
    measured = 1 / median(steps) if steps else None
    if announced and (measured is None or measured > 0.97 * announced[0]):
        return announced[0]
    return min(_RATES[1], max(_RATES[0], measured if measured is not None else 30.0))


def _seconds_per_frame(before: Entry, after: Entry) -> float | None:
    if not (isinstance(before, RecordedLatent) and isinstance(after, RecordedLatent)):
        return None
    seconds = (after.capture_time_ns - before.capture_time_ns) / 1e9
    follows = (after.stream, after.index) == (before.stream, before.index + 1)
    return seconds / after.frames_real if follows and after.frames_real and seconds > 0 else None


def replay(
    path: str | os.PathLike[str],
    bundle: Bundle,
    output: str | os.PathLike[str] | IO[bytes] | None,
    *,
    source: int = 0,
    start_s: float | None = None,
    end_s: float | None = None,
    fps: float | None = None,
    backend: str = "auto",
    precision: str | None = None,
    force: bool = False,
    view: ViewTarget | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Replayed:
    """Decode a recording, or a part of it, to a clip, to raw frames, or to look at.

    A frame of the clip for each frame that was encoded: nothing is put in where frames were
    dropped or a camera was away.

    Args:
        output: `.mp4` or `.mkv`; or an open binary file, which gets RGB frames one after another,
            uint8 [H, W, 3] each; or None, where there is a `view`.
        source: its number.
        start_s, end_s: from the beginning of the recording.
        fps: of the clip, 0.01 to 1000; None: as `frame_rate` says. It changes no frame's time.
        view: where to show frames, latents, latency and markers.

    Raises:
        UsageError: times or a rate that mean nothing, a part that is empty, a bundle for floats.
        RecordingError: not a recording, or of another tokenizer than the bundle's; or no frame
            lies between the times.
    """
    if bundle.manifest.io != "uint8":
        raise UsageError(
            "The bundle was exported with --io float, for comparing numbers; clips are uint8. "
            "Export it with --io uint8."
        )
    _require_sensible(start_s, end_s, fps)
    with Recording.open(path) as recording:
        recording.source(source).tokenizer.require_decodable_by(bundle)
        recorded_fps = frame_rate(recording, source)
        clip_fps = recorded_fps if fps is None else fps
        whole_s = (recording.end_ns - recording.start_ns) / 1e9
        length_s = min(end_s or whole_s, whole_s) - min(start_s or 0, whole_s)
        with (
            bundle.decoder(backend, precision=precision) as decoder,
            _shown(recording, source, bundle.path, view, force) as show,
        ):
            seen = partial(_show_entry, show)
            playback = Playback(recording, decoder, source, recorded_fps, start_s, end_s, seen)
            frames = _counted(playback, progress, round(length_s * recorded_fps))
            frames = _show_frames(frames, show, recording.start_ns)
            written = _write(frames, output, clip_fps, recording, force)
        damaged = sum(damage.length for damage in recording.damage)
        return Replayed(
            written, clip_fps, playback.streams, playback.broken, damaged, recording.unreadable,
            playback.cut_off,
        )  # fmt: skip


def _require_sensible(start_s: float | None, end_s: float | None, fps: float | None) -> None:
    for name, seconds in (("start", start_s), ("end", end_s)):
        if seconds is not None and not abs(seconds) < _LONGEST_S:
            raise UsageError(
                f"The {name} of the part is {seconds} s; allowed: a number of seconds."
            )
    if start_s is not None and end_s is not None and not start_s < end_s:
        raise UsageError(f"The part from {start_s} s to {end_s} s is empty. Let it end later.")
    low, high = _RATES
    if fps is not None and not low <= fps <= high:
        raise UsageError(f"{fps} frames per second; allowed: {low} to {high:g}.")


@contextmanager
def _shown(
    recording: Recording, source: int, bundle: Path, view: ViewTarget | None, force: bool
) -> Iterator[Callable[[Shown], None]]:
    if view is None:
        yield lambda what: None
        return
    view.check(force)
    facts = recording.source(source)
    pictures = ("reconstruction", "tokens")
    if view.kind != "file":  # a viewer may not read, for ever
        from vidtok_edge.runtime.viewing.live_view import LiveView, ViewPlan

        with LiveView(ViewPlan(view, (facts.name,), bundle, pictures=pictures)) as live:
            yield live.show_all
            live.finish()
        return
    from vidtok_edge.runtime.viewing.rerun_log import RerunLog

    with RerunLog.open(view, [facts.name], facts.tokenizer.levels, pictures, force) as log:
        yield log.show


def _show_entry(show: Callable[[Shown], None], entry: Entry) -> None:
    if isinstance(entry, RecordedLatent):
        latency_ms = (entry.encode_end_ns - entry.capture_time_ns) / 1e6
        show(ShownLatent(0, entry.log_time_ns, entry.stream, entry.index, entry.values, (),
                         latency_ms))  # fmt: skip
    else:
        detail = f"{entry.frames} frames, {entry.detail}" if entry.frames else entry.detail
        show(ShownNote(0, entry.log_time_ns, entry.kind, detail))


def _show_frames(
    frames: Iterator[PlayedFrame], show: Callable[[Shown], None], start_ns: int
) -> Iterator[PlayedFrame]:
    for frame in frames:
        at_ns = start_ns + round(frame.time_s * 1e9)
        show(ShownFrame(0, at_ns, frame.pixels, "reconstruction"))
        yield frame


def _counted(
    frames: Playback, progress: Callable[[int, int | None], None], total: int
) -> Iterator[PlayedFrame]:
    for number, frame in enumerate(frames, 1):
        yield frame
        progress(number, total)


def _write(
    frames: Iterator[PlayedFrame],
    output: str | os.PathLike[str] | IO[bytes] | None,
    fps: float,
    recording: Recording,
    force: bool,
) -> int:
    first = next(frames, None)
    if first is None:
        length = (recording.end_ns - recording.start_ns) / 1e9
        raise RecordingError(
            f"{recording.path} has no frame of that source in that time; it is {length:.1f} s long."
        )
    written = 0
    if output is None:
        return 1 + sum(1 for _ in frames)
    if not isinstance(output, str | os.PathLike):
        for frame in chain([first], frames):
            output.write(np.ascontiguousarray(frame.pixels).tobytes())
            written += 1
        output.flush()
        return written
    from vidtok_edge.runtime.clip_writer import ClipWriter

    height, width = first.pixels.shape[:2]
    with ClipWriter(Path(output), fps=fps, size=(height, width), force=force) as clip:
        for frame in chain([first], frames):
            clip.write(frame.pixels)
            written += 1
    return written
