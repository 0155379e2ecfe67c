"""A session's sink that remembers what it was given."""

from __future__ import annotations

from typing import Any

from vidtok_edge.errors import OutputNotWritable
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker, Record

__all__ = ["MS", "FakeSink"]

MS = 1_000_000


class FakeSink:
    """Notes what it is given, in short, per source; fails when told to.

    Args:
        fail_at: how many records it takes before the disk is full.
        forget: keep no records; for long sessions.
    """

    safe_bytes = 0

    def __init__(self, fail_at: int | None = None, *, forget: bool = False) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.latents: list[LatentRecord] = []
        self.markers: list[Marker] = []
        self.ticks = 0
        self.busy_ns: set[int] = set()
        self._fail_at, self._forget = fail_at, forget

    def take(self, record: Record) -> None:
        if self._fail_at is not None and len(self.log) >= self._fail_at:
            raise OutputNotWritable("the disk is full")
        if self._forget:
            return
        if isinstance(record, LatentRecord):
            assert record.encode_start_ns <= record.encode_end_ns
            self.latents.append(record)
            self.log.append((record.source, "latent", int(record.values.item())))
        else:
            self.markers.append(record)
            self.log.append((record.source, record.kind, *_facts(record)))

    def tick(self, now_ns: int, busy_ns: int) -> None:
        self.ticks += 1
        self.busy_ns.add(busy_ns)


def _facts(marker: Marker) -> tuple[Any, ...]:
    if marker.starts_stream:
        return (marker.time_ns // MS,)
    return (marker.frames, marker.detail) if marker.kind == "drop" else (marker.detail,)
