"""How candidates compare with the first one, and when a difference may be called one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, comb, log2
from statistics import median

from vidtok_edge.runtime.bench.measuring.matrix import Entry
from vidtok_edge.runtime.bench.measuring.turn import Turn

__all__ = ["LEVEL", "METRICS", "Ratio", "ratios_of", "rounds_needed", "sign_test"]

LEVEL = 0.05
"""How likely it may be that any one of a run's comparisons finds a difference where none is."""


def _median_latency(turn: Turn) -> float | None:
    values = [value for stream in turn.measured.latency_ns for value in stream]
    return median(values) if values else None


def _busy_per_frame(turn: Turn) -> float | None:
    frames = turn.measured.frames
    return turn.measured.busy_ns / frames if frames else None


METRICS = (("median latency", _median_latency), ("busy time per frame", _busy_per_frame))


def sign_test(faster: int, slower: int) -> float:
    """How likely rounds fall apart at least so unevenly where neither is faster: exact, two-sided.

    It asks only which of two neighbours was faster, so that one disturbed round is one vote,
    however long the disturbance was.

    >>> sign_test(7, 0), round(sign_test(19, 1), 6), sign_test(3, 3)
    (0.015625, 4e-05, 1.0)
    """
    rounds = faster + slower
    tail = sum(comb(rounds, k) for k in range(min(faster, slower) + 1))
    return float(min(1.0, 2 * tail / 2**rounds))


def rounds_needed(candidates: int) -> int:
    """Fewest rounds whose agreement tells a difference: one where there is nothing to compare.

    The level is divided by the number of comparisons (Bonferroni).

    >>> [rounds_needed(n) for n in (1, 2, 3, 5, 9)]
    [1, 7, 8, 9, 10]
    """
    comparisons = len(METRICS) * (candidates - 1)
    return 1 + ceil(log2(comparisons / LEVEL)) if comparisons else 1


@dataclass(frozen=True, slots=True)
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

    @classmethod
    def of(
        cls, values: Sequence[float], candidates: int, candidate: str, against: str, metric: str
    ) -> Ratio:
        """Of one value for each round."""
        return cls(
            candidate,
            against,
            metric,
            candidates,
            len(values),
            sum(v > 1 for v in values),
            sum(v < 1 for v in values),
            median(values),
            min(values),
            max(values),
        )

    @property
    def p(self) -> float:
        """Of the sign test."""
        return sign_test(self.faster, self.slower)

    @property
    def verdict(self) -> str:
        """`faster` or `slower` where luck would hardly make the rounds agree so."""
        needed = rounds_needed(self.candidates)
        if self.rounds < needed:
            return f"too few rounds ({needed} needed)"
        if self.p > LEVEL / len(METRICS) / (self.candidates - 1):
            return "inside the noise"
        return "faster" if self.faster > self.slower else "slower"

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}..{self.high:.3g}), {self.verdict}"


def ratios_of(entries: Sequence[Entry]) -> list[Ratio]:
    """Each candidate against the first, over the rounds that both ran."""
    first, found = entries[0], []
    for entry in entries[1:]:
        for metric, value_of in METRICS:
            pairs = [
                (value_of(ours), value_of(theirs))
                for ours, theirs in zip(first.turns, entry.turns, strict=False)
            ]
            values = [ours / theirs for ours, theirs in pairs if ours and theirs]
            if values:
                found.append(
                    Ratio.of(
                        values, len(entries), str(entry.candidate), str(first.candidate), metric
                    )
                )
    return found
