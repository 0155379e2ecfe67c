"""Statistics of pictures, in the form of LeRobot's datasets: of each channel, from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.recording.exports.column_statistics import QUANTILES

__all__ = ["PictureStatistics"]

_LARGE, _SMALL = 300, 150  # pixels: what LeRobot reduces, and to about what


@dataclass(slots=True)
class PictureStatistics:
    """Minimum, maximum, mean, standard deviation and quantiles of the pixels of RGB pictures.

    As LeRobot's `compute_episode_stats`, exactly and of every picture: LeRobot takes about
    n**0.75 of more than 100, and quantiles from histograms. Large pictures are thinned out as there
    (`auto_downsample_height_width`).
    """

    count: int = 0
    """Of pictures."""
    _found: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    """How many pixels have each value, for each channel."""

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Add a picture, uint8 [H, W, 3]."""
        height, width = pixels.shape[:2]
        if max(height, width) >= _LARGE:
            step = (width if width > height else height) // _SMALL
            pixels = pixels[::step, ::step]
        for channel in range(3):
            values = np.ascontiguousarray(pixels[..., channel]).reshape(-1)
            self._found[channel] += np.bincount(values, minlength=256)
        self.count += 1

    def facts(self) -> dict[str, NDArray[Any]]:
        """Each float64 [3, 1, 1]; `count` int64 [1]. There is a picture."""
        values = np.arange(256) / 255
        total = self._found.sum(axis=1, keepdims=True)
        share = self._found / total
        mean = (share * values).sum(axis=1, keepdims=True)
        spread = (share * (values - mean) ** 2).sum(axis=1)
        below = self._found.cumsum(axis=1)
        there = self._found > 0
        facts = {
            "min": values[there.argmax(axis=1)],
            "max": values[255 - there[:, ::-1].argmax(axis=1)],
            "mean": mean,
            "std": np.sqrt(spread),
            **{
                name: values[(below >= fraction * total).argmax(axis=1)]
                for name, fraction in QUANTILES.items()
            },
        }
        shaped: dict[str, NDArray[Any]] = {
            name: value.reshape(3, 1, 1) for name, value in facts.items()
        }
        return shaped | {"count": np.array([self.count], np.int64)}
