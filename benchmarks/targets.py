"""A number to reach, against what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vidtok_edge.runtime.bench.measuring.ratios import Spread
from vidtok_edge.runtime.bench.ratio import Ratio

__all__ = ["Target", "at_least", "at_most", "percent_text", "ratio_row"]


@dataclass(frozen=True)
class Target:
    """A number to reach, and what was measured."""

    target: str
    measured: str
    reached: bool
    doubt: str = ""
    """Why the verdict may come out differently next time."""

    def row(self) -> dict[str, str]:
        """For a table."""
        verdict = "reached" if self.reached else "**fell short**"
        return {
            "target": self.target,
            "measured": self.measured,
            "verdict": "; ".join(filter(None, [verdict, self.doubt])),
        }


def at_least(target: str, ratio: Ratio, limit: float) -> Target:
    """How many times as fast something must be."""
    return Target(
        target,
        f"{ratio.median:.2f} ({ratio.low:.2f}..{ratio.high:.2f}), {ratio.verdict}",
        ratio.median >= limit,
        _doubt(ratio.low, limit, ratio.high),
    )


def at_most(target: str, spread: Spread, limit: float, measured: str) -> Target:
    """What a median may be at most; `measured` is how it is shown."""
    reached = spread.median <= limit
    return Target(target, measured, reached, _doubt(spread.low, limit, spread.high))


def _doubt(low: float, limit: float, high: float) -> str:
    return "the spread crosses the limit" if low < limit < high else ""


def percent_text(spread: Spread) -> str:
    """A share with its extremes."""
    return f"{spread.median:.2%} ({spread.low:.2%}..{spread.high:.2%})"


def ratio_row(ratio: Ratio) -> dict[str, Any]:
    """As a table has it; what is not told apart says so."""
    told = ratio.verdict in ("faster", "slower")
    verdict = "" if told else ratio.verdict
    return {"median": ratio.median, "low": ratio.low, "high": ratio.high, "verdict": verdict}
