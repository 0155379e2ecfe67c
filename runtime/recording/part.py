"""A part of a recording: sources, and a time."""

from __future__ import annotations

from dataclasses import dataclass

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.recording.format.mcap_file import SourceFacts
from vidtok_edge.runtime.recording.format.reader import Recording

__all__ = ["Part", "require_times"]

_LONGEST_S = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Sources of a recording, from `start_ns` to before `end_ns`, as `SourceClock` tells time."""

    sources: tuple[SourceFacts, ...]
    start_ns: int
    end_ns: int | None
    """None: to the end."""

    @classmethod
    def of(
        cls,
        recording: Recording,
        *,
        source: int | None = None,
        start_s: float | None = None,
        end_s: float | None = None,
    ) -> Part:
        """A part of `recording`; seconds count from its beginning, and None is no bound.

        Raises:
            UsageError: times that mean nothing, or leave nothing between them.
            RecordingError: there is no source of that number.
        """
        require_times(start_s, end_s)
        numbers = sorted(recording.sources) if source is None else [source]
        begin_ns = recording.start_ns
        return cls(
            sources=tuple(recording.source(number) for number in numbers),
            start_ns=0 if start_s is None else begin_ns + round(start_s * 1e9),
            end_ns=None if end_s is None else begin_ns + round(end_s * 1e9),
        )

    def holds(self, time_ns: int) -> bool:
        """Whether a time lies in it."""
        return time_ns >= self.start_ns and (self.end_ns is None or time_ns < self.end_ns)


def require_times(start_s: float | None, end_s: float | None) -> None:
    """Raise UsageError for times that mean nothing, or leave nothing between them."""
    for name, seconds in (("start", start_s), ("end", end_s)):
        if seconds is not None and not 0 <= seconds < _LONGEST_S:
            raise UsageError(
                f"The {name} of the part is {seconds} s; allowed: seconds from the beginning, 0 or "
                "more."
            )
    if start_s is not None and end_s is not None and not start_s < end_s:
        raise UsageError(f"The part from {start_s} s to {end_s} s is empty. Let it end later.")
