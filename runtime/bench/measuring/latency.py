"""What a set of latencies says: percentiles that the samples can bear, jitter, deadline misses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PERCENTILES", "Latency", "longest_run", "percentile_ms", "samples_needed", "share_told"]

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


def samples_needed(percentile: float) -> int:
    """Fewest samples whose largest is above the true percentile with 95 % confidence.

    With fewer, the tail may not have been seen at all. From P(all n below) = p^n <= 0.05.

    >>> [samples_needed(p) for p in PERCENTILES]
    [5, 29, 59, 299, 2995]
    """
    return math.ceil(math.log(0.05) / math.log(percentile / 100))


def share_told(samples: int) -> float:
    """The highest percentile, as a share, that so many samples can tell, as `samples_needed`.

    >>> [round(share_told(n), 3) for n in (5, 29, 299)]
    [0.549, 0.902, 0.99]
    """
    return float(0.05 ** (1 / samples))


def percentile_ms(sorted_ns: NDArray[np.int64], percentile: float) -> float | None:
    """The nearest-rank percentile in milliseconds: a value that occurred; None for too few."""
    n = len(sorted_ns)
    if n < samples_needed(percentile):
        return None
    # Rounded first: 0.999 * 1000 is a hair above 999, and its ceiling one rank too high.
    rank = math.ceil(round(percentile / 100 * n, 6))
    return float(sorted_ns[rank - 1]) / 1e6


def longest_run(missed: NDArray[np.bool_]) -> int:
    """Length of the longest run of true.

    >>> longest_run(np.array([True, False, True, True, False]))
    2
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missed, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


@dataclass(frozen=True, slots=True)
class Latency:
    """Figures over `n` latents, in milliseconds; None for what so few cannot tell."""

    n: int
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p99_9_ms: float | None
    min_ms: float | None
    max_ms: float | None
    jitter_ms: float | None
    """Mean absolute difference between the latencies of consecutive latents of one stream."""
    deadline_ms: float
    misses: int
    """Latents later than the deadline."""
    longest_run: int
    """Most consecutive latents of one stream that missed it."""

    @classmethod
    def of(cls, streams: Sequence[Sequence[int]], deadline_ms: float) -> Latency:
        """The figures of several streams together.

        Args:
            streams: the latencies of each in nanoseconds, in order.
            deadline_ms: a latency above it is a miss.
        """
        parts = [np.asarray(stream, np.int64) for stream in streams]
        values = np.sort(np.concatenate([np.empty(0, np.int64), *parts]))
        steps = np.concatenate([np.empty(0, np.int64), *(abs(np.diff(part)) for part in parts)])
        limit_ns = deadline_ms * 1e6
        p50, p90, p95, p99, p99_9 = (percentile_ms(values, p) for p in PERCENTILES)
        return cls(
            len(values),
            float(values.mean()) / 1e6 if len(values) else None,
            p50,
            p90,
            p95,
            p99,
            p99_9,
            float(values[0]) / 1e6 if len(values) else None,
            float(values[-1]) / 1e6 if len(values) else None,
            float(steps.mean()) / 1e6 if len(steps) else None,
            deadline_ms,
            int((values > limit_ns).sum()),
            max((longest_run(part > limit_ns) for part in parts), default=0),
        )

    def percentiles(self) -> dict[str, float | None]:
        """By the names that people use: `p50` to `p99.9`, and `max`."""
        return {
            "p50": self.p50_ms,
            "p90": self.p90_ms,
            "p95": self.p95_ms,
            "p99": self.p99_ms,
            "p99.9": self.p99_9_ms,
            "max": self.max_ms,
        }
