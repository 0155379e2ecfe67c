"""Digits of tokens, one plane for each, and the order in which those of a latent are coded.

A token of FSQ is one digit per plane: its index is d0 + L0 * (d1 + L1 * (d2 + ...)). The positions
of a latent are coded in three phases, and in each phase plane after plane, so that a digit of the
later phases has four neighbours of its plane that are known:

    0 2 0 2      phase 0: y and x are even
    2 1 2 1      phase 1: both are odd; neighbours on the diagonals
    0 2 0 2      phase 2: the rest; neighbours above, below and beside
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIGITS", "PHASES", "Order", "digits_of", "order_of", "tokens_of"]

DIGITS = 8
"""Most levels of a plane."""
PHASES = 3
_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_BESIDE = ((-1, 0), (1, 0), (0, -1), (0, 1))
_AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))

Ints = NDArray[np.int32]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """Positions in the order in which they are coded; indexes into the flattened grid.

    h * w stands for a place outside of the grid, and for one that is not known by then.
    """

    positions: Places
    """[n]"""
    neighbours: Places
    """[4, n]: on the diagonals in phase 1, above, below, left, right in phase 2; none in phase 0"""
    around: Places
    """[9, n]: the place itself and those around it, row by row"""
    phases: Places
    """[n]: the phase of each"""
    grid: Places
    """[h * w]: the phase of each position, row by row"""

    parts: tuple[slice, ...]
    """Which positions each phase has."""


@lru_cache(maxsize=8)
def order_of(height: int, width: int) -> Order:
    """The order of a grid; of a small grid later phases may be empty."""
    y, x = (one.reshape(-1) for one in np.mgrid[0:height, 0:width])
    grid = np.array([0, 2, 1])[(y & 1) + (x & 1)]
    positions = grid.argsort(kind="stable")
    rows, columns, phases = y[positions], x[positions], grid[positions]
    around = np.stack(
        [_place(rows + dy, rows, height, columns + dx, columns, width) for dy, dx in _AROUND]
    )
    neighbours = np.full((4, height * width), height * width, np.intp)
    for phase, offsets in ((1, _DIAGONAL), (2, _BESIDE)):
        own = phases == phase
        neighbours[:, own] = around[[_AROUND.index(offset) for offset in offsets]][:, own]
    ends = (0, *phases.searchsorted(np.arange(1, PHASES + 1)).tolist())
    parts = tuple(slice(first, last) for first, last in pairwise(ends))
    return Order(positions, neighbours, around, phases, grid, parts)


def _place(ys: Places, y: Places, height: int, xs: Places, x: Places, width: int) -> Places:
    """Places whose coordinate is mirrored at (y, x) where it lies outside; outside then: h * w."""
    ys = np.where((ys < 0) | (ys >= height), 2 * y - ys, ys)
    xs = np.where((xs < 0) | (xs >= width), 2 * x - xs, xs)
    outside = (ys < 0) | (ys >= height) | (xs < 0) | (xs >= width)
    return np.where(outside, height * width, ys * width + xs).astype(np.intp)


def digits_of(tokens: Ints, levels: Sequence[int]) -> Ints:
    """The digits of tokens [n], one row for each plane: int32 [planes, n]."""
    digits, rest = np.empty((len(levels), tokens.size), np.int32), tokens.reshape(-1)
    for plane, count in enumerate(levels):
        rest, digits[plane] = np.divmod(rest, np.int32(count))
    return digits


def tokens_of(digits: Ints, levels: Sequence[int]) -> Ints:
    """The opposite of `digits_of`."""
    tokens = np.zeros(digits.shape[1], np.int32)
    for plane in reversed(range(len(levels))):
        tokens = tokens * np.int32(levels[plane]) + digits[plane]
    return tokens
