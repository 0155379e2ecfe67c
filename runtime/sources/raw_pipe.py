"""Frames from standard input or a named pipe, so that any program can feed us: raw ones, or Y4M."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import SourceError, UsageError
from vidtok_edge.runtime.clips.frame_fitting import FrameFitting
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.sources.frame import Fit, Frame, RawFormat
from vidtok_edge.runtime.sources.pipe import Pipe
from vidtok_edge.runtime.sources.raw_frames import RawFrames, container_of
from vidtok_edge.runtime.sources.reading import Reading, timed_frames

if TYPE_CHECKING:
    from vidtok_edge.runtime.sources.y4m import Y4mFrames

__all__ = ["RawPipeSource"]

_Y4M = b"YUV4MPEG2"


class RawPipeSource(Reading):
    """Frames of raw bytes, one after the other, without headers; or Y4M, known by its first bytes.

    Args:
        spec: `-` for standard input, or the path of a pipe or file.
        size: (H, W) of the bundle.
        raw: what comes, if it is not Y4M; RGB of the bundle's size where None. Another size is
            scaled (PyAV).
        fps: the rate, if known; with `realtime` frames are held back to it.

    Raises SourceError: it cannot be opened; while iterating: it ended in the middle of a frame;
    UsageError: while iterating: `raw` was given, and it is Y4M, whose header says what comes.
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
        self._asked, self._raw = raw, RawFrames(raw or RawFormat(*size))
        self._pipe = Pipe(spec, self._closed)
        self._y4m: Y4mFrames | None = None
        self._fitting = FrameFitting(self._pipe.name, size, fit, error=SourceError)

    @property
    def doubts(self) -> tuple[str, ...]:
        """See `Source`."""
        return () if self._y4m is None else self._y4m.doubts

    def _read(self) -> Iterator[Frame]:
        yield from timed_frames(self._pictures(), self._realtime, self._clock, self._closed)

    def _pictures(self) -> Iterator[tuple[NDArray[np.uint8], int | None]]:
        if self._pipe.peek(len(_Y4M)) == _Y4M:
            yield from self._pictures_of_y4m()
        else:
            yield from self._raw_pictures()

    def _pictures_of_y4m(self) -> Iterator[tuple[NDArray[np.uint8], int | None]]:
        from vidtok_edge.runtime.sources.y4m import Y4mFrames

        if self._asked is not None:
            raise UsageError(
                f"{self._pipe.name} holds Y4M, whose header says its size and format: leave out "
                "--raw, --raw-format and --raw-stride."
            )
        self._y4m = frames = Y4mFrames(self._pipe)
        for number, (frame, aspect, time_ns) in enumerate(frames):
            due_ns = round(number * 1e9 / self.fps) if self.fps else time_ns
            yield self._fitting.from_video(frame, aspect), due_ns

    def _raw_pictures(self) -> Iterator[tuple[NDArray[np.uint8], int | None]]:
        number = 0
        while (data := self._next(number)) is not None:
            if number == 0 and (what := container_of(data[:1024].tobytes())) is not None:
                raise SourceError(
                    f"{self._pipe.name} holds {what}, not raw frames. Record the file itself, or "
                    "decode it on the way: ffmpeg -i FILE -f yuv4mpegpipe - | vidtok-edge record - "
                    "..."
                )
            fitted = self._raw.fitted(data, self._fitting)
            yield fitted, round(number * 1e9 / self.fps) if self.fps else None
            number += 1

    def _next(self, number: int) -> NDArray[np.uint8] | None:
        """The bytes of the next whole frame; None at the end, or when closed."""
        frame = np.empty(self._raw.size, np.uint8)
        filled = self._pipe.fill(memoryview(frame))  # type: ignore[arg-type,unused-ignore]
        if self._closed.is_set() or not filled:
            return None
        if filled < len(frame):
            raise SourceError(
                f"{self._pipe.name} ended in the middle of frame {number}: {filled} of the "
                f"{len(frame)} bytes of a frame, {self._raw}. Check the size of the frames (--raw "
                "HxW), their format (--raw-format) and the padding of their rows (--raw-stride)."
            )
        return frame

    def _release(self) -> None:
        self._pipe.close()
