"""How fast one candidate is, compared with another."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Ratio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How a candidate compares with the first one, round by round; above 1 is faster."""

    candidate: str
    against: str
    metric: str
    candidates: int
    """That were compared in this run."""
    rounds: int
    faster: int
    """In how many rounds it was."""
    slower: int
    median: float
    low: float
    high: float
    p: float
    """Of the sign test."""
    verdict: str
    """`faster` or `slower` where luck would hardly make the rounds agree so."""

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}..{self.high:.3g}), {self.verdict}"
