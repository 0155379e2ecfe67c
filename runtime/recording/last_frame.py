"""When the last frame of a source is, on the clock that parts of a recording are told by."""

from __future__ import annotations

from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.playback import SourceClock
from vidtok_edge.runtime.streaming.records import LatentRecord

__all__ = ["last_frame_s"]


def last_frame_s(recording: Recording, source: int) -> float | None:
    """Seconds from the beginning, of a clip on its own clock; None: the source has no latent."""
    clock, last_ns = SourceClock.of(recording, source), None
    for entry in recording.entries(source, values=False):
        if isinstance(entry, LatentRecord):
            last_ns = clock(entry)
    return None if last_ns is None else (last_ns - recording.start_ns) / 1e9
