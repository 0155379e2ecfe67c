"""Whole frames from fields that were filmed one after the other, through FFmpeg's bwdif."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from vidtok_edge.errors import MissingDependency

try:
    from av.error import BlockingIOError, EOFError
    from av.filter import Graph, filters_available
except ImportError:
    raise MissingDependency("av", "video", "Reading a clip") from None

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["can_deinterlace", "deinterlaced"]

_FILTER = "bwdif"


def can_deinterlace() -> bool:
    """Whether this PyAV has the filter."""
    return _FILTER in filters_available


def deinterlaced(frames: Iterable[VideoFrame], stream: VideoStream) -> Iterator[VideoFrame]:
    """As many frames, at the same times; those that are not interlaced pass as they are.

    Raises av.FFmpegError where the filter fails.
    """
    graph: Graph | None = None
    shape = None
    for frame in frames:
        if graph is None or shape != (frame.height, frame.width, frame.format.name):
            if graph is not None:
                graph.push(None)
                yield from _ready(graph)
            shape = frame.height, frame.width, frame.format.name
            graph = _graph(frame, stream)
        graph.push(frame)
        yield from _ready(graph)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph)


def _graph(frame: VideoFrame, stream: VideoStream) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=stream.time_base,
    )
    # One frame for each, not for each field; fields in the order that frames say.
    bwdif = graph.add(_FILTER, "mode=send_frame:parity=auto:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def _ready(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (BlockingIOError, EOFError):
            return
