"""A recording's writer that remembers what it was told."""

from __future__ import annotations

from typing import Any

from vidtok_edge.errors import OutputNotWritable
from vidtok_edge.runtime.streaming.latents import Latents

__all__ = ["MS", "FakeWriter"]

MS = 1_000_000


class FakeWriter:
    """Notes what it is told, in short, per source; fails when told to."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.tokens: list[int] = []
        self.latents: list[tuple[Latents, list[int]]] = []
        self.drops: list[int | None] = []
        self.ticks = 0
        self.busy_ns: set[int] = set()
        self.fail_at = fail_at
        self.safe_bytes = 0

    def _note(self, *entry: Any) -> None:
        if self.fail_at is not None and len(self.log) >= self.fail_at:
            raise OutputNotWritable("the disk is full")
        self.log.append(entry)

    def start(
        self, source: int, reason: str, time_ns: int, wall_time_ns: int, *, fps: float | None = None
    ) -> None:
        self._note(source, reason, time_ns // MS)

    def write(
        self,
        source: int,
        latents: Latents,
        *,
        wall_time_ns: Any,
        encode_start_ns: int,
        encode_end_ns: int,
    ) -> None:
        assert encode_start_ns <= encode_end_ns
        assert latents.slot == source and latents.tokens is not None
        self.latents.append((latents, list(wall_time_ns)))
        self._note(source, "latents", latents.tokens.ravel().tolist())

    def drop(
        self,
        source: int,
        frames: int,
        then: str,
        time_ns: int,
        wall_time_ns: int,
        *,
        index: int | None = None,
    ) -> None:
        self._note(source, "drop", frames, then)
        self.drops.append(index)

    def lost(self, source: int, reason: str, time_ns: int, wall_time_ns: int) -> None:
        self._note(source, "lost", reason)

    def end(self, source: int, reason: str, time_ns: int, wall_time_ns: int) -> None:
        self._note(source, "end", reason)

    def tick(self, now_ns: int, busy_ns: int = 0) -> None:
        self.ticks += 1
        self.busy_ns.add(busy_ns)
