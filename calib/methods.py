"""From a histogram to the range that INT8 shall represent: minmax, percentile, entropy or mse.

Every method sees bins along one line. For a symmetric range (S8: a scale alone) it is the line of
absolute values, and 128 levels lie on it, zero among them. For an asymmetric one (U8: a scale and a
zero point) it runs from below zero to above, and 256 levels lie on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.calib.histogram import SMALLEST_LIMIT, Histogram
from vidtok_edge.errors import UsageError

__all__ = ["METHODS", "Method", "Range", "range_of"]

Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

_Floats = NDArray[np.float64]
_Cost = Callable[[_Floats, _Floats], _Floats]
"""Of N candidate ranges, lows [N] and highs [N], how bad each is [N]."""


@dataclass(frozen=True, slots=True)
class Range:
    """Real values that INT8 shall represent, `low` to `high`; more extreme ones are clipped.

    Zero lies within, always: paddings and fresh caches are zeros and must stay zeros.
    ValueError where it does not, or where a bound is not finite.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low <= 0 <= self.high < math.inf:
            raise ValueError(f"a range from {self.low} to {self.high}; allowed: low <= 0 <= high")
        if self.low == self.high:
            raise ValueError("a range from 0 to 0; allowed: one with a width")

    @property
    def symmetric(self) -> bool:
        """Whether it reaches as far below zero as above."""
        return self.low == -self.high

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"


def range_of(
    histogram: Histogram, method: Method, *, symmetric: bool, percentile: float = 99.99
) -> Range:
    """The range that `method` chooses; zero is in it, and it is inside that of `minmax`.

    Args:
        histogram: of at least one value; else ValueError.
        method: `minmax`: all that was seen. `percentile`: as much as holds `percentile` percent of
            the values, the rest cut off half below and half above. `entropy`: where the quantised
            distribution diverges least from the one that was seen, on each side of zero by itself.
            `mse`: where the expected squared error, of rounding and clipping together, is least.
        symmetric: for S8, [-high, high] from the absolute values; else for U8, and both ends are
            chosen.
        percentile: above 50, at most 100.

    A tensor that was zero whenever it was seen tells nothing of its scale; it gets [-1, 1]: zero is
    exact, and a value of common size that turns up later is not cut to nothing. Where a method
    would choose a range narrower than one bin of the histogram, minmax is taken: a tensor of zeros,
    but for less than a percentile's rest, would else lose all that is not zero.

    Raises:
        UsageError: no method of that name, or such a percentile.
    """
    if method not in METHODS:
        raise UsageError(f"method is {method!r}; allowed: {', '.join(METHODS)}.")
    if not 50 < percentile <= 100:
        raise UsageError(f"percentile is {percentile:g}; allowed: above 50, at most 100.")
    if not histogram.count:
        raise ValueError("the histogram has seen no value, so there is no range to choose")
    if histogram.limit == SMALLEST_LIMIT:
        return Range(-1.0, 1.0)
    bins = _absolute(histogram) if symmetric else _whole(histogram)
    low, high = _CHOOSERS[method](bins, percentile)
    low, high = max(bins.low, min(0.0, low)), min(bins.high, max(0.0, high))
    if high - low < bins.width:
        low, high = bins.low, bins.high
    return Range(-high, high) if symmetric else Range(low + 0.0, high)  # + 0.0: never "-0"


# -- bins


@dataclass(frozen=True, slots=True)
class _Bins:
    """Counts [M] along a line, from `start` on; values are taken as even inside their bin.

    `low` and `high` are the extreme values, or 0 where zero is more extreme; `levels` is how many
    numbers INT8 has for the line.
    """

    counts: _Floats
    start: float
    width: float
    low: float
    high: float
    levels: int

    @property
    def edges(self) -> _Floats:
        """[M + 1]"""
        return self.start + np.arange(len(self.counts) + 1, dtype=np.float64) * self.width

    def quantile(self, share: float) -> float:
        """Where `share` of the values lie below."""
        total = np.cumsum(self.counts)
        index = int(np.searchsorted(total, share * total[-1]).clip(0, len(total) - 1))
        into = (share * total[-1] - total[index] + self.counts[index]) / max(self.counts[index], 1)
        return float(self.start + (index + into) * self.width)


def _whole(histogram: Histogram) -> _Bins:
    low, high = min(0.0, histogram.low), max(0.0, histogram.high)
    counts = histogram.counts.astype(np.float64)
    return _Bins(counts, -histogram.limit, histogram.bin_width, low, high, 256)


def _absolute(histogram: Histogram) -> _Bins:
    below, above = _sides(_whole(histogram))
    high = max(below.high, above.high)
    return _Bins(below.counts + above.counts, 0.0, above.width, 0.0, high, 128)


def _sides(bins: _Bins) -> tuple[_Bins, _Bins]:
    """Below zero, mirrored, and above: each with half of the levels."""
    middle = round(-bins.start / bins.width)
    below, above = bins.counts[:middle][::-1], bins.counts[middle:]
    return (
        _Bins(below, 0.0, bins.width, 0.0, -bins.low, bins.levels // 2),
        _Bins(above, 0.0, bins.width, 0.0, bins.high, bins.levels // 2),
    )


# -- methods: (low, high) of bins


def _minmax(bins: _Bins, percentile: float) -> tuple[float, float]:
    return bins.low, bins.high


def _percentile(bins: _Bins, percentile: float) -> tuple[float, float]:
    rest = 1 - percentile / 100
    if bins.start == 0:
        return 0.0, bins.quantile(1 - rest)
    return bins.quantile(rest / 2), bins.quantile(1 - rest / 2)


def _entropy(bins: _Bins, percentile: float) -> tuple[float, float]:
    # One side at a time. Over both ends at once the least divergence may cut one side to nothing
    # and give its levels to the other: 0.1 N(0,1) with 2 % of 5 N(0,1) came out at 3.5 dB.
    if bins.start == 0:
        return _search(bins, _Divergence(bins))
    below, above = (
        _search(side, _Divergence(side))[1] if side.high else 0.0 for side in _sides(bins)
    )
    return -below, above


def _mse(bins: _Bins, percentile: float) -> tuple[float, float]:
    return _search(bins, _SquaredError(bins))


_CHOOSERS: dict[Method, Callable[[_Bins, float], tuple[float, float]]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "entropy": _entropy,
    "mse": _mse,
}


# -- search

# Ratios of a candidate to the extreme value: coarse at first, then finer around the best.
_RATIOS = 2.0 ** -np.arange(0, 8.5, 0.5)
_ZOOMS = tuple(2.0 ** (np.arange(-3, 4) * step) for step in (1 / 7, 1 / 25, 1 / 90))


def _search(bins: _Bins, cost: _Cost) -> tuple[float, float]:
    """The range of least cost among candidates from 1/256 of the extremes to all of them.

    The best of a coarse grid over both ends, refined three times, to 1 percent. All of them is in
    the grid, and a finer grid holds the best of the coarser one: no result costs more than minmax.
    """
    low = high = 1.0
    for ratios in (_RATIOS, *_ZOOMS):
        lows, highs = (
            np.unique((ratios * best).clip(max=1)) if extreme else np.ones(1)
            for best, extreme in ((low, bins.low), (high, bins.high))
        )
        grid_low, grid_high = (axis.ravel() for axis in np.meshgrid(lows, highs))
        found = int(np.argmin(cost(grid_low * bins.low, grid_high * bins.high)))
        low, high = float(grid_low[found]), float(grid_high[found])
    return low * bins.low, high * bins.high


class _SquaredError:
    """The expected squared difference between a value and its INT8 number, summed over all values.

    The integral of (x - q)^2 over the cell of each level q is a sum of three moments, which are
    differences of cumulative ones: a candidate costs as much as it has levels, not bins.
    """

    def __init__(self, bins: _Bins) -> None:
        self._bins = bins
        self._edges = bins.edges
        self._density = bins.counts / bins.width
        each = self._inside(np.arange(len(bins.counts)), self._edges[1:])
        self._upto = [np.concatenate([[0.0], np.cumsum(moment)]) for moment in each]

    def __call__(self, lows: _Floats, highs: _Floats) -> _Floats:
        levels = self._bins.levels
        step = (highs - lows) / (levels - 1)
        zero = np.rint(-lows / step)  # the zero point is a whole number, so that zero is exact
        values = (np.arange(levels) - zero[:, None]) * step[:, None]
        mass, first, second = self._cells(values[:, 1:] - step[:, None] / 2)
        error: _Floats = (second + values * (values * mass - 2 * first)).sum(axis=1)
        return error

    def _cells(self, borders: _Floats) -> list[_Floats]:
        """Moments of the cells [N, levels] between and beyond the borders [N, levels - 1]."""
        bins = self._bins
        x = borders.clip(self._edges[0], self._edges[-1])
        index = ((x - bins.start) / bins.width).astype(np.intp).clip(max=len(bins.counts) - 1)
        moments = []
        for upto, inside in zip(self._upto, self._inside(index, x), strict=True):
            below = np.pad(upto[index] + inside, ((0, 0), (1, 1)))
            below[:, -1] = upto[-1]
            moments.append(np.diff(below, axis=1))
        return moments

    def _inside(self, index: NDArray[np.intp], x: _Floats) -> tuple[_Floats, _Floats, _Floats]:
        """Integrals of density * x^k, k = 0, 1, 2, from the left edge of bin `index` to x."""
        left = self._edges[index]
        mass = self._density[index] * (x - left)
        return mass, mass * (x + left) / 2, mass * (x * x + x * left + left * left) / 3


_EMPTY = 1e-4  # a bin without values counts as this many, or its divergence would be infinite


class _Divergence:
    """KL(P, Q), in nats: P as seen, clipped to the range; Q as the levels can tell it apart.

    As Migacz, "8-bit inference with TensorRT" (GTC 2017), for bins from zero on: P takes in at its
    last bin what is clipped, Q does not; a level's share of Q is spread over those of its bins that
    hold anything. A level may end inside a bin, so a range need not be a multiple of the levels.
    A range of fewer bins than levels loses nothing in Q and cannot be judged. With as many levels
    as bins, ONNX Runtime's default (128 and 128), that is all but the widest, hence many bins.

    Zero is exact in INT8 however often it occurs. Its peak (ReLU, paddings) is levelled to the bin
    beside it: else the narrowest range would be best, as it smears that peak the least.
    """

    def __init__(self, bins: _Bins) -> None:
        assert bins.start == bins.low == 0
        self._bins = bins
        self._counts = bins.counts.copy()
        self._counts[0] = min(bins.counts[:2])
        self._mass, self._held, self._own = (
            np.concatenate([[0.0], np.cumsum(values)])
            for values in (self._counts, self._counts > 0, _xlogx(self._counts))
        )

    def __call__(self, lows: _Floats, highs: _Floats) -> _Floats:
        size, levels = len(self._counts), self._bins.levels
        end = np.ceil(highs / self._bins.width).astype(np.intp).clip(1, size)
        mass, held = self._levels(end)
        density = mass / np.maximum(held, _EMPTY)
        inside, total = self._mass[end], self._mass[-1]
        clipped = total - inside
        own = self._own[end] - (mass * _log(density)).sum(axis=1)
        own += self._clipped(end - 1, clipped, density[:, -1])
        judged = (end >= levels) & (inside > 0) | (clipped == 0)
        kept = np.maximum(inside, _EMPTY) / max(total, _EMPTY)
        return np.where(judged, own / max(total, 1) + np.log(kept), np.inf)

    def _levels(self, end: NDArray[np.intp]) -> tuple[_Floats, _Floats]:
        """Values, and bins that hold any, of each level [N, levels] of a range of `end` bins."""
        borders = end[:, None] * (np.arange(self._bins.levels + 1) / self._bins.levels)
        index = borders.astype(np.intp).clip(max=len(self._counts) - 1)
        mass, held = (
            np.diff(upto[index] + (borders - index) * (upto[index + 1] - upto[index]), axis=1)
            for upto in (self._mass, self._held)
        )
        return mass, held

    def _clipped(self, edge: NDArray[np.intp], clipped: _Floats, density: _Floats) -> _Floats:
        """What values clipped into the bin `edge` add to the divergence, times all values."""
        there = self._counts[edge]
        q = np.where(there > 0, density, _EMPTY)
        added: _Floats = _xlogx(there + clipped) - _xlogx(there) - clipped * _log(q)
        return added


def _log(x: _Floats) -> _Floats:
    return np.log(np.maximum(x, _EMPTY))


def _xlogx(x: _Floats) -> _Floats:
    return x * np.log(np.maximum(x, 1))
