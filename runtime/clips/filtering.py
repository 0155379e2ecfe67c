"""Decoded frames through filters of FFmpeg's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from vidtok_edge.errors import MissingDependency

try:
    from av.error import BlockingIOError, EOFError
    from av.filter import Graph
except ImportError:
    raise MissingDependency("av", "video", "Reading a clip") from None

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["FilterStep", "filtered"]

FilterStep = tuple[str, str]
"""A filter's name and its options, as FFmpeg takes them."""


def filtered(
    frames: Iterable[VideoFrame], stream: VideoStream, steps: Sequence[FilterStep]
) -> Iterator[VideoFrame]:
    """As many frames as `steps` make of these; where their size or format changes, begun anew.

    Raises av.FFmpegError where a filter fails.
    """
    graph: Graph | None = None
    shape = None
    for frame in frames:
        if graph is None or shape != (frame.height, frame.width, frame.format.name):
            if graph is not None:
                graph.push(None)
                yield from _ready(graph)
            shape = frame.height, frame.width, frame.format.name
            graph = _graph(frame, stream, steps)
        graph.push(frame)
        yield from _ready(graph)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph)


def _graph(frame: VideoFrame, stream: VideoStream, steps: Sequence[FilterStep]) -> Graph:
    graph = Graph()
    last = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=stream.time_base,
    )
    for name, options in (*steps, ("buffersink", "")):
        step = graph.add(name, options) if options else graph.add(name)
        last.link_to(step)
        last = step
    graph.configure()
    return graph


def _ready(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (BlockingIOError, EOFError):
            return
