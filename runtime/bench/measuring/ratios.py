"""How candidates compare with the first one, and when a difference may be called one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, comb, log2
from statistics import median

from vidtok_edge.runtime.bench.measuring.matrix import Entry
from vidtok_edge.runtime.bench.measuring.turn import Turn
from vidtok_edge.runtime.bench.ratio import Ratio

__all__ = [
    "LEVEL",
    "METRICS",
    "Metric",
    "Spread",
    "comparisons_of",
    "paired",
    "ratio_of",
    "ratios_of",
    "rounds_needed",
    "sign_test",
    "verdict_of",
]

LEVEL = 0.05
"""How likely it may be that any one of a run's comparisons finds a difference where none is."""


def _median_latency(turn: Turn) -> float | None:
    values = [value for stream in turn.measured.latency_ns for value in stream]
    return median(values) if values else None


def _busy_per_frame(turn: Turn) -> float | None:
    frames = turn.measured.frames
    return turn.measured.busy_ns / frames if frames else None


Metric = tuple[str, Callable[[Turn], float | None]]
"""What is compared, and its value in a turn: less is faster."""
METRICS: tuple[Metric, ...] = (
    ("median latency", _median_latency),
    ("busy time per frame", _busy_per_frame),
)


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


def comparisons_of(candidates: int) -> int:
    """How many a run makes, two for each candidate but the first."""
    return len(METRICS) * (candidates - 1)


def rounds_needed(candidates: int) -> int:
    """Fewest rounds whose agreement tells a difference: one where there is nothing to compare.

    The level is divided by the number of comparisons (Bonferroni).

    >>> [rounds_needed(n) for n in (1, 2, 3, 5, 9)]
    [1, 7, 8, 9, 10]
    """
    comparisons = comparisons_of(candidates)
    return 1 + ceil(log2(comparisons / LEVEL)) if comparisons else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median and extremes of one value for each round."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one."""
        return cls(median=median(values), low=min(values), high=max(values))


def verdict_of(*, rounds: int, faster: int, slower: int, candidates: int) -> str:
    """What may be said after so many rounds of a run that compares so many candidates."""
    needed = rounds_needed(candidates)
    if rounds < needed:
        return f"too few rounds ({needed} needed)"
    if sign_test(faster, slower) > LEVEL / comparisons_of(candidates):
        return "inside the noise"
    return "faster" if faster > slower else "slower"


def ratio_of(
    values: Sequence[float], *, candidates: int, candidate: str, against: str, metric: str
) -> Ratio:
    """Of one value for each round."""
    spread, faster = Spread.of(values), sum(v > 1 for v in values)
    rounds, slower = len(values), sum(v < 1 for v in values)
    return Ratio(
        candidate=candidate,
        against=against,
        metric=metric,
        candidates=candidates,
        rounds=rounds,
        faster=faster,
        slower=slower,
        median=spread.median,
        low=spread.low,
        high=spread.high,
        p=sign_test(faster, slower),
        verdict=verdict_of(rounds=rounds, faster=faster, slower=slower, candidates=candidates),
    )


def paired(
    first: Sequence[Turn], second: Sequence[Turn], value_of: Callable[[Turn], float | None]
) -> list[float]:
    """The first one's value over the second's, in each round that both ran."""
    pairs = [(value_of(a), value_of(b)) for a, b in zip(first, second, strict=False)]
    return [ours / theirs for ours, theirs in pairs if ours and theirs]


def ratios_of(entries: Sequence[Entry], metrics: Sequence[Metric] = METRICS) -> list[Ratio]:
    """Each candidate against the first, over the rounds that both ran."""
    first, found = entries[0], []
    for entry in entries[1:]:
        for metric, value_of in metrics:
            values = paired(first.turns, entry.turns, value_of)
            if values:
                ratio = ratio_of(
                    values,
                    candidates=len(entries),
                    candidate=str(entry.candidate),
                    against=str(first.candidate),
                    metric=metric,
                )
                found.append(ratio)
    return found
