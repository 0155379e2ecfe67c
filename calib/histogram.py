"""A streaming histogram of one tensor: constant memory, however many values are seen."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["BINS", "SMALLEST_LIMIT", "Histogram", "UnusableValues"]

BINS = 8192
"""Over [-limit, limit]. The limit is at most twice the largest absolute value, so at least 2048 of
them lie between zero and that one, which is what the entropy method is published for."""

SMALLEST_LIMIT = 2.0**-100
"""Values that never exceed it are all zero: a float32 scale of them would near its underflow."""
_LARGEST_LIMIT = 2.0**112  # of float32, whose largest is 2^128: what is added to it stays finite
_BLOCK = 1 << 18  # values that are counted at once: they and their bins stay in a cache of the CPU
_LARGEST_COUNT = 1 << 49  # of a state that was read: the sum of BINS of them fits an int64


class UnusableValues(ValueError):
    """Values without a range: NaN, or larger than any INT8 scale can follow."""

    def __init__(self, nan: int, infinite: int, values: int) -> None:
        self.nan, self.infinite, self.values = nan, infinite, values
        what = [f"{nan} NaN"] if nan else []
        what += [f"{infinite} infinite"] if infinite else []
        super().__init__(f"{' and '.join(what)} of {values} values")


class Histogram:
    """How often which values of a tensor occur; minimum, maximum and count are exact.

    The support is [-limit, limit], in `BINS` bins of equal width, and its limit a power of two.
    Where a value lies outside, the limit doubles until it does not, and bins merge pairwise: the
    edges of the wider bins are edges of the narrower ones, so nothing is counted twice or lost, and
    the limit at the end does not depend on the order of the values.

    Attributes:
        counts: int64 [BINS]; bin i holds values from edges[i] to edges[i + 1].
        limit: of the support; `SMALLEST_LIMIT` as long as all values are zero.
        low: the smallest value; inf before there is one.
        high: the largest value; -inf before there is one.
    """

    __slots__ = ("counts", "high", "limit", "low")

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.limit = SMALLEST_LIMIT
        self.low, self.high = math.inf, -math.inf

    @property
    def count(self) -> int:
        """How many values were seen."""
        return int(self.counts.sum())

    @property
    def bin_width(self) -> float:
        """The width of each bin, in units of the values."""
        return 2 * self.limit / BINS

    @property
    def edges(self) -> NDArray[np.float64]:
        """[BINS + 1], from -limit to limit; exact, since the limit is a power of two."""
        return np.arange(-BINS // 2, BINS // 2 + 1, dtype=np.float64) * self.bin_width

    def update(self, values: torch.Tensor) -> None:
        """Count `values`, float32 of any shape and memory layout.

        Raises:
            UnusableValues: some are NaN, infinite or beyond 2^112; none of the tensor is counted.
        """
        assert values.dtype == torch.float32, values.dtype
        if not values.numel():
            return
        flat = _flat(values.detach())
        low, high = torch.aminmax(flat)
        peak = float(torch.maximum(-low, high))
        if not peak <= _LARGEST_LIMIT:  # not `>`: aminmax of NaN is NaN
            raise _unusable(flat)
        self._grow(peak)
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        for start in range(0, len(flat), _BLOCK):
            block = flat[start : start + _BLOCK]
            # Exact but for the sum: the width is a power of two. The limit is in the last bin.
            bins = ((block + self.limit) / self.bin_width).to(torch.int32).clamp_(max=BINS - 1)
            self.counts += torch.bincount(bins, minlength=BINS).numpy()

    def _grow(self, peak: float) -> None:
        while peak > self.limit:
            merged = self.counts.reshape(BINS // 2, 2).sum(axis=1)
            self.counts = np.pad(merged, BINS // 4)
            self.limit *= 2

    def state(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Everything, as arrays: the counts [BINS], and [limit, low, high]."""
        return self.counts.copy(), np.array([self.limit, self.low, self.high])

    @classmethod
    def from_state(cls, counts: NDArray[np.int64], extent: NDArray[np.float64]) -> Histogram:
        """The histogram that `state` gave; ValueError names what cannot have been one's state."""
        if counts.dtype != np.int64 or counts.shape != (BINS,):
            raise ValueError(f"counts are {counts.dtype} {list(counts.shape)}, not int64 [{BINS}]")
        if extent.dtype != np.float64 or extent.shape != (3,):
            raise ValueError(f"extent is {extent.dtype} {list(extent.shape)}, not float64 [3]")
        if counts.min() < 0 or counts.max() > _LARGEST_COUNT:
            raise ValueError(f"counts lie outside [0, {_LARGEST_COUNT}]")
        result = cls()
        result.counts = counts.copy()
        result.limit, result.low, result.high = (float(value) for value in extent)
        result._require_extent()
        return result

    def _require_extent(self) -> None:
        in_bounds = SMALLEST_LIMIT <= self.limit <= _LARGEST_LIMIT
        if not in_bounds or math.frexp(self.limit)[0] != 0.5:
            raise ValueError(f"limit is {self.limit:g}, not a power of two from 2^-100 to 2^112")
        if self.count == 0:
            fits = (self.low, self.high) == (math.inf, -math.inf)
        else:
            fits = -self.limit <= self.low <= self.high <= self.limit
        if not fits:
            raise ValueError(
                f"{self.count} values from {self.low:g} to {self.high:g} do not fit a limit of "
                f"{self.limit:g}"
            )


def _flat(values: torch.Tensor) -> torch.Tensor:
    """[N], in the order of memory: a dense tensor is not copied, whatever the order of its axes."""
    axes = sorted(range(values.dim()), key=values.stride, reverse=True)
    return values.permute(axes).reshape(-1)


def _unusable(flat: torch.Tensor) -> UnusableValues:
    nan = int(flat.isnan().sum())
    infinite = int((flat.abs() > _LARGEST_LIMIT).sum())
    return UnusableValues(nan, infinite, len(flat))
