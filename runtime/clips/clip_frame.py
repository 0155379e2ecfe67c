"""A frame of a clip, and the account of what was read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClipFrame", "ClipReport"]


@dataclass(frozen=True, slots=True)
class ClipFrame:
    """One frame: `pixels` uint8 [H, W, 3] RGB, C-contiguous; `time_ns` since the first frame.

    Times never decrease: where a damaged clip's go back, a frame has the time of the one before.
    """

    pixels: NDArray[np.uint8]
    time_ns: int

    def __repr__(self) -> str:
        return f"ClipFrame(pixels={self.pixels.shape}, time_ns={self.time_ns})"


@dataclass(frozen=True, slots=True)
class ClipReport:
    """What was read so far, and, once the clip has ended, what of it was lost.

    `lost` is a sentence, or None when nothing is known to be. A container that announces nothing
    (ts, flv, fragmented mp4) cannot show that whole frames were cut off its end.
    """

    frames_read: int
    frames_announced: int | None
    lost: str | None
