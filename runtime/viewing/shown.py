"""What can be shown. Times are nanoseconds since 1970 and never jump."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.streaming.records import LatentRecord, Record

__all__ = ["Shown", "ShownFrame", "ShownLatent", "ShownNote", "shown_from_record"]


@dataclass(frozen=True, slots=True, eq=False)
class ShownFrame:
    """A frame that was captured, or one that was decoded."""

    source: int
    time_ns: int
    pixels: NDArray[np.uint8]
    """[H, W, 3] RGB."""
    kind: Literal["frame", "reconstruction"] = "frame"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
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
    """Of the real frames that it stands for; empty where a recording does not say."""
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


def shown_from_record(
    record: Record, time_ns: int, frame_times_ns: tuple[int, ...] = ()
) -> ShownLatent | ShownNote:
    """A record to look at; times as of everything that is shown."""
    if isinstance(record, LatentRecord):
        return ShownLatent(
            source=record.source,
            time_ns=time_ns,
            stream=record.stream,
            index=record.index,
            values=record.values,
            frame_times_ns=frame_times_ns,
            latency_ms=(record.encode_end_ns - record.capture_time_ns) / 1e6,
        )
    counted = record.frames and not record.starts_stream
    detail = f"{record.frames} frames, {record.detail}" if counted else record.detail
    return ShownNote(record.source, time_ns, record.kind, detail)
