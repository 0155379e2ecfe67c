"""A video file as a source."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import ClipError, SourceError, UsageError
from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.sources.frame import Fit, Frame
from vidtok_edge.runtime.sources.reading import Reading, timed_frames

__all__ = ["VideoFileSource"]


class VideoFileSource(Reading):
    """The frames of a clip, read by `ClipReader`; with `realtime` at the rate of its time stamps.

    Args:
        fps: sample it at about this rate; every frame where None.

    Raises SourceError: it cannot be opened; while iterating, once everything readable was given:
        it is damaged, or changes size. UsageError: `realtime` without a rate of its own or `fps`.
    """

    def __init__(
        self,
        path: str,
        size: tuple[int, int],
        *,
        fit: Fit = "crop",
        realtime: bool = False,
        fps: float | None = None,
        clock: Clock = CLOCK,
    ) -> None:
        try:
            self._clip = ClipReader(path, size=size, fit=fit, rate=fps or "every-frame")
        except ClipError as error:
            raise SourceError(str(error)) from error
        if realtime and not self._clip.fps:
            self._clip.close()
            raise UsageError(f"{path} does not say its rate. Give --fps.")
        super().__init__(path, self._clip.fps or None, clock)
        self._realtime = realtime

    @property
    def doubts(self) -> tuple[str, ...]:
        """See `Source`."""
        return self._clip.doubts

    def _read(self) -> Iterator[Frame]:
        yield from timed_frames(self._pictures(), self._realtime, self._clock, self._closed)

    def _pictures(self) -> Iterator[tuple[NDArray[np.uint8], int | None]]:
        try:
            for frame in self._clip:
                yield frame.pixels, frame.time_ns if self.fps else None
        except ClipError as error:
            raise SourceError(str(error)) from error
        if lost := self._clip.report.lost:
            raise SourceError(
                f"{self.shown} could not be read whole; what could be read was used. {lost}."
            )

    def _release(self) -> None:
        self._clip.close()
