"""Numpy arrays as a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import SourceError, UsageError
from vidtok_edge.runtime.backends.arrays import described
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.sources.frame import Frame
from vidtok_edge.runtime.sources.reading import Reading, timed_frames

__all__ = ["ArraySource"]


class ArraySource(Reading):
    """Frames that a program has, of a simulator for instance; a `Source`.

    Raises SourceError while iterating for what is no frame of `size`.

    Args:
        frames: uint8 [T, H, W, 3], or anything that gives uint8 [H, W, 3] RGB. A frame must stay
            unchanged once it was given.
        size: (H, W) of the frames: the bundle's.
        fps: their rate, as it is announced.
        realtime: hold frames back to that rate.
        name: of the source, in the recording.
    """

    def __init__(
        self,
        frames: Iterable[NDArray[np.uint8]],
        size: tuple[int, int],
        *,
        fps: float | None = None,
        realtime: bool = False,
        name: str = "arrays",
        clock: Clock = CLOCK,
    ) -> None:
        super().__init__(name, fps, clock)
        if realtime and fps is None:
            raise UsageError("Arrays have no rate of their own. Give fps.")
        self._frames, self._size, self._realtime = frames, size, realtime

    def _read(self) -> Iterator[Frame]:
        yield from timed_frames(self._pictures(), self._realtime, self._clock, self._closed)

    def _pictures(self) -> Iterator[tuple[NDArray[np.uint8], int | None]]:
        for number, pixels in enumerate(self._frames):
            shape = (*self._size, 3)
            if not isinstance(pixels, np.ndarray) or (pixels.shape, pixels.dtype) != (
                shape,
                np.dtype(np.uint8),
            ):
                raise SourceError(
                    f"{self.name}: frame {number} is {described(pixels)}; frames are uint8 "
                    f"{list(shape)}. Resize it."
                )
            yield np.ascontiguousarray(pixels), round(number * 1e9 / self.fps) if self.fps else None
