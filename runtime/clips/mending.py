"""Decoded frames, each mended as it needs; and what was found in them, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from vidtok_edge.runtime.clips.filtering import FilterStep, filtered
from vidtok_edge.runtime.clips.suitability import mending_of, transparency_of

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["FrameMending"]


class FrameMending:
    """Of the frames of one stream.

    Args:
        stream: that the frames are decoded from.
        filters: mend what FFmpeg's filters can; False: only say what was found, as of a camera,
            whose frames must not wait for those that come behind them.

    Attributes:
        doubts: a sentence for each thing that was found so far, in order; keys of a dict.
    """

    def __init__(self, stream: VideoStream, *, filters: bool = True) -> None:
        self.doubts: dict[str, None] = {}
        self._stream, self._filters = stream, filters
        self._interlaced = False
        self._kind: tuple[Any, ...] | None = None  # of frames that are mended alike
        self._steps: tuple[FilterStep, ...] = ()

    def mended(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """As many frames. Raises av.FFmpegError where a filter fails."""
        for steps, alike in groupby(frames, self.look):
            if steps:
                alike = filtered(alike, self._stream, steps)
            yield from alike

    def look(self, frame: VideoFrame) -> tuple[FilterStep, ...]:
        """What mends a frame; `doubts` then has what is found in it."""
        self._interlaced = self._interlaced or frame.interlaced_frame
        kind = self._interlaced, frame.format.name, frame.color_trc, frame.color_primaries
        if self._kind is None and (doubt := transparency_of(frame, self._stream)) is not None:
            self.doubts[doubt] = None
        if kind != self._kind:
            mending = mending_of(frame, self._interlaced, filters=self._filters)
            self.doubts |= dict.fromkeys(mending.doubts)
            self._kind, self._steps = kind, mending.steps
        return self._steps
