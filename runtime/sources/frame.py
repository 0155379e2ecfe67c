"""A captured frame, and what gives frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.streaming.latents import Stamp

__all__ = ["DEVICES", "Fit", "Frame", "RawFormat", "Source", "without_password"]

DEVICES = ("v4l2:", "/dev/video", "/dev/v4l/")
"""How the names of V4L2 devices begin."""

Fit = Literal["crop", "letterbox"]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a source."""

    pixels: NDArray[np.uint8]
    """[H, W, 3] RGB of the bundle's size, C-contiguous."""
    stamp: Stamp
    """When it was captured; of a paced file, when it was due."""
    number: int
    """In the source since it was opened, from 0."""
    damaged_before: int = 0
    """Pictures between the frame before and this one that could not be decoded."""

    @property
    def capture_time_ns(self) -> int:
        """Monotonic clock when it was captured; of a paced file, when it was due."""
        return self.stamp.capture_time_ns

    @property
    def wall_time_ns(self) -> int:
        """The machine's clock at the same moment."""
        return self.stamp.wall_time_ns

    def __repr__(self) -> str:
        return f"Frame(number={self.number}, capture_time_ns={self.capture_time_ns})"


@dataclass(frozen=True, slots=True)
class RawFormat:
    """Raw frames in a pipe: rows from top to bottom, 8 bits per value, no headers."""

    height: int
    width: int
    pixels: str = "rgb24"
    """One of `RAW_FORMATS`."""
    stride: int | None = None
    """Bytes from row to row; None: no padding."""


class Source(Protocol):
    """One life of a camera or file, from its opening to its end or loss. It is read once.

    Attributes:
        name: as the user wrote it.
        live: a camera: it cannot be paused, and its loss is worth a retry.
        fps: frames per second as announced; None where unknown.
    """

    name: str
    live: bool
    fps: float | None

    @property
    def doubts(self) -> tuple[str, ...]:
        """A sentence for each thing that a tokenizer was not made for, as far as was read."""

    def __iter__(self) -> Iterator[Frame]:
        """The frames; ends where the source does.

        Raises SourceLost when it disappears, SourceError for what cannot be a frame.
        """

    def close(self) -> None:
        """Stop the iteration soon; idempotent, and may be called from another thread."""


def without_password(name: str) -> str:
    """A source's name for a message.

    >>> without_password("rtsp://me:secret@10.0.0.2/live")
    'rtsp://10.0.0.2/live'
    """
    return re.sub(r"(?<=://)[^/\s]*@", "", name)
