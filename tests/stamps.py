"""Stamps of frames, and the frames of latents, for tests."""

from __future__ import annotations

from vidtok_edge.runtime.streaming.latents import FrameSpan, Stamp

__all__ = ["span", "stamp"]


def stamp(capture_time_ns: int, ahead_ns: int = 0) -> Stamp:
    """Of a frame; the wall clock is `ahead_ns` ahead of the monotonic one."""
    return Stamp(capture_time_ns=capture_time_ns, wall_time_ns=capture_time_ns + ahead_ns)


def span(first_frame: int, frames_real: int, last: Stamp) -> FrameSpan:
    """The frames of a latent, all captured at once."""
    return FrameSpan(first_frame=first_frame, stamps=frames_real * (last,), last=last)
