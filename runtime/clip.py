"""A clip read frame by frame: any container that PyAV reads, resized as the model wants it.

What a clip can have wrong with it is a ClipError, or, when frames could still be read, a sentence
in `ClipReader.report`. PyAV's own errors never leave this module.
"""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import ClipError, MissingDependency, UsageError

try:
    import av
except ImportError:
    raise MissingDependency("av", "video", "Reading a clip") from None

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["ClipFrame", "ClipReader", "ClipReport", "Fit", "Rate"]

Fit = Literal["crop", "letterbox"]
Rate = float | Literal["every-frame"] | None

_SCANNED_PACKETS = 1000  # half a minute at 30 fps; later frames are checked as they are read
_REORDERED_PACKETS = 32  # packets come in decoding order; H.264 and HEVC move a frame by 16 at most
_LONGEST_GAP_S = 600  # a longer one is a broken clock; filling it would repeat a frame for hours
_LARGEST_PIXELS = 1 << 26  # of a frame after scaling, before cropping: 200 MB
_AUDIO_OVERHANG_S = 0.2  # a clip's duration is that of its longest stream, often the sound
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC: the cover of an audio file


@dataclass(frozen=True, slots=True)
class ClipFrame:
    """One frame: `pixels` uint8 [H, W, 3] RGB, C-contiguous; `time_ns` since the first frame.

    Times never decrease: where a damaged clip's go back, a frame has the time of the one before.
    """

    pixels: NDArray[np.uint8]
    time_ns: int

    def __repr__(self) -> str:
        return f"ClipFrame(pixels={self.pixels.shape}, time_ns={self.time_ns})"


@dataclass(frozen=True, slots=True)
class ClipReport:
    """What was read so far, and, once the clip has ended, what of it was lost.

    `lost` is a sentence, or None when nothing is known to be. A container that announces nothing
    (ts, flv, fragmented mp4) cannot show that whole frames were cut off its end.
    """

    frames_read: int
    frames_announced: int | None
    lost: str | None


class ClipReader:
    """The frames of a clip, once, in order; a context manager.

        with ClipReader("clip.mp4", size=(256, 256)) as clip:
            for frame in clip: ...
        clip.report.lost

    `size` is (H, W). `fit="crop"` scales (bicubic, antialiased) until the clip covers it and cuts
    the centre out, which for a square is the original VidTok's "shorter side, then centre crop";
    `"letterbox"` scales until it fits inside and pads with black. Pixels are taken as square, and
    a rotation by quarter turns in the clip's metadata is applied.

    `rate` says which frames:
    - None: all of them; a clip with a variable frame rate is refused.
    - a number: at about that many frames per second. Constant-rate clips: every n-th frame with
      n = round(clip rate / rate), as the original samples; `fps` is the rate that results.
      Variable-rate clips: for each tick of 1/rate the latest frame at or before it, and `time_ns`
      is the tick's time. To tell the two apart the whole file is demuxed (not decoded) first.
    - "every-frame": all of them, whatever their spacing.

    Lost packets leave gaps. Where the container's index shows them (mp4) or the decoder reports
    them, the other frames are yielded and `report.lost` says what is missing; where nothing marks
    them (mkv, ts) they cannot be told from a variable rate, and are refused as one.

    Raises UsageError for the arguments, ClipError for the clip: here when that can be known, or
    while iterating (resolution changes, variable rate after the first thousand frames).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size: tuple[int, int],
        fit: Fit = "crop",
        rate: Rate = None,
    ) -> None:
        _require_arguments(size, fit, rate)
        self.path = Path(path)
        self._size = size
        self._wanted_fps = float(rate) if isinstance(rate, int | float) else None
        self._even = rate is None  # a variable rate is refused
        self._scan = _scan(self.path, whole=self._wanted_fps is not None)
        self._cadence = _Cadence()
        self._packets = self._errors = self._read = 0
        self._time = Fraction(0)  # of the last decoded frame, seconds since the first
        self._stopped: str | None = None
        self._lost: str | None = None
        self._started = self._closed = False
        self._interval = self._sampling_interval()
        self._container, self._stream = _open(self.path)
        try:
            self._announced = _announced(self._container, self._stream, self._scan)
            self._decoded = self._decode()
            self._first = self._first_frame()
            self._coded_size = self._first.height, self._first.width
            self._turns = _quarter_turns(self.path, self._first)
            h, w = self._coded_size
            self.native_size = (w, h) if self._turns % 2 else (h, w)
            self._placement = _placement(self.native_size, size, fit)
            self._require_sane_placement()
        except BaseException:
            self.close()
            raise

    @property
    def native_fps(self) -> float:
        """Frames per second of the clip; the mean if it varies, 0 if unknown (one frame)."""
        return self._scan.fps

    @property
    def fps(self) -> float:
        """Frames per second that this reader yields; 0 if unknown."""
        if self._wanted_fps is not None and not self._scan.constant:
            return self._wanted_fps
        return self._scan.fps / self._interval

    @property
    def variable_rate(self) -> bool:
        """Whether the frames that were looked at before reading are unevenly spaced."""
        return not self._scan.constant

    @property
    def frames_announced(self) -> int | None:
        """How many frames the container says it holds, before sampling; None if it does not."""
        return self._announced

    @property
    def report(self) -> ClipReport:
        """What was read; `lost` is known when the iteration has come to its end."""
        return ClipReport(self._read, self._announced, self._lost)

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
        self._container.close()

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- which frames

    def _sampling_interval(self) -> int:
        if self._even and not self._scan.constant:
            raise _variable(self.path, self._scan.cadence)
        if self._wanted_fps is None or not self._scan.constant:
            return 1
        if not self._scan.fps:  # one frame: nothing to skip
            return 1
        interval = round(self._scan.fps / self._wanted_fps)
        if interval < 1:
            raise UsageError(
                f"{self.path} has {self._scan.fps:g} frames per second; {self._wanted_fps:g} were "
                f"asked for. Ask for at most {self._scan.fps:g}."
            )
        return interval

    def _every_nth(self) -> Iterator[ClipFrame]:
        for index, (frame, time_ns) in enumerate(self._timed()):
            if index % self._interval == 0:
                yield ClipFrame(self._pixels(frame), time_ns)

    def _at_ticks(self, rate: float) -> Iterator[ClipFrame]:
        tick = 0
        held: VideoFrame | None = None
        time_ns = 0
        for frame, time_ns in self._timed():
            while held is not None and (tick_ns := round(tick * 1e9 / rate)) < time_ns:
                yield ClipFrame(self._pixels(held), tick_ns)
                tick += 1
            held = frame
        while held is not None and (tick_ns := round(tick * 1e9 / rate)) <= time_ns:
            yield ClipFrame(self._pixels(held), tick_ns)
            tick += 1

    def _timed(self) -> Iterator[tuple[VideoFrame, int]]:
        """Every decoded frame with its time since the first, in ns."""
        # AVI stores no presentation times, only the order of decoding.
        stamped = self._container.format.name != "avi"
        period = 1 / Fraction(self._scan.fps) if self._scan.fps else Fraction(0)
        start: Fraction | None = None
        for index, frame in enumerate(self._all_decoded()):
            if (frame.height, frame.width) != self._coded_size:
                raise _resized(self.path, index, self._coded_size, frame)
            if not stamped or frame.pts is None or frame.time_base is None:
                time = index * period if not stamped else self._time + (period if index else 0)
            else:
                stamp = frame.pts * frame.time_base
                start = stamp if start is None else start
                time = stamp - start
            self._require_sane_gap(time - self._time)
            self._time = max(self._time, time)
            yield frame, round(self._time * 1_000_000_000)

    def _all_decoded(self) -> Iterator[VideoFrame]:
        self._read = 1
        yield self._first
        for frame in self._decoded:
            self._read += 1
            yield frame
        self._lost = self._losses()

    # -- decoding

    def _first_frame(self) -> VideoFrame:
        for frame in self._decoded:
            return frame
        why = self._stopped or "no frame could be decoded"
        raise ClipError(
            f"{self.path} has a video stream but not one readable picture: {why}. "
            "Copy it again from its source."
        )

    def _decode(self) -> Iterator[VideoFrame]:
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:  # the last one is empty and drains the decoder
                    self._count(packet)
                yield from self._decode_packet(packet)
        except av.FFmpegError as error:
            self._stopped = _reason(error)

    def _decode_packet(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        try:
            return packet.decode()
        except av.error.EOFError:  # the decoder was drained already
            return []
        except av.FFmpegError:
            self._errors += 1
            return []

    def _count(self, packet: Packet[VideoStream]) -> None:
        self._packets += 1
        if packet.is_corrupt:
            self._errors += 1
        if self._even and not self._errors:
            self._cadence.add(packet)
            if not self._cadence.constant:
                raise _variable(self.path, self._cadence)

    def _losses(self) -> str | None:
        """A sentence about the frames that could not be read, or None."""
        reasons = [self._lost_at_end()]
        if self._errors:
            damaged = max(self._errors, self._packets - self._read)
            reasons.append(f"{damaged} of {self._packets} frames in the file were damaged")
        if self._stopped:
            reasons.append(f"reading stopped: {self._stopped}")
        return "; ".join(filter(None, reasons)) or None

    def _lost_at_end(self) -> str | None:
        counted = self._stream.frames > 0
        announced = self._announced or _indexed(self._container, self._stream)
        missing = (announced or 0) - self._packets
        if announced and missing > (0 if counted else _AUDIO_OVERHANG_S * self._scan.fps):
            return f"{missing} of {announced} announced frames are missing from the file"
        duration = _promised_seconds(self._container)
        if announced or not duration:
            return None
        gap = max(_AUDIO_OVERHANG_S, 2 * float(self._scan.cadence.largest))
        if duration - self._time <= gap:
            return None
        return f"the pictures end at {float(self._time):.1f} s of the {duration:.1f} s announced"

    # -- pictures

    def _pixels(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] of the asked size."""
        height, width, top, left = self._placement
        if self._turns % 2:
            height, width = width, height
        try:
            # RGB has no matrix, but PyAV 13 to 15 ignore the frame's own unless another is named.
            scaled = frame.reformat(
                width, height, "rgb24", dst_colorspace="ITU601", interpolation="BICUBIC"
            ).to_ndarray()
        except (av.FFmpegError, ValueError, MemoryError) as error:
            raise ClipError(f"{self.path}: a frame cannot be converted: {error}.") from error
        upright = np.rot90(scaled, self._turns)
        return _placed(upright.astype(np.uint8, copy=False), self._size, top, left)

    def _require_sane_placement(self) -> None:
        height, width, _, _ = self._placement
        if height * width > _LARGEST_PIXELS:
            h, w = self.native_size
            raise ClipError(
                f"{self.path} is {h}x{w}: too elongated to cover {self._size[0]}x{self._size[1]}. "
                "Use fit='letterbox'."
            )

    def _require_sane_gap(self, gap: Fraction) -> None:
        if gap > _LONGEST_GAP_S and self._wanted_fps is not None:
            raise ClipError(
                f"{self.path}: {float(gap):.0f} s pass between two frames; at most "
                f"{_LONGEST_GAP_S} are filled. Cut the clip there, or read it with "
                "rate='every-frame'."
            )


# -- frame rate


class _Cadence:
    """The smallest and largest interval between timestamps that come slightly out of order."""

    def __init__(self) -> None:
        self.smallest = Fraction(10**9)
        self.largest = Fraction(-1)
        self._waiting: list[Fraction] = []
        self._first: Fraction | None = None
        self._last: Fraction | None = None
        self._count = 0
        self._unknown = False

    def add(self, packet: Packet[VideoStream]) -> None:
        if packet.is_discard:
            return
        if packet.pts is None or packet.time_base is None:
            self._unknown = True  # raw streams: no timestamps, so nothing to judge
            return
        heapq.heappush(self._waiting, packet.pts * packet.time_base)
        if len(self._waiting) > _REORDERED_PACKETS:
            self._next()

    def finish(self) -> None:
        """No packet follows: take in those that wait."""
        while self._waiting:
            self._next()

    def _next(self) -> None:
        time = heapq.heappop(self._waiting)
        if self._last is None:
            self._first = time
        else:
            self.smallest = min(self.smallest, time - self._last)
            self.largest = max(self.largest, time - self._last)
        self._last = time
        self._count += 1

    @property
    def mean(self) -> Fraction | None:
        """Seconds per frame; None for fewer than two."""
        if self._first is None or self._last is None or self._last <= self._first:
            return None
        return (self._last - self._first) / (self._count - 1)

    @property
    def constant(self) -> bool:
        """Whether the intervals differ by no more than clocks and containers round.

        mkv and flv store whole milliseconds (29.97 fps alternates 33 and 34); cameras jitter.
        """
        mean = self.mean
        if mean is None or self._unknown:
            return True
        return self.largest - self.smallest <= max(mean / 10, Fraction(1001, 1_000_000))


@dataclass(frozen=True, slots=True)
class _Scan:
    cadence: _Cadence
    fps: float
    constant: bool


def _scan(path: Path, whole: bool) -> _Scan:
    """Judge the frame rate from the timestamps of packets; nothing is decoded."""
    container, stream = _open(path)
    cadence = _Cadence()
    try:
        for index, packet in enumerate(container.demux(stream)):
            if not packet.size or packet.is_corrupt:
                continue
            if index >= _SCANNED_PACKETS and not whole:
                break
            cadence.add(packet)
        else:
            cadence.finish()
    except av.FFmpegError:
        cadence.finish()  # the reader meets the same error and reports it
    finally:
        guess = stream.guessed_rate or stream.average_rate
        container.close()
    return _Scan(cadence, _fps(cadence, guess), cadence.constant)


def _fps(cadence: _Cadence, guess: Fraction | None) -> float:
    mean = cadence.mean
    if mean is None:
        return float(guess or 0)
    # The container's own figure is exact (30000/1001) where the timestamps are rounded.
    if guess and cadence.constant and abs(guess * mean - 1) < Fraction(2, 100):
        return float(guess)
    return float(1 / mean)


def _variable(path: Path, cadence: _Cadence) -> ClipError:
    low, high = float(cadence.smallest * 1000), float(cadence.largest * 1000)
    fps = float(1 / cadence.mean) if cadence.mean else 30
    return ClipError(
        f"{path} has a variable frame rate, or frames missing: they are {low:.1f} to {high:.1f} ms "
        f"apart. Give a rate to sample it evenly (rate={fps:.3g} is its mean), or take its frames "
        "as they are with rate='every-frame'."
    )


# -- opening


def _open(path: Path) -> tuple[InputContainer, VideoStream]:
    _require_file(path)
    try:
        # `file:` and the whitelist: a name with a colon is no protocol, and a playlist that calls
        # itself a clip must not fetch what it lists from the network.
        container = av.open(
            f"file:{path}",
            mode="r",
            container_options={"protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ClipError(
            f"{path} is not a clip that can be read: {_reason(error)}. It is no video file, or "
            "its header is damaged or missing; copy it again from its source."
        ) from error
    for stream in container.streams.video:
        # PyAV 13 does not show dispositions; some later ones cannot make an int of them.
        disposition = getattr(stream, "disposition", None)
        cover = getattr(disposition, "value", 0) & _ATTACHED_PICTURE
        if not cover and stream.codec_context is not None:
            return container, stream
    what = "only sound" if container.streams.audio else "or none of a known kind"
    container.close()
    raise ClipError(f"{path} has no video stream, {what}. Name a clip with pictures.")


def _require_file(path: Path) -> None:
    try:
        if not path.exists():
            raise ClipError(f"{path} does not exist. Check the name.")
        if path.is_dir():
            raise ClipError(f"{path} is a folder. Name one clip inside it.")
        if not path.is_file():
            raise ClipError(f"{path} is not a regular file. Record it to a file first.")
        with path.open("rb") as file:
            if not file.read(1):
                raise ClipError(f"{path} is empty (0 bytes). Copy it again from its source.")
    except (OSError, ValueError) as error:
        raise ClipError(f"{path} cannot be read: {_reason(error)}.") from error


def _announced(container: InputContainer, stream: VideoStream, scan: _Scan) -> int | None:
    """Frames that the container promises: counted in its header, or from its duration."""
    if stream.frames > 0:
        # A trimmed mp4 counts the frames before its edit list, which are never shown.
        return min(stream.frames, _indexed(container, stream) or stream.frames)
    if not scan.constant:
        return None
    return round(_promised_seconds(container) * scan.fps) or None


def _promised_seconds(container: InputContainer) -> float:
    """The duration in a Matroska header, else 0: FFmpeg's is that of what the file still holds."""
    if not container.format.name.startswith("matroska"):
        return 0
    return (container.duration or 0) / 1_000_000


def _indexed(container: InputContainer, stream: VideoStream) -> int | None:
    """Frames that an mp4's index lists; grows while a fragmented one is read."""
    if not container.format.name.startswith("mov"):
        return None  # elsewhere an index may list key frames only
    entries = getattr(stream, "index_entries", None)  # not in PyAV 13
    return len(entries) if entries is not None else None


def _quarter_turns(path: Path, frame: VideoFrame) -> int:
    """How many times the picture must be turned by 90 degrees, counter-clockwise."""
    degrees = int(getattr(frame, "rotation", 0))  # not in PyAV 13
    if degrees % 90:
        raise ClipError(
            f"{path} asks to be shown rotated by {degrees} degrees; quarter turns can be applied. "
            "Re-encode it upright."
        )
    return degrees // 90 % 4


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _resized(path: Path, index: int, before: tuple[int, int], frame: VideoFrame) -> ClipError:
    return ClipError(
        f"{path}: frame {index} is {frame.height}x{frame.width} (H x W), the frames before it are "
        f"{before[0]}x{before[1]}. A clip has one size: cut it there, or re-encode it."
    )


# -- fitting


def _placement(native: tuple[int, int], size: tuple[int, int], fit: Fit) -> tuple[int, ...]:
    """Scaled height and width, and where their corner comes to lie in the target: top, left.

    >>> _placement((120, 160), (64, 64), "crop")
    (64, 85, 0, -10)
    >>> _placement((120, 160), (64, 64), "letterbox")
    (48, 64, 8, 0)
    """
    (h, w), (height, width) = native, size
    by_height = height * w >= width * h
    if fit == "letterbox":
        by_height = not by_height
    # Rounding down, as torchvision's Resize does, which the original uses.
    scaled = (height, max(1, w * height // h)) if by_height else (max(1, h * width // w), width)
    if fit == "crop":  # for sizes that divide with a remainder of nearly one
        scaled = max(height, scaled[0]), max(width, scaled[1])
    top, left = (math.trunc((t - s) / 2) for t, s in zip(size, scaled, strict=True))
    return *scaled, top, left


def _placed(
    picture: NDArray[np.uint8], size: tuple[int, int], top: int, left: int
) -> NDArray[np.uint8]:
    """Cut `picture` to `size`, or set it on black, with its corner at (top, left)."""
    height, width = size
    if top <= 0 and left <= 0:
        cut = picture[-top : -top + height, -left : -left + width]
        if cut.shape[:2] == size:
            return np.ascontiguousarray(cut)
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


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
