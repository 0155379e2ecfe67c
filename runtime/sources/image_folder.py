"""A folder of images as a source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import ClipError, SourceError, UsageError
from vidtok_edge.runtime.clips.image_folder import ImageFolderReader
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.sources.frame import Fit, Frame
from vidtok_edge.runtime.sources.reading import Reading, timed_frames

__all__ = ["ImageFolderSource"]


class ImageFolderSource(Reading):
    """The images of a folder, read by `ImageFolderReader`, at `fps`.

    Raises:
        SourceError: no images; while iterating: one that cannot be read, is not of 8 bits, or has
            another size than the one before.
        UsageError: `realtime` without `fps`.
    """

    def __init__(
        self,
        path: str,
        size: tuple[int, int],
        *,
        fps: float | None = None,
        fit: Fit = "crop",
        realtime: bool = False,
        clock: Clock = CLOCK,
    ) -> None:
        super().__init__(path, fps, clock)
        if realtime and fps is None:
            raise UsageError(f"{path} is a folder of images: its rate is not known. Give --fps.")
        self._realtime = realtime
        try:
            self._images = ImageFolderReader(Path(path), size=size, fit=fit, fps=fps)
        except ClipError as error:
            raise SourceError(str(error)) from error

    @property
    def doubts(self) -> tuple[str, ...]:
        """See `Source`."""
        return self._images.doubts

    def _read(self) -> Iterator[Frame]:
        yield from timed_frames(self._pictures(), self._realtime, self._clock, self._closed)

    def _pictures(self) -> Iterator[tuple[NDArray[np.uint8], int | None]]:
        for frame in self._images:
            yield frame.pixels, frame.time_ns if self.fps else None
        if lost := self._images.report.lost:
            raise SourceError(f"{self.shown}: {lost}.")
