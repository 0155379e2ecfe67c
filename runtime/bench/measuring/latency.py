"""What a set of latencies says: percentiles that the samples can bear, jitter, deadline misses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.bench.latency import Curve, Histogram, Latency

__all__ = [
    "PERCENTILES",
    "curve_of",
    "histogram_of",
    "latency_of",
    "longest_run",
    "percentile_ms",
    "samples_needed",
    "share_told",
    "sorted_ns",
]

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
_BINS = 60
_POINTS = 300
"""Of a curve's even part, and as many of its tail."""


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


def latency_of(streams: Sequence[Sequence[int]], deadline_ms: float) -> Latency:
    """The figures of several streams together.

    Args:
        streams: the latencies of each in nanoseconds, in order.
        deadline_ms: a latency above it is a miss.
    """
    parts = [np.asarray(stream, np.int64) for stream in streams]
    values = sorted_ns(streams)
    steps = np.concatenate([np.empty(0, np.int64), *(abs(np.diff(part)) for part in parts)])
    limit_ns = deadline_ms * 1e6
    p50, p90, p95, p99, p99_9 = (percentile_ms(values, p) for p in PERCENTILES)
    return Latency(
        n=len(values),
        mean_ms=float(values.mean()) / 1e6 if len(values) else None,
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        p99_9_ms=p99_9,
        min_ms=float(values[0]) / 1e6 if len(values) else None,
        max_ms=float(values[-1]) / 1e6 if len(values) else None,
        jitter_ms=float(steps.mean()) / 1e6 if len(steps) else None,
        deadline_ms=deadline_ms,
        misses=int((values > limit_ns).sum()),
        longest_run=max((longest_run(part > limit_ns) for part in parts), default=0),
    )


def sorted_ns(streams: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """The latencies of all streams, int64 [n], rising."""
    parts = [np.asarray(stream, np.int64) for stream in streams]
    return np.sort(np.concatenate([np.empty(0, np.int64), *parts]))


def curve_of(sorted_latencies_ns: NDArray[np.int64]) -> Curve | None:
    """Latency by percentile, of thousands of points those that differ on a picture; None for too
    few to tell the median."""
    n = len(sorted_latencies_ns)
    if n < samples_needed(50):
        return None
    even, tail = np.linspace(0, n - 1, _POINTS), n - np.geomspace(1, n, _POINTS)
    ranks = np.unique(np.concatenate([even.astype(int), tail.astype(int)]))
    told = share_told(n)
    ranks = ranks[ranks < int(n * told)]
    return Curve(
        told=told,
        shares=tuple((ranks / n).tolist()),
        latency_ms=tuple((sorted_latencies_ns[ranks] / 1e6).tolist()),
    )


def histogram_of(candidates: Sequence[NDArray[np.int64]]) -> Histogram | None:
    """How often each latency occurred, by candidate; None where all have too few.

    The intervals are logarithmic where the slowest would press the others flat.
    """
    known = [values / 1e6 for values in candidates if len(values) > 1]
    if not known:
        return None
    together = np.concatenate(known)
    low, high = float(together.min()), max(float(together.max()) * 1.06, 1e-3)
    logarithmic = high > 20 * float(np.median(together))
    if logarithmic:
        edges = np.geomspace(max(low, 1e-3) / 1.2, high * 1.2, _BINS + 1)
    else:
        edges = np.linspace(0, high, _BINS + 1)
    shares = [
        np.histogram((values / 1e6).clip(edges[0], edges[-1]), edges)[0] / len(values)
        if len(values) > 1
        else np.empty(0)
        for values in candidates
    ]
    return Histogram(
        logarithmic=logarithmic,
        edges_ms=tuple(edges.tolist()),
        shares=tuple(tuple(part.tolist()) for part in shares),
    )
