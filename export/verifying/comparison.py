"""One number next to its limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Comparison"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One number next to its limit; truthy where it passed."""

    name: str
    metric: str
    value: float
    limit: float | None
    """`value` must not be above it; NaN never passes. None: there is none, but for NaN."""
    note: str = ""
    at_least: bool = False
    """`value` must not be below `limit`."""

    def __bool__(self) -> bool:
        if self.limit is None:
            return not math.isnan(self.value)
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def limit_text(self) -> str:
        """The limit for a table."""
        if self.limit is None:
            return "none"
        return f"{'at least ' if self.at_least else ''}{self.limit:.3g}"

    @property
    def verdict(self) -> str:
        """One word."""
        if self and self.limit is None:
            return "reported"
        return "ok" if self else "FAILED"

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.metric} {self.value:.3g}, limit {self.limit_text}: {self.verdict}"
        )
