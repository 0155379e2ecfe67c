"""Latencies of a run of any length, in memory of one size."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["LatencyHistogram"]

_SMALLEST_NS = 1_000
_RATIO = 1.02  # of neighbouring bins: a quantile is at most 2 % too high
_BINS = 1 + math.ceil(math.log(3600e9 / _SMALLEST_NS, _RATIO))  # up to an hour; 1,112 of them


class LatencyHistogram:
    """Counts latencies in bins that grow by 2 %; the maximum is exact."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)
        self.count = 0
        self.max_ns = 0

    def add(self, latency_ns: int) -> None:
        """Count one. A negative one counts as none."""
        grown = math.log(max(latency_ns, _SMALLEST_NS) / _SMALLEST_NS, _RATIO)
        self._counts[min(math.ceil(grown), _BINS - 1)] += 1
        self.count += 1
        self.max_ns = max(self.max_ns, latency_ns)

    def quantile_ns(self, share: float) -> int:
        """The latency that `share` of them do not exceed, at most 2 % too high; 0 of none."""
        if not self.count:
            return 0
        place = int(np.searchsorted(np.cumsum(self._counts), math.ceil(share * self.count)))
        return min(self.max_ns, round(_SMALLEST_NS * _RATIO**place))
