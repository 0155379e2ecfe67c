"""Raw RGB frames from standard input or a named pipe, so that any program can feed us."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from io import FileIO

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import SourceError, UsageError
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.sources.fitting import FrameFitting
from vidtok_edge.runtime.sources.frame import Fit, Frame, RawFormat
from vidtok_edge.runtime.sources.reading import Reading, timed_frames

__all__ = ["RawPipeSource"]

_LOOK_UP_S = 0.1  # how long a silent pipe may hold back `close`


class RawPipeSource(Reading):
    """Frames of height x width x 3 bytes, one after the other, without headers.

    Args:
        spec: `-` for standard input, or the path of a pipe or file.
        size: (H, W) of the bundle.
        raw: the size of what comes; that of the bundle where None. Another size is scaled (PyAV).
        fps: the rate, if known; with `realtime` frames are held back to it.

    Raises SourceError: it cannot be opened; while iterating: it ended in the middle of a frame.
    A pipe that is silent is waited for.
    """

    def __init__(
        self,
        spec: str,
        size: tuple[int, int],
        *,
        raw: RawFormat | None = None,
        fit: Fit = "crop",
        fps: float | None = None,
        realtime: bool = False,
        clock: Clock = CLOCK,
    ) -> None:
        super().__init__(spec, fps, clock)
        if realtime and fps is None:
            raise UsageError("Raw frames have no time stamps: their rate is not known. Give --fps.")
        self._realtime = realtime
        self._what = "standard input" if spec == "-" else spec
        self._shape = (raw.height, raw.width, 3) if raw else (*size, 3)
        if min(self._shape) < 1:
            raise UsageError(f"Raw frames of {self._shape[0]}x{self._shape[1]}; allowed: 1x1 up.")
        self._fitting = FrameFitting(self._what, size, fit)
        self._file = _opened(spec)

    def _read(self) -> Iterator[Frame]:
        yield from timed_frames(self._pictures(), self._realtime, self._clock, self._closed)

    def _pictures(self) -> Iterator[tuple[NDArray[np.uint8], int]]:
        number = 0
        while (pixels := self._next(number)) is not None:
            pixels = self._fitting.from_rgb(pixels)
            yield pixels, round(number * 1e9 / self.fps) if self.fps else 0
            number += 1

    def _next(self, number: int) -> NDArray[np.uint8] | None:
        """The next whole frame; None at the end, or when closed."""
        frame = np.empty(self._shape, np.uint8)
        space, filled = memoryview(frame.reshape(-1)), 0  # type: ignore[arg-type,unused-ignore]
        while filled < len(space):
            if self._closed.is_set():
                return None
            got = self._some(space[filled:])
            if got == 0:
                break
            filled += got or 0
        if 0 < filled < len(space):
            height, width, _ = self._shape
            raise SourceError(
                f"{self._what} ended in the middle of frame {number}: {filled} of the {len(space)} "
                f"bytes of an RGB frame of {height}x{width} (H x W). Check the size of the frames "
                "(--raw HxW) and their format: 3 bytes per pixel, no padding of rows."
            )
        return frame if filled else None

    def _some(self, space: memoryview) -> int | None:
        """Read what is there into `space`: how many bytes, 0 at the end, None if nothing came."""
        try:
            if not select.select([self._file], [], [], _LOOK_UP_S)[0]:
                return None
            return self._file.readinto(space)
        except OSError as error:
            raise SourceError(f"{self._what} cannot be read: {error.strerror}.") from error

    def _release(self) -> None:
        self._file.close()


def _opened(spec: str) -> FileIO:
    if spec != "-":
        try:
            # Without O_NONBLOCK opening a pipe that nobody writes to yet would wait for ever.
            return FileIO(os.open(spec, os.O_RDONLY | os.O_NONBLOCK))
        except OSError as error:
            raise SourceError(f"{spec} cannot be opened: {error.strerror}.") from error
    try:
        number = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        raise SourceError("There is no standard input. Pipe raw RGB frames into it.") from None
    if os.isatty(number):
        raise SourceError(
            "Standard input is a terminal. Pipe raw RGB frames into it, as in: "
            "ffmpeg -i CLIP -f rawvideo -pix_fmt rgb24 - | vidtok-edge record - ..."
        )
    return FileIO(number, closefd=False)
