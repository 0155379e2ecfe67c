"""What happens to sources, in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from vidtok_edge.runtime.sources.frame import Frame

__all__ = ["Captured", "Closed", "Dropped", "Ended", "Event", "Lost", "Opened"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a source."""

    source: int
    """Which, from 0."""
    time_ns: int
    """Monotonic clock."""
    wall_time_ns: int
    """The machine's clock at the same moment; it may jump."""
    doubts: tuple[str, ...] = field(default=(), kw_only=True)
    """See `Source`; those that were not told before."""


@dataclass(frozen=True, slots=True)
class Opened(Event):
    """It was opened, or a camera has come back."""

    fps: float | None
    can_be_late: bool
    """Its frames do not wait for who takes them."""


@dataclass(frozen=True, slots=True)
class Captured(Event):
    """A frame; the times are the frame's."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Dropped(Event):
    """Frames that were captured and not kept, where they are missing; the first one's times."""

    frames: int


@dataclass(frozen=True, slots=True)
class Lost(Event):
    """A camera disappeared, or could still not be opened again."""

    reason: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Ended(Event):
    """Nothing more comes from it."""

    error: BaseException | None
    """Why, where it is not simply over."""


@dataclass(frozen=True, slots=True)
class Closed(Event):
    """It was closed before its end, and there are doubts."""
