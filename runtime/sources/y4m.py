"""Y4M from a pipe: frames whose size, format and rate a header says. Through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from vidtok_edge.errors import MissingDependency, SourceError
from vidtok_edge.runtime.clips.container import open_container
from vidtok_edge.runtime.clips.scanning import pixel_aspect_of
from vidtok_edge.runtime.sources.pipe import Pipe

try:
    import av
except ImportError:
    raise MissingDependency("av", "video", "Reading Y4M") from None

from av.video.frame import VideoFrame

__all__ = ["y4m_frames"]


def y4m_frames(pipe: Pipe) -> Iterator[tuple[VideoFrame, Fraction, int | None]]:
    """The frames, each with the width of a pixel over its height, and its time in ns.

    Raises SourceError: it is no Y4M, or ended in the middle of a frame; what `pipe` raises.
    """
    number = end = 0
    try:
        with open_container(pipe, format="yuv4mpegpipe") as container:
            stream = container.streams.video[0]
            aspect = pixel_aspect_of(stream)
            for packet in container.demux(stream):
                end = max(end, (packet.pos or 0) + packet.size)
                for frame in packet.decode():
                    number += 1
                    tick = frame.time_base
                    time_ns = round((frame.pts or 0) * tick * 1_000_000_000) if tick else None
                    yield frame, aspect, time_ns
    except (av.FFmpegError, ValueError) as error:
        why = str(getattr(error, "strerror", None) or error)
        raise _broken(pipe, number, why) from error
    if pipe.given > end and not pipe.closed:  # FFmpeg leaves out a frame that is not whole
        raise _broken(pipe, number, "it ended in the middle of a frame")


def _broken(pipe: Pipe, number: int, why: str) -> SourceError:
    return SourceError(
        f"{pipe.name} holds Y4M that cannot be read on after {number} frames: {why}. Pipe it again."
    )
