"""When the parts of a recording end, and how many of them are kept."""

from __future__ import annotations

from dataclasses import dataclass

from vidtok_edge.errors import UsageError

__all__ = ["LEAST_SPLIT", "PartsPlan"]

LEAST_SPLIT = 1_000_000
"""Bytes: a part that is much smaller is all index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsPlan:
    """When a part ends, and what is kept.

    Raises:
        UsageError: values that mean nothing, or that contradict one another.
    """

    split_bytes: int | None = None
    """No part is larger."""
    split_s: float | None = None
    """No part lasts longer, by more than a step."""
    keep_bytes: int | None = None
    """The oldest finished parts go when all of them have more, with the one being written."""
    keep_free_bytes: int | None = None
    """They also go when the disk has less."""
    events: bool = False
    """A part is an event, and nothing is written between them; see `TriggeredFile`."""

    def __post_init__(self) -> None:
        if self.split_bytes is not None and self.split_bytes < LEAST_SPLIT:
            raise UsageError(
                f"A part has {self.split_bytes} bytes; allowed: {LEAST_SPLIT} or more."
            )
        if self.split_s is not None and not 1 <= self.split_s < 1e9:
            raise UsageError(f"A part lasts {self.split_s:g} s; allowed: 1 or more.")
        keeps = self.keep_bytes is not None or self.keep_free_bytes is not None
        if keeps and not self.splits:
            raise UsageError(
                "Only finished parts are removed to make room. Say how large a part is with "
                "--split-size, or how long with --split-minutes, or keep events with --trigger."
            )
        if self.keep_bytes is not None and self.keep_bytes < 2 * (self.split_bytes or 1):
            raise UsageError(
                f"All parts together have {self.keep_bytes} bytes, and two of them would have "
                f"{2 * (self.split_bytes or 1)}. Keep more, or make parts smaller."
            )

    @property
    def splits(self) -> bool:
        """Whether there are parts."""
        return self.events or self.split_bytes is not None or self.split_s is not None
