"""Video files of datasets: runs of frames, several in a file, each found by its seconds in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import MissingDependency, MissingFromEnvironment, OutputNotWritable
from vidtok_edge.runtime.clips.container import open_container

try:
    import av
except ImportError:
    raise MissingDependency("av", "video", "Writing videos of a dataset") from None

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["RunPlace", "VideoCodec", "VideoFiles", "codec_for"]

_MOST_BYTES = 200 << 20  # of a file: LeRobot's default
# LeRobot finds frames by seconds in float32, to 1e-4 s. From 1024 s on they are 1.2e-4 s apart, and
# the sum of a run's begin and a time in it may round to the wrong one; the first run has no sum.
_MOST_S = 1000
_LEAST_SIDE = 64  # of libsvtav1: the one in PyAV 17 hangs at 16x16, that in PyAV 15 divides by 0
_COUNT = 30  # frames per second while encoding: which frame it is counts there, not the time
_SMPTE170M = 6  # as in ClipWriter
_LIMITED_RANGE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoCodec:
    """How frames are encoded."""

    name: str
    """Of the codec."""
    encoder: str
    """Of FFmpeg."""
    pixel_format: str = "yuv420p"
    options: Mapping[str, int] = field(default_factory=dict)
    """Of the encoder."""


_CODECS = (
    # LeRobot's own settings, but for its preset 12: that is for encoding beside a robot.
    VideoCodec(name="av1", encoder="libsvtav1", options={"g": 2, "crf": 30, "preset": 8}),
    # Without B frames, whose packets are not in the order of the frames.
    VideoCodec(name="h264", encoder="libx264", options={"g": 2, "crf": 23, "bf": 0}),
)


def codec_for(size: tuple[int, int], available: Collection[str] | None = None) -> VideoCodec:
    """AV1, else H.264: for frames of `size` (H, W), and of the encoders that FFmpeg has.

    Raises MissingFromEnvironment.

    >>> codec_for((256, 256), {"libsvtav1", "libx264"}).name, codec_for((32, 48), {"libx264"}).name
    ('av1', 'h264')
    """
    found = av.codecs_available if available is None else available
    for codec in _CODECS:
        fits = codec.encoder != "libsvtav1" or min(size) >= _LEAST_SIDE
        if codec.encoder in found and fits:
            return codec
    raise MissingFromEnvironment(
        f"PyAV's FFmpeg has no encoder for video of {size[0]}x{size[1]} that LeRobot reads: "
        f"{', '.join(codec.encoder for codec in _CODECS)}. "
        "Install PyAV from PyPI: pip install --force-reinstall av"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlace:
    """Where a run of frames is."""

    number: int
    """Of the file."""
    from_s: float
    """When its first frame begins, in the file."""
    to_s: float
    """When its last frame ends."""


class VideoFiles:
    """Numbered mp4 files in a folder; a context manager, which closes the last.

    Frames are written one by one, and `end_run` says where those since the last one are. A run lies
    in one file, and begins with a key frame. A file holds as many whole runs as 200 MiB and 1000 s
    allow, at least one. Frame i of a file is at exactly i / `rate` seconds.

    Args:
        name: of a file, by its number.
        size: (H, W) of all frames, both even.
        rate: frames per second.
        number: of the first file.
        alone: each run has a file of its own.

    Raises OutputNotWritable for full disks and what an encoder does not take.
    """

    def __init__(
        self,
        folder: Path,
        name: Callable[[int], str],
        *,
        size: tuple[int, int],
        rate: float,
        number: int = 0,
        alone: bool = False,
    ) -> None:
        self.codec = codec_for(size)
        self._folder, self._name, self._number = folder, name, number
        self._size, self._period = size, 1 / _exact(rate)
        self._run: _Run | None = None
        self._file: _Joined | None = None
        self._frames, self._alone = 0, alone

    def __enter__(self) -> VideoFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.abandon()
        file, self._file = self._file, None
        if file is not None:
            file.close() if kind is None else file.abandon()

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Add a frame to the run, uint8 [H, W, 3] RGB."""
        assert pixels.shape == (*self._size, 3) and pixels.dtype == np.uint8
        if self._run is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._run = _Run(self._folder / ".run.mp4", self._size, self.codec)
        self._run.write(pixels)

    def end_run(self) -> RunPlace:
        """End the run of the frames since the last one; there is at least one."""
        run = self._run
        assert run is not None
        run.close()
        size, end = run.path.stat().st_size, self._frames + run.frames
        if self._file is not None and (
            self._alone or self._file.bytes + size > _MOST_BYTES or end * self._period > _MOST_S
        ):
            self._file.close()
            self._file, self._number = None, self._number + 1
        if self._file is None:
            path = self._folder / self._name(self._number)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file, self._frames = _Joined(path, self._period), 0
        self._file.add(run.path, self._frames, run.frames)
        first, self._frames = self._frames, self._frames + run.frames
        run.path.unlink()
        self._run = None
        return RunPlace(
            number=self._number,
            from_s=float(first * self._period),
            to_s=float(self._frames * self._period),
        )


class _Output:
    """An mp4 file that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as stack:
            # A Python file, not a path: its write errors keep their errno on every PyAV.
            file = stack.enter_context(path.open("wb", buffering=1 << 20))
            self.container: OutputContainer = av.open(file, mode="w", format="mp4")
            stack.callback(self._free)
            self._open = stack.pop_all()

    def close(self) -> None:
        with self._open, _failures(self.path):
            self.container.close()

    def abandon(self) -> None:
        self._open.close()

    def _free(self) -> None:
        """After a failure, whose error must not be replaced by another."""
        with suppress(av.FFmpegError, OSError, ValueError):
            self.container.close()


class _Run:
    """Frames on their way into a file of their own."""

    def __init__(self, path: Path, size: tuple[int, int], codec: VideoCodec) -> None:
        self.path, self.frames = path, 0
        self._output = _Output(path)
        options = {name: str(value) for name, value in codec.options.items()}
        with _failures(path):
            self._stream: VideoStream = self._output.container.add_stream(  # type: ignore[assignment]
                codec.encoder, rate=_COUNT, options=options
            )
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = codec.pixel_format
        self._stream.codec_context.colorspace = _SMPTE170M
        self._stream.codec_context.color_range = _LIMITED_RANGE

    def write(self, pixels: NDArray[np.uint8]) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = frame.reformat(format=self._stream.pix_fmt)
        frame.pts, frame.time_base = self.frames, Fraction(1, _COUNT)
        self._encode(frame)
        self.frames += 1

    def close(self) -> None:
        self._encode(None)
        self._output.close()

    def abandon(self) -> None:
        self._output.abandon()
        self.path.unlink(missing_ok=True)

    def _encode(self, frame: VideoFrame | None) -> None:
        with _failures(self.path), _silent():
            for packet in self._stream.encode(frame):
                self._output.container.mux(packet)


class _Joined:
    """A file that the packets of runs go into."""

    def __init__(self, path: Path, period: Fraction) -> None:
        self.bytes = 0
        self._output, self._period = _Output(path), period
        self._stream: Any = None

    def add(self, run: Path, first: int, frames: int) -> None:
        """Copy the `frames` of a run; `first` is the number of the first one."""
        with _failures(self._output.path), open_container(f"file:{run}") as source:
            stream = source.streams.video[0]
            if self._stream is None:
                self._stream = self._output.container.add_stream_from_template(stream, opaque=True)
                self._stream.time_base = self._period
            copied = 0
            for packet in source.demux(stream):
                if packet.pts is None or packet.time_base is None:
                    continue  # the end
                number = packet.pts * packet.time_base * _COUNT
                if number != copied:
                    raise OutputNotWritable(
                        f"{self._output.path} cannot be written: the encoder gave frame {number} "
                        f"where {copied} was due. Install PyAV from PyPI."
                    )
                self.bytes += packet.size
                packet.stream, packet.time_base = self._stream, self._period
                packet.pts = packet.dts = first + copied
                packet.duration = 1
                self._output.container.mux(packet)
                copied += 1
        if copied != frames:
            raise OutputNotWritable(
                f"{self._output.path} cannot be written: the encoder gave {copied} of {frames} "
                "frames. Install PyAV from PyPI."
            )

    def close(self) -> None:
        self._output.close()

    def abandon(self) -> None:
        self._output.abandon()


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    # Errors of the disk come from the Python file and pass through PyAV unchanged.
    try:
        yield
    except av.FFmpegError as error:
        raise OutputNotWritable(
            f"{path} cannot be written: {error}. Try another version of PyAV."
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Without what libsvtav1 writes to standard error of itself; it asks when it is opened."""
    name = "SVT_LOG"
    if name in os.environ:
        yield
        return
    os.environ[name] = "0"  # not its errors either: FFmpeg answers with them, and they are raised
    try:
        yield
    finally:
        del os.environ[name]


def _exact(rate: float) -> Fraction:
    """What an mp4 can hold of a rate, which counts in at most 2^31 parts of a second.

    >>> _exact(7.5), _exact(7.491234)
    (Fraction(15, 2), Fraction(3745617, 500000))
    """
    return Fraction(rate).limit_denominator(min(10**6, max(1, int(2**30 / rate))))
