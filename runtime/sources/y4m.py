"""Y4M from a pipe: frames whose size, format and rate a header says. Through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from vidtok_edge.errors import MissingDependency, SourceError
from vidtok_edge.runtime.clips.container import open_container
from vidtok_edge.runtime.clips.mending import FrameMending
from vidtok_edge.runtime.clips.scanning import pixel_aspect_of
from vidtok_edge.runtime.clips.unknown_rate import Y4M_HEADER_BYTES, rate_in_y4m
from vidtok_edge.runtime.sources.pipe import Pipe

try:
    import av
except ImportError:
    raise MissingDependency("av", "video", "Reading Y4M") from None

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["Y4mFrames"]


class Y4mFrames:
    """The frames, mended as those of clips are; read once.

    Raises SourceError while iterating: it is no Y4M, or ended in the middle of a frame; what `pipe`
    raises.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._start = bytearray()  # of the bytes
        self._mending: FrameMending | None = None
        self._number = self._end = 0

    @property
    def doubts(self) -> tuple[str, ...]:
        """What in the frames a tokenizer was not made for, as far as was read."""
        return () if self._mending is None else tuple(self._mending.doubts)

    def read(self, size: int, /) -> bytes:
        """For FFmpeg: of the pipe."""
        data = self._pipe.read(size)
        self._start += data[: Y4M_HEADER_BYTES - len(self._start)]
        return data

    def __iter__(self) -> Iterator[tuple[VideoFrame, Fraction, int | None]]:
        """Each frame with the width of a pixel over its height, and its time in ns.

        The time is None where the header has no rate.
        """
        try:
            with open_container(self, format="yuv4mpegpipe") as container:
                stream = container.streams.video[0]
                aspect, timed = pixel_aspect_of(stream), rate_in_y4m(bytes(self._start))
                self._mending = FrameMending(stream)
                for frame in self._mending.mended(self._decoded(container, stream)):
                    tick = frame.time_base if timed else None
                    time_ns = round((frame.pts or 0) * tick * 1_000_000_000) if tick else None
                    yield frame, aspect, time_ns
        except (av.FFmpegError, ValueError) as error:
            why = str(getattr(error, "strerror", None) or error)
            raise _broken(self._pipe, self._number, why) from error
        # FFmpeg leaves out a frame that is not whole.
        if self._pipe.given > self._end and not self._pipe.closed:
            raise _broken(self._pipe, self._number, "it ended in the middle of a frame")

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        for packet in container.demux(stream):
            self._end = max(self._end, (packet.pos or 0) + packet.size)
            for frame in packet.decode():
                self._number += 1
                yield frame


def _broken(pipe: Pipe, number: int, why: str) -> SourceError:
    return SourceError(
        f"{pipe.name} holds Y4M that cannot be read on after {number} frames: {why}. Pipe it again."
    )
