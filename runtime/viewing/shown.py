"""What can be shown. Times are nanoseconds since 1970 and never jump."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shown", "ShownFrame", "ShownLatent", "ShownNote"]


@dataclass(frozen=True, slots=True, eq=False)
class ShownFrame:
    """A frame that was captured, or one that was decoded."""

    source: int
    time_ns: int
    pixels: NDArray[np.uint8]
    """[H, W, 3] RGB."""
    kind: Literal["frame", "reconstruction"] = "frame"


@dataclass(frozen=True, slots=True, eq=False)
class ShownLatent:
    """One latent."""

    source: int
    time_ns: int
    """Of its last real frame."""
    stream: int
    index: int
    values: NDArray[Any]
    """int32 tokens [h, w], or float32 mean [z, h, w]."""
    frame_times_ns: tuple[int, ...]
    """Of the real frames that it stands for."""
    latency_ms: float
    """From its last frame captured to its tokens ready."""


@dataclass(frozen=True, slots=True)
class ShownNote:
    """Something that happened to a source."""

    source: int
    time_ns: int
    kind: str
    """As of the markers of a recording."""
    detail: str = ""

    @property
    def text(self) -> str:
        """A line of it."""
        return f"{self.kind}: {self.detail}" if self.detail else self.kind

    @property
    def warning(self) -> bool:
        """Whether something is missing."""
        return self.kind in ("drop", "lost")


Shown = ShownFrame | ShownLatent | ShownNote
