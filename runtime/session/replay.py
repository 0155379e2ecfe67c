"""`replay`: a recording back to a clip, to raw frames, or to look at."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np

from vidtok_edge.errors import RecordingError, UsageError
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.progress import Progress, no_progress
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.last_frame import last_frame_s
from vidtok_edge.runtime.recording.part import require_times
from vidtok_edge.runtime.recording.playback import (
    RATES,
    Playback,
    PlayedFrame,
    SourceClock,
    frame_rate,
    rate_doubt,
)
from vidtok_edge.runtime.streaming.records import Record
from vidtok_edge.runtime.viewing.shown import Shown, ShownFrame, shown_from_record
from vidtok_edge.runtime.viewing.target import ViewTarget

__all__ = ["Replayed", "replay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What `replay` did."""

    frames: int
    fps: float
    recorded_s: float
    """From the first frame to the last, as it was recorded: longer than the clip where frames were
    dropped or left out, or a camera was away."""
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
    growing: bool = False
    """It was still being recorded to."""
    doubt: str | None = None
    """As `rate_doubt`; None where a rate was asked for."""
    others: tuple[str, ...] = ()
    """The sources that were not played, as `1: /dev/video2`."""


def replay(
    path: str | os.PathLike[str],
    bundle: Bundle,
    output: str | os.PathLike[str] | IO[bytes] | None,
    *,
    source: int = 0,
    start_s: float | None = None,
    end_s: float | None = None,
    fast_start: int | None = None,
    fps: float | None = None,
    backend: str = "auto",
    precision: str | None = None,
    force: bool = False,
    view: ViewTarget | None = None,
    progress: Progress = no_progress,
) -> Replayed:
    """Decode a recording, or a part of it, to a clip, to raw frames, or to look at.

    A frame of the clip for each frame that was encoded: nothing is put in where frames were
    dropped or a camera was away.

    Args:
        output: `.mp4` or `.mkv`; or an open binary file, which gets RGB frames one after another,
            uint8 [H, W, 3] each; or None, where there is a `view`.
        source: its number.
        start_s, end_s: from the beginning of the recording.
        fast_start: see `Playback`.
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
    _require_fast_start(fast_start, start_s)
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
            playback = Playback(
                recording=recording,
                decoder=decoder,
                source=source,
                fps=recorded_fps,
                start_s=start_s,
                end_s=end_s,
                fast_start=fast_start,
                seen=partial(_show_entry, show),
            )
            # How long a clip is that was encoded at another speed is not in the recording's length.
            own = SourceClock.of(recording, source).own
            total = None if own else round(length_s * recorded_fps)
            span = _Span()
            frames = span.of(_counted(playback, progress, total))
            frames = _show_frames(frames, show, recording.start_ns)
            written = _write(frames, output, clip_fps, recording, source, force)
        damaged = sum(damage.length for damage in recording.damage)
        return Replayed(
            frames=written,
            fps=clip_fps,
            recorded_s=span.seconds,
            streams=playback.streams,
            broken=playback.broken,
            damaged_bytes=damaged,
            unreadable=recording.unreadable,
            cut_off=playback.cut_off,
            growing=recording.growing,
            doubt=None if fps is not None else rate_doubt(recording, source),
            others=tuple(
                f"{other.number}: {other.name}"
                for other in recording.sources.values()
                if other.number != source
            ),
        )


def _require_sensible(start_s: float | None, end_s: float | None, fps: float | None) -> None:
    require_times(start_s, end_s)
    low, high = RATES
    if fps is not None and not low <= fps <= high:
        raise UsageError(f"{fps} frames per second; allowed: {low} to {high:g}.")


def _require_fast_start(latents: int | None, start_s: float | None) -> None:
    if latents is None:
        return
    if start_s is None:
        raise UsageError(
            "A fast start is one in the middle, and no start is given. Add --start SECONDS, or "
            "leave --fast-start out."
        )
    if latents < 1:
        raise UsageError(f"A fast start decodes 1 latent or more before, got {latents}.")


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

        plan = ViewPlan(target=view, names=(facts.name,), bundle=bundle, pictures=pictures)
        with LiveView(plan) as live:
            yield live.show_all
            live.finish()
        return
    from vidtok_edge.runtime.viewing.rerun_log import RerunLog

    with RerunLog.open(view, [facts.name], facts.tokenizer.levels, pictures, force) as log:
        yield log.show


def _show_entry(show: Callable[[Shown], None], entry: Record, time_ns: int) -> None:
    show(shown_from_record(replace(entry, source=0), time_ns))


def _show_frames(
    frames: Iterator[PlayedFrame], show: Callable[[Shown], None], start_ns: int
) -> Iterator[PlayedFrame]:
    for frame in frames:
        at_ns = start_ns + round(frame.time_s * 1e9)
        show(ShownFrame(0, at_ns, frame.pixels, "reconstruction"))
        yield frame


class _Span:
    """Measures from the first frame that passes to the last."""

    seconds = 0.0

    def of(self, frames: Iterator[PlayedFrame]) -> Iterator[PlayedFrame]:
        first_s = None
        for frame in frames:
            first_s = frame.time_s if first_s is None else first_s
            self.seconds = frame.time_s - first_s
            yield frame


def _counted(frames: Playback, progress: Progress, total: int | None) -> Iterator[PlayedFrame]:
    for number, frame in enumerate(frames, 1):
        yield frame
        progress(number, total)


def _write(
    frames: Iterator[PlayedFrame],
    output: str | os.PathLike[str] | IO[bytes] | None,
    fps: float,
    recording: Recording,
    source: int,
    force: bool,
) -> int:
    first = next(frames, None)
    if first is None:
        last_s = last_frame_s(recording, source)
        if last_s is None:
            raise RecordingError(f"{recording.path} has no frame of source {source}.")
        raise RecordingError(
            f"{recording.path} has no frame of source {source} in that time; its last one is at "
            f"{last_s:.1f} s. Choose other times."
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
    from vidtok_edge.runtime.clips.writing import ClipWriter

    height, width = first.pixels.shape[:2]
    with ClipWriter(Path(output), fps=fps, size=(height, width), force=force) as clip:
        for frame in chain([first], frames):
            clip.write(frame.pixels)
            written += 1
    return written
