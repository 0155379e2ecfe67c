"""A clip written frame by frame: H.264 where PyAV has an encoder for it, else MPEG-4."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import (
    MissingDependency,
    MissingFromEnvironment,
    OutputNotWritable,
    UsageError,
)
from vidtok_edge.runtime.files import write_beside

try:
    import av
except ImportError:
    raise MissingDependency("av", "video", "Writing a clip") from None

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["ClipWriter", "encoder_from"]

_FORMATS = {".mp4": "mp4", ".mkv": "matroska"}
Encoder = Literal["libx264", "mpeg4"]
_OPTIONS: dict[Encoder, dict[str, str]] = {
    "libx264": {"crf": "16"},  # visually lossless
    "mpeg4": {"qscale": "2", "flags": "+qscale"},  # its best quality
}
_SMPTE170M = 6  # AVCOL_SPC_SMPTE170M: the matrix that swscale uses, written down for players
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG


def encoder_from(available: Collection[str]) -> Encoder:
    """The encoder used when FFmpeg offers `available`. Raises MissingFromEnvironment.

    >>> encoder_from({"mpeg4", "libx264"}), encoder_from({"mpeg4"})
    ('libx264', 'mpeg4')
    """
    for name in _OPTIONS:
        if name in available:
            return name
    raise MissingFromEnvironment(
        f"PyAV's FFmpeg has none of the video encoders {', '.join(_OPTIONS)}. "
        "Install PyAV from PyPI: pip install --force-reinstall av"
    )


class ClipWriter:
    """Writes uint8 RGB frames to an .mp4 or .mkv; a context manager.

        with ClipWriter("out.mp4", fps=30, size=(256, 256)) as clip:
            clip.write(pixels)

    `size` is (H, W). Odd sides are padded to even by repeating the last row or column, because
    yuv420p halves the colour. The file appears when the block ends without an error; otherwise
    nothing is left behind. A block that wrote no frame is a UsageError.

    Raises UsageError for the arguments and for frames of another shape, OutputExists when the file
    is there and `force` is not set, OutputNotWritable for permissions and full disks.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fps: float,
        size: tuple[int, int],
        force: bool = False,
    ) -> None:
        self.path = Path(path)
        self.encoder = encoder_from(av.codecs_available)
        self.frames_written = 0
        self._format = _format(self.path)
        self._fps = _exact_rate(fps)
        self._size = _require_size(size)
        self._force = force
        self._open: ExitStack | None = None
        self._container: OutputContainer
        self._stream: VideoStream

    @property
    def fell_back(self) -> bool:
        """True when this FFmpeg has no libx264: files are larger for the same quality."""
        return self.encoder != "libx264"

    def __enter__(self) -> ClipWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(write_beside(self.path, self._force))
            # A Python file, not a path: its write errors keep their errno on every PyAV.
            file = stack.enter_context(temporary.open("wb", buffering=1 << 20))
            self._container = av.open(file, mode="w", format=self._format)
            stack.callback(self._close_container)
            self._stream = self._add_stream()
            self._open = stack.pop_all()
        return self

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Append one frame, uint8 [H, W, 3] RGB."""
        if self._open is None:
            raise UsageError("The clip is not open: call write() inside the writer's with block.")
        if pixels.shape != (*self._size, 3) or pixels.dtype != np.uint8:
            raise UsageError(
                f"Got a frame of {pixels.dtype} {pixels.shape}; this clip takes uint8 "
                f"{(*self._size, 3)}."
            )
        height, width = self._size
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame = frame.reformat(format="yuv420p")
        frame.pts = self.frames_written
        frame.time_base = 1 / self._fps
        self._encode(frame)
        self.frames_written += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stack, self._open = self._open, None
        if stack is None:
            return
        if error is not None:
            stack.__exit__(kind, error, trace)  # ends in write_beside, which removes
            return
        with stack:
            if not self.frames_written:
                raise UsageError(f"{self.path}: no frame was written, so there is no clip.")
            self._encode(None)
            self._finish()

    def _add_stream(self) -> VideoStream:
        stream = self._container.add_stream(
            self.encoder, rate=self._fps, options=dict(_OPTIONS[self.encoder])
        )
        height, width = self._size
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = 1 / self._fps
        stream.codec_context.colorspace = _SMPTE170M
        stream.codec_context.color_range = _LIMITED_RANGE
        return stream

    def _encode(self, frame: VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except av.FFmpegError as error:
            raise self._failed(error) from error

    def _finish(self) -> None:
        try:
            self._container.close()
        except av.FFmpegError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> Exception:
        # Errors of the disk come from the Python file and pass through PyAV unchanged.
        return OutputNotWritable(
            f"{self.path} cannot be written: the encoder {self.encoder} failed: {error}. "
            "Try another size, frame rate or format (.mp4, .mkv)."
        )

    def _close_container(self) -> None:
        """Free the container after a failure, whose error must not be replaced by another."""
        with suppress(av.FFmpegError, OSError, ValueError):
            self._container.close()


def _format(path: Path) -> str:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise UsageError(
            f"{path}: the suffix {path.suffix!r} names no format that is written. "
            f"Use one of {', '.join(_FORMATS)}."
        ) from None


def _exact_rate(fps: float) -> Fraction:
    """29.97002997 to 30000/1001: containers store rates as fractions.

    >>> _exact_rate(30000 / 1001), _exact_rate(12.5)
    (Fraction(30000, 1001), Fraction(25, 2))
    """
    # Above 1000 the numerator could pass 65535, which MPEG-4 cannot store.
    if not math.isfinite(fps) or not 0.01 <= fps <= 1000:
        raise UsageError(f"fps is {fps}; allowed: 0.01 to 1000 frames per second.")
    return Fraction(fps).limit_denominator(1001 if fps < 65 else 65)


def _require_size(size: tuple[int, int]) -> tuple[int, int]:
    if len(size) != 2 or not all(1 <= side <= 16384 for side in size):
        raise UsageError(f"size is {size}; allowed: (height, width) of 1 to 16384 pixels each.")
    return size
