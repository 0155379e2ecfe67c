"""Statistics of a column, in the form of LeRobot's datasets, from batches of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["QUANTILES", "ColumnStatistics", "merged_facts"]

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}  # LeRobot's
_MOST_KEPT = 1024  # rows that quantiles are taken from


@dataclass(slots=True)
class ColumnStatistics:
    """Minimum, maximum, mean, standard deviation and quantiles of each value of a column's rows.

    Quantiles are exact up to 1024 rows; of more, they are those of evenly spaced rows.
    """

    count: int = 0
    _width: int = 1
    _low: Any = None
    _high: Any = None
    _mean: Any = 0.0
    _squares: Any = 0.0
    """Sum of squared distances from the mean (Chan's update: exact for large numbers too)."""
    _kept: list[NDArray[Any]] = field(default_factory=list)
    _every: int = 1
    """Of so many rows one is kept."""

    def add(self, rows: NDArray[Any]) -> None:
        """Add rows [n] of one value, or [n, m] of m."""
        self._width = 1 if rows.ndim == 1 else rows.shape[1]
        if not len(rows):
            return
        rows = rows.reshape(len(rows), -1)
        self._keep(rows)
        values = rows.astype(np.float64)
        number, mean = len(values), values.mean(axis=0)
        low, high = values.min(axis=0), values.max(axis=0)
        self._low = low if self._low is None else np.minimum(self._low, low)
        self._high = high if self._high is None else np.maximum(self._high, high)
        total, step = self.count + number, mean - self._mean
        spread = ((values - mean) ** 2).sum(axis=0)
        self._squares = self._squares + spread + step**2 * self.count * number / total
        self._mean = self._mean + step * number / total
        self.count = total

    def facts(self) -> dict[str, NDArray[Any]]:
        """Each float64 [m], NaN where no row was added; `count` int64 [1]."""
        if not self.count:
            nothing = np.full(self._width, np.nan)
            names = ("min", "max", "mean", "std", *QUANTILES)
            return {**dict.fromkeys(names, nothing), "count": np.array([0], np.int64)}
        quantiles = np.quantile(np.stack(self._kept), list(QUANTILES.values()), axis=0)
        return {
            "min": self._low,
            "max": self._high,
            "mean": self._mean,
            "std": np.sqrt(self._squares / self.count),
            "count": np.array([self.count], np.int64),
            **dict(zip(QUANTILES, quantiles, strict=True)),
        }

    def _keep(self, rows: NDArray[Any]) -> None:
        self._kept += [row.copy() for row in rows[-self.count % self._every :: self._every]]
        while len(self._kept) > _MOST_KEPT:
            self._kept, self._every = self._kept[::2], 2 * self._every


def merged_facts(
    first: Mapping[str, NDArray[Any]], second: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The statistics of two parts of a column together, as LeRobot merges those of datasets.

    Quantiles are the means of both, by their counts: what the rows of both would say is not known
    any more (`aggregate_feature_stats` of LeRobot's `compute_stats.py`).
    """
    both = [facts for facts in (first, second) if facts["count"][0] > 0]
    if len(both) < 2:
        return dict(both[0] if both else first)
    counts = [float(facts["count"][0]) for facts in both]
    total = sum(counts)
    mean = sum(facts["mean"] * count for facts, count in zip(both, counts, strict=True)) / total
    spread = sum(
        (facts["std"] ** 2 + (facts["mean"] - mean) ** 2) * count
        for facts, count in zip(both, counts, strict=True)
    )
    return {
        "min": np.minimum(first["min"], second["min"]),
        "max": np.maximum(first["max"], second["max"]),
        "mean": mean,
        "std": np.sqrt(spread / total),
        "count": np.array([int(total)], np.int64),
        **{
            name: sum(facts[name] * count for facts, count in zip(both, counts, strict=True))
            / total
            for name in QUANTILES
        },
    }
