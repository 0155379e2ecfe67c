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
from vidtok_edge.runtime.clips.frame_fitting import FrameFitting
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.sources.frame import Fit, Frame, RawFormat
from vidtok_edge.runtime.sources.raw_frames import RawFrames, container_of
from vidtok_edge.runtime.sources.reading import Reading, timed_frames

__all__ = ["RawPipeSource"]

_LOOK_UP_S = 0.1  # how long a silent pipe may hold back `close`


class RawPipeSource(Reading):
    """Frames of raw bytes, one after the other, without headers.

    Args:
        spec: `-` for standard input, or the path of a pipe or file.
        size: (H, W) of the bundle.
        raw: what comes; RGB of the bundle's size where None. Another size is scaled (PyAV).
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
        self._raw = RawFrames(raw or RawFormat(*size))
        self._fitting = FrameFitting(self._what, size, fit, error=SourceError)
        self._file = _opened(spec)

    def _read(self) -> Iterator[Frame]:
        yield from timed_frames(self._pictures(), self._realtime, self._clock, self._closed)

    def _pictures(self) -> Iterator[tuple[NDArray[np.uint8], int]]:
        number = 0
        while (data := self._next(number)) is not None:
            if number == 0 and (what := container_of(data[:1024].tobytes())) is not None:
                raise SourceError(
                    f"{self._what} holds {what}, not raw frames. Record the file itself, or decode "
                    "it on the way: ffmpeg -i FILE -f rawvideo -pix_fmt rgb24 - | vidtok-edge "
                    "record - ..."
                )
            fitted = self._raw.fitted(data, self._fitting)
            yield fitted, round(number * 1e9 / self.fps) if self.fps else 0
            number += 1

    def _next(self, number: int) -> NDArray[np.uint8] | None:
        """The bytes of the next whole frame; None at the end, or when closed."""
        frame = np.empty(self._raw.size, np.uint8)
        space, filled = memoryview(frame), 0  # type: ignore[arg-type,unused-ignore]
        while filled < len(space):
            if self._closed.is_set():
                return None
            got = self._some(space[filled:])
            if got == 0:
                break
            filled += got or 0
        if 0 < filled < len(space):
            raise SourceError(
                f"{self._what} ended in the middle of frame {number}: {filled} of the {len(space)} "
                f"bytes of a frame, {self._raw}. Check the size of the frames (--raw HxW), their "
                "format (--raw-format) and the padding of their rows (--raw-stride)."
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
