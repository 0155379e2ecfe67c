"""How a session records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.session.ladder import LadderPlan

if TYPE_CHECKING:
    from vidtok_edge.runtime.recording.format.mcap_file import Code, Compression

__all__ = ["RecordOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOptions:
    """How a session records. Raises UsageError for values that mean nothing."""

    on_drop: Literal["continue", "restart"] = "continue"
    """A stream goes on over a gap, as if the frames before and after it were neighbours; or it is
    finished, and another one begins behind the gap."""
    batch_wait_s: float | None = None
    """How long a complete chunk waits for those of other sources; see `Batching`."""
    key_interval_s: float | None = None
    """Begin a new stream that often, at a chunk's end: what is before is not needed from there."""
    duration_s: float | None = None
    """End the session after that time."""
    flush_interval_s: float = 1.0
    """What a killed process may lose."""
    audit_s: float | None = None
    """Put a small picture of each source into the file that often; see `Audit`."""
    ladder: LadderPlan | None = None
    """What is given up where encoding cannot keep up with live sources; None: only frames, as the
    queue says."""
    compression: Compression = "zstd"
    """Of the chunks of the file."""
    code: Code = "packed"
    """Of tokens; `entropy` takes fewer bytes and more of the processor."""

    def __post_init__(self) -> None:
        if self.audit_s is not None and not 0.1 <= self.audit_s < 1e9:
            raise UsageError(f"audit_s is {self.audit_s:g}; allowed: 0.1 seconds or more.")
        for name in ("key_interval_s", "duration_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e9:
                raise UsageError(f"{name} is {value:g}; allowed: above 0 seconds.")
