"""How likely each digit is: tables of counts, one row for each context, mixed by fixed weights.

All of it is whole numbers, so that every machine gets the same. The logarithms of the counts in the
rows that a digit falls into are weighted and added; what comes out is a frequency out of 2^14 for
each value. Counts grow with each phase of a latent that was coded, and are halved where they pass
4095, so that what was long ago counts less.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtok_edge.runtime.coding.contexts import DIGITS, MOST_TABLES, TABLES
from vidtok_edge.runtime.coding.rans import BITS

__all__ = ["ROWS", "SHA256", "WEIGHTS", "Model", "weights_at"]

ROWS = sum(TABLES.values())
WEIGHTS = (2, 3, 3, MOST_TABLES)
"""Of a run's first latent or a later one; phase; plane 0, 1 or a later one; table."""
_FILE = Path(__file__).with_name("tables.v1.bin")
SHA256 = "66c8ee32cfbd995de26690d82a32464a9120d67f6ac4db63510cdf86081e527a"
"""Of that file, which is a part of version 1 of the code."""
_INCREMENT, _MOST = 16, 4095
_UNIT_BITS = 6
_UNIT = 1 << _UNIT_BITS  # of logarithms, and of weights
_FLAT = 16  # a count where nothing is known beforehand
_FAR = 1023  # sixteen bits less likely, and beyond


@lru_cache(maxsize=1)
def _fitted() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Counts [rows, 8] at the beginning, for planes of eight levels, and weights."""
    content = _FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256, f"{_FILE} is not as it was fitted"
    data = np.frombuffer(content, "<i2").astype(np.int32)
    counts, weights = data[: ROWS * DIGITS], data[ROWS * DIGITS :]
    return counts.reshape(ROWS, DIGITS), weights.reshape(WEIGHTS)


def weights_at(later: bool, phase: int, plane: int) -> NDArray[np.int32]:
    """Of the tables that a digit falls into, in the order of `Known.rows`, in 64ths."""
    found: NDArray[np.int32] = _fitted()[1][int(later), phase, min(plane, 2)]
    return found


@lru_cache(maxsize=1)
def _logarithms() -> NDArray[np.int32]:
    """floor(64 * log2(n)) of each n from 1 to 4095; of 0, which never comes, 0.

    >>> _logarithms()[[1, 2, 3, 4095]].tolist()
    [0, 64, 101, 767]
    """
    exact = [0] + [(n**_UNIT).bit_length() - 1 for n in range(1, _MOST + 1)]
    return np.array(exact, np.int32)


@lru_cache(maxsize=1)
def _powers() -> NDArray[np.int64]:
    """floor(2^16 / 2^(d/64)) of each d from 0 to 1023.

    >>> _powers()[[0, 1, 64, 1023]].tolist()
    [65536, 64830, 32768, 1]
    """
    # x is the largest with x^64 <= 2^(16 * 64 - d)
    return np.array([_root(1 << (16 * _UNIT - d)) for d in range(_FAR + 1)], np.int64)


def _root(number: int) -> int:
    """The largest whole number whose 64th power is no larger."""
    low, high = 1, 1 << 17
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**_UNIT <= number else (low, middle)
    return low


class Model:
    """The counts of one run of latents.

    Args:
        levels: of each plane, 2 to 8.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        self._levels = tuple(levels)
        fitted = all(count == DIGITS for count in levels)
        self._counts = _fitted()[0].copy() if fitted else np.full((ROWS, DIGITS), _FLAT, np.int32)
        self._logs = _logarithms().take(self._counts)
        self._cells: list[NDArray[np.intp]] = []

    def frequencies(
        self, rows: NDArray[np.intp], weights: NDArray[np.int32], plane: int
    ) -> NDArray[np.int64]:
        """Of each value at each place, int64 [levels of the plane, n]; a column's sum is 2^14."""
        levels, count = self._levels[plane], rows.shape[1]
        logs = self._logs.take(rows, axis=0).reshape(len(rows), -1)
        mixed = np.einsum("t,tv->v", weights[: len(rows)], logs) >> _UNIT_BITS
        mixed = np.ascontiguousarray(mixed.reshape(count, DIGITS).T[:levels])
        np.subtract(mixed.max(0), mixed, out=mixed)
        likely = _powers().take(np.minimum(mixed, _FAR))
        best = likely.argmax(0)
        freqs: NDArray[np.int64] = likely * ((1 << BITS) - levels) // likely.sum(0) + 1
        freqs[best, np.arange(count)] += (1 << BITS) - freqs.sum(0)
        return freqs

    def count(self, rows: NDArray[np.intp], digits: NDArray[np.int32]) -> None:
        """Note the digits of a group; `learn` adds them."""
        self._cells.append((rows * DIGITS + digits).reshape(-1))

    def learn(self) -> None:
        """Add what was noted to the counts."""
        found = np.bincount(np.concatenate(self._cells), minlength=ROWS * DIGITS)
        self._cells.clear()
        self._counts += found.astype(np.int32).reshape(ROWS, DIGITS) * _INCREMENT
        while self._counts.max() > _MOST:
            high = (self._counts > _MOST).any(1)
            self._counts[high] = (self._counts[high] + 1) >> 1
        self._logs = _logarithms().take(self._counts)
