"""A clip read frame by frame: any container that PyAV reads, resized as the model wants it.

What a clip can have wrong with it is a ClipError, or, when frames could still be read, a sentence
in `ClipReader.report`. PyAV's own errors never leave this module and the three beside it, which
scan, decode and fit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vidtok_edge.errors import ClipError, UsageError
from vidtok_edge.runtime.clips.clip_frame import ClipFrame, ClipReport
from vidtok_edge.runtime.clips.decoding import ClipDecoding
from vidtok_edge.runtime.clips.fitting import ClipFitting, Fit
from vidtok_edge.runtime.clips.scanning import scan_clip, unknown_rate_error, variable_rate_error

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["ClipReader", "Fit", "Rate"]

Rate = float | Literal["every-frame"] | None

_LONGEST_GAP_S = 600  # a longer one is a broken clock; filling it would repeat a frame for hours


class ClipReader:
    """The frames of a clip, once, in order; a context manager.

    For example::

        with ClipReader("clip.mp4", size=(256, 256)) as clip:
            for frame in clip: ...
        clip.report.lost

    `size` is (H, W). `fit="crop"` scales (bicubic, antialiased) until the clip covers it and cuts
    the centre out, which for a square is the original VidTok's "shorter side, then centre crop";
    `"letterbox"` scales until it fits inside and pads with black. Rotations by quarter turns,
    mirrors, the shape of the pixels and the part that is shown (clean aperture, PixelCrop), as the
    clip's metadata have them, are applied.
    `stream` is the number of the video stream; None takes the default or best one. `doubts` says in
    sentences what in the clip a tokenizer was not made for, and which streams were left.

    `rate` says which frames:

    - None: all of them; a clip with a variable frame rate is refused.
    - a number: at about that many frames per second. Constant-rate clips: every n-th frame with
      n = round(clip rate / rate), as the original samples; `fps` is the rate that results.
      Variable-rate clips: for each tick of 1/rate the latest frame at or before it, and `time_ns`
      is the tick's time. To tell the two apart the whole file is demuxed (not decoded) first.
    - "every-frame": all of them, whatever their spacing.

    A file that says nothing of its rate (Y4M with F0:0 or without F; H.264 and others without a
    container) is refused with None; a number is then its rate, and with "every-frame" `fps` and
    all times are 0.

    Lost packets leave gaps. Where the container's index shows them (mp4) or the decoder reports
    them, the other frames are yielded and `report.lost` says what is missing; where nothing marks
    them (mkv, ts) they cannot be told from a variable rate, and are refused as one.

    A clip has one size, and is turned one way: where that changes, reading ends, and `report.lost`
    says so.

    Raises UsageError for the arguments, ClipError for the clip: here when that can be known, or
    while iterating (variable rate after the first thousand frames).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size: tuple[int, int],
        fit: Fit = "crop",
        rate: Rate = None,
        stream: int | None = None,
    ) -> None:
        _require_arguments(size, fit, rate)
        self.path = Path(path)
        self._wanted_fps = float(rate) if isinstance(rate, int | float) else None
        self._even = rate is None  # a variable rate is refused
        self._scan = scan_clip(self.path, self._wanted_fps is not None, stream)
        self._time = Fraction(0)  # of the last decoded frame, seconds since the first
        self._early = 0  # frames with times before those of the frames before them
        self._lost: str | None = None
        self._started = self._closed = False
        self._interval = self._sampling_interval()
        self._decoding = ClipDecoding(self.path, self._scan, self._even, stream)
        try:
            self._first = self._decoding.first_frame()
            self._fitting = ClipFitting(
                self.path,
                self._first,
                size,
                fit,
                self._decoding.pixel_aspect,
                self._decoding.crop,
            )
            self._named = stream is not None
        except BaseException:
            self.close()
            raise

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a tokenizer was not made for, as far as was looked or read."""
        doubts = self._decoding.doubts
        if not self._named and (others := self._decoding.other_streams):
            doubts.append(f"it has more than one video stream; not read: {others}")
        if steps := max(self._scan.clock_steps, self._decoding.clock_steps, key=len):
            times = "once" if len(steps) == 1 else f"{len(steps)} times"
            doubts.append(
                f"its clock steps back {times}, first after {steps[0]:.1f} s, as where recordings "
                "were joined: times are carried on from there"
            )
        if self._early:
            doubts.append(
                f"{self._early} frames have times before those of the frames before them, as "
                "damage leaves them: they were given those of the frames before them"
            )
        return tuple(doubts)

    @property
    def native_size(self) -> tuple[int, int]:
        """(H, W) of the clip as it is shown."""
        return self._fitting.native_size

    @property
    def native_fps(self) -> float:
        """Frames per second of the clip, of most frames if it varies; 0 if unknown."""
        return self._scan.fps

    @property
    def fps(self) -> float:
        """Frames per second that this reader yields; 0 if unknown."""
        if self._wanted_fps is not None and not (self._scan.constant and self._scan.timed):
            return self._wanted_fps
        return self._scan.fps / self._interval

    @property
    def variable_rate(self) -> bool:
        """Whether the frames that were looked at before reading are unevenly spaced."""
        return not self._scan.constant

    @property
    def frames_announced(self) -> int | None:
        """How many frames the container says it holds, before sampling; None if it does not."""
        return self._decoding.announced

    @property
    def report(self) -> ClipReport:
        """What was read; `lost` is known when the iteration has come to its end."""
        return ClipReport(self._decoding.read, self._decoding.announced, self._lost)

    def __iter__(self) -> Iterator[ClipFrame]:
        if self._started:
            raise UsageError(f"{self.path} was read already: open it again to read it again.")
        if self._closed:
            raise UsageError(f"{self.path} was closed: iterate inside the with block.")
        self._started = True
        if self._wanted_fps is not None and not self._scan.constant:
            return self._at_ticks(self._wanted_fps)
        return self._every_nth()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._closed = True
        self._decoding.close()

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- which frames

    def _sampling_interval(self) -> int:
        if not self._scan.timed and self._even:
            raise unknown_rate_error(self.path)
        if self._even and not self._scan.constant:
            raise variable_rate_error(self.path, self._scan.cadence)
        if self._wanted_fps is None or not self._scan.constant:
            return 1
        if not self._scan.fps:  # one frame, or a rate that is given, not asked for
            return 1
        interval = round(self._scan.fps / self._wanted_fps)
        if interval < 1:
            raise UsageError(
                f"{self.path} has {self._scan.fps:g} frames per second; {self._wanted_fps:g} were "
                f"asked for. Ask for at most {self._scan.fps:g}."
            )
        return interval

    def _every_nth(self) -> Iterator[ClipFrame]:
        """Counted in frames that were recorded: one that is damaged does not move the others."""
        number = due = before_ns = 0
        for frame, time_ns in self._timed():
            if time_ns > before_ns:
                number += max(1, round((time_ns - before_ns) * self._scan.fps / 1e9))
            before_ns = time_ns
            if number >= due or self._interval == 1:  # two of them may have one time
                yield ClipFrame(self._fitting.pixels(frame), time_ns)
                due = number - number % self._interval + self._interval

    def _at_ticks(self, rate: float) -> Iterator[ClipFrame]:
        tick = 0
        held: VideoFrame | None = None
        time_ns = 0
        for frame, time_ns in self._timed():
            while held is not None and (tick_ns := round(tick * 1e9 / rate)) < time_ns:
                yield ClipFrame(self._fitting.pixels(held), tick_ns)
                tick += 1
            held = frame
        while held is not None and (tick_ns := round(tick * 1e9 / rate)) <= time_ns:
            yield ClipFrame(self._fitting.pixels(held), tick_ns)
            tick += 1

    def _timed(self) -> Iterator[tuple[VideoFrame, int]]:
        """Every decoded frame with its time since the first, in ns."""
        size = self._first.height, self._first.width
        rate = self._scan.fps if self._scan.timed else self._wanted_fps
        period = 1 / Fraction(rate) if rate else Fraction(0)
        start: Fraction | None = None
        for index, frame in enumerate(self._all_decoded()):
            if (frame.height, frame.width) != size:
                self._decoding.read -= 1
                self._lost = _resized(index, size, frame)
                return
            # It changes with key frames; looking it up takes a third of the time of a small one.
            if frame.key_frame and not self._fitting.turned_alike(frame):
                self._decoding.read -= 1
                self._lost = (
                    f"frame {index} is turned or mirrored otherwise than those before it: it and "
                    "all that follow were not used; cut the clip there"
                )
                return
            if frame.pts is None or frame.time_base is None or not self._scan.timed:
                time = self._time + (period if index else 0)
            else:
                stamp = frame.pts * frame.time_base
                start = stamp if start is None else start
                time = stamp - start
            self._require_sane_gap(time - self._time)
            self._early += time < self._time
            self._time = max(self._time, time)
            yield frame, round(self._time * 1_000_000_000)

    def _all_decoded(self) -> Iterator[VideoFrame]:
        self._decoding.read = 1
        yield self._first
        for frame in self._decoding.frames:
            self._decoding.read += 1
            yield frame
        self._lost = self._decoding.losses(self._time)

    def _require_sane_gap(self, gap: Fraction) -> None:
        if gap > _LONGEST_GAP_S and self._wanted_fps is not None:
            raise ClipError(
                f"{self.path}: {float(gap):.0f} s pass between two frames; at most "
                f"{_LONGEST_GAP_S} are filled. Cut the clip there, or read it with "
                "rate='every-frame' (--fps every-frame)."
            )


def _resized(index: int, before: tuple[int, int], frame: VideoFrame) -> str:
    return (
        f"frame {index} is {frame.height}x{frame.width} (H x W), those before it are "
        f"{before[0]}x{before[1]}: it and all that follow were not used; cut the clip there"
    )


def _require_arguments(size: tuple[int, int], fit: str, rate: Rate) -> None:
    if len(size) != 2 or min(size) < 1:
        raise UsageError(f"size is {size}; allowed: (height, width) of at least 1 pixel each.")
    if fit not in ("crop", "letterbox"):
        raise UsageError(f"fit is {fit!r}; allowed: 'crop', 'letterbox'.")
    if rate is None or rate == "every-frame":
        return
    if isinstance(rate, str) or not math.isfinite(rate) or rate <= 0:
        raise UsageError(
            f"rate is {rate!r}; allowed: a number of frames per second above 0, 'every-frame', "
            "or None for a clip of constant rate."
        )
