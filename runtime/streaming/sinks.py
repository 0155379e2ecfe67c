"""What a session writes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from vidtok_edge.runtime.streaming.latents import Latents

__all__ = ["StartReason", "Writer"]

StartReason = Literal["start", "reconnect", "restart", "key"]


class Writer(Protocol):
    """What a recording is written with: `recording.RecordingWriter`."""

    @property
    def safe_bytes(self) -> int:
        """On disk."""

    def start(
        self,
        source: int,
        reason: StartReason,
        time_ns: int,
        wall_time_ns: int,
        *,
        fps: float | None = None,
    ) -> None:
        """A new stream begins."""

    def write(
        self,
        source: int,
        latents: Latents,
        *,
        wall_time_ns: Sequence[int],
        encode_start_ns: int,
        encode_end_ns: int,
    ) -> None:
        """The latents of one call."""

    def drop(
        self,
        source: int,
        frames: int,
        then: Literal["continue", "restart"],
        time_ns: int,
        wall_time_ns: int,
        *,
        index: int | None = None,
    ) -> None:
        """Frames are missing in front of the next one, which latent `index` of the stream has."""

    def lost(self, source: int, reason: str, time_ns: int, wall_time_ns: int) -> None:
        """A camera disappeared."""

    def end(self, source: int, reason: str, time_ns: int, wall_time_ns: int) -> None:
        """Nothing more comes from the source."""

    def tick(self, now_ns: int, busy_ns: int = 0) -> None:
        """Flush when it is due, or comes due in the next `busy_ns`, in which no tick may come."""
