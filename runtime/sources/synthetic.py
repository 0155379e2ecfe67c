"""A moving test picture that needs numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.sources.clock import CLOCK, Clock
from vidtok_edge.runtime.sources.frame import Frame
from vidtok_edge.runtime.sources.reading import Reading, timed_frames

__all__ = ["SyntheticSource", "TestPicture"]


class TestPicture:
    """Pictures of `size`, the same for a number: soft colours that drift, a square that moves."""

    __test__ = False  # its name is no test's

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = height, width = size
        # One period more in each direction, so that a drifting window can be cut out.
        y, x = np.mgrid[0 : 2 * height, 0 : 2 * width] * (2 * np.pi)
        waves = [x / width + y / height, x / width - 2 * y / height, 3 * x / width + y / height]
        self._canvas = np.stack([127.5 + 90 * np.sin(wave) for wave in waves], -1).astype(np.uint8)

    def frame(self, number: int) -> NDArray[np.uint8]:
        """uint8 [H, W, 3]."""
        height, width = self._size
        top, left = number % height, 2 * number % width
        picture = self._canvas[top : top + height, left : left + width].copy()
        side = max(1, min(height, width) // 6)
        y, x = (3 * number) % (height - side + 1), (2 * number) % (width - side + 1)
        picture[y : y + side, x : x + side] = (235, 64, 52)
        return picture


class SyntheticSource(Reading):
    """An endless test picture, at `fps`, or as fast as it is taken where None."""

    def __init__(
        self, size: tuple[int, int], fps: float | None = None, *, clock: Clock = CLOCK
    ) -> None:
        super().__init__("synthetic" if fps is None else f"synthetic:{fps:g}", fps, clock)
        if fps is not None and not 1e-3 <= fps <= 1e6:
            raise UsageError(f"{fps:g} frames per second; allowed: 0.001 to 1000000.")
        self._pictures = TestPicture(size)

    def _read(self) -> Iterator[Frame]:
        rate = self.fps
        pictures = (
            (self._pictures.frame(n), round(n * 1e9 / rate) if rate else None) for n in count()
        )
        yield from timed_frames(pictures, rate is not None, self._clock, self._closed)
