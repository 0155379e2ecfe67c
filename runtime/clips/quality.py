"""How close two clips are: PSNR and SSIM of uint8 pictures, in float64.

Both follow scikit-image 0.26 (`peak_signal_noise_ratio`, and `structural_similarity` with
`channel_axis=-1, data_range=255`), to rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.errors import UsageError

__all__ = ["Quality", "WorstFrame", "psnr", "ssim"]

_WINDOW = 7  # SSIM compares windows of 7 x 7 pixels
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class WorstFrame:
    """The frame with the lowest PSNR."""

    index: int
    psnr_db: float


@dataclass(slots=True)
class Quality:
    """Running means over the frames of a clip; its memory does not grow.

    >>> quality = Quality()
    >>> black, grey = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    >>> quality.add(black, black)
    >>> quality.add(black, grey)
    >>> quality.frames, quality.identical, quality.psnr_db, quality.worst
    (2, 1, 0.0, WorstFrame(index=1, psnr_db=0.0))
    """

    frames: int = 0
    identical: int = 0
    worst: WorstFrame | None = None
    _psnr_sum: float = field(default=0.0, repr=False)
    _ssim_sum: float = field(default=0.0, repr=False)

    def add(self, a: Pixels, b: Pixels) -> None:
        """Compare one pair of frames, uint8 [H, W, 3]. Raises UsageError for other shapes."""
        _require_frames(a, b)
        similarity = _ssim_of_frame(a, b)
        decibels = _psnr_of_frame(a, b)
        if self.worst is None or decibels < self.worst.psnr_db:
            self.worst = WorstFrame(self.frames, decibels)
        if math.isinf(decibels):
            self.identical += 1
        else:
            self._psnr_sum += decibels
        self._ssim_sum += similarity
        self.frames += 1

    @property
    def psnr_db(self) -> float:
        """Mean over the frames that differ; inf when none does.

        One identical (say, black) frame has a PSNR of inf: it would hide all the others.
        """
        differing = self._count() - self.identical
        return self._psnr_sum / differing if differing else math.inf

    @property
    def ssim(self) -> float:
        """Mean over all frames, at most 1."""
        return self._ssim_sum / self._count()

    def _count(self) -> int:
        if self.frames == 0:
            raise UsageError("No frames were compared: call add() before asking for a mean.")
        return self.frames


def psnr(a: Pixels, b: Pixels) -> float:
    """PSNR in dB of uint8 [H, W, 3], or its mean over the frames of [T, H, W, 3].

    inf when equal; as in `Quality`, identical frames do not enter the mean.
    Raises UsageError for shapes or dtypes that differ or are others.

    >>> psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8))
    0.0
    """
    finite = [d for d in map(_psnr_of_frame, *_stacks(a, b)) if not math.isinf(d)]
    return sum(finite) / len(finite) if finite else math.inf


def ssim(a: Pixels, b: Pixels) -> float:
    """SSIM of uint8 [H, W, 3], or its mean over the frames of [T, H, W, 3]; 1 when equal.

    Raises UsageError as `psnr` does, and when a side is shorter than the window of 7 pixels.
    """
    values = [_ssim_of_frame(x, y) for x, y in zip(*_stacks(a, b), strict=True)]
    return sum(values) / len(values)


def _psnr_of_frame(a: Pixels, b: Pixels) -> float:
    difference = a.astype(np.int64) - b
    mean_square = int(np.sum(difference * difference)) / difference.size
    return 10 * math.log10(255**2 / mean_square) if mean_square else math.inf


def _ssim_of_frame(a: Pixels, b: Pixels) -> float:
    if min(a.shape[:2]) < _WINDOW:
        raise UsageError(
            f"SSIM of {a.shape[0]}x{a.shape[1]} pictures: both sides must be at least {_WINDOW}."
        )
    if np.array_equal(a, b):
        return 1.0
    x, y = a.astype(np.int64), b.astype(np.int64)
    n = _WINDOW * _WINDOW
    mean_x, mean_y = _window_sums(x) / n, _window_sums(y) / n
    unbiased = n / (n - 1)
    var_x = unbiased * (_window_sums(x * x) / n - mean_x * mean_x)
    var_y = unbiased * (_window_sums(y * y) / n - mean_y * mean_y)
    covariance = unbiased * (_window_sums(x * y) / n - mean_x * mean_y)
    numerator = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    denominator = (mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2)
    return float(np.mean(numerator / denominator, dtype=np.float64))


def _window_sums(x: NDArray[np.int64]) -> NDArray[np.int64]:
    """[H, W, C] to the sums of its whole windows, [H - 6, W - 6, C]. Integers, so exact."""
    for axis in (0, 1):
        x = np.moveaxis(x, axis, 0)
        total = np.concatenate([np.zeros_like(x[:1]), np.cumsum(x, axis=0)])
        x = np.moveaxis(total[_WINDOW:] - total[:-_WINDOW], 0, axis)
    return x


def _stacks(a: Pixels, b: Pixels) -> tuple[Pixels, Pixels]:
    if a.ndim == 3:
        a, b = a[None], b[None]
    if a.ndim != 4 or len(a) == 0:
        raise UsageError(f"Got pictures of shape {a.shape}; allowed: [H, W, 3] or [T, H, W, 3].")
    if a.shape != b.shape:
        raise UsageError(f"Cannot compare shapes {a.shape} and {b.shape}: make them equal first.")
    _require_frames(a[0], b[0])
    return a, b


def _require_frames(a: Pixels, b: Pixels) -> None:
    if a.shape != b.shape:
        raise UsageError(f"Cannot compare shapes {a.shape} and {b.shape}: make them equal first.")
    if a.ndim != 3 or a.shape[2] != 3 or a.size == 0:
        raise UsageError(f"Got a picture of shape {a.shape}; allowed: [H, W, 3].")
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise UsageError(f"Got pictures of {a.dtype} and {b.dtype}; allowed: uint8, 0 to 255.")
